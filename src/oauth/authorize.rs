//! `oauth/authorize` (RFC 6749 §4.1.1; OpenID Connect Core §3.1.2) and the consent page: a person signs in, may
//! be asked, and the client gets a code.
//!
//! Nothing of a request is kept between its steps: it is in the address, every step reads it again from the
//! start, and no step believes that an earlier one has judged it.

mod answer;
mod asked;

use std::sync::Arc;

use axum::extract::Extension;
use axum::extract::Request;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use http::Uri;
use url::Url;

use crate::account::SignedIn;
use crate::clock::unix_seconds;
use crate::domain::Consent;
use crate::domain::Handle;
use crate::domain::User;
use crate::intake::Origin;
use crate::oauth::OAuth;
use crate::oauth::authorize::answer::Denial;
use crate::oauth::authorize::asked::Asked;
use crate::oauth::authorize::asked::Wrong;
use crate::oauth::relay::REQUEST;
use crate::page;
use crate::page::App;
use crate::page::Target;
use crate::portal::Declined;
use crate::portal::Posted;
use crate::portal::ReturnTo;
use crate::portal::Visit;
use crate::portal::see_other;
use crate::store::NewCode;
use crate::token::one_use::Kind;
use crate::token::one_use::OneUse;

/// `GET oauth/authorize`.
///
/// # Errors
///
/// A page, where there is nobody to send an error to (RFC 6749 §4.1.2.1). Every other error goes to the client.
pub async fn show(
    State(oauth): State<Arc<OAuth>>,
    visit: Visit,
    uri: Uri,
) -> Result<Response, Declined> {
    let query = uri.query().unwrap_or_default();
    oauth.consider(&visit, query, None).await
}

/// `POST oauth/authorize` (OpenID Connect Core §3.1.2.1): the same, as a link. Another site posts it, so that the
/// browser's cookie has not come along; with the redirect it does.
///
/// # Errors
///
/// A page, where it is no form.
pub async fn post(
    State(oauth): State<Arc<OAuth>>,
    Extension(origin): Extension<Origin>,
    request: Request,
) -> Result<Response, Declined> {
    oauth.as_link(&origin, request, "oauth/authorize").await
}

/// `POST oauth/consent`: what the person said on the consent page.
///
/// # Errors
///
/// 400, 403 for a form that is not ours; else as [`show`].
pub async fn consent(
    State(oauth): State<Arc<OAuth>>,
    posted: Posted,
) -> Result<Response, Declined> {
    let query = posted.fields.get(REQUEST).unwrap_or_default();
    let decision = match posted.fields.get("decision") {
        Some("allow") => Some(Decision::Allow),
        Some("deny") => Some(Decision::Deny),
        _ => None,
    };
    let decision = decision.filter(|_| posted.is_by_whom_it_was_shown_to());
    oauth.consider(&posted.visit, query, decision).await
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Allow,
    Deny,
}

impl OAuth {
    /// From a request, as its query, to an answer.
    async fn consider(
        &self,
        visit: &Visit,
        query: &str,
        decision: Option<Decision>,
    ) -> Result<Response, Declined> {
        let asked = match self.asked(query).await {
            Ok(asked) => asked,
            Err(Wrong::Nobody(problem)) => return Err(visit.decline(&self.portal, problem)),
            Err(Wrong::Reply(reply, denial)) => return Ok(self.deny(&reply, &denial)),
        };
        match self.decide(visit, &asked, query, decision).await {
            Ok(response) => Ok(response),
            Err(denial) => {
                tracing::info!(client.id = %asked.client.id, error = denial.error, "no code for a client");
                Ok(self.deny(&asked.reply, &denial))
            }
        }
    }

