//! What ties a sign-in to the browser that began it on another host than that of `public_url`: a cookie there.
//!
//! The sign-in page is told its hash alone, so that nobody who sees the address of that page can go on in the
//! browser's place. It says nothing about who anybody is.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;

use crate::domain::TokenHash;
use crate::token::cookie;
use crate::token::cookie::BINDING_COOKIE;
use crate::vault::random;

/// A browser on one host. It has no `Debug`.
pub struct Binding(String);

impl Binding {
    /// The parameter of the sign-in page that holds the hash.
    pub const NAME: &'static str = "binding";

    /// The one that sent this cookie.
    pub fn known_by(cookie: Option<&[u8]>) -> Option<Self> {
        let value = std::str::from_utf8(cookie?).ok()?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let is_ours = value.len() == TEXT_BYTES && value.bytes().all(plain);
        is_ours.then(|| Self(value.to_owned()))
    }

    /// One that sent none.
    pub fn fresh() -> Self {
        Self(URL_SAFE_NO_PAD.encode(random::<RANDOM_BYTES>()))
    }

    /// What others may know of it.
    pub fn hash(&self) -> TokenHash {
        TokenHash::of(self.0.as_bytes())
    }

    /// `Set-Cookie`
    pub fn set_cookie(&self) -> HeaderValue {
        cookie::given(BINDING_COOKIE, &self.0, Some(KEPT))
    }

    /// `Set-Cookie` that takes it away.
    pub fn clear_cookie() -> HeaderValue {
        cookie::taken_away(BINDING_COOKIE)
    }
}

/// For as long as somebody may take to sign in.
const KEPT: Duration = Duration::from_secs(10 * 60);

/// A hash as it stands in an address.
pub fn written(hash: TokenHash) -> String {
    URL_SAFE_NO_PAD.encode(hash.as_bytes())
}

/// The hash that stands in an address.
pub fn read(text: &str) -> Option<TokenHash> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    bytes.try_into().ok().map(TokenHash::new)
}

const RANDOM_BYTES: usize = 32;
/// In base64url.
const TEXT_BYTES: usize = 43;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_known_again_by_its_cookie() {
        let binding = Binding::fresh();
        let again = Binding::known_by(Some(binding.0.as_bytes())).unwrap();
        assert_eq!(again.hash(), binding.hash());
        assert_ne!(Binding::fresh().hash(), binding.hash());
        assert_eq!(read(&written(binding.hash())), Some(binding.hash()));
        let cookie = binding.set_cookie();
        let start = format!("{BINDING_COOKIE}={};", binding.0);
        assert!(cookie.to_str().unwrap().starts_with(&start));
        let cleared = Binding::clear_cookie();
        let start = format!("{BINDING_COOKIE}=; Max-Age=0;");
        assert!(cleared.to_str().unwrap().starts_with(&start));
    }

    #[test]
    fn what_is_none_of_ours_is_nobody() {
        let long = "a".repeat(44);
        for cookie in ["", "x", &long, &format!("{};", &long[..42]), "é"] {
            assert!(Binding::known_by(Some(cookie.as_bytes())).is_none());
        }
        assert!(Binding::known_by(None).is_none());
        for text in ["", "x", &long[..42], &long, &format!("{}=", &long[..43])] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
