//! Connected apps: the clients that act for a person, as their account page lists them, and an end to that.

use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::Path;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use crate::account::SignedIn;
use crate::account::unavailable;
use crate::domain::Client;
use crate::domain::ClientId;
use crate::domain::RedirectUri;
use crate::domain::Scope;
use crate::domain::Scopes;
use crate::page::App;
use crate::page::ConnectedApp;
use crate::page::When;
use crate::portal::Declined;
use crate::portal::Portal;
use crate::portal::Posted;
use crate::portal::Visit;
use crate::portal::account::done;
use crate::problem::Problem;
use crate::store::Unavailable;

/// Those of whoever is signed in, each with the form that ends it.
pub(super) async fn connected(
    portal: &Portal,
    visit: &Visit,
    signed_in: &SignedIn,
    now: SystemTime,
) -> Result<Vec<ConnectedApp>, Unavailable> {
    let store = &portal.accounts.store;
    let mut apps = Vec::new();
    for connected in store.connected_clients(signed_in.user, now).await? {
        let id = connected.client;
        // One that is gone from the file or the store may still have what it was given.
        let app = portal.client(&id).await?.map_or_else(
            || App {
                name: id.to_string(),
                host: None,
            },
            |client| app(&client),
        );
        apps.push(ConnectedApp {
            app,
            scopes: portal.words(&connected.scopes),
            since: When::past(connected.since, now),
            disconnect: visit.form(portal, portal.path(&format!("apps/{id}"))),
        });
    }
    Ok(apps)
}

/// `POST apps/{id}` with a form: forgets what was allowed to a client, and ends what it has.
///
/// # Errors
///
/// The way to the sign-in page; 400, 403, 404, 503.
pub async fn disconnect(
    State(portal): State<Arc<Portal>>,
    Path(id): Path<String>,
    Posted { visit, .. }: Posted,
) -> Result<Response, Declined> {
    let signed_in = visit.must_be_signed_in(&portal)?;
    let client = ClientId::parse(&id).ok();
    let client = client.filter(|client| !client.is_first_party());
    let client = client.ok_or_else(|| {
        let detail = "There is no such app: your account page lists those that are connected.";
        let problem = Problem::new(StatusCode::NOT_FOUND, "no_app", detail);
        visit.decline(&portal, problem)
    })?;
    let (accounts, user) = (&portal.accounts, signed_in.user);
    let now = accounts.clock.now();
    let ended = accounts.store.disconnect_client(user, &client, now).await;
    let ended = ended.map_err(|error| visit.decline(&portal, unavailable(&error)))?;
    let count = ended.len();
    accounts.bury(ended, now);
    tracing::info!(user.id = %user, client = %client, sessions.ended = count, "disconnected an app");
    Ok(done(&portal, "app"))
}

/// A client as people see it. Where its answers go is what they can check; an app on the person's own
/// machine has no host.
fn app(client: &Client) -> App {
    let mut urls = client.redirect_uris.iter().filter_map(RedirectUri::url);
    let host = urls.find_map(|url| url.host_str().map(str::to_owned));
    App {
        name: client.title().to_owned(),
        host: host.filter(|_| !client.is_public()),
    }
}

impl Portal {
    /// A client of the file, which goes before the store, or of that, disabled or not.
    async fn client(&self, id: &ClientId) -> Result<Option<Client>, Unavailable> {
        let declared = self.clients.iter().find(|client| client.id == *id);
        if let Some(client) = declared {
            return Ok(Some(client.clone()));
        }
        let stored = self.accounts.store.client(id).await?;
        Ok(stored.map(|stored| stored.client))
    }

    /// What scopes allow, in words: those of the file before our own.
    pub fn words(&self, scopes: &Scopes) -> Vec<String> {
        let own = |scope: &Scope| {
            let mut own = Scope::BUILT_IN.iter();
            own.find(|(name, _)| *name == scope.as_str())
        };
        let words = scopes.iter().map(|scope| {
            let declared = self.words.iter().find(|(name, _)| name == scope);
            let words = declared.map(|(_, words)| words.as_str());
            let words = words.or_else(|| own(scope).map(|(_, words)| *words));
            words.unwrap_or_else(|| scope.as_str()).to_owned()
        });
        words.collect()
    }
}
