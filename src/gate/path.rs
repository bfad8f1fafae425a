//! The path of a request: checked once, matched by whole decoded segments, never re-spelled.
//!
//! What is authorised is what is forwarded, byte for byte (SECURITY 6). Spellings by which an app
//! might understand another path than we do are refused, or allowed by a route that names them;
//! and where they are allowed, [`RequestPath::understood`] still has to lead to the same route.

use std::borrow::Cow;

use http::uri::PathAndQuery;

use crate::config::PathOddities;

/// A path that holds nothing that is always refused.
#[derive(Clone, Debug)]
pub struct RequestPath {
    target: PathAndQuery,
    oddities: PathOddities,
}

/// Why a path is a 400 on every route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathRefusal {
    /// `OPTIONS *`, a query or a fragment alone, or nothing at all.
    #[error("The request target must be a path that starts with '/'.")]
    NotAPath,
    /// `.` or `..` in any encoding.
    #[error("The path holds a dot segment ('.' or '..'), which is always refused.")]
    DotSegment,
    /// `%00`, a control byte, `#`.
    #[error("The path holds a control byte or '#', which is always refused.")]
    Control,
    /// A `%` without two hexadecimal digits.
    #[error("The path holds a '%' that is not followed by two hexadecimal digits.")]
    BadEncoding,
    /// Encoded over and over.
    #[error("The path is percent-encoded too many times over.")]
    TooDeep,
    /// Not UTF-8 once decoded.
    #[error("The path is not UTF-8 once it is percent-decoded.")]
    NotUtf8,
}

/// How often a path is decoded to see what an app might make of it. None decodes thrice.
const DECODINGS_MAX: usize = 4;

impl RequestPath {
    /// Checks a request target.
    ///
    /// # Errors
    ///
    /// Where the path holds what no route may allow.
    pub fn check(target: PathAndQuery) -> Result<Self, PathRefusal> {
        // An empty target calls itself "/" and is written as nothing: that is what is left of `#x`, or of
        // HTTP/2 without a `:path`. And `?x` has no path of its own.
        let text = target.as_str();
        if !text.starts_with('/') || text == "/" && target != PathAndQuery::from_static("/") {
            return Err(PathRefusal::NotAPath);
        }
        let path = target.path();
        let oddities = if path.bytes().all(is_plain) && !path.contains("//") {
            check_plain_segments(path)?;
            PathOddities::default()
        } else {
            examine(path)?
        };
        Ok(Self { target, oddities })
    }

    /// Path and query, as sent.
    pub fn target(&self) -> &PathAndQuery {
        &self.target
    }

    /// The path, as sent.
    pub fn as_str(&self) -> &str {
        self.target.path()
    }

    /// Which unusual spellings it holds.
    pub fn oddities(&self) -> PathOddities {
        self.oddities
    }

    /// The decoded segments; none for `/`. A trailing slash makes no segment.
    pub fn segments(&self) -> impl Iterator<Item = Cow<'_, str>> {
        raw_segments(self.target.path()).map(decode)
    }

    /// As much of the path, as sent, as its first `count` segments take.
    pub fn first_segments(&self, count: usize) -> &str {
        let path = self.target.path();
        let end = path
            .match_indices('/')
            .nth(count)
            .map_or(path.len(), |(at, _)| at);
        path.get(..end).unwrap_or_default()
    }

    /// Whether [`fold_case`] might change a segment. Most paths are lower case and need no look.
    pub fn may_have_cased(&self) -> bool {
        let may_be_cased = |byte: u8| byte.is_ascii_uppercase() || byte == b'%' || !byte.is_ascii();
        self.target.path().bytes().any(may_be_cased)
    }

    /// The segments as the most eager app would understand them: decoded until nothing changes,
    /// backslashes as slashes, without parameters and empty segments.
    ///
    /// # Errors
    ///
    /// Where that reading has a dot segment or a control byte, or needs more than
    /// [`DECODINGS_MAX`] decodings: `%25252525...` would otherwise cost its length squared.
    pub fn understood(&self) -> Result<Vec<String>, PathRefusal> {
        let mut path = self.target.path().to_owned();
        for _ in 0..DECODINGS_MAX {
            path = decode(&path).into_owned();
        }
        if has_encoding(&path) {
            return Err(PathRefusal::TooDeep);
        }
        if path
            .chars()
            .any(|character| character.is_control() || character == '\u{FFFD}')
        {
            return Err(PathRefusal::Control);
        }
        path.split(['/', '\\'])
            .map(|segment| segment.split(';').next().unwrap_or_default())
            .filter(|segment| !segment.is_empty())
            .map(|segment| match segment {
                "." | ".." => Err(PathRefusal::DotSegment),
                _ => Ok(segment.to_owned()),
            })
            .collect()
    }
}

