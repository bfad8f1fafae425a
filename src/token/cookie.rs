//! The cookie of a browser's session: base64url of the session's id and a MAC over it and the host.
//!
//! The MAC lets a forged cookie die in memory, and makes a genuine one worthless on every other host.
//! A cookie must never be logged, and holds nothing but which session it is (SECURITY 23).

use std::fmt;
use std::time::Duration;

use http::HeaderValue;

use crate::domain::SessionId;
use crate::token::id_mac::IdMac;
use crate::vault::Vault;

/// Its name, which no app ever sees and no app may set. The prefix makes browsers refuse one that is
/// not `Secure`, or of a domain (RFC 6265bis §4.1.3.2).
pub const SESSION_COOKIE: &str = "__Host-portcullis";

/// What a browser is known by that is shown a form; its forms' tokens belong to it.
pub const FORM_COOKIE: &str = "__Host-portcullis-form";

/// What a browser keeps while its person is away with another provider.
pub const PROVIDER_COOKIE: &str = "__Host-portcullis-provider";

/// What a browser is known by that goes from another host to the sign-in page and back.
pub const BINDING_COOKIE: &str = "__Host-portcullis-binding";

/// Whether a cookie of this name is one of ours: the session's, or a helper's of a sign-in.
pub fn is_own(name: &[u8]) -> bool {
    let session = SESSION_COOKIE.as_bytes();
    name.split_at_checked(session.len())
        .is_some_and(|(start, rest)| {
            start.eq_ignore_ascii_case(session) && (rest.is_empty() || rest.starts_with(b"-"))
        })
}

/// `Set-Cookie` for one of ours (RFC 6265bis §4.1): no script reads it, and no page of another site but a link
/// has it sent. Without an age it ends with the browser. A value that is none for a header takes it away.
pub fn given(name: &str, value: &str, age: Option<Duration>) -> HeaderValue {
    let age = age.map(|age| format!("Max-Age={}; ", age.as_secs()));
    let age = age.unwrap_or_default();
    let text = HeaderValue::try_from(format!("{name}={value}; {age}{ATTRIBUTES}"));
    let mut text = text.unwrap_or_else(|_| taken_away(name));
    text.set_sensitive(true);
    text
}

/// `Set-Cookie` that takes one of ours away.
pub fn taken_away(name: &str) -> HeaderValue {
    let text = HeaderValue::try_from(format!("{name}=; Max-Age=0; {ATTRIBUTES}"));
    text.unwrap_or(HeaderValue::from_static(""))
}

const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=Lax";

/// The cookies of ours that came with a request, taken out of it.
#[derive(Clone, Default)]
pub struct OwnCookies(Vec<Sent>);

#[derive(Clone)]
struct Sent {
    name: Box<[u8]>,
    value: Box<[u8]>,
}

impl OwnCookies {
    /// One more, by name and value.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        self.0.push(Sent {
            name: name.into(),
            value: value.into(),
        });
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether there is one of this name, or several.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|sent| *sent.name == *name.as_bytes())
    }

    /// The value of this one. Browsers send one; where there are several, none of them counts.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let mut values = self
            .0
            .iter()
            .filter(|sent| *sent.name == *name.as_bytes())
            .map(|sent| &*sent.value);
        let (first, more) = (values.next(), values.next());
        first.filter(|_| more.is_none())
    }
}

impl fmt::Debug for OwnCookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnCookies({})", self.0.len())
    }
}

/// Writes and reads session cookies.
#[derive(Debug)]
pub struct SessionCookies {
    ids: IdMac,
}

impl SessionCookies {
    /// With a key of their own from the vault.
    pub fn new(vault: &Vault) -> Self {
        Self {
            ids: IdMac::new(vault, "session cookie"),
        }
    }

    /// The value for this session on this host: lower case, without a port.
    pub fn write(&self, session: SessionId, host: &str) -> String {
        self.ids.write(session, host)
    }

    /// Reads a presented value; `None` where it is not one of ours for this host.
    pub fn read(&self, value: &[u8], host: &str) -> Option<SessionId> {
        self.ids.read(value, host)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn session() -> SessionId {
        SessionId::new(Uuid::from_u128(7))
    }

    // SECURITY 23
    #[test]
    fn a_cookie_is_good_for_its_session_on_its_host_alone() {
        let vault = Vault::for_test();
        let cookies = SessionCookies::new(&vault);
        let value = cookies.write(session(), "notes.example.com");
        assert_eq!(value.len(), 43);
        let read = |value: &str, host| cookies.read(value.as_bytes(), host);
        assert_eq!(read(&value, "notes.example.com"), Some(session()));
        for host in ["example.com", "notes.example.co", "", "[::1]"] {
            assert_eq!(read(&value, host), None, "{host}");
        }
        let others = SessionCookies::new(&Vault::for_test());
        assert_eq!(others.read(value.as_bytes(), "notes.example.com"), None);
    }

    // SECURITY 34
    #[test]
    fn our_cookies_are_the_hosts_alone_and_no_scripts() {
        let text = |cookie: HeaderValue| cookie.to_str().unwrap().to_owned();
        let rest = "Path=/; Secure; HttpOnly; SameSite=Lax";
        assert_eq!(text(given("a", "b", None)), format!("a=b; {rest}"));
        let minute = Some(Duration::from_secs(60));
        assert_eq!(
            text(given("a", "b", minute)),
            format!("a=b; Max-Age=60; {rest}")
        );
        assert!(given("a", "b", None).is_sensitive());
        let gone = format!("a=; Max-Age=0; {rest}");
        assert_eq!(text(taken_away("a")), gone);
        assert_eq!(text(given("a", "b\n", None)), gone);
    }

    #[test]
    fn our_cookies_are_known_by_their_names() {
        for own in [
            SESSION_COOKIE,
            FORM_COOKIE,
            BINDING_COOKIE,
            "__host-Portcullis",
            "__Host-portcullis-x",
        ] {
            assert!(is_own(own.as_bytes()), "{own}");
        }
        for other in ["__Host-portcullis2", "__Host-portculli", "portcullis", ""] {
            assert!(!is_own(other.as_bytes()), "{other}");
        }
        let mut cookies = OwnCookies::default();
        cookies.push(b"a", b"1");
        assert_eq!(cookies.get("a"), Some(b"1".as_slice()));
        assert_eq!(cookies.get("b"), None);
        assert!(cookies.has("a") && !cookies.has("b"));
        cookies.push(b"a", b"1");
        assert_eq!(cookies.get("a"), None);
        assert!(cookies.has("a"));
    }

    #[test]
    fn a_damaged_cookie_is_not_ours() {
        let cookies = SessionCookies::new(&Vault::for_test());
        let value = cookies.write(session(), "localhost");
        for cut in 0..value.len() {
            assert_eq!(cookies.read(&value.as_bytes()[..cut], "localhost"), None);
        }
        for index in 0..value.len() {
            for replacement in ["A", "B", "-", "=", " "] {
                let mut other = value.clone();
                other.replace_range(index..=index, replacement);
                let expected = (other == value).then(session);
                let read = cookies.read(other.as_bytes(), "localhost");
                assert_eq!(read, expected, "{other}");
            }
        }
        for wrong in [
            format!("{value}="),
            format!("{value}A"),
            format!(" {value}"),
        ] {
            assert_eq!(cookies.read(wrong.as_bytes(), "localhost"), None);
        }
    }

    proptest! {
        #[test]
        fn a_stranger_makes_none(value in any::<Vec<u8>>()) {
            let cookies = SessionCookies::new(&Vault::for_test());
            prop_assert!(cookies.read(&value, "localhost").is_none());
        }
    }
}
