//! Which client asks, and whether it is (RFC 6749 §2.3): by HTTP Basic or in the form, never both.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header;

use crate::config::Client;
use crate::domain::ClientId;
use crate::oauth::OAuth;
use crate::oauth::error::OAuthError;
use crate::oauth::form::Form;

impl OAuth {
    /// The client that asks, proven by its secret.
    ///
    /// # Errors
    ///
    /// `invalid_client` where it is unknown, says nothing or the wrong secret; `invalid_request`
    /// where it says so in two ways.
    pub(super) fn authenticate(&self, form: &Form) -> Result<&Client, OAuthError> {
        let basic = form.headers.get(header::AUTHORIZATION);
        let (id, secret) = match (basic, form.get("client_secret")) {
            (Some(_), Some(_)) => {
                let why =
                    "Send the secret in the Authorization header or in the body, not in both.";
                return Err(OAuthError::InvalidRequest(why.to_owned()));
            }
            (Some(basic), None) => {
                let said = basic.to_str().ok().and_then(credentials);
                let (id, secret) = said.ok_or(OAuthError::InvalidClient)?;
                if form.get("client_id").is_some_and(|other| other != id) {
                    let why = "client_id is another than in the Authorization header.";
                    return Err(OAuthError::InvalidRequest(why.to_owned()));
                }
                (id, secret)
            }
            (None, Some(secret)) => (form.required("client_id")?.to_owned(), secret.to_owned()),
            (None, None) => return Err(OAuthError::InvalidClient),
        };
        let known = ClientId::parse(&id).ok();
        let known = known.and_then(|id| self.clients.get(&id));
        // SECURITY 41: as much work for an unknown client as for a wrong secret.
        let sent = digest::digest(&digest::SHA256, secret.as_bytes());
        let kept = known.map_or(&[0; digest::SHA256_OUTPUT_LEN], |client| {
            client.secret.as_bytes()
        });
        let matches = verify_slices_are_equal(sent.as_ref(), kept).is_ok();
        match known.filter(|_| matches) {
            Some(client) => Ok(client),
            None => {
                tracing::info!(client = %form.origin.address, "an OAuth client was refused");
                Err(OAuthError::InvalidClient)
            }
        }
    }
}

/// RFC 6749 §2.3.1: both are urlencoded before they are joined by a colon.
fn credentials(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let joined = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = joined.split_once(':')?;
    Some((decoded(id)?, decoded(secret)?))
}

/// One urlencoded word: `&` and `=` would have been encoded.
fn decoded(text: &str) -> Option<String> {
    let pair = format!("word={}", text.replace('&', "%26"));
    let (_, word) = url::form_urlencoded::parse(pair.as_bytes()).next()?;
    (!word.contains('\u{fffd}')).then(|| word.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(joined: &str, expected: Option<(&str, &str)>) {
        let header = format!("Basic {}", STANDARD.encode(joined));
        let expected = expected.map(|(id, secret)| (id.to_owned(), secret.to_owned()));
        assert_eq!(credentials(&header), expected);
    }

    #[test]
    fn credentials_are_decoded_as_forms_are() {
        check("notes-sync:abc", Some(("notes-sync", "abc")));
        check("a:b:c", Some(("a", "b:c")));
        check("a:b%3Ac%26d+e=f&g", Some(("a", "b:c&d e=f&g")));
        check("a", None);
        check("a:%ff", None);
        assert_eq!(credentials("Bearer YTpi"), None);
        assert_eq!(credentials("Basic"), None);
        assert_eq!(credentials("Basic !"), None);
    }
}
