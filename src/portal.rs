//! Pages as people meet them: sign in, register, the account, sign out.
//!
//! Each page is a file: what was asked, what the rooms below say to it, which view answers. Whoever signs in
//! goes on to where they were (`return_to`). It must never act on a form that is not our own (see
//! [`Posted`]), nor send a browser to a place that is not of this house (see [`ReturnTo`]).

pub mod accept;
pub mod account;
mod csrf;
mod declined;
mod device_name;
mod posted;
pub mod provider;
pub mod register;
mod return_to;
pub mod sign_in;
pub mod sign_out;
pub mod tokens;
mod visit;

use std::collections::HashMap;
use std::sync::Arc;

use axum::response::IntoResponse as _;
use axum::response::Response;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use url::Url;

use crate::account::Accounts;
use crate::config::Config;
use crate::config::OwnHosts;
use crate::domain::Client;
use crate::domain::ClientId;
use crate::domain::Scope;
use crate::domain::Scopes;
use crate::page::Look;
use crate::portal::csrf::FormKey;
use crate::providers::Providers;
use crate::store::Unavailable;

pub use declined::Declined;
pub use posted::Posted;
pub use return_to::ReturnTo;
pub use visit::Visit;
pub use visit::see_other_with;

/// What pages stand on.
#[derive(Debug)]
pub struct Portal {
    /// The accounts.
    pub accounts: Arc<Accounts>,
    /// How pages look.
    pub look: Arc<Look>,
    /// Whom people may sign in with.
    pub providers: Arc<Providers>,
    forms: FormKey,
    hosts: Arc<OwnHosts>,
    public_url: Url,
    prefix: String,
    /// What scopes allow, in words.
    words: HashMap<String, String>,
    /// The clients of the file.
    declared: HashMap<ClientId, Client>,
}

/// What knows the portal: the state of whatever shows pages.
pub trait HasPortal {
    /// The portal.
    fn portal(&self) -> &Arc<Portal>;
}

impl HasPortal for Arc<Portal> {
    fn portal(&self) -> &Arc<Portal> {
        self
    }
}

impl Portal {
    /// Pages live on `public_url`, below the prefix; whoever signs in there may go on to all hosts of ours.
    pub fn new(
        accounts: Arc<Accounts>,
        look: Arc<Look>,
        providers: Arc<Providers>,
        config: &Config,
        hosts: Arc<OwnHosts>,
    ) -> Self {
        let built_in = Scope::BUILT_IN.map(|(scope, words)| (scope.to_owned(), words.to_owned()));
        let scopes = config.scopes.iter();
        let scopes = scopes.map(|(scope, words)| (scope.to_string(), words.clone()));
        let by_id = |client: &Client| (client.id.clone(), client.clone());
        Self {
            words: built_in.into_iter().chain(scopes).collect(),
            declared: config.clients.iter().map(by_id).collect(),
            providers,
            forms: FormKey::new(&accounts.vault),
            hosts,
            accounts,
            look,
            public_url: config.gateway.public_url.clone(),
            prefix: config.gateway.prefix.clone(),
        }
    }

    /// The path of an endpoint of ours.
    pub fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.prefix)
    }

    /// `public_url`: where pages live.
    pub fn public_url(&self) -> &Url {
        &self.public_url
    }

    /// What scopes allow, in words: first who the person is, last what goes on without them.
    pub fn words(&self, scopes: &Scopes) -> Vec<String> {
        let mut scopes: Vec<_> = scopes.iter().map(Scope::as_str).collect();
        scopes.sort_by_key(|scope| match *scope {
            Scope::OPENID => 0,
            Scope::PROFILE => 1,
            Scope::EMAIL => 2,
            Scope::OFFLINE_ACCESS => 4,
            _ => 3,
        });
        let words = scopes.into_iter().map(|scope| self.word(scope));
        words.collect()
    }

    /// What one scope allows, in words; itself where nobody has said it in words.
    fn word(&self, scope: &str) -> String {
        let words = self.words.get(scope);
        words.map_or_else(|| scope.to_owned(), Clone::clone)
    }

    /// A client of the file.
    pub fn declared(&self, id: &ClientId) -> Option<&Client> {
        self.declared.get(id)
    }

    /// A client, to be named: of the file, or of the store, where it may be disabled.
    async fn client(&self, id: &ClientId) -> Result<Option<Client>, Unavailable> {
        if let Some(client) = self.declared(id) {
            return Ok(Some(client.clone()));
        }
        let stored = self.accounts.store.client(id).await?;
        Ok(stored.map(|stored| stored.client))
    }
}

/// 303: whatever was posted is not posted again there (SECURITY 40).
pub fn see_other(url: &str) -> Response {
    let location = HeaderValue::try_from(url).unwrap_or(HeaderValue::from_static("/"));
    let headers = [
        (header::LOCATION, location),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (StatusCode::SEE_OTHER, headers).into_response()
}
