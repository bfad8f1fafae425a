//! `POST oauth/token` (RFC 6749 §3.2): which client asks, and by which grant.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use crate::domain::Grant;
use crate::oauth::OAuth;
use crate::oauth::error::OAuthError;
use crate::oauth::form::Form;
use crate::oauth::grant;

/// The endpoint.
///
/// # Errors
///
/// Those of RFC 6749 §5.2; 503.
pub async fn token(State(oauth): State<Arc<OAuth>>, form: Form) -> Result<Response, OAuthError> {
    let proven = oauth.authenticate(&form).await?;
    let asked = form.required("grant_type")?;
    let known = Grant::ALL.into_iter();
    let mut known = known.filter(|grant| grant.grant_type() == asked);
    let grant = known.next().ok_or(OAuthError::UnsupportedGrantType)?;
    if !proven.client.may(grant) {
        let why = format!("{} is not among this client's grants.", grant.word());
        return Err(OAuthError::UnauthorizedClient(why));
    }
    match grant {
        Grant::AuthorizationCode => grant::code::redeem(&oauth, &proven, &form).await,
        Grant::RefreshToken => grant::refresh::renew(&oauth, &proven, &form).await,
        Grant::ClientCredentials => grant::client::issue(&oauth, &proven, &form).await,
        Grant::DeviceCode => grant::device::fetch(&oauth, &proven, &form).await,
    }
}
