//! Requests that another site posts to us by way of a browser, and answers that go back that way.

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;

use crate::intake::Fields;
use crate::intake::Origin;
use crate::intake::Sent;
use crate::oauth::OAuth;
use crate::portal::Declined;
use crate::portal::see_other;
use crate::problem::Problem;

impl OAuth {
    /// The same request as a link to this endpoint. Another site has posted it, so that the browser's cookie
    /// has not come along; with the redirect it does.
    ///
    /// # Errors
    ///
    /// A page, where it is no form.
    pub(super) async fn as_link(
        &self,
        origin: &Origin,
        request: Request,
        endpoint: &str,
    ) -> Result<Response, Declined> {
        let portal = &self.portal;
        let bad = |detail: String| {
            let problem = Problem::new(StatusCode::BAD_REQUEST, "bad_form", detail);
            Declined::new(portal, origin, problem)
        };
        let sent = Sent::take(request, self).await;
        let sent = sent.map_err(|_| bad("The form broke off on its way.".to_owned()))?;
        Fields::of_body(&sent).map_err(|error| bad(error.to_string()))?;
        let query: String = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(url::form_urlencoded::parse(&sent.body))
            .finish();
        Ok(see_other(&format!("{}?{query}", portal.path(endpoint))))
    }
}

/// The hidden field of pages that ask a person about a request: its query.
pub(super) const REQUEST: &str = "request";

/// Whether a query is too long for the forms of our pages, which carry it encoded once more: said at the start,
/// and not to the person who has just answered one. A form has 16 KiB, and of these somebody who registers needs
/// up to 5.5 KiB for themselves.
pub(super) fn is_too_long(query: &str) -> bool {
    let pieces = url::form_urlencoded::byte_serialize(query.as_bytes());
    let carried: usize = pieces.map(str::len).sum();
    carried > CARRIED_BYTES_MAX
}

const CARRIED_BYTES_MAX: usize = 10 * 1024;
/// What is said of it.
pub(super) const TOO_LONG: &str =
    "The request has more than 10 KiB, percent-encoded once more: make the state shorter.";

/// A registered URI with parameters more. It stays as it is, its own query as well (RFC 6749 §3.1.2).
pub(super) fn with_parameters(uri: &str, said: &[(&str, &str)]) -> String {
    let mut url = uri.to_owned();
    for (name, value) in said {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(name);
        url.push('=');
        url.extend(url::form_urlencoded::byte_serialize(value.as_bytes()));
    }
    url
}
