//! The opening handshake of a WebSocket, judged on both sides: an upgrade of HTTP/1.1 (RFC 6455 §4), or
//! the extended CONNECT of HTTP/2 (RFC 8441), which to the app is an upgrade all the same.
//!
//! Until both have said yes a request is a request and an answer is an answer: a tunnel that were
//! opened on less would carry whatever the two ends make of the bytes, past every check.

use aws_lc_rs::digest;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::HeaderValue;
use http::Method;
use http::StatusCode;
use http::Version;
use http::header;
use http::request;
use http::response;
use hyper::ext::Protocol;

/// A request that is a handshake.
#[derive(Clone, Debug)]
pub struct Handshake {
    key: HeaderValue,
    brings_token: bool,
    is_extended_connect: bool,
}

/// Why a request that asks for a WebSocket gets none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoHandshake {
    /// RFC 6455 §4.2.1: a GET with `Connection: Upgrade`, without a body.
    #[error("A WebSocket begins with a GET without a body that has Connection: Upgrade.")]
    Request,
    /// RFC 6455 §4.2.1: 16 bytes as base64, once.
    #[error("A WebSocket needs one Sec-WebSocket-Key: 16 bytes as base64.")]
    Key,
    /// RFC 6455 §4.1: a list of tokens.
    #[error("Sec-WebSocket-Protocol holds something that is no list of protocols.")]
    Protocol,
    /// RFC 6455 §4.4.
    #[error("The one version of WebSocket that is spoken here is 13.")]
    Version,
    /// To an extended CONNECT a success would mean that there is one.
    #[error("Nothing that is asked for here speaks WebSocket.")]
    Unserved,
}

impl Handshake {
    /// Reads a handshake; `None` where the request asks for no WebSocket.
    ///
    /// # Errors
    ///
    /// Where it asks for one and may not have it.
    pub fn read(parts: &request::Parts) -> Result<Option<Self>, NoHandshake> {
        if is_extended_connect(parts) {
            return Self::read_extended(&parts.headers).map(Some);
        }
        let headers = &parts.headers;
        let Some(upgrade) = headers.get(header::UPGRADE) else {
            return Ok(None);
        };
        if !upgrade.as_bytes().eq_ignore_ascii_case(b"websocket") {
            return Ok(None);
        }
        let has_body = headers.contains_key(header::TRANSFER_ENCODING)
            || headers
                .get(header::CONTENT_LENGTH)
                .is_some_and(|length| length != "0");
        if parts.method != Method::GET || has_body || !asks_to_upgrade(headers) {
            return Err(NoHandshake::Request);
        }
        check_version(headers)?;
        let key = only(headers, &header::SEC_WEBSOCKET_KEY).ok_or(NoHandshake::Key)?;
        let decoded = STANDARD.decode(key).map_err(|_| NoHandshake::Key)?;
        if decoded.len() != 16 {
            return Err(NoHandshake::Key);
        }
        check_protocols(headers)?;
        Ok(Some(Self {
            key: key.clone(),
            brings_token: false,
            is_extended_connect: false,
        }))
    }

    /// RFC 8441 §5: as over HTTP/1.1, without `Connection`, `Upgrade` and the key, which is the gateway's own.
    fn read_extended(headers: &HeaderMap) -> Result<Self, NoHandshake> {
        check_version(headers)?;
        check_protocols(headers)?;
        let mut key = [0; 16];
        rand::fill(&mut key).map_err(|_| NoHandshake::Key)?;
        let key = HeaderValue::try_from(STANDARD.encode(key));
        Ok(Self {
            key: key.map_err(|_| NoHandshake::Key)?,
            brings_token: false,
            is_extended_connect: true,
        })
    }

