//! `oauth/logout` (OpenID Connect RP-Initiated Logout 1.0): an app has signed somebody out of itself, and sends
//! them here to be signed out of all of it, and on to a page of the app.
//!
//! Anybody can write such a link. It signs out at once only with an ID token that the app got in this very
//! browser; else the person is asked. And it leads nowhere that is not registered for the app.

use std::sync::Arc;

use axum::extract::Extension;
use axum::extract::Request;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use http::Uri;
use url::Url;

use crate::account::SignedIn;
use crate::account::logout::sign_out;
use crate::account::unavailable;
use crate::authenticate::OpaqueSessions;
use crate::domain::Client;
use crate::domain::ClientId;
use crate::intake::Fields;
use crate::intake::Origin;
use crate::oauth::OAuth;
use crate::oauth::relay::REQUEST;
use crate::oauth::relay::TOO_LONG;
use crate::oauth::relay::is_too_long;
use crate::oauth::relay::with_parameters;
use crate::page::AskedBy;
use crate::page::Failure;
use crate::page::Link;
use crate::page::SignOut;
use crate::page::Target;
use crate::portal::Declined;
use crate::portal::Posted;
use crate::portal::Visit;
use crate::portal::see_other;
use crate::portal::see_other_with;
use crate::problem::Problem;
use crate::token::verify::IdTokenHint;

/// `GET oauth/logout`.
///
/// # Errors
///
/// A page: 400 where the request is not the app's or leads elsewhere, and nobody is signed out; 503.
pub async fn show(
    State(oauth): State<Arc<OAuth>>,
    visit: Visit,
    uri: Uri,
) -> Result<Response, Declined> {
    let query = uri.query().unwrap_or_default();
    oauth.sign_out(&visit, query, false).await
}

/// `POST oauth/logout` (§2): the same, as a link.
///
/// # Errors
///
/// A page, where it is no form.
pub async fn post(
    State(oauth): State<Arc<OAuth>>,
    Extension(origin): Extension<Origin>,
    request: Request,
) -> Result<Response, Declined> {
    oauth.as_link(&origin, request, "oauth/logout").await
}

/// `POST oauth/logout/confirm`: the person means it.
///
/// # Errors
///
/// 400, 403 for a form that is not ours; else as [`show`].
pub async fn confirm(
    State(oauth): State<Arc<OAuth>>,
    posted: Posted,
) -> Result<Response, Declined> {
    let query = posted.fields.get(REQUEST).unwrap_or_default();
    let is_meant = posted.is_by_whom_it_was_shown_to();
    oauth.sign_out(&posted.visit, query, is_meant).await
}

/// A request that is good.
struct Asked {
    /// The app, if it says which it is.
    client: Option<Client>,
    /// An ID token of ours that it shows.
    hint: Option<IdTokenHint>,
    /// Where it wants people to be gone to: a place of its own.
    place: Option<String>,
}

impl OAuth {
    /// From a request, as its query, to an answer.
    async fn sign_out(
        &self,
        visit: &Visit,
        query: &str,
        is_meant: bool,
    ) -> Result<Response, Declined> {
        let portal = &self.portal;
        let asked = self.asked_to_sign_out(visit, query).await?;
        let gone = || match &asked.place {
            Some(place) => place.clone(),
            None => portal.path("signed-out"),
        };
        let Some(signed_in) = &visit.signed_in else {
            let is_dead = visit.origin.session.is_some();
            return Ok(match is_dead {
                true => see_other_with(&gone(), OpaqueSessions::clear_cookie()),
                false => see_other(&gone()),
            });
        };
        if !is_meant && !self.is_vouched_for(visit, &asked, signed_in).await? {
            return Ok(self.ask_whether_meant(visit, &asked, query, signed_in));
        }
        let ended = sign_out(&self.accounts, signed_in, false).await;
        ended.map_err(|problem| visit.decline(portal, problem))?;
        Ok(see_other_with(&gone(), OpaqueSessions::clear_cookie()))
    }

