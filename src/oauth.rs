//! OAuth 2.0 and OpenID Connect for clients: tokens for people and for themselves, and what becomes of them.
//!
//! Each endpoint is a file. It must never answer for a client that has not proven who it is, nor
//! tell one client anything about another's tokens.

pub mod authorize;
pub mod client;
pub mod device;
pub mod device_authorization;
pub mod error;
pub mod form;
mod grant;
pub mod guesses;
pub mod introspect;
pub mod logout;
pub mod metadata;
mod relay;
pub mod resource;
pub mod revoke;
pub mod token;
pub mod userinfo;

use std::sync::Arc;

use crate::account::Accounts;
use crate::config::Config;
use crate::config::Resources;
use crate::oauth::guesses::Guesses;
use crate::oauth::metadata::Places;
use crate::oauth::resource::Documents;
use crate::portal::HasPortal;
use crate::portal::Portal;

/// What the endpoints of OAuth stand on.
#[derive(Debug)]
pub struct OAuth {
    accounts: Arc<Accounts>,
    portal: Arc<Portal>,
    places: Places,
    resources: Resources,
    documents: Documents,
    guesses: Arc<Guesses>,
}

impl OAuth {
    /// For the clients of the file, and those of the store.
    pub fn new(accounts: Arc<Accounts>, portal: Arc<Portal>, config: &Config) -> Self {
        Self {
            accounts,
            portal,
            places: Places::new(config),
            resources: config.resources(),
            documents: Documents::new(config),
            guesses: Arc::new(Guesses::new(&config.limits)),
        }
    }

    /// How often codes of devices are tried, to be swept now and then.
    pub fn guesses(&self) -> &Arc<Guesses> {
        &self.guesses
    }
}

impl HasPortal for Arc<OAuth> {
    fn portal(&self) -> &Arc<Portal> {
        &self.portal
    }
}
