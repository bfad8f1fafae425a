//! What shows that a form came from a page of ours (SECURITY 34): its hidden `csrf` belongs to a cookie that
//! only we can set.
//!
//! The cookie is not the session's: whoever signs in has none yet, and it is they who must not be signed in
//! by somebody else's page under somebody else's name.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;

use crate::domain::SessionId;
use crate::token::cookie;
use crate::token::cookie::FORM_COOKIE;
use crate::token::id_mac::IdMac;
use crate::vault::Vault;
use crate::vault::random;

/// Makes and checks the tokens of forms.
pub(super) struct FormKey {
    key: hmac::Key,
    ids: IdMac,
}

impl FormKey {
    pub(super) fn new(vault: &Vault) -> Self {
        Self {
            key: vault.mac_key("form"),
            ids: IdMac::new(vault, "form that makes one"),
        }
    }

    /// The hidden `csrf` of the forms of this browser.
    pub(super) fn token(&self, browser: &Browser) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.key, browser.value.as_bytes()))
    }

    /// Whether a form with this `csrf` was shown to this browser; compared in constant time.
    pub(super) fn is_genuine(&self, browser: &Browser, csrf: &str) -> bool {
        let tag = URL_SAFE_NO_PAD.decode(csrf).unwrap_or_default();
        hmac::verify(&self.key, browser.value.as_bytes(), &tag).is_ok()
    }

    /// The hidden `id` of a form of this browser that makes a personal token: which one, so that the form makes
    /// no other when it is sent again.
    pub(super) fn promise(&self, browser: &Browser, id: SessionId) -> String {
        self.ids.write(id, &browser.value)
    }

    /// Which one a form of this browser was to make.
    pub(super) fn promised(&self, browser: &Browser, id: &str) -> Option<SessionId> {
        self.ids.read(id.as_bytes(), &browser.value)
    }
}

impl fmt::Debug for FormKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FormKey(..)")
    }
}

/// Who is shown a form, whether they are signed in or not.
pub(super) struct Browser {
    value: String,
    is_new: bool,
}

impl Browser {
    /// The one that sent this cookie, or a new one.
    pub(super) fn known_by(cookie: Option<&[u8]>) -> Self {
        let is_ours = |value: &&str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            value.len() == VALUE_BYTES && value.bytes().all(plain)
        };
        let sent = cookie.and_then(|value| std::str::from_utf8(value).ok());
        match sent.filter(is_ours) {
            Some(value) => Self {
                value: value.to_owned(),
                is_new: false,
            },
            None => Self {
                value: URL_SAFE_NO_PAD.encode(random::<RANDOM_BYTES>()),
                is_new: true,
            },
        }
    }

    /// `Set-Cookie`, for a new one. It ends with the browser.
    pub(super) fn set_cookie(&self) -> Option<HeaderValue> {
        let cookie = || cookie::given(FORM_COOKIE, &self.value, None);
        self.is_new.then(cookie)
    }

    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }
}

const RANDOM_BYTES: usize = 16;
/// In base64url.
const VALUE_BYTES: usize = 22;

#[cfg(test)]
mod tests {
    use super::*;

    // SECURITY 34
    #[test]
    fn a_form_is_genuine_for_the_browser_that_it_was_shown_to() {
        let key = FormKey::new(&Vault::for_test());
        let browser = Browser::known_by(None);
        assert!(browser.is_new());
        let csrf = key.token(&browser);
        assert!(key.is_genuine(&browser, &csrf));

        let again = Browser::known_by(Some(browser.value.as_bytes()));
        assert!(!again.is_new() && again.set_cookie().is_none());
        assert!(key.is_genuine(&again, &csrf));

        let other = Browser::known_by(None);
        assert!(!key.is_genuine(&other, &csrf));
        let others = FormKey::new(&Vault::for_test());
        assert!(!others.is_genuine(&browser, &csrf));
        for wrong in ["", "x", csrf.get(1..).unwrap(), &format!("{csrf}A")] {
            assert!(!key.is_genuine(&browser, wrong), "{wrong}");
        }
    }

    #[test]
    fn a_cookie_that_is_none_of_ours_is_replaced() {
        for sent in ["", "x", "aaaaaaaaaaaaaaaaaaaaa;", "aaaaaaaaaaaaaaaaaaaaaaa"] {
            let browser = Browser::known_by(Some(sent.as_bytes()));
            assert_ne!(browser.value, sent);
            let cookie = browser.set_cookie().unwrap();
            let cookie = cookie.to_str().unwrap();
            assert!(cookie.starts_with("__Host-portcullis-form="), "{cookie}");
            assert!(cookie.ends_with("; Path=/; Secure; HttpOnly; SameSite=Lax"));
        }
    }
}