    /// What becomes of a request that is good: a page, the way to one, or a code.
    async fn decide(
        &self,
        visit: &Visit,
        asked: &Asked,
        query: &str,
        decision: Option<Decision>,
    ) -> Result<Response, Denial> {
        let (client, accounts) = (&asked.client, &self.accounts);
        let now = accounts.clock.now();
        let is_fresh = |signed_in: &&SignedIn| {
            let claims = signed_in.identity.claims();
            asked.is_satisfied_by(claims.authenticated_at, unix_seconds(now))
        };
        let Some(signed_in) = visit.signed_in.as_ref().filter(is_fresh) else {
            return self.sign_in(visit, asked, query);
        };
        // OpenID Connect Core §3.1.2.1: tokens of somebody else are no answer, and who has just signed in as
        // somebody else is not asked for ever.
        if !asked.is_meant_for(signed_in.user) {
            let at = signed_in.identity.claims().authenticated_at;
            if asked.is_answered_by(at, unix_seconds(now)) {
                let why = "Somebody else has signed in than the app asked for.";
                return Err(Denial::new("login_required", why));
            }
            return self.sign_in(visit, asked, query);
        }
        let user = accounts.store.user(&Handle::Id(signed_in.user)).await;
        let user = user.map_err(|error| Denial::unavailable(&error))?;
        let Some(user) = user.filter(|user| !user.disabled) else {
            return self.sign_in(visit, asked, query);
        };
        if !client.admits(&user) {
            return Err(Denial::new(
                "access_denied",
                "The account has none of the roles that may sign in to this app.",
            ));
        }
        if decision == Some(Decision::Deny) {
            return Err(Denial::new("access_denied", "The person did not allow it."));
        }
        let is_allowed = decision == Some(Decision::Allow);
        if !is_allowed && self.must_ask(asked, &user).await? {
            if asked.is_silent() {
                let why = "The person has to be asked first.";
                return Err(Denial::new("consent_required", why));
            }
            return Ok(self.ask(visit, asked, query, signed_in));
        }
        // Each leaves a row, and so does the session that it opens.
        let counted = accounts.pace.count_code(user.id);
        counted.map_err(|too_many| Denial::too_many(&too_many))?;
        let code = OneUse::fresh(&accounts.vault, Kind::AuthorizationCode);
        let new = NewCode {
            hash: code.hash(),
            client: client.id.clone(),
            user: user.id,
            parent: signed_in.session,
            scopes: asked.scopes.clone(),
            redirect_uri: asked.reply.redirect_uri.clone(),
            redirect_uri_sent: asked.redirect_uri_sent,
            challenge: asked.challenge,
            nonce: asked.nonce.clone(),
            audience: asked.audience.clone(),
            consented: is_allowed && client.consent == Consent::Ask && !asked.is_native,
            expires_at: now + CODE_TTL,
            now,
        };
        let issued = accounts.store.issue_code(new).await;
        if !issued.map_err(|error| Denial::unavailable(&error))? {
            return self.sign_in(visit, asked, query);
        }
        tracing::info!(
            client.id = %client.id, user.id = %user.id, session.id = %signed_in.session,
            "a client gets a code"
        );
        Ok(self.grant(&asked.reply, &code))
    }

    /// Whether the person is to be asked. A native app is whatever says to be it: it is asked for every time
    /// (RFC 8252 §8.6).
    async fn must_ask(&self, asked: &Asked, user: &User) -> Result<bool, Denial> {
        let client = &asked.client;
        if asked.wants_consent() {
            return Ok(true);
        }
        match client.consent {
            Consent::Skip => Ok(false),
            Consent::Ask if asked.is_native => Ok(true),
            // What was once allowed was allowed for here.
            Consent::Ask if self.used_at(asked.audience.as_ref()).is_some() => Ok(true),
            Consent::Ask => {
                let consented = self.accounts.store.consented(user.id, &client.id).await;
                let consented = consented.map_err(|error| Denial::unavailable(&error))?;
                Ok(asked.scopes.is_empty() || !asked.scopes.is_subset_of(&consented))
            }
        }
    }

    /// The way to the sign-in page, and back to this very request.
    fn sign_in(&self, visit: &Visit, asked: &Asked, query: &str) -> Result<Response, Denial> {
        if asked.is_silent() {
            let why = "The person has to sign in first.";
            return Err(Denial::new("login_required", why));
        }
        let now = unix_seconds(self.accounts.clock.now());
        let goal = self.target_of(&asked::begun_at(query, now));
        let mut url = ReturnTo::page(&self.portal, &goal).sign_in(&self.portal);
        if visit.signed_in.is_some() {
            url.push_str("&prompt=login");
        }
        if let Some(hint) = &asked.login_hint {
            url.push_str("&login_hint=");
            url.extend(url::form_urlencoded::byte_serialize(hint.as_bytes()));
        }
        Ok(see_other(&url))
    }

    /// The consent page (SECURITY 43).
    fn ask(&self, visit: &Visit, asked: &Asked, query: &str, signed_in: &SignedIn) -> Response {
        let portal = &self.portal;
        let redirect = Url::parse(&asked.reply.redirect_uri).ok();
        let kept = (REQUEST, query.to_owned());
        let mut form = visit.form_for(portal, portal.path("oauth/consent"), signed_in, kept);
        form.leads_to = redirect.iter().map(Target::of).collect();
        let again = ReturnTo::page(portal, &self.target_of(query));
        let view = page::Consent {
            look: &portal.look,
            form,
            app: App {
                name: asked.client.title().to_owned(),
                host: redirect.as_ref().map(App::place),
            },
            signed_in_as: signed_in.shown(),
            not_you: format!("{}&prompt=login", again.sign_in(portal)),
            scopes: portal.words(&asked.scopes),
            used_at: self.used_at(asked.audience.as_ref()),
        };
        visit.show(StatusCode::OK, &view)
    }

    fn target_of(&self, query: &str) -> String {
        format!("{}?{query}", self.portal.path("oauth/authorize"))
    }
}

/// At most that (RFC 6749 §4.1.2, SECURITY 37).
const CODE_TTL: std::time::Duration = std::time::Duration::from_secs(60);