/// A segment as an app understands it that does not tell case apart: one spelling for all that are
/// the same letter in some case, such as `K` and the Kelvin sign. Lower case comes first as well: the
/// capital `ẞ` is its own upper case, and only as `ß` becomes `ss`.
pub fn fold_case(segment: &str) -> String {
    if segment.is_ascii() {
        return segment.to_ascii_lowercase();
    }
    segment
        .chars()
        .flat_map(char::to_lowercase)
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .collect()
}

/// A decoded segment as it travels: every byte that is not a path's own is percent-encoded.
pub fn encoded(segment: &str) -> String {
    let byte = |byte: u8| {
        if byte != b'/' && is_plain(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    segment.bytes().map(byte).collect()
}

/// Bytes that need no second look: by far the most paths consist of them alone.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b'/' | b'-' | b'_' | b'.' | b'~' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9'
        | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@')
}

fn check_plain_segments(path: &str) -> Result<(), PathRefusal> {
    if path.contains("/.") && raw_segments(path).any(|segment| matches!(segment, "." | "..")) {
        return Err(PathRefusal::DotSegment);
    }
    Ok(())
}

fn examine(path: &str) -> Result<PathOddities, PathRefusal> {
    let mut oddities = PathOddities {
        double_slash: path.contains("//"),
        encoded_slash: path.contains('\\'),
        semicolon: path.contains(';'),
        double_encoding: false,
        case: false,
    };
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let (byte, encoded) = match (byte, after) {
            (b'%', [high, low, after @ ..]) => {
                rest = after;
                (hex_pair(*high, *low).ok_or(PathRefusal::BadEncoding)?, true)
            }
            (b'%', _) => return Err(PathRefusal::BadEncoding),
            (byte, _) => (byte, false),
        };
        match byte {
            b'#' if !encoded => return Err(PathRefusal::Control),
            0x00..=0x1f | 0x7f => return Err(PathRefusal::Control),
            b'/' | b'\\' if encoded => oddities.encoded_slash = true,
            b';' => oddities.semicolon = true,
            _ => {}
        }
    }
    for segment in raw_segments(path) {
        // `..;x` and `%2e%2e%2f` are dot segments to somebody.
        let decoded = decode_strictly(segment)?;
        // `%252e`, and `%25%32%65` as well: what is left would be decoded by an app that does so twice.
        oddities.double_encoding |= has_encoding(&decoded);
        let is_dots = |part: &str| matches!(part.split(';').next(), Some("." | ".."));
        if decoded.split(['/', '\\']).any(is_dots) {
            return Err(PathRefusal::DotSegment);
        }
    }
    Ok(oddities)
}

fn has_encoding(text: &str) -> bool {
    let mut triples = text.as_bytes().windows(3);
    triples.any(|triple| matches!(triple, [b'%', high, low] if hex_pair(*high, *low).is_some()))
}

/// Splits at slashes; the leading slash and one trailing slash make no segment.
fn raw_segments(path: &str) -> impl Iterator<Item = &str> {
    let inner = path.strip_prefix('/').unwrap_or(path);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    let is_root = path.len() <= 1;
    inner.split('/').skip(usize::from(is_root))
}

fn decode_strictly(segment: &str) -> Result<Cow<'_, str>, PathRefusal> {
    match decode_bytes(segment) {
        None => Ok(Cow::Borrowed(segment)),
        Some(bytes) => String::from_utf8(bytes)
            .map(Cow::Owned)
            .map_err(|_| PathRefusal::NotUtf8),
    }
}

