//! Coming in: signing in, making an account, proving an account before another provider is tied to it.

use askama::Template;

use crate::page::Field;
use crate::page::Form;
use crate::page::Link;
use crate::page::Look;
use crate::page::Notice;
use crate::page::View;
use crate::problem;

/// The sign-in page. It posts `identifier` (an e-mail address or username) and `password`.
#[derive(Clone, Debug, Template)]
#[template(path = "sign_in.html")]
pub struct SignIn<'a> {
    /// How pages look.
    pub look: &'a Look,
    /// Where it is posted. What it continues to is among its `leads_to`.
    pub form: Form,
    /// What was typed before.
    pub identifier: String,
    /// Why it did not work, or what was done before.
    pub notice: Option<Notice>,
    /// The name of the client that asked for the sign-in.
    pub continue_to: Option<String>,
    /// Outside providers, each with the URL (GET) at which signing in with it begins.
    pub providers: Vec<Link>,
    /// Where an account is made, if registration is open.
    pub register: Option<String>,
}

/// The page that makes an account. It posts `email`, `username`, `name` and `password`.
#[derive(Clone, Debug, Template)]
#[template(path = "register.html")]
pub struct Register<'a> {
    /// How pages look.
    pub look: &'a Look,
    /// Where it is posted.
    pub form: Form,
    /// Why it did not work, where no field is to blame.
    pub notice: Option<Notice>,
    /// The e-mail address.
    pub email: Field,
    /// The username.
    pub username: Field,
    /// What the person is called.
    pub name: Field,
    /// The password; its value is never shown again.
    pub password: Field,
    /// How long a password must be, in characters.
    pub password_length_min: usize,
    /// Where somebody goes who has an account.
    pub sign_in: String,
}

/// A provider vouches for the e-mail address of an account that is here: whoever owns the account proves
/// it by its password, which is posted as `password`.
#[derive(Clone, Debug, Template)]
#[template(path = "link_account.html")]
pub struct LinkAccount<'a> {
    /// How pages look.
    pub look: &'a Look,
    /// Where it is posted.
    pub form: Form,
    /// Why it did not work.
    pub notice: Option<Notice>,
    /// The provider's name.
    pub provider: String,
    /// The address that both know.
    pub email: String,
    /// Where to go instead.
    pub cancel: String,
}

/// A provider is to be connected, and the browser is on its way there. Where that sends it on to nobody
/// knows beforehand, so that it cannot be the answer to a form: browsers hold the redirects of that to the
/// policy of the form's page.
#[derive(Clone, Debug, Template)]
#[template(path = "to_provider.html")]
pub struct ToProvider<'a> {
    /// How pages look.
    pub look: &'a Look,
    /// The provider's name.
    pub provider: String,
    /// Where the browser goes on to.
    pub url: String,
}

impl Register<'_> {
    /// Puts what was wrong to the fields that were.
    pub fn blame(&mut self, errors: &[problem::Field]) {
        for error in errors {
            let field = match error.name {
                "email" => &mut self.email,
                "username" => &mut self.username,
                "name" => &mut self.name,
                "password" => &mut self.password,
                _ => continue,
            };
            field.error = Some(error.detail.to_string());
        }
    }

    /// The fields that are wrong, by name and label.
    fn wrong(&self) -> Vec<(&'static str, &'static str, &str)> {
        [
            ("email", "E-mail address", &self.email),
            ("username", "Username", &self.username),
            ("name", "Your name", &self.name),
            ("password", "Password", &self.password),
        ]
        .into_iter()
        .filter_map(|(id, label, field)| Some((id, label, field.error.as_deref()?)))
        .collect()
    }
}

impl SignIn<'_> {
    fn is_wrong(&self) -> bool {
        self.notice.as_ref().is_some_and(Notice::is_error)
    }
}

impl View for SignIn<'_> {
    fn forms(&self) -> Vec<&Form> {
        vec![&self.form]
    }
}

impl View for Register<'_> {
    fn forms(&self) -> Vec<&Form> {
        vec![&self.form]
    }
}

impl View for LinkAccount<'_> {
    fn forms(&self) -> Vec<&Form> {
        vec![&self.form]
    }
}

impl View for ToProvider<'_> {
    fn forms(&self) -> Vec<&Form> {
        Vec::new()
    }
}
