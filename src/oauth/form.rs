//! The one form in which OAuth endpoints are asked: POST, urlencoded, each parameter once.

use axum::extract::FromRequest;
use axum::extract::Request;
use http::HeaderMap;

use crate::intake::Fields;
use crate::intake::Origin;
use crate::intake::Sent;
use crate::oauth::error::OAuthError;

/// The parameters of a request, and what came with them.
pub struct Form {
    /// The headers, for the credentials of the client.
    pub headers: HeaderMap,
    /// Where it came from.
    pub origin: Origin,
    parameters: Fields,
}

impl Form {
    /// A parameter; one without a value is one that was not sent (RFC 6749 §3.2).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.get(name)
    }

    /// A parameter that must be there.
    ///
    /// # Errors
    ///
    /// Where it is not.
    pub fn required(&self, name: &str) -> Result<&str, OAuthError> {
        let missing = || OAuthError::InvalidRequest(format!("The parameter {name} is missing."));
        self.get(name).ok_or_else(missing)
    }
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = OAuthError;

    async fn from_request(request: Request, state: &S) -> Result<Self, OAuthError> {
        let invalid = |why: &str| OAuthError::InvalidRequest(why.to_owned());
        // RFC 6749 §3.2 and SECURITY 41: what stands in a query is written into logs on its way.
        let has_query = request.uri().query().is_some();
        let sent = Sent::take(request, state).await;
        let sent = sent.map_err(|_| invalid("The body broke off or is badly framed."))?;
        if has_query {
            return Err(invalid(
                "Send the parameters in the body, not in the query.",
            ));
        }
        let parameters = Fields::of_body(&sent);
        let parameters = parameters.map_err(|error| invalid(&error.to_string()))?;
        Ok(Self {
            headers: sent.headers,
            origin: sent.origin,
            parameters,
        })
    }
}
