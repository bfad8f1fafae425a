//! The one form in which OAuth endpoints are asked: POST, urlencoded, each parameter once.

use std::collections::HashMap;

use axum::body::Bytes;
use axum::extract::FromRequest;
use axum::extract::Request;
use http::HeaderMap;
use http::header;

use crate::intake::Origin;
use crate::oauth::error::OAuthError;

/// The parameters of a request, and what came with them.
pub struct Form {
    /// The headers, for the credentials of the client.
    pub headers: HeaderMap,
    /// Where it came from.
    pub origin: Origin,
    parameters: HashMap<String, String>,
}

impl Form {
    /// A parameter; one without a value is one that was not sent (RFC 6749 §3.2).
    pub fn get(&self, name: &str) -> Option<&str> {
        let value = self.parameters.get(name).map(String::as_str);
        value.filter(|value| !value.is_empty())
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
        let origin = request.extensions().get::<Origin>().cloned();
        let headers = request.headers().clone();
        // RFC 6749 §3.2 and SECURITY 41: what stands in a query is written into logs on its way.
        if request.uri().query().is_some() {
            return Err(invalid(
                "Send the parameters in the body, not in the query.",
            ));
        }
        let mut types = headers.get_all(header::CONTENT_TYPE).iter();
        let is_form = match (types.next(), types.next()) {
            (Some(one), None) => one
                .to_str()
                .ok()
                .and_then(|text| text.split(';').next())
                .is_some_and(|essence| essence.trim().eq_ignore_ascii_case(FORM)),
            _ => false,
        };
        if !is_form || headers.contains_key(header::CONTENT_ENCODING) {
            return Err(invalid(
                "Send the parameters as application/x-www-form-urlencoded.",
            ));
        }
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|_| invalid("The body broke off or is badly framed."))?;
        if std::str::from_utf8(&body).is_err() {
            return Err(invalid("The body is not UTF-8."));
        }
        let mut parameters = HashMap::new();
        for (name, value) in url::form_urlencoded::parse(&body) {
            if value.contains('\u{fffd}') || name.contains('\u{fffd}') {
                return Err(invalid("A parameter is not UTF-8."));
            }
            if parameters
                .insert(name.clone().into_owned(), value.into_owned())
                .is_some()
            {
                let name: String = name.chars().take(64).collect();
                let why = format!("The parameter {name:?} is there more than once.");
                return Err(OAuthError::InvalidRequest(why));
            }
        }
        Ok(Self {
            headers,
            origin: origin.unwrap_or_else(Origin::unknown),
            parameters,
        })
    }
}

const FORM: &str = "application/x-www-form-urlencoded";
