//! Which client asks, and whether it is (RFC 6749 §2.3): by HTTP Basic or in the form, never both. A public one
//! only says its name.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header;

use crate::domain::Client;
use crate::domain::ClientId;
use crate::domain::TokenHash;
use crate::oauth::OAuth;
use crate::oauth::error::OAuthError;
use crate::oauth::form::Form;
use crate::store::ClientProof;

impl OAuth {
    /// The client that asks, proven by its secret if it has one.
    ///
    /// # Errors
    ///
    /// `invalid_client` where it is unknown, says nothing or the wrong secret; `invalid_request`
    /// where it says so in two ways; 503.
    pub(super) async fn authenticate(&self, form: &Form) -> Result<Proven, OAuthError> {
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
            (None, None) => {
                let known = match form.get("client_id") {
                    Some(id) => self.find(id).await?,
                    None => None,
                };
                let public = known.filter(|known| known.client.is_public());
                return public.ok_or(OAuthError::InvalidClient);
            }
        };
        let known = self.find(&id).await?;
        // SECURITY 41: compared in constant time, and for an unknown client as well.
        let kept = known.as_ref().and_then(|proven| proven.client.secret);
        let kept = kept.unwrap_or_else(|| TokenHash::new([0; 32]));
        let sent = Client::hash(&secret);
        let matches = verify_slices_are_equal(sent.as_bytes(), kept.as_bytes()).is_ok();
        known.filter(|_| matches).ok_or_else(|| {
            tracing::info!(client = %form.origin.address, "an OAuth client was refused");
            OAuthError::InvalidClient
        })
    }

    /// The file goes before the store, whatever was made there.
    pub(super) async fn find(&self, id: &str) -> Result<Option<Proven>, OAuthError> {
        let Ok(id) = ClientId::parse(id) else {
            return Ok(None);
        };
        if let Some(client) = self.portal.declared(&id) {
            return Ok(Some(Proven {
                client: client.clone(),
                is_declared: true,
            }));
        }
        let stored = self.accounts.store.client(&id).await;
        let stored = stored.map_err(|error| OAuthError::unavailable(&error))?;
        Ok(stored
            .filter(|stored| !stored.disabled)
            .map(|stored| Proven {
                client: stored.client,
                is_declared: false,
            }))
    }
}

/// A client that has shown its secret, or has none.
#[derive(Debug)]
pub(super) struct Proven {
    pub(super) client: Client,
    is_declared: bool,
}

impl Proven {
    /// What must still prove it when a session is taken down.
    pub(super) fn proof(&self) -> ClientProof {
        if self.is_declared {
            ClientProof::Declared
        } else {
            ClientProof::Stored(self.client.secret)
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
