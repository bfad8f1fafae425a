//! Whether a person looks at the answer, in a browser, or a program reads it.
//!
//! Browsers say so themselves (Fetch Metadata §2.1); only where none of their headers is there does `Accept`
//! decide, as of browsers before 2023. It changes how a refusal is told and where its caller is sent, never
//! whether it is one.

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::header;

use crate::gate::inbound::Inbound;

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Whether the answer is shown as a page of its own: by a link, a form, an address that was typed, a frame.
pub(super) fn is_page(headers: &HeaderMap) -> bool {
    match headers.get(SEC_FETCH_MODE) {
        Some(mode) => mode == "navigate",
        None => accepts_html(headers) && !says_otherwise(headers),
    }
}

/// Whether somebody goes to a page, and could go to another in its place: nothing is lost that was posted,
/// and no frame of another page is meant.
pub(super) fn is_visit<B>(inbound: &Inbound<B>) -> bool {
    let destination = inbound.headers().get("sec-fetch-dest");
    let is_whole = destination.is_none_or(|destination| destination == "document");
    inbound.method() == Method::GET
        && !inbound.is_handshake()
        && is_whole
        && is_page(inbound.headers())
}

/// By name: `*/*` is what every program accepts.
fn accepts_html(headers: &HeaderMap) -> bool {
    let ranges = headers.get_all(header::ACCEPT).iter();
    let mut ranges = ranges.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    ranges.any(|range| {
        let kind = range.split(|byte| *byte == b';').next();
        kind.is_some_and(|kind| kind.trim_ascii().eq_ignore_ascii_case(b"text/html"))
    })
}

/// A script of a page, or a program that sends what no form can, whatever it accepts.
fn says_otherwise(headers: &HeaderMap) -> bool {
    let is_script = |with: &HeaderValue| with.as_bytes().eq_ignore_ascii_case(b"XMLHttpRequest");
    headers.contains_key("sec-fetch-dest")
        || headers.contains_key("sec-fetch-site")
        || headers.get("x-requested-with").is_some_and(is_script)
        || headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| !is_of_form(kind))
}

/// `enctype` knows three (HTML §4.10.18.6).
fn is_of_form(kind: &HeaderValue) -> bool {
    const ENCODINGS: [&[u8]; 3] = [
        b"application/x-www-form-urlencoded",
        b"multipart/form-data",
        b"text/plain",
    ];
    let kind = kind.as_bytes().split(|byte| *byte == b';').next();
    let kind = kind.unwrap_or_default().trim_ascii();
    ENCODINGS.iter().any(|one| kind.eq_ignore_ascii_case(one))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(sent: &[(&'static str, &'static str)], expected: bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_static(value));
        }
        assert_eq!(is_page(&headers), expected, "{sent:?}");
    }

    #[test]
    fn a_page_is_what_a_browser_says_is_one() {
        check(&[("sec-fetch-mode", "navigate")], true);
        for other in [
            "cors",
            "no-cors",
            "same-origin",
            "websocket",
            "Navigate",
            "",
        ] {
            let accept = ("accept", "text/html");
            check(&[("sec-fetch-mode", other), accept], false);
        }
        check(
            &[("accept", "text/html,application/xhtml+xml,*/*;q=0.8")],
            true,
        );
        check(
            &[("accept", "a/b"), ("accept", "x/y, Text/HTML ;q=0.9")],
            true,
        );
    }

    #[test]
    fn a_program_is_none() {
        check(&[], false);
        for accept in ["*/*", "text/*", "text/htmlx", "application/json", ""] {
            check(&[("accept", accept)], false);
        }
        let html = ("accept", "text/html");
        check(&[html, ("sec-fetch-site", "same-origin")], false);
        check(&[html, ("sec-fetch-dest", "empty")], false);
        check(&[html, ("x-requested-with", "XMLHttpRequest")], false);
        check(&[html, ("x-requested-with", "com.example.app")], true);
        for (sent, expected) in [
            ("application/json", false),
            ("", false),
            ("application/x-www-form-urlencoded", true),
            ("Multipart/Form-Data; boundary=x", true),
            ("text/plain", true),
        ] {
            check(&[html, ("content-type", sent)], expected);
        }
    }
}
