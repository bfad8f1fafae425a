//! `POST oauth/device_authorization` (RFC 8628 §3.1): a device that has no browser, or no keyboard, gets a code
//! to show and a code to ask with.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::IntoResponse;
use axum::response::Response;

use crate::domain::Grant;
use crate::domain::UserCode;
use crate::intake::no_store;
use crate::oauth::OAuth;
use crate::oauth::error::OAuthError;
use crate::oauth::form::Form;
use crate::store::NewDeviceCode;
use crate::token::one_use::Kind;
use crate::token::one_use::OneUse;
use crate::token::one_use::user_code_mac;
use crate::vault::random;

/// How long both codes are good: RFC 8628 §5.1 asks for no longer than people need.
const TTL: Duration = Duration::from_secs(600);
/// How long a device waits before it asks again (RFC 8628 §3.2).
const INTERVAL: Duration = Duration::from_secs(5);

/// The endpoint.
///
/// # Errors
///
/// Those of RFC 6749 §5.2; 429 for an address that asks for too many codes; 503.
pub async fn issue(State(oauth): State<Arc<OAuth>>, form: Form) -> Result<Response, OAuthError> {
    let proven = oauth.authenticate(&form).await?;
    let client = &proven.client;
    if !client.may(Grant::DeviceCode) {
        let why = "device_code is not among this client's grants.";
        return Err(OAuthError::UnauthorizedClient(why.to_owned()));
    }
    let scopes = client.scopes_for_people(form.get("scope"));
    let scopes = scopes.map_err(OAuthError::InvalidScope)?;
    let audience = oauth.resource(client, form.get("resource"))?;
    // Whoever has a public client's name may ask, and each time there is a row more.
    let counted = oauth.guesses.count_device(form.origin.address);
    counted.map_err(OAuthError::TooMany)?;
    let accounts = &oauth.accounts;
    let code = OneUse::fresh(&accounts.vault, Kind::DeviceCode);
    let mut new = NewDeviceCode {
        hash: code.hash(),
        user_code: code.hash(),
        client: client.id.clone(),
        scopes,
        audience,
        interval: INTERVAL,
        expires_at: accounts.clock.now() + TTL,
    };
    let user_code = loop {
        let user_code = UserCode::of(u128::from_be_bytes(random()));
        new.user_code = user_code_mac(&accounts.vault, &user_code);
        let issued = accounts.store.issue_device_code(&new).await;
        // Hardly ever is there another device that shows the same.
        if issued.map_err(|error| OAuthError::unavailable(&error))? {
            break user_code;
        }
    };
    tracing::info!(client.id = %client.id, client = %form.origin.address, "a device waits to be let in");
    let page = oauth.places.device_page();
    let body = serde_json::json!({
        "device_code": code.reveal(),
        "user_code": user_code.to_string(),
        "verification_uri": page,
        "verification_uri_complete": format!("{page}?user_code={user_code}"),
        "expires_in": TTL.as_secs(),
        "interval": INTERVAL.as_secs(),
    });
    Ok((no_store(), axum::Json(body)).into_response())
}