    /// Takes `bearer, <token>` out of `Sec-WebSocket-Protocol`: the one header that a browser lets a
    /// page set. The token comes back as an `Authorization` would say it.
    pub fn take_token(&mut self, headers: &mut HeaderMap) -> Vec<HeaderValue> {
        let lines = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
        let text: Vec<_> = lines
            .map(|line| line.to_str().unwrap_or_default())
            .collect();
        let text = text.join(",");
        let mut protocols = text.split(',').map(str::trim).filter(|it| !it.is_empty());
        let mut tokens = Vec::new();
        let mut others = Vec::new();
        while let Some(protocol) = protocols.next() {
            if protocol == BEARER {
                let token = protocols.next().unwrap_or_default();
                tokens.extend(HeaderValue::try_from(format!("Bearer {token}")));
            } else {
                others.push(protocol);
            }
        }
        if !tokens.is_empty() {
            self.brings_token = true;
            match HeaderValue::try_from(others.join(", ")) {
                Ok(others) if !others.is_empty() => {
                    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, others);
                }
                _ => {
                    headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
                }
            }
        }
        tokens
    }

    /// Whether the token came among the protocols: then it is the gateway's, whatever the route says of
    /// `Authorization`.
    pub fn brings_token(&self) -> bool {
        self.brings_token
    }

    /// Whether it came as an extended CONNECT.
    pub fn is_extended_connect(&self) -> bool {
        self.is_extended_connect
    }

    /// What makes a request to the app the handshake again.
    pub fn complete(&self, headers: &mut HeaderMap) {
        say_upgrade(headers);
        headers.insert(header::SEC_WEBSOCKET_KEY, self.key.clone());
        if self.is_extended_connect {
            headers.remove(header::CONTENT_LENGTH);
        }
    }

    /// Whether the app has understood (RFC 6455 §4.2.2): it has if it could make the accept key.
    pub fn is_answered_by(&self, parts: &response::Parts) -> bool {
        let upgrade = only(&parts.headers, &header::UPGRADE);
        let accept = only(&parts.headers, &header::SEC_WEBSOCKET_ACCEPT);
        parts.status == StatusCode::SWITCHING_PROTOCOLS
            && asks_to_upgrade(&parts.headers)
            && upgrade.is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"websocket"))
            && accept.is_some_and(|it| it.as_bytes() == accept_key(&self.key).as_bytes())
    }

    /// What makes the app's answer the client's again. A browser that named protocols fails where
    /// none is chosen, so that `bearer` is what is chosen where it was the only one.
    pub fn complete_answer(&self, parts: &mut response::Parts) {
        let headers = &mut parts.headers;
        if self.is_extended_connect {
            parts.status = StatusCode::OK;
            headers.remove(header::SEC_WEBSOCKET_ACCEPT);
        } else {
            say_upgrade(headers);
        }
        if self.brings_token {
            let chosen = headers.entry(header::SEC_WEBSOCKET_PROTOCOL);
            chosen.or_insert(HeaderValue::from_static(BEARER));
        }
    }
}

const BEARER: &str = "bearer";

/// RFC 8441 §4: a CONNECT that says for which protocol. Every other CONNECT is for proxies of another kind.
pub(super) fn is_extended_connect(parts: &request::Parts) -> bool {
    let protocol = parts.extensions.get::<Protocol>();
    parts.method == Method::CONNECT
        && parts.version == Version::HTTP_2
        && protocol.is_some_and(|protocol| protocol.as_str() == "websocket")
}

fn say_upgrade(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

fn check_version(headers: &HeaderMap) -> Result<(), NoHandshake> {
    match only(headers, &header::SEC_WEBSOCKET_VERSION) {
        Some(version) if version == "13" => Ok(()),
        _ => Err(NoHandshake::Version),
    }
}

/// Where a line cannot be read, a token in it could not be taken out.
fn check_protocols(headers: &HeaderMap) -> Result<(), NoHandshake> {
    let mut protocols = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    if protocols.any(|line| line.to_str().is_err()) {
        return Err(NoHandshake::Protocol);
    }
    Ok(())
}

/// `Connection` is a list (RFC 9110 §7.6.1), and browsers do send `keep-alive, Upgrade`.
fn asks_to_upgrade(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::CONNECTION).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
}

fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a HeaderValue> {
    let mut lines = headers.get_all(name).iter();
    lines.next().filter(|_| lines.next().is_none())
}

