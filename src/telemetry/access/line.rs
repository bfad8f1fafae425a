//! One line of the access log, for programs or for people.
//!
//! Host and path are a stranger's: whatever they hold, a line stays one line, and what a terminal
//! would obey is shown instead.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use http::Version;

use crate::telemetry::access::Entry;

/// One JSON object (RFC 8259) and a line feed. What is not known is `null`. Only host and path can hold
/// what JSON would not take as it is.
pub(super) fn json(line: &mut Vec<u8>, time: &[u8], entry: &Entry<'_>) {
    line.extend_from_slice(b"{\"time\":\"");
    line.extend_from_slice(time);
    line.extend_from_slice(b"\",\"request_id\":");
    json_plain(line, entry.request_id);
    line.extend_from_slice(b",\"client\":");
    json_optional(line, entry.source);
    line.extend_from_slice(b",\"method\":");
    json_plain(line, entry.method.as_str());
    line.extend_from_slice(b",\"host\":");
    json_string(line, entry.host);
    line.extend_from_slice(b",\"path\":");
    json_string(line, entry.path);
    line.extend_from_slice(b",\"protocol\":");
    json_plain(line, protocol(entry.protocol));
    line.extend_from_slice(b",\"route\":");
    json_string(line, entry.route);
    line.extend_from_slice(b",\"user\":");
    json_optional(line, entry.user);
    line.extend_from_slice(b",\"session\":");
    json_optional(line, entry.session);
    line.extend_from_slice(b",\"decision\":");
    json_plain(line, entry.decision.verdict);
    line.extend_from_slice(b",\"reason\":");
    json_plain(line, entry.decision.reason);
    line.extend_from_slice(b",\"status\":");
    decimal(line, entry.status.as_u16().into());
    line.extend_from_slice(b",\"duration_ms\":");
    json_millis(line, Some(entry.duration));
    line.extend_from_slice(b",\"upstream_ms\":");
    json_millis(line, entry.upstream);
    line.extend_from_slice(b",\"bytes\":");
    decimal(line, entry.bytes);
    line.extend_from_slice(b"}\n");
}

/// What is always there stands in columns; names follow, and what is not known is left out.
pub(super) fn human(line: &mut Vec<u8>, time: &[u8], entry: &Entry<'_>) {
    line.extend_from_slice(time);
    let status = entry.status.as_u16();
    let verdict = entry.decision.verdict;
    let (whole, thousandths) = millis(entry.duration);
    let source = entry.source.unwrap_or("-");
    let method = entry.method.as_str();
    append(
        line,
        format_args!(" {status} {verdict:<15} {whole:>5}.{thousandths:03} ms  {source:<15}  "),
    );
    append(line, format_args!("{method:<7} "));
    shown(line, entry.host);
    shown(line, entry.path);
    let names = [
        ("reason", Some(entry.decision.reason)),
        ("route", Some(entry.route)),
        ("user", entry.user),
        ("session", entry.session),
        ("id", Some(entry.request_id)),
    ];
    for (name, value) in names {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            append(line, format_args!(" {name}="));
            shown(line, value);
        }
    }
    line.push(b'\n');
}

fn json_optional(line: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => json_plain(line, text),
        None => line.extend_from_slice(b"null"),
    }
}

fn json_millis(line: &mut Vec<u8>, duration: Option<Duration>) {
    match duration.map(millis) {
        Some((whole, thousandths)) => {
            decimal(line, whole);
            line.push(b'.');
            line.resize(line.len() + digits_missing(thousandths), b'0');
            decimal(line, thousandths.into());
        }
        None => line.extend_from_slice(b"null"),
    }
}

/// How many zeros make three digits of it.
fn digits_missing(thousandths: u32) -> usize {
    match thousandths {
        0..=9 => 2,
        10..=99 => 1,
        _ => 0,
    }
}

