//! The host of a request: one form, so that no spelling of a name falls to a wider route.

use std::net::Ipv6Addr;

use http::HeaderValue;

/// The host a request is for.
#[derive(Clone, Debug)]
pub struct Host {
    /// As sent: host and perhaps port.
    sent: HeaderValue,
    name: Name,
    port: Option<u16>,
}

/// Lower case, without port and trailing dot: what routes are found by.
#[derive(Clone, Debug)]
enum Name {
    /// So many first bytes of what was sent.
    AsSent(usize),
    Otherwise(Box<str>),
}

impl Host {
    /// Reads `host[:port]` (RFC 3986 §3.2.2) without user information: a registered name of
    /// letters, digits, `-`, `_` and dots, an IPv4 address, or an IPv6 address in brackets.
    pub fn parse(sent: &HeaderValue) -> Option<Self> {
        let bytes = sent.as_bytes();
        let (name, port) = if let Some(rest) = bytes.strip_prefix(b"[") {
            let end = rest.iter().position(|byte| *byte == b']')?;
            let (address, after) = rest.split_at_checked(end)?;
            let address: Ipv6Addr = std::str::from_utf8(address).ok()?.parse().ok()?;
            // One spelling per address, the one that routes have.
            let name = Name::Otherwise(format!("[{address}]").into());
            (name, after.strip_prefix(b"]")?)
        } else {
            let end = bytes.iter().position(|byte| *byte == b':');
            let (name, port) = bytes.split_at_checked(end.unwrap_or(bytes.len()))?;
            (registered_name(name)?, port)
        };
        let port = match port.split_first() {
            None => None,
            Some((b':', digits)) => Some(decimal(digits)?),
            Some(_) => return None,
        };
        let sent = sent.clone();
        Some(Self { sent, name, port })
    }

    /// As sent.
    pub fn sent(&self) -> &HeaderValue {
        &self.sent
    }

    /// Lower case, without port and trailing dot.
    pub fn name(&self) -> &str {
        match &self.name {
            Name::Otherwise(name) => name,
            Name::AsSent(length) => {
                let name = self.sent.as_bytes().get(..*length);
                std::str::from_utf8(name.unwrap_or_default()).unwrap_or_default()
            }
        }
    }

    /// The port the client named.
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

fn registered_name(sent: &[u8]) -> Option<Name> {
    // `admin.example.com.` is the same host to DNS and must not fall to a wider one here.
    let name = sent.strip_suffix(b".").unwrap_or(sent);
    let (mut is_lower, mut before) = (true, b'.');
    for &byte in name {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => {}
            b'A'..=b'Z' => is_lower = false,
            b'.' if before != b'.' => {}
            _ => return None,
        }
        before = byte;
    }
    // An empty label at the end, or no label at all.
    if before == b'.' || name.len() > 253 {
        return None;
    }
    Some(if is_lower {
        Name::AsSent(name.len())
    } else {
        let name = std::str::from_utf8(name).ok()?;
        Name::Otherwise(name.to_ascii_lowercase().into())
    })
}

/// RFC 3986 §3.2.3: digits alone, where `parse` would take a sign.
fn decimal(digits: &[u8]) -> Option<u16> {
    let digits = std::str::from_utf8(digits).ok()?;
    let all = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_one_form() {
        let name = |text: &str| {
            Host::parse(&HeaderValue::from_str(text).unwrap()).map(|host| host.name().to_owned())
        };
        assert_eq!(
            name("App.Example.com:8443").as_deref(),
            Some("app.example.com")
        );
        assert_eq!(name("app.example.com.").as_deref(), Some("app.example.com"));
        assert_eq!(name("[::1]:80").as_deref(), Some("[::1]"));
        assert_eq!(name("[0:0::1]").as_deref(), Some("[::1]"));
        assert_eq!(name("a_b-1.example").as_deref(), Some("a_b-1.example"));
        let port =
            |text: &'static str| Host::parse(&HeaderValue::from_static(text)).unwrap().port();
        assert_eq!(port("h"), None);
        assert_eq!(port("h:8443"), Some(8443));
        assert_eq!(port("[::1]"), None);
        assert_eq!(port("[::1]:80"), Some(80));
        for bad in [
            "", "a b", "u@h", "h:", "h:x", "h:+1", "h:99999", "[::1", "[x]", "a..b", ".", ".a",
            "a..", "[::1]x", "a/b", "h:1:2", "é",
        ] {
            assert_eq!(name(bad), None, "{bad:?}");
        }
    }
}