    /// Reads and judges a request. Of a token that is none of ours it is as if it were not there: its key may
    /// be gone by now.
    async fn asked_to_sign_out(&self, visit: &Visit, query: &str) -> Result<Asked, Declined> {
        let refuse = |code, detail: &str| {
            let problem = Problem::new(StatusCode::BAD_REQUEST, code, detail.to_owned());
            self.refuse_to_sign_out(visit, problem)
        };
        let fields = match Fields::with_fault(query) {
            (fields, None) => fields,
            (_, Some(fault)) => return Err(refuse("bad_form", &fault.to_string())),
        };
        if is_too_long(query) {
            return Err(refuse("bad_form", TOO_LONG));
        }
        let hint = fields.get("id_token_hint");
        let hint = hint.and_then(|hint| self.accounts.judge.id_token_hint(hint));
        let said = fields.get("client_id");
        let shown = hint.as_ref().map(|hint| hint.client.as_str());
        if let (Some(said), Some(shown)) = (said, shown)
            && said != shown
        {
            let detail = "The app that sent you here says that it is another than the one that you signed in \
                          to. Tell whoever runs it.";
            return Err(refuse("unknown_client", detail));
        }
        let client = match said.or(shown) {
            None => None,
            Some(id) => {
                let detail = "The app that sent you here is not known here, or was disabled. Tell whoever runs it.";
                let found = self.client(visit, id).await?;
                Some(found.ok_or_else(|| refuse("unknown_client", detail))?)
            }
        };
        let place = match fields.get("post_logout_redirect_uri") {
            None => None,
            Some(uri) => {
                let known = client.iter().flat_map(|it| &it.post_logout_redirect_uris);
                if !known.into_iter().any(|known| known.is(uri)) {
                    let detail = "The app that sent you here wants you to go on to an address that is not one \
                                  of those registered for it, or does not say which app it is. Tell whoever \
                                  runs it.";
                    return Err(refuse("redirect_uri_refused", detail));
                }
                let state = fields.get("state").map(|state| ("state", state));
                Some(with_parameters(uri, state.as_slice()))
            }
        };
        Ok(Asked {
            client,
            hint,
            place,
        })
    }

    /// Whether the app shows an ID token that it got in this very browser, for whoever is signed in here now.
    /// An older one may be anybody's by now (§4: such a request is suspect).
    async fn is_vouched_for(
        &self,
        visit: &Visit,
        asked: &Asked,
        signed_in: &SignedIn,
    ) -> Result<bool, Declined> {
        let Some(hint) = asked.hint.as_ref().filter(|it| it.user == signed_in.user) else {
            return Ok(false);
        };
        let store = &self.accounts.store;
        let (session, client): (_, &ClientId) = (hint.session, &hint.client);
        let granted = store.was_granted_in(session, hint.user, client, signed_in.session);
        let granted = granted.await;
        granted.map_err(|error| visit.decline(&self.portal, unavailable(&error)))
    }

    fn ask_whether_meant(
        &self,
        visit: &Visit,
        asked: &Asked,
        query: &str,
        signed_in: &SignedIn,
    ) -> Response {
        let portal = &self.portal;
        let (action, kept) = (
            portal.path("oauth/logout/confirm"),
            (REQUEST, query.to_owned()),
        );
        let mut form = visit.form_for(portal, action, signed_in, kept);
        let place = asked.place.as_ref().and_then(|uri| Url::parse(uri).ok());
        form.leads_to = place.iter().map(Target::of).collect();
        let view = SignOut {
            look: &portal.look,
            form,
            asked_by: match &asked.client {
                Some(client) => AskedBy::App(client.title().to_owned()),
                None => AskedBy::SomeApp,
            },
            signed_in_as: signed_in.shown(),
            cancel: portal.path("account"),
        };
        visit.show(StatusCode::OK, &view)
    }

    /// A page that says why not. Whoever is signed in can still sign out here: the mistake is the app's.
    fn refuse_to_sign_out(&self, visit: &Visit, problem: Problem) -> Declined {
        let portal = &self.portal;
        let view = Failure {
            title: "The app made a mistake".to_owned(),
            back: visit.signed_in.as_ref().map(|_| Link {
                text: "Sign out here".to_owned(),
                url: portal.path("logout"),
            }),
            ..Failure::new(&portal.look, &problem, &visit.origin.request_id)
        };
        Declined::with(visit.show_again(problem, &view))
    }
}
