//! ID tokens of providers that people sign in with (OpenID Connect Core §3.1.3.7): judged by the keys that
//! the provider publishes, for the one sign-in that asked for them.
//!
//! It must never take an access token for one, nor one that was made for another client or another sign-in.

use std::collections::HashSet;
use std::time::SystemTime;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use serde_json::Map;
use serde_json::Value;

use crate::issuers::IssuerKeys;
use crate::token::id_token::half_hash;
use crate::token::verify::Invalid;
use crate::token::verify::Members;
use crate::token::verify::Verifier;
use crate::token::verify::read_header;
use crate::token::verify::refusal;
use crate::token::verify::times::Times;
use crate::token::verify::validation;

/// For whom and for which sign-in the token must be.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// `iss`, to the letter.
    pub issuer: &'a str,
    /// `aud`, and `azp` where there is one.
    pub client_id: &'a str,
    /// What was sent along with the request.
    pub nonce: &'a str,
    /// The access token that came with it, for `at_hash`.
    pub access_token: &'a str,
}

/// Judges an ID token, and returns what it says.
///
/// # Errors
///
/// The first thing that is wrong with it. [`Invalid::UnknownKey`] may be mended by newer keys.
pub fn verify(
    keys: &IssuerKeys,
    expected: &Expected<'_>,
    token: &str,
    now: SystemTime,
) -> Result<Map<String, Value>, Invalid> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(Invalid::Malformed);
    }
    // Nobody has to say what kind it is, but it must not say that it is another.
    let header = read_header(token, &["jwt", ""])?;
    let key = keys.find(&header.kid).ok_or(Invalid::UnknownKey)?;
    if header.algorithm != Some(key.algorithm()) {
        return Err(Invalid::UnknownKey);
    }
    let audience = HashSet::from([expected.client_id.to_owned()]);
    let validation = validation(key.algorithm(), expected.issuer, Some(audience));
    let Members(claims) = jsonwebtoken::decode::<Members>(token, key.verifying(), &validation)
        .map_err(|error| refusal(error.kind()))?
        .claims;

    Times::read(&claims, now)?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    // `decode` would also take a list of issuers.
    text("iss").ok_or(Invalid::BadClaims)?;
    refuse_other_clients(&claims, expected.client_id)?;
    let nonce = text("nonce").ok_or(Invalid::BadClaims)?;
    if verify_slices_are_equal(nonce.as_bytes(), expected.nonce.as_bytes()).is_err() {
        return Err(Invalid::WrongAudience);
    }
    // §3.1.3.8: it may be left out, as the token came from the provider itself.
    if let Some(said) = claims.get("at_hash") {
        let hash = half_hash(key.algorithm(), expected.access_token);
        if said.as_str() != Some(&hash) {
            return Err(Invalid::WrongAudience);
        }
    }
    Ok(claims)
}

/// §3.1.3.7, 3 to 5: `decode` has found us among its audiences. Where there are others, it must say that it
/// was made for us.
fn refuse_other_clients(claims: &Map<String, Value>, client_id: &str) -> Result<(), Invalid> {
    let audiences = claims.get("aud").and_then(Value::as_array);
    let is_shared = audiences.is_some_and(|audiences| audiences.len() > 1);
    match claims.get("azp") {
        Some(party) if party.as_str() == Some(client_id) => Ok(()),
        None if !is_shared => Ok(()),
        _ => Err(Invalid::WrongAudience),
    }
}

/// Providers put groups and more into ID tokens, which need not fit into a request's header.
const TOKEN_BYTES_MAX: usize = 8 * Verifier::TOKEN_BYTES_MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_for_several_clients_says_for_which_it_was_made() {
        let judge = |claims: Value| {
            let claims = claims.as_object().cloned().unwrap_or_default();
            refuse_other_clients(&claims, "gate").is_ok()
        };
        let json = |text: &str| serde_json::from_str(text).unwrap_or_default();
        assert!(judge(json(r#"{"aud":"gate"}"#)));
        assert!(judge(json(r#"{"aud":["gate"]}"#)));
        assert!(judge(json(r#"{"aud":["gate","other"],"azp":"gate"}"#)));
        assert!(!judge(json(r#"{"aud":["gate","other"]}"#)));
        assert!(!judge(json(r#"{"aud":["gate","other"],"azp":"other"}"#)));
        assert!(!judge(json(r#"{"aud":"gate","azp":"other"}"#)));
        assert!(!judge(json(r#"{"aud":"gate","azp":1}"#)));
    }
}
