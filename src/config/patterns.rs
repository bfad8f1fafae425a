//! What a route answers for: hosts, paths and methods, as they are written in the file.
//!
//! A pattern that could never match a request, or that could be read in two ways, is refused here,
//! so that routing compares whole values and never guesses.

use std::net::Ipv6Addr;

use http::Method;

use crate::config::HostPattern;
use crate::config::PathPrefix;
use crate::domain::Malformed;

/// `app.example.com`, `*.example.com`, or an address; without port.
pub(super) fn host(text: &str) -> Result<HostPattern, Malformed> {
    if let Some(address) = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        let address: Ipv6Addr = address
            .parse()
            .map_err(|_| Malformed("between [ and ] stands an IPv6 address"))?;
        return Ok(HostPattern::Exact(format!("[{address}]")));
    }
    if !text.is_ascii() {
        return Err(Malformed(
            "write the name as it travels, in ASCII (xn--...)",
        ));
    }
    if text.contains(':') {
        return Err(Malformed(
            "a host is written without scheme and port, an IPv6 address in [ and ]",
        ));
    }
    if text == "*" {
        return Err(Malformed("leave `host` out for any host"));
    }
    let (name, pattern): (_, fn(String) -> HostPattern) = match text.strip_prefix("*.") {
        Some(parent) => (parent, HostPattern::Wildcard),
        None => (text, HostPattern::Exact),
    };
    if name.contains('*') {
        return Err(Malformed(
            "'*' can only stand for the first labels, as in \"*.example.com\"",
        ));
    }
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err(Malformed(
            "a host looks like \"app.example.com\" or \"*.example.com\"",
        ));
    }
    Ok(pattern(name.to_ascii_lowercase()))
}

/// `/` or `/segments`, percent-decoded.
pub(super) fn path(text: &str) -> Result<PathPrefix, Malformed> {
    let rest = text
        .strip_prefix('/')
        .ok_or(Malformed("a path starts with '/'"))?;
    if rest.is_empty() {
        return Ok(PathPrefix(Vec::new()));
    }
    if rest.ends_with('/') {
        return Err(Malformed(
            "write it without the '/' at the end; it covers what lies below anyway",
        ));
    }
    rest.split('/')
        .map(segment)
        .collect::<Result<_, _>>()
        .map(PathPrefix)
}

/// A path to put in the place of another: one that every app reads in the same way (SECURITY 6).
pub(super) fn rewritten_path(text: &str) -> Result<PathPrefix, Malformed> {
    let path = path(text)?;
    if path.0.iter().any(|segment| segment.contains(['%', ';'])) {
        return Err(Malformed(
            "apps read '%' and ';' in a path in different ways; write one without",
        ));
    }
    Ok(path)
}

/// An upper-case method that can be forwarded.
pub(super) fn method(text: &str) -> Result<Method, Malformed> {
    const WRONG: Malformed = Malformed("a method is written in capitals, such as \"GET\"");
    match text {
        "CONNECT" | "TRACE" => Err(Malformed("CONNECT and TRACE are never forwarded")),
        _ if text.bytes().any(|byte| byte.is_ascii_lowercase()) => Err(WRONG),
        _ => Method::from_bytes(text.as_bytes()).map_err(|_| WRONG),
    }
}

fn is_label(label: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=63).contains(&label.len())
        && label.bytes().all(legal)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

fn segment(written: &str) -> Result<String, Malformed> {
    let refused = |character: char| {
        character.is_control() || character.is_whitespace() || "?#\\\"<>^`{|}".contains(character)
    };
    if written.contains(refused) {
        return Err(Malformed(
            "blanks and ?#\\\"<>^`{|} are not part of a path; if the app needs one, \
             percent-encode it",
        ));
    }
    let decoded = decode(written)?;
    match decoded.as_str() {
        "" => Err(Malformed("'//' is an empty segment; write one '/'")),
        "." | ".." => Err(Malformed("a path has no dot segments")),
        _ if decoded.contains(|c: char| c.is_control() || c == '/' || c == '\\') => Err(Malformed(
            "an encoded slash, backslash or control character cannot be part of a route's path",
        )),
        _ => Ok(decoded),
    }
}

