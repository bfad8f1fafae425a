//! Where answers are sent: the redirect URIs of a client (RFC 6749 §3.1.2).

use std::fmt;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use url::Host;
use url::Url;

use crate::domain::Malformed;

/// A URI that a client has registered, as a whole and exactly: `https`, `http` on this very machine, or
/// a scheme of an app's own (RFC 8252 §7.1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RedirectUri(String);

impl RedirectUri {
    /// Longer ones are refused.
    pub const BYTES_MAX: usize = 1024;

    /// Reads one. It is spelt as browsers spell it: what is compared is what they follow.
    ///
    /// # Errors
    ///
    /// Where it could be followed to a place that nobody meant; the error says what would be right.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        const WRONG: Malformed = Malformed(
            "a redirect URI is an https:// URL, http:// on 127.0.0.1, [::1] or localhost, or a scheme of an \
             app's own with a dot, such as com.example.app:/callback",
        );
        if text.len() > Self::BYTES_MAX {
            return Err(Malformed("a redirect URI has at most 1024 characters"));
        }
        if text.contains('*') {
            return Err(Malformed(
                "a redirect URI has no wildcard: list each one, it is compared as a whole",
            ));
        }
        if text.contains('#') {
            return Err(Malformed("a redirect URI has no fragment: leave out `#`"));
        }
        let url = Url::parse(text).map_err(|_| WRONG)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Malformed(
                "a redirect URI has no user and password: leave out what stands before `@`",
            ));
        }
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            "http" => {
                return Err(Malformed(
                    "codes do not travel in the open: write https://, or http:// on 127.0.0.1, [::1] or \
                     localhost",
                ));
            }
            own if own.contains('.') && url.as_str().len() > own.len() + 1 => {}
            _ => return Err(WRONG),
        }
        // `https://host` is what browsers write as `https://host/`.
        let is_canonical = url.as_str() == text || url.as_str().strip_suffix('/') == Some(text);
        // RFC 3986 §2; of an app's own scheme the parser leaves more than that as it is.
        let is_of_uris =
            |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()+,;=%".contains(&byte);
        if !is_canonical || !text.bytes().all(is_of_uris) {
            return Err(Malformed(
                "write the redirect URI as browsers do: scheme and host in lower case, no default port, no \
                 `.` or `..`, no backslash, and %XX for what is not ASCII",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// As it was registered.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As a URL: how it was parsed at its registration.
    pub fn url(&self) -> Option<Url> {
        Url::parse(&self.0).ok()
    }

    /// Whether an answer may be sent to `asked`: it is this very string (SECURITY 35).
    pub fn is(&self, asked: &str) -> bool {
        self.0 == asked
    }

    /// As [`RedirectUri::is`], whatever port of this machine either names: a native app listens on the one
    /// that it is given. `localhost` counts as well, which RFC 9700 §2.1 excepts by that name.
    pub fn is_but_for_port(&self, asked: &str) -> bool {
        match (portless(&self.0), portless(asked)) {
            (Some(own), Some(asked)) => own == asked,
            _ => false,
        }
    }

    /// Whether any program on the person's machine could take what is sent there: a loopback address, or a
    /// scheme that an app claims for itself (RFC 8252 §8.6).
    pub fn is_native(&self) -> bool {
        !self.0.starts_with("https:")
    }
}

impl fmt::Display for RedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address == Ipv4Addr::LOCALHOST,
        Some(Host::Ipv6(address)) => address == Ipv6Addr::LOCALHOST,
        None => false,
    }
}

