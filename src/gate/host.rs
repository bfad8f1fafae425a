//! The host of a request: one form, so that no spelling of a name falls to a wider route.

use std::net::Ipv6Addr;

use http::HeaderValue;

/// The host a request is for.
#[derive(Clone, Debug)]
pub struct Host {
    /// As sent: host and perhaps port.
    sent: HeaderValue,
    /// Lower case, without port and trailing dot: what routes are found by.
    name: String,
}

impl Host {
    /// Reads `host[:port]` (RFC 3986 §3.2.2) without user information: a registered name of
    /// letters, digits, `-`, `_` and dots, an IPv4 address, or an IPv6 address in brackets.
    pub fn parse(sent: &HeaderValue) -> Option<Self> {
        let text = sent.to_str().ok()?;
        let literal;
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest.split_once(']')?;
                // One spelling per address, the one that routes have.
                literal = format!("[{}]", address.parse::<Ipv6Addr>().ok()?);
                let port = if after.is_empty() { ":0" } else { after };
                (literal.as_str(), port.strip_prefix(':')?)
            }
            None => text.split_once(':').unwrap_or((text, "0")),
        };
        let port_ok = port.parse::<u16>().is_ok() && port.bytes().all(|byte| byte.is_ascii_digit());
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        // `admin.example.com.` is the same host to DNS and must not fall to a wider one here.
        let name = name.strip_suffix('.').unwrap_or(name);
        let name_ok = name.starts_with('[')
            || (!name.is_empty()
                && name.len() <= 253
                && name.bytes().all(legal)
                && name.split('.').all(|label| !label.is_empty()));
        (port_ok && name_ok).then(|| Self {
            sent: sent.clone(),
            name: name.to_ascii_lowercase(),
        })
    }

    /// As sent.
    pub fn sent(&self) -> &HeaderValue {
        &self.sent
    }

    /// Lower case, without port and trailing dot.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port the client named.
    pub fn port(&self) -> Option<u16> {
        let text = self.sent.to_str().ok()?;
        let after = text.rsplit_once(':')?.1;
        after.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_one_form() {
        let name =
            |text: &str| Host::parse(&HeaderValue::from_str(text).unwrap()).map(|host| host.name);
        assert_eq!(
            name("App.Example.com:8443").as_deref(),
            Some("app.example.com")
        );
        assert_eq!(name("app.example.com.").as_deref(), Some("app.example.com"));
        assert_eq!(name("[::1]:80").as_deref(), Some("[::1]"));
        assert_eq!(name("[0:0::1]").as_deref(), Some("[::1]"));
        for bad in [
            "", "a b", "u@h", "h:", "h:x", "h:+1", "h:99999", "[::1", "[x]", "a..b", ".", "a/b",
            "h:1:2", "é",
        ] {
            assert_eq!(name(bad), None, "{bad:?}");
        }
    }
}
