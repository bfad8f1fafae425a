//! Providers on the account page: `POST provider/{name}` connects one, `POST provider/{name}/disconnect` takes
//! it away.

use std::sync::Arc;

use axum::extract::Path;
use axum::extract::State;
use axum::response::Response;
use http::HeaderValue;
use http::StatusCode;
use http::header;

use crate::account::SignedIn;
use crate::account::provider;
use crate::account::unavailable;
use crate::page::LinkedProvider;
use crate::page::ToProvider;
use crate::portal::Declined;
use crate::portal::Portal;
use crate::portal::Posted;
use crate::portal::Visit;
use crate::portal::account;
use crate::portal::provider::failed;
use crate::portal::provider::find;
use crate::portal::provider::send_away;
use crate::portal::see_other;
use crate::providers::Provider;

/// Sends the browser away to be connected.
///
/// # Errors
///
/// The way to the sign-in page; 400, 403, 404, 503.
pub async fn connect(
    State(portal): State<Arc<Portal>>,
    Path(name): Path<String>,
    Posted { visit, .. }: Posted,
) -> Result<Response, Declined> {
    let provider = find(&portal, &visit, &name)?;
    let signed_in = freshly(&portal, &visit)?;
    let session = Some(signed_in.session);
    let (url, cookie) = send_away(&portal, &visit, provider, session, false).await?;
    let refresh = HeaderValue::try_from(format!("0; url={url}"));
    let view = ToProvider {
        look: &portal.look,
        provider: provider.config().label.clone(),
        url: url.into(),
    };
    let mut answer = visit.show(StatusCode::OK, &view);
    let headers = answer.headers_mut();
    headers.append(header::SET_COOKIE, cookie);
    // Where it cannot be written, the page has a link.
    headers.extend(refresh.ok().map(|refresh| (header::REFRESH, refresh)));
    Ok(answer)
}

/// Takes it away.
///
/// # Errors
///
/// The way to the sign-in page; 400, 403, 404, 503.
pub async fn disconnect(
    State(portal): State<Arc<Portal>>,
    Path(name): Path<String>,
    Posted { visit, .. }: Posted,
) -> Result<Response, Declined> {
    let provider = find(&portal, &visit, &name)?;
    let signed_in = freshly(&portal, &visit)?;
    let others = portal.providers.list().iter();
    let usable: Vec<&str> = others.map(|provider| &*provider.config().url).collect();
    let issuer = &provider.config().url;
    let taken = provider::disconnect(&portal.accounts, signed_in, issuer, &usable).await;
    taken.map_err(|problem| failed(&portal, &visit, true, problem))?;
    let account = portal.path("account");
    Ok(see_other(&format!("{account}?done=disconnected")))
}

/// Whoever has signed in just now, or the way to do so and back to the account.
fn freshly<'a>(portal: &Portal, visit: &'a Visit) -> Result<&'a SignedIn, Declined> {
    let signed_in = visit.signed_in.as_ref();
    let fresh = signed_in.filter(|it| it.is_fresh(portal.accounts.clock.now()));
    fresh.ok_or_else(|| Declined::with(see_other(&account::sign_in_again(portal))))
}

/// All providers, for the account page of whoever is signed in.
pub(in crate::portal) async fn rows(
    portal: &Portal,
    visit: &Visit,
    signed_in: &SignedIn,
) -> Result<Vec<LinkedProvider>, Declined> {
    let providers = portal.providers.list();
    if providers.is_empty() {
        return Ok(Vec::new());
    }
    let linked = portal.accounts.store.identities_of(signed_in.user).await;
    let linked = linked.map_err(|error| visit.decline(portal, unavailable(&error)))?;
    let row = |provider: &Arc<Provider>| {
        let config = provider.config();
        let mut of_provider = linked.iter();
        let known = of_provider.find(|linked| *linked.identity.issuer() == *config.url);
        let account = known.map(|linked| linked.shown.clone());
        let page = match account {
            Some(_) => format!("provider/{}/disconnect", config.name),
            None => format!("provider/{}", config.name),
        };
        LinkedProvider {
            name: config.label.clone(),
            account,
            change: visit.form(portal, portal.path(&page)),
        }
    };
    Ok(providers.iter().map(row).collect())
}