/// SHA-1 is what the protocol says; nothing rests on its strength.
fn accept_key(key: &HeaderValue) -> String {
    const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key.as_bytes());
    context.update(GUID);
    STANDARD.encode(context.finish())
}

#[cfg(test)]
mod tests {
    use http::Request;
    use http::Response;

    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
    const GOOD: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", KEY),
    ];

    fn read(method: Method, lines: &[(&str, &str)]) -> Result<Option<Handshake>, NoHandshake> {
        let mut request = Request::builder().method(method);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        Handshake::read(&request.body(()).unwrap().into_parts().0)
    }

    fn without(name: &str) -> Vec<(&str, &str)> {
        GOOD.into_iter()
            .filter(|(other, _)| *other != name)
            .collect()
    }

    #[test]
    fn a_handshake_has_everything_it_needs_once() {
        assert!(matches!(read(Method::GET, &GOOD), Ok(Some(_))));
        assert!(matches!(read(Method::GET, &without("upgrade")), Ok(None)));
        let with = |name, value| [GOOD.as_slice(), &[(name, value)]].concat();
        let instead = |name, value| [without(name), vec![(name, value)]].concat();
        for (lines, why) in [
            (without("connection"), NoHandshake::Request),
            (instead("connection", "close"), NoHandshake::Request),
            (with("content-length", "5"), NoHandshake::Request),
            (with("transfer-encoding", "chunked"), NoHandshake::Request),
            (without("sec-websocket-version"), NoHandshake::Version),
            (instead("sec-websocket-version", "8"), NoHandshake::Version),
            (with("sec-websocket-version", "13"), NoHandshake::Version),
            (without("sec-websocket-key"), NoHandshake::Key),
            (instead("sec-websocket-key", "c2hvcnQ="), NoHandshake::Key),
            (instead("sec-websocket-key", "!"), NoHandshake::Key),
            (with("sec-websocket-key", KEY), NoHandshake::Key),
            (
                with("sec-websocket-protocol", "bearer, x, é"),
                NoHandshake::Protocol,
            ),
        ] {
            assert_eq!(read(Method::GET, &lines).err(), Some(why), "{lines:?}");
        }
        assert_eq!(read(Method::POST, &GOOD).err(), Some(NoHandshake::Request));
        let other = instead("upgrade", "h2c");
        assert!(matches!(read(Method::GET, &other), Ok(None)));
    }

    #[test]
    fn only_the_true_accept_key_opens_a_tunnel() {
        let handshake = read(Method::GET, &GOOD).unwrap().unwrap();
        let answered = |status: u16, accept: &str| {
            let response = Response::builder().status(status);
            let response = response.header("connection", "upgrade");
            let response = response.header("upgrade", "websocket");
            let response = response.header("sec-websocket-accept", accept);
            handshake.is_answered_by(&response.body(()).unwrap().into_parts().0)
        };
        // The example of RFC 6455 §1.3.
        assert!(answered(101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert!(!answered(200, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert!(!answered(101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOO="));
        assert!(!answered(101, ""));
    }

    // SECURITY 23
    #[test]
    fn a_token_among_the_protocols_is_taken_out() {
        for (sent, tokens, left) in [
            ("bearer, abc", vec!["Bearer abc"], None),
            (
                "chat, bearer, abc, v2",
                vec!["Bearer abc"],
                Some("chat, v2"),
            ),
            ("chat", vec![], Some("chat")),
            ("bearer", vec!["Bearer "], None),
            ("bearer,a,bearer,b", vec!["Bearer a", "Bearer b"], None),
        ] {
            let mut handshake = read(Method::GET, &GOOD).unwrap().unwrap();
            let mut headers = HeaderMap::new();
            headers.insert("sec-websocket-protocol", HeaderValue::from_static(sent));
            assert_eq!(handshake.take_token(&mut headers), tokens, "{sent}");
            let kept = headers.get("sec-websocket-protocol");
            assert_eq!(kept.map(|kept| kept.to_str().unwrap()), left, "{sent}");
        }
    }
}
