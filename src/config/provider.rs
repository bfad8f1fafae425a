//! Other OpenID providers that people sign in with: `[providers.NAME]`.

use std::sync::Arc;

use secrecy::SecretString;

use crate::config::IssuerAlgorithm;
use crate::config::Position;
use crate::config::UpstreamTrust;
use crate::domain::Role;

/// `[providers.NAME]`
#[derive(Clone, Debug)]
pub struct Provider {
    /// NAME: what stands in its addresses here.
    pub name: Arc<str>,
    /// `issuer`: the `iss` of its tokens, to the letter; its discovery document stands below.
    pub url: Arc<str>,
    /// `client_id`: what it knows us by.
    pub client_id: String,
    /// `client_secret`
    pub client_secret: SecretString,
    /// `name`: what people call it. NAME.
    pub label: String,
    /// `scopes`: `openid profile email`.
    pub scopes: Vec<String>,
    /// `create_accounts`: whoever is unknown here gets an account. False.
    pub create_accounts: bool,
    /// `allow_domains`, lower case: only people whose verified address is of one of them. Empty: all.
    pub allow_domains: Vec<String>,
    /// `roles_claim`: names from the outside in. Empty: nowhere.
    pub roles_claim: Vec<String>,
    /// `roles`: a word of that claim, and the roles that it gives.
    pub roles: Vec<(String, Vec<Role>)>,
    /// `algorithms`: what its keys may be used with.
    pub algorithms: Vec<IssuerAlgorithm>,
    /// `ca`: whose certificates are believed when it is asked.
    pub trust: UpstreamTrust,
    /// Where it stands in the file.
    pub position: Position,
}

impl Provider {
    /// Whether it makes accounts for anybody whom the provider knows.
    pub fn is_open(&self) -> bool {
        self.create_accounts && self.allow_domains.is_empty()
    }
}