/// As [`decode_strictly`], of text that has been through it.
fn decode(segment: &str) -> Cow<'_, str> {
    match decode_bytes(segment) {
        None => Cow::Borrowed(segment),
        Some(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

/// `None` where there is nothing to decode; a `%` without digits stays as it is.
fn decode_bytes(segment: &str) -> Option<Vec<u8>> {
    segment.contains('%').then(|| {
        let mut decoded = Vec::with_capacity(segment.len());
        let mut rest = segment.as_bytes();
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            let pair = match (byte, after) {
                (b'%', [high, low, ..]) => hex_pair(*high, *low),
                _ => None,
            };
            decoded.push(pair.unwrap_or(byte));
            if pair.is_some() {
                rest = after.get(2..).unwrap_or_default();
            }
        }
        decoded
    })
}

fn hex_pair(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::any;
    use proptest::proptest;

    use super::*;

    fn check(path: &str) -> Result<RequestPath, PathRefusal> {
        RequestPath::check(path.parse().map_err(|_| PathRefusal::NotAPath)?)
    }

    #[track_caller]
    fn refuses(path: &str, why: PathRefusal) {
        assert_eq!(check(path).err(), Some(why), "{path:?}");
    }

    #[track_caller]
    fn segments(path: &str, expected: &[&str]) {
        let path = check(path).unwrap();
        assert_eq!(path.segments().collect::<Vec<_>>(), expected);
    }

    // SECURITY 6
    #[test]
    fn what_is_no_path_is_not_taken_for_the_root() {
        for target in ["*", "?x", "?", "#", "#/x"] {
            refuses(target, PathRefusal::NotAPath);
        }
        segments("/", &[]);
        segments("/?x", &[]);
        segments("/#x", &[]);
    }

    // SECURITY 6
    #[test]
    fn dot_segments_are_refused_in_every_encoding() {
        for path in [
            "/..",
            "/.",
            "/a/../b",
            "/a/./b",
            "/a/..",
            "/%2e%2e",
            "/%2E",
            "/a/.%2e/b",
            "/a/%2e./b",
            "/..;x=1/a",
            "/a/..%2fb",
            "/a%2f..%2fb",
            "/a/..%5cb",
            "/a/%2e%2e%5c",
        ] {
            refuses(path, PathRefusal::DotSegment);
        }
        segments("/a/.../b..", &["a", "...", "b.."]);
        segments("/.well-known/x", &[".well-known", "x"]);
    }

    // SECURITY 6
    #[test]
    fn control_bytes_bad_encodings_and_other_alphabets_are_refused() {
        refuses("/a%00b", PathRefusal::Control);
        refuses("/a%0d%0ab", PathRefusal::Control);
        refuses("/%7f", PathRefusal::Control);
        refuses("/a%", PathRefusal::BadEncoding);
        refuses("/a%2", PathRefusal::BadEncoding);
        refuses("/a%zz", PathRefusal::BadEncoding);
        refuses("/%ff", PathRefusal::NotUtf8);
        refuses("/%c3%28", PathRefusal::NotUtf8);
        refuses("*", PathRefusal::NotAPath);
        segments("/%c3%a9", &["é"]);
    }

    // SECURITY 6
    #[test]
    fn oddities_are_named() {
        let oddities = |path: &str| check(path).unwrap().oddities();
        assert_eq!(oddities("/a/b?x=//;%2f"), PathOddities::default());
        assert!(oddities("/a//b").double_slash);
        assert!(oddities("//a").double_slash);
        assert!(oddities("/a//").double_slash);
        assert!(oddities("/a%2fb").encoded_slash);
        assert!(oddities("/a%5Cb").encoded_slash);
        assert!(oddities("/a;b").semicolon);
        assert!(oddities("/a%3bb").semicolon);
        assert!(oddities("/a%2561").double_encoding);
        assert!(oddities("/%25%32%65%25%32%65/x").double_encoding);
        assert!(oddities("/%252%65").double_encoding);
        assert!(oddities("/%25%32fadmin").double_encoding);
        assert!(!oddities("/100%25").double_encoding);
    }

    #[test]
    fn the_most_eager_reading_is_known() {
        let understood = |path: &str| check(path).unwrap().understood();
        assert_eq!(
            understood("//admin//x"),
            Ok(vec!["admin".into(), "x".into()])
        );
        assert_eq!(
            understood("/p%2fadmin"),
            Ok(vec!["p".into(), "admin".into()])
        );
        assert_eq!(
            understood("/admin;x/y"),
            Ok(vec!["admin".into(), "y".into()])
        );
        assert_eq!(understood("/%2561dmin"), Ok(vec!["admin".into()]));
        assert_eq!(understood("/a/%252e%252e/b"), Err(PathRefusal::DotSegment));
        assert_eq!(understood("/a%2500"), Err(PathRefusal::Control));
        assert_eq!(understood("/%25252561"), Ok(vec!["a".into()]));
        let deep = format!("/%{}61", "25".repeat(4));
        assert_eq!(understood(&deep), Err(PathRefusal::TooDeep));
    }

    #[test]
    fn the_first_segments_are_cut_as_sent() {
        let first = |path: &str, count| check(path).unwrap().first_segments(count).to_owned();
        assert_eq!(first("/a/b/c", 2), "/a/b");
        assert_eq!(first("/a/b", 2), "/a/b");
        assert_eq!(first("/%61/b", 1), "/%61");
        assert_eq!(first("/a", 0), "");
    }

    #[test]
    fn segments_are_whole_and_decoded() {
        segments("/", &[]);
        segments("/a", &["a"]);
        segments("/a/", &["a"]);
        segments("/a/b%20c?d/e", &["a", "b c"]);
        segments("/%61dmin", &["admin"]);
    }

    proptest! {
        #[test]
        fn no_path_panics_and_an_accepted_one_has_no_dots(bytes in any::<Vec<u8>>()) {
            let text = format!("/{}", String::from_utf8_lossy(&bytes));
            if let Ok(path) = check(&text) {
                assert!(path.segments().all(|segment| segment != "." && segment != ".."));
                assert!(path.segments().all(|segment| !segment.contains(char::is_control)
                    || segment.chars().all(|c| !c.is_ascii_control())));
                let _ = path.understood();
            }
        }

        #[test]
        fn percent_soup_never_panics(text in "/[%/.;0-9a-fA-F\\\\]{0,40}") {
            if let Ok(path) = check(&text) {
                assert!(path.segments().all(|segment| segment != "." && segment != ".."));
                let _ = path.understood();
            }
        }
    }
}