/// A loopback URI in two parts, its port between them left out. Bytes are compared, nothing is parsed:
/// what is sent to is the string that was asked for.
fn portless(uri: &str) -> Option<(&str, &str)> {
    let host = ["http://127.0.0.1", "http://[::1]", "http://localhost"]
        .into_iter()
        .find(|host| uri.starts_with(host))?;
    let rest = uri.strip_prefix(host)?;
    let rest = match rest.strip_prefix(':') {
        Some(port) => {
            let digits = port.find(|c: char| !c.is_ascii_digit());
            let (port, rest) = port.split_at(digits.unwrap_or(port.len()));
            port.parse::<u16>()
                .ok()
                .filter(|number| number.to_string() == port)?;
            rest
        }
        None => rest,
    };
    (rest.is_empty() || rest.starts_with(['/', '?'])).then_some((host, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // SECURITY 35
    #[test]
    fn redirect_uris_lead_where_they_say() {
        for good in [
            "https://app.example.com",
            "https://app.example.com/",
            "https://app.example.com/cb?tenant=a",
            "https://app.example.com:8443/cb",
            "https://xn--bcher-kva.example/cb",
            "http://127.0.0.1/cb",
            "http://127.0.0.1:8080/cb",
            "http://[::1]:8080/cb",
            "http://localhost:3000/cb",
            "com.example.app:/cb",
            "com.example.app://host/cb",
        ] {
            assert!(RedirectUri::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/cb",
            "//app.example.com/cb",
            "app.example.com/cb",
            "http://app.example.com/cb",
            "http://127.0.0.1.example.com/cb",
            "http://127.0.0.2/cb",
            "http://localhost.example.com/cb",
            "http://0x7f.1/cb",
            "https://*.example.com/cb",
            "https://app.example.com/*",
            "https://app.example.com/cb#",
            "https://app.example.com/cb#x",
            "https://user@app.example.com/cb",
            "https://user:pass@app.example.com/cb",
            "https://app.example.com@evil.example/cb",
            "https://app.example.com\\@evil.example/cb",
            "https://app.example.com/a/../cb",
            "https://app.example.com/%2e%2e/cb",
            "https://APP.example.com/cb",
            "HTTPS://app.example.com/cb",
            "https://app.example.com:443/cb",
            "https://app.example.com/c b",
            "https://app.example.com/\u{e4}",
            " https://app.example.com/cb",
            "https://app.example.com/cb\n",
            "https:///cb",
            "https:app.example.com/cb",
            "javascript:alert(1)",
            "data:text/html,x",
            "myapp:/cb",
            "com.example.app:",
            "com.example.app:\\cb",
            "com.example.app:/c b",
            "com.example.app:/\"cb",
            &format!("https://app.example.com/{}", "a".repeat(1024)),
        ] {
            assert!(RedirectUri::parse(bad).is_err(), "{bad}");
        }
    }

    #[track_caller]
    fn check(registered: &str, asked: &str, expected: bool) {
        let registered = RedirectUri::parse(registered).unwrap();
        assert_eq!(registered.is_but_for_port(asked), expected, "{asked}");
    }

    // SECURITY 35
    #[test]
    fn only_the_port_of_this_very_machine_is_free() {
        let own = "http://127.0.0.1/cb?a=b";
        check(own, own, true);
        check(own, "http://127.0.0.1:1/cb?a=b", true);
        check(own, "http://127.0.0.1:65535/cb?a=b", true);
        check("http://127.0.0.1:8080/cb", "http://127.0.0.1/cb", true);
        check("http://[::1]/cb", "http://[::1]:5000/cb", true);
        check("http://localhost/cb", "http://localhost:5000/cb", true);
        check("http://127.0.0.1", "http://127.0.0.1:5000", true);
        for other in [
            "http://127.0.0.1:65536/cb?a=b",
            "http://127.0.0.1:/cb?a=b",
            "http://127.0.0.1:0080/cb?a=b",
            "http://127.0.0.1:80@evil.example/cb?a=b",
            "http://127.0.0.1@evil.example/cb?a=b",
            "http://127.0.0.1.evil.example/cb?a=b",
            "http://127.0.0.1:5000/cb",
            "http://127.0.0.1:5000/CB?a=b",
            "http://127.0.0.1:5000/x/../cb?a=b",
            "http://localhost:5000/cb?a=b",
            "http://[::1]:5000/cb?a=b",
            "https://127.0.0.1:5000/cb?a=b",
            "HTTP://127.0.0.1:5000/cb?a=b",
        ] {
            check(own, other, false);
        }
        check(
            "https://app.example.com/cb",
            "https://app.example.com:1/cb",
            false,
        );
        check(
            "https://app.example.com/cb",
            "https://app.example.com/cb",
            false,
        );
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_followed_as_it_stands(text in "(https://|http://127.0.0.1|com.app:)[!-~]{0,20}") {
            if let Ok(uri) = RedirectUri::parse(&text) {
                let url = uri.url().unwrap();
                let with_slash = format!("{text}/");
                prop_assert!(url.as_str() == text || url.as_str() == with_slash);
                prop_assert!(!text.contains(['*', '#', '\\']));
                prop_assert!(url.username().is_empty() && url.password().is_none());
            }
        }
    }
}
