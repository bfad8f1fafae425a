//! `oauth/userinfo` (OpenID Connect Core §5.3): who has signed in, to a client with a token that says so.

use std::sync::Arc;

use axum::extract::Extension;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::Response;
use http::HeaderMap;
use http::HeaderValue;
use http::StatusCode;
use http::header;
use serde::Serialize;

use crate::authenticate::Reason;
use crate::authenticate::Unauthenticated;
use crate::domain::Handle;
use crate::domain::Scope;
use crate::domain::Subject;
use crate::intake::Origin;
use crate::intake::Refusal;
use crate::intake::no_store;
use crate::oauth::OAuth;
use crate::problem::Problem;
use crate::token::id_token::PersonClaims;

#[derive(Serialize)]
struct Body<'a> {
    sub: String,
    #[serde(flatten)]
    person: PersonClaims<'a>,
}

/// The endpoint, for GET and POST. The token is read from the header alone (SECURITY 23), and what is said
/// is read from the store, so that it is true now.
///
/// # Errors
///
/// Those of RFC 6750 §3.1; 503.
pub async fn userinfo(
    State(oauth): State<Arc<OAuth>>,
    Extension(origin): Extension<Origin>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let accounts = &oauth.accounts;
    let known = accounts.judge.identify(headers.get(header::AUTHORIZATION));
    let known = known.map_err(|why| Refusal::unauthenticated(&origin, why))?;
    let claims = known.claims();
    let Subject::User(id) = claims.subject else {
        return Err(Refusal::new(&origin, no_openid()));
    };
    if !claims.scopes.has(Scope::OPENID) {
        return Err(Refusal::new(&origin, no_openid()));
    }
    let user = accounts.store.user(&Handle::Id(id)).await;
    let user = user.map_err(|error| {
        tracing::error!(%error, "the store does not answer");
        Refusal::new(&origin, Problem::store_unavailable())
    })?;
    let user = user.ok_or_else(|| {
        let gone = Unauthenticated::Refused(Reason::AccountChanged);
        Refusal::unauthenticated(&origin, gone)
    })?;
    let body = Body {
        sub: id.to_string(),
        person: PersonClaims::new(&user, &claims.scopes),
    };
    Ok((no_store(), axum::Json(body)).into_response())
}

/// RFC 6750 §3.1.
fn no_openid() -> Problem {
    let detail = "This access token has not the scope openid.";
    Problem::new(StatusCode::FORBIDDEN, "insufficient_scope", detail).with_header(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static(
            "Bearer realm=\"portcullis\", error=\"insufficient_scope\", \
             error_description=\"The access token has not the scope openid\", scope=\"openid\"",
        ),
    )
}