fn decode(written: &str) -> Result<String, Malformed> {
    const WRONG: Malformed =
        Malformed("'%' is followed by two hexadecimal digits, all of it in UTF-8");
    let mut decoded = Vec::with_capacity(written.len());
    let mut bytes = written.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                hexadecimal(bytes.next()).ok_or(WRONG)? << 4
                    | hexadecimal(bytes.next()).ok_or(WRONG)?
            }
            plain => plain,
        });
    }
    String::from_utf8(decoded).map_err(|_| WRONG)
}

fn hexadecimal(digit: Option<u8>) -> Option<u8> {
    let value = char::from(digit?).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prop_assert;
    use proptest::prop_assert_eq;
    use proptest::proptest;

    use super::*;

    #[test]
    fn hosts_are_names_in_lower_case() {
        let exact = |name: &str| Ok(HostPattern::Exact(name.to_owned()));
        assert_eq!(host("App.Example.com"), exact("app.example.com"));
        assert_eq!(host("localhost"), exact("localhost"));
        assert_eq!(host("127.0.0.1"), exact("127.0.0.1"));
        assert_eq!(host("[0:0::1]"), exact("[::1]"));
        assert_eq!(
            host("*.Example.com"),
            Ok(HostPattern::Wildcard("example.com".to_owned()))
        );
        for bad in [
            "",
            "*",
            "*.",
            "*.*.example.com",
            "a.*.com",
            "*a.example.com",
            "a:80",
            "::1",
            "[::1]:80",
            "https://a",
            "a/b",
            "a b",
            "a..b",
            "a.",
            ".a",
            "-a",
            "a-",
            "bücher.example",
            "[a]",
            &"a".repeat(64),
            &"a.".repeat(127),
        ] {
            assert!(host(bad).is_err(), "{bad:?}");
        }
    }

    // SECURITY 6
    #[test]
    fn paths_are_whole_decoded_segments() {
        let segments = |segments: &[&str]| {
            Ok(PathPrefix(
                segments.iter().map(|s| (*s).to_owned()).collect(),
            ))
        };
        assert_eq!(path("/"), segments(&[]));
        assert_eq!(path("/notes"), segments(&["notes"]));
        assert_eq!(path("/a/b%20c/%C3%BC"), segments(&["a", "b c", "ü"]));
        assert_eq!(path("/ü/..."), segments(&["ü", "..."]));
        for bad in [
            "", "notes", "/notes/", "//", "//a", "/a//b", "/.", "/a/../b", "/%2e%2E", "/a?b",
            "/a#b", "/a b", "/a\\b", "/a%2fb", "/a%5Cb", "/a%00", "/a%0a", "/%", "/%4", "/%zz",
            "/%+1", "/%ff", "/a\n",
        ] {
            assert!(path(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn methods_are_tokens_in_capitals() {
        assert_eq!(method("GET"), Ok(Method::GET));
        assert!(method("M-SEARCH").is_ok());
        for bad in ["", "get", "Get", "CONNECT", "TRACE", "GE T", "GET\r\n"] {
            assert!(method(bad).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_a_pattern_panic(text in ".*") {
            let _ = (host(&text), path(&text), method(&text));
        }

        // SECURITY 6
        #[test]
        fn a_path_never_holds_what_a_request_may_not(text in r"/([a-z./%?#\\ ]|%[0-9a-fA-F]{2})*") {
            if let Ok(PathPrefix(segments)) = path(&text) {
                for segment in segments {
                    prop_assert!(!segment.is_empty() && segment != "." && segment != "..");
                    prop_assert!(!segment.contains(['/', '\\', '\0']));
                }
            }
        }

        #[test]
        fn plain_paths_are_shown_as_they_are_read(text in "(/[a-z0-9_-]{1,8}){1,5}") {
            let shown = path(&text).map(|path| path.to_string());
            prop_assert_eq!(shown, Ok(text));
        }
    }
}