/// As `Display` writes it, at a tenth of the cost.
fn decimal(line: &mut Vec<u8>, number: u64) {
    line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

/// Of an alphabet that holds neither quotes nor backslashes: ids, addresses, tokens of HTTP, our own words.
fn json_plain(line: &mut Vec<u8>, text: &str) {
    debug_assert!(are_plain(text.as_bytes()), "{text}");
    line.push(b'"');
    line.extend_from_slice(text.as_bytes());
    line.push(b'"');
}

fn json_string(line: &mut Vec<u8>, text: &str) {
    line.push(b'"');
    if are_plain(text.as_bytes()) {
        line.extend_from_slice(text.as_bytes());
    } else {
        for character in text.chars() {
            match character {
                '"' => line.extend_from_slice(b"\\\""),
                '\\' => line.extend_from_slice(b"\\\\"),
                hidden if is_hidden(hidden) => {
                    // RFC 8259 §7: beyond the first plane, a pair of surrogates.
                    for unit in hidden.encode_utf16(&mut [0; 2]) {
                        append(line, format_args!("\\u{unit:04x}"));
                    }
                }
                visible => append(line, format_args!("{visible}")),
            }
        }
    }
    line.push(b'"');
}

/// Text for a terminal: `\` and what cannot be seen as escapes of Rust's kind.
fn shown(line: &mut Vec<u8>, text: &str) {
    if text.bytes().all(is_plain) {
        line.extend_from_slice(text.as_bytes());
        return;
    }
    for character in text.chars() {
        if character == '\\' || character == ' ' || is_hidden(character) {
            append(line, format_args!("{}", character.escape_unicode()));
        } else {
            append(line, format_args!("{character}"));
        }
    }
}

/// Whether all of them are visible ASCII that stands for itself in JSON: without a way out of the loop,
/// so that many are looked at together.
fn are_plain(bytes: &[u8]) -> bool {
    let plain = |byte: &u8| byte.wrapping_sub(b'!') < 0x5e && !matches!(byte, b'"' | b'\\');
    bytes.iter().fold(true, |all, byte| all & plain(byte))
}

/// A visible ASCII character that stands for itself everywhere.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'\\'
}

/// What moves the cursor, ends a line or turns the direction of reading around.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}' | '\u{E0000}'..='\u{E0FFF}')
}

fn append(line: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    // Writing into a Vec does not fail.
    let _ = line.write_fmt(text);
}

