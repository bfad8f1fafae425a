//! The consent page: which app asks, where its answer goes, what it could do (SECURITY 43).

use askama::Template;

use crate::page::App;
use crate::page::Form;
use crate::page::Look;
use crate::page::View;

/// May this app? It posts `decision`, which is `allow` or `deny`.
#[derive(Clone, Debug, Template)]
#[template(path = "consent.html")]
pub struct Consent<'a> {
    /// How pages look.
    pub look: &'a Look,
    /// Where it is posted. The client's `redirect_uri` is among its `leads_to`.
    pub form: Form,
    /// Who asks.
    pub app: App,
    /// Who would allow it.
    pub signed_in_as: String,
    /// Where somebody else signs in instead.
    pub not_you: String,
    /// What is asked for, in the words of the scopes. At least one, or it is said that nothing but who the
    /// person is would be known.
    pub scopes: Vec<String>,
    /// The host where the app is to use it, where that is outside: an API that is not behind the gateway.
    pub used_at: Option<String>,
}

impl View for Consent<'_> {
    fn forms(&self) -> Vec<&Form> {
        vec![&self.form]
    }
}
