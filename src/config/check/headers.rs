//! `request_headers` and `response_headers`: what a route sets and removes, the same for every request.
//!
//! Nothing here may touch what the gateway answers for: who is calling, where a request comes from, how
//! a message is framed. A value may be a secret and must never get into a message.

use http::HeaderName;
use http::HeaderValue;
use http::header;

use crate::config::HeaderChanges;
use crate::config::reader::Table;
use crate::config::reader::Value;
use crate::config::values;
use crate::domain::Malformed;

/// Whose headers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Those that the app gets.
    Request,
    /// Those that come from it.
    Response,
}

impl Side {
    fn key(self) -> &'static str {
        match self {
            Self::Request => "request_headers",
            Self::Response => "response_headers",
        }
    }
}

/// All that the table and those it inherits from say, header by header: what stands nearest is meant,
/// and a header that it does not name stays as it is further away. A route that sets one thing must
/// not lose all others without a word.
pub(super) fn changes(table: &Table<'_>, side: Side) -> HeaderChanges {
    let mut changes = HeaderChanges::default();
    for layer in table.every(side.key()) {
        let own = layer.table(|table| own(table, side)).unwrap_or_default();
        let decided: Vec<HeaderName> = changes.names().cloned().collect();
        let is_new = |name: &HeaderName| !decided.contains(name);
        let set = own.set.into_iter().filter(|(name, _)| is_new(name));
        changes.set.extend(set);
        changes.remove.extend(own.remove.into_iter().filter(is_new));
    }
    changes
}

/// What one table says.
fn own(table: &Table<'_>, side: Side) -> HeaderChanges {
    let mut changes = HeaderChanges::default();
    for entry in table.entries("set") {
        let name = match changeable(entry.name(), side) {
            Ok(name) => name,
            Err(error) => {
                entry.problem(error);
                continue;
            }
        };
        if name == header::SET_COOKIE {
            entry.problem(
                "it would take the place of the app's cookies, the same one for everybody",
            );
        } else if changes.names().any(|other| *other == name) {
            entry.problem("it is set twice; names of headers do not tell case apart");
        } else if let Some(value) = constant(entry, &name) {
            changes.set.push((name, value));
        }
    }
    for item in table.get("remove").map(Value::items).unwrap_or_default() {
        if let Some(name) = item.parse(|text| changeable(text, side)) {
            if changes.names().any(|other| *other == name) {
                item.problem(format!(
                    "{name} is named already; `set` takes the place of whatever was there"
                ));
            } else {
                changes.remove.push(name);
            }
        }
    }
    changes
}

/// A header's value. Whatever a reference stands for is a secret, and so is what proves who somebody is.
fn constant(entry: Value<'_>, name: &HeaderName) -> Option<HeaderValue> {
    let text = entry.text()?;
    if text.known && (text.value.is_empty() || text.value.trim() != text.value) {
        entry.problem(
            "it is empty or has blanks around it; to take a header away, list it in `remove`",
        );
        return None;
    }
    let mut value = HeaderValue::from_static("unknown");
    if text.known {
        let printable = |byte: u8| matches!(byte, 0x20..=0x7e);
        let read = HeaderValue::from_str(&text.value).ok();
        let Some(read) = read.filter(|_| text.value.bytes().all(printable)) else {
            entry.problem("a header's value is printable ASCII, on one line");
            return None;
        };
        value = read;
    }
    let is_proof = [header::AUTHORIZATION, header::COOKIE].contains(name);
    value.set_sensitive(is_proof || text.written.contains("${"));
    Some(value)
}

/// A name that a route may change. Identity headers are compared once all routes are known.
fn changeable(text: &str, side: Side) -> Result<HeaderName, Malformed> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if !text.bytes().all(plain) {
        return Err(Malformed(
            "a name has only letters, digits and '-' here; apps take '_' and '.' for '-'",
        ));
    }
    let name = HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| Malformed("a header name has at least one letter or digit"))?;
    // Repeated dashes are one to somebody, as in identity headers.
    let folded = values::fold(name.as_str());
    let refused = of_both(&folded).or_else(|| match side {
        Side::Request => of_requests(&folded),
        Side::Response => of_responses(&folded),
    });
    refused.map_or(Ok(name), |why| Err(Malformed(why)))
}

/// RFC 9110 §7.6.1 and §8, RFC 6455 §11.3, and the name of the request in all logs.
fn of_both(folded: &str) -> Option<&'static str> {
    match folded {
        "connection"
        | "keep-alive"
        | "proxy-connection"
        | "proxy-authenticate"
        | "proxy-authorization"
        | "proxy-authentication-info"
        | "te"
        | "trailer"
        | "upgrade"
        | "transfer-encoding"
        | "http2-settings"
        | "expect" => Some("it belongs to one connection, which is the gateway's affair"),
        "content-length" | "content-encoding" | "content-range" => {
            Some("it says how the body is to be read, and the body stays as it is")
        }
        "x-request-id" => Some("the gateway names requests, the same name in every log"),
        _ if folded.starts_with("sec-websocket-") => {
            Some("it opens a WebSocket, which both ends must do by themselves")
        }
        _ => None,
    }
}

fn of_requests(folded: &str) -> Option<&'static str> {
    match folded {
        "host" => Some(
            "write host_header = \"upstream\" for the upstream's own name, or leave it as the client \
             sends it",
        ),
        "forwarded" | "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-port"
        | "x-forwarded-prefix" | "x-forwarded-proto" | "x-real-ip" | "traceparent" => Some(
            "the gateway says where a request comes from, in X-Forwarded-For and its kin; whose word \
             it takes for it is `trusted_proxies`",
        ),
        "client-cert" | "client-cert-chain" => {
            Some("the gateway tells of certificates, where `forward_client_certificate` says so")
        }
        _ => None,
    }
}

fn of_responses(folded: &str) -> Option<&'static str> {
    match folded {
        "ratelimit" | "ratelimit-policy" => Some("it says the gateway's limits"),
        "access-control-max-age" => Some(CORS),
        _ if folded.starts_with("access-control-allow-") => Some(CORS),
        _ => None,
    }
}

const CORS: &str = "who may read answers from elsewhere is said by `cors`, which also answers \
                    preflights and lets refusals be read";