/// Whole milliseconds, and the microseconds beyond them.
fn millis(duration: Duration) -> (u64, u32) {
    let seconds_in_millis = duration.as_secs().saturating_mul(1000);
    let micros = duration.subsec_micros();
    (
        seconds_in_millis.saturating_add(u64::from(micros / 1000)),
        micros % 1000,
    )
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use http::Method;
    use http::StatusCode;
    use proptest::prelude::any;
    use proptest::prop_assert;
    use proptest::prop_assert_eq;
    use proptest::proptest;
    use serde_json::Value;

    use crate::telemetry::access::Decision;

    use super::*;

    const TIME: &[u8] = b"2026-11-22T05:16:00.123Z";

    fn entry<'a>(host: &'a str, path: &'a str) -> Entry<'a> {
        Entry {
            time: SystemTime::UNIX_EPOCH,
            request_id: "0123456789abcdef0123456789abcdef",
            source: Some("203.0.113.7"),
            method: &Method::GET,
            host,
            path,
            protocol: Version::HTTP_2,
            route: "notes",
            user: Some("00000000-0000-0000-0000-000000000007"),
            session: None,
            decision: Decision {
                verdict: "forbidden",
                reason: "insufficient_scope",
            },
            status: StatusCode::FORBIDDEN,
            duration: Duration::from_micros(1_042),
            upstream: None,
            bytes: 17,
        }
    }

    fn written(format: fn(&mut Vec<u8>, &[u8], &Entry<'_>), entry: &Entry<'_>) -> String {
        let mut line = Vec::new();
        format(&mut line, TIME, entry);
        String::from_utf8(line).unwrap()
    }

    // SECURITY 58
    #[test]
    fn a_line_for_programs_has_every_field() {
        let entry = entry("example.com", "/notes/1");
        let expected = r#"{"time":"2026-11-22T05:16:00.123Z","request_id":"0123456789abcdef0123456789abcdef","client":"203.0.113.7","method":"GET","host":"example.com","path":"/notes/1","protocol":"HTTP/2.0","route":"notes","user":"00000000-0000-0000-0000-000000000007","session":null,"decision":"forbidden","reason":"insufficient_scope","status":403,"duration_ms":1.042,"upstream_ms":null,"bytes":17}"#;
        assert_eq!(written(json, &entry), format!("{expected}\n"));

        let forwarded = Entry {
            source: None,
            user: None,
            session: Some("s"),
            upstream: Some(Duration::from_millis(3)),
            ..entry
        };
        let line: Value = serde_json::from_str(&written(json, &forwarded)).unwrap();
        assert_eq!(line["client"], Value::Null);
        assert_eq!(line["user"], Value::Null);
        assert_eq!(line["session"], "s");
        assert_eq!(line["upstream_ms"], 3.0);
    }

    #[test]
    fn a_line_for_people_has_columns() {
        let refused = entry("example.com", "/notes/1");
        let expected = "2026-11-22T05:16:00.123Z 403 forbidden           1.042 ms  203.0.113.7      GET     example.com/notes/1 reason=insufficient_scope route=notes user=00000000-0000-0000-0000-000000000007 id=0123456789abcdef0123456789abcdef\n";
        assert_eq!(written(human, &refused), expected);

        let anonymous = Entry {
            source: None,
            user: None,
            route: "",
            decision: Decision {
                verdict: "not_found",
                reason: "",
            },
            status: StatusCode::NOT_FOUND,
            ..refused
        };
        let expected = "2026-11-22T05:16:00.123Z 404 not_found           1.042 ms  -                GET     example.com/notes/1 id=0123456789abcdef0123456789abcdef\n";
        assert_eq!(written(human, &anonymous), expected);
    }

    // SECURITY 58
    #[test]
    fn no_line_can_be_forged() {
        let forged = "/\r\n2026 200 \u{1b}[2J\u{9b}31m\u{202e}\u{2028}\u{85}\u{e0041}\\\"\u{7f}\0";
        let line = written(human, &entry("h", forged));
        assert!(
            !line.trim_end_matches('\n').chars().any(is_hidden),
            "{line:?}"
        );
        assert!(
            line.contains(r"h/\u{d}\u{a}2026\u{20}200\u{20}\u{1b}[2J"),
            "{line}"
        );
        assert!(line.contains("\\u{5c}\""), "{line}");

        let line = written(json, &entry("h", forged));
        assert!(
            !line.trim_end_matches('\n').chars().any(is_hidden),
            "{line:?}"
        );
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["path"], forged);
    }

    proptest! {
        #[test]
        fn whatever_was_sent_is_one_line_and_reads_back(host in "(?s).*", path in "(?s).*", bytes in any::<u64>(), micros in any::<u32>()) {
            let entry = Entry {
                bytes,
                duration: Duration::from_micros(micros.into()),
                ..entry(&host, &path)
            };
            let line = written(json, &entry);
            prop_assert_eq!(line.lines().count(), 1);
            prop_assert_eq!(line.find('\n'), Some(line.len() - 1));
            let read: Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(&read["host"], &host);
            prop_assert_eq!(&read["path"], &path);
            prop_assert_eq!(&read["bytes"], bytes);

            let line = written(human, &entry);
            prop_assert_eq!(line.find('\n'), Some(line.len() - 1));
            prop_assert!(!line.trim_end_matches('\n').chars().any(is_hidden));
        }
    }
}
