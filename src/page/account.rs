//! The account page: who somebody is, where they are signed in, and what holds access to it.

use askama::Template;

use crate::page::App;
use crate::page::Field;
use crate::page::Form;
use crate::page::Look;
use crate::page::NewToken;
use crate::page::Notice;
use crate::page::Tokens;
use crate::page::View;
use crate::page::When;

/// All of an account. Each thing that can be ended has a form of its own, which posts nothing but what it keeps.
#[derive(Clone, Debug, Template)]
#[template(path = "account.html")]
pub struct Account<'a> {
    /// How pages look.
    pub look: &'a Look,
    /// What was done, or did not work.
    pub notice: Option<Notice>,
    /// Who it is.
    pub profile: Profile,
    /// Where they are signed in, the session of this browser first.
    pub sessions: Vec<SessionRow>,
    /// Ends all sessions but this one; left out where there is no other.
    pub end_others: Option<Form>,
    /// Changes the password. It posts `current_password` and `new_password`. Left out where the account
    /// has none.
    pub password: Option<Form>,
    /// What was wrong with `current_password`; its value is never shown again.
    pub current_password: Field,
    /// What was wrong with `new_password`; its value is never shown again.
    pub new_password: Field,
    /// How long a password must be, in characters.
    pub password_length_min: usize,
    /// Apps that hold access.
    pub apps: Vec<ConnectedApp>,
    /// Outside providers. The section is left out where there are none.
    pub providers: Vec<LinkedProvider>,
    /// Personal tokens. The section is left out where they could open nothing.
    pub tokens: Option<Tokens>,
    /// Signs this browser out.
    pub sign_out: Form,
}

/// Who somebody is.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// What they are called.
    pub name: Option<String>,
    /// The username.
    pub username: Option<String>,
    /// The e-mail address.
    pub email: Option<String>,
    /// Whether the address is proven.
    pub is_email_verified: bool,
    /// The roles.
    pub roles: Vec<String>,
}

impl Profile {
    /// What the page calls them.
    fn shown(&self) -> &str {
        let known = [&self.name, &self.username, &self.email];
        known
            .into_iter()
            .flatten()
            .next()
            .map_or("you", |name| name)
    }
}

/// One session.
#[derive(Clone, Debug)]
pub struct SessionRow {
    /// Browser and system, in words: `Firefox on Linux`.
    pub device: String,
    /// The address that it was last seen from.
    pub address: String,
    /// When that was.
    pub last_seen: When,
    /// When it began.
    pub since: When,
    /// Whether it is the one of this browser.
    pub is_this: bool,
    /// Ends it.
    pub end: Form,
}

/// An app that holds access.
#[derive(Clone, Debug)]
pub struct ConnectedApp {
    /// The app.
    pub app: App,
    /// What it may do, in the words of the scopes.
    pub scopes: Vec<String>,
    /// Since when.
    pub since: When,
    /// Ends it.
    pub disconnect: Form,
}

/// An outside provider, tied to the account or not.
#[derive(Clone, Debug)]
pub struct LinkedProvider {
    /// The provider's name.
    pub name: String,
    /// What the person is called there, if it is tied.
    pub account: Option<String>,
    /// Ties or unties it.
    pub change: Form,
}

impl Account<'_> {
    fn is_wrong(&self) -> bool {
        let noticed = self.notice.as_ref().is_some_and(Notice::is_error);
        let tokens = self.tokens.as_ref().is_some_and(Tokens::is_wrong);
        let passwords = [&self.current_password, &self.new_password];
        noticed || tokens || passwords.iter().any(|field| field.error.is_some())
    }
}

impl View for Account<'_> {
    fn forms(&self) -> Vec<&Form> {
        let sessions = self.sessions.iter().map(|session| &session.end);
        let apps = self.apps.iter().map(|app| &app.disconnect);
        let providers = self.providers.iter().map(|provider| &provider.change);
        let tokens = self.tokens.iter().flat_map(Tokens::forms);
        [&self.sign_out]
            .into_iter()
            .chain(&self.end_others)
            .chain(&self.password)
            .chain(sessions)
            .chain(apps)
            .chain(providers)
            .chain(tokens)
            .collect()
    }
}
