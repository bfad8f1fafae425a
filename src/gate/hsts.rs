//! `Strict-Transport-Security`: browsers that have been here over https come back over https only.

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header;

use crate::gate::inbound::Inbound;

/// What is said, and to whom.
#[derive(Clone, Debug)]
pub struct Hsts {
    value: Option<HeaderValue>,
}

impl Hsts {
    /// `max_age` in seconds; 0 says nothing, to nobody.
    pub fn new(max_age_seconds: u64) -> Self {
        let value = (max_age_seconds > 0)
            .then(|| HeaderValue::try_from(format!("max-age={max_age_seconds}")).ok())
            .flatten();
        Self { value }
    }

    /// Whether the answer may say it: only over https (RFC 6797 §7.2), and only for a name of
    /// somebody's own. `localhost` is everybody's, with other servers on other ports, and for an
    /// address browsers ignore it (§8.1.1).
    pub fn applies_to<B>(&self, inbound: &Inbound<B>) -> bool {
        self.value.is_some() && inbound.scheme() == "https" && is_own_name(inbound.host().name())
    }

    /// Adds it, unless the app has words of its own.
    pub fn apply(&self, headers: &mut HeaderMap) {
        if let Some(value) = &self.value {
            headers.entry(NAME).or_insert_with(|| value.clone());
        }
    }
}

const NAME: HeaderName = header::STRICT_TRANSPORT_SECURITY;

fn is_own_name(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or_default();
    // No top-level domain begins with a digit, and every IPv4 address ends in one (RFC 3696 §2).
    let is_address =
        host.starts_with('[') || last.starts_with(|first: char| first.is_ascii_digit());
    !is_address && last != "localhost"
}

#[cfg(test)]
mod tests {
    use super::*;

    // SECURITY 56
    #[test]
    fn only_names_of_somebodys_own_are_pinned_to_https() {
        for own in [
            "app.example.com",
            "intranet",
            "1.example",
            "localhost.example",
        ] {
            assert!(is_own_name(own), "{own}");
        }
        for other in [
            "localhost",
            "app.localhost",
            "127.0.0.1",
            "10.0.0.7",
            "[::1]",
        ] {
            assert!(!is_own_name(other), "{other}");
        }
    }
}
