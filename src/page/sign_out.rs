//! Going out: asking whether it is meant, and saying that it is done.

use askama::Template;

use crate::page::Form;
use crate::page::Link;
use crate::page::Look;
use crate::page::View;

/// Who asks for a sign-out.
#[derive(Clone, Debug)]
pub enum AskedBy {
    /// The person.
    Person,
    /// An app that does not say which it is.
    SomeApp,
    /// The app of this name.
    App(String),
}

/// A link is no proof that somebody wants to be signed out, nor is it where an app cannot prove for whom it
/// speaks (OpenID Connect RP-Initiated Logout §2): is it meant? It posts nothing of its own.
#[derive(Clone, Debug, Template)]
#[template(path = "sign_out.html")]
pub struct SignOut<'a> {
    /// How pages look.
    pub look: &'a Look,
    /// Where it is posted. Where the app wants to be gone to is among its `leads_to`.
    pub form: Form,
    /// Who asks.
    pub asked_by: AskedBy,
    /// Who would be signed out.
    pub signed_in_as: String,
    /// Where to go instead.
    pub cancel: String,
}

/// It is done.
#[derive(Clone, Debug, Template)]
#[template(path = "signed_out.html")]
pub struct SignedOut<'a> {
    /// How pages look.
    pub look: &'a Look,
    /// Where to sign in again.
    pub sign_in: String,
    /// The way back to the app, if it gave one that is registered.
    pub back: Option<Link>,
}

impl View for SignOut<'_> {
    fn forms(&self) -> Vec<&Form> {
        vec![&self.form]
    }
}

impl View for SignedOut<'_> {
    fn forms(&self) -> Vec<&Form> {
        Vec::new()
    }
}
