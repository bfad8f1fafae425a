//! What RFC 9113 and RFC 7541 want of a server, case by case, as h2spec has them: that program is not in
//! Debian. Each case is sent on a connection of its own.

mod frames;
mod hpack;
mod semantics;
mod streams;

use std::time::Duration;

use tokio::time::timeout;

use crate::harness::gateway::Gateway;
use crate::harness::http2::ACK;
use crate::harness::http2::DATA;
use crate::harness::http2::END_HEADERS;
use crate::harness::http2::END_STREAM;
use crate::harness::http2::Frame;
use crate::harness::http2::GO_AWAY;
use crate::harness::http2::HEADERS;
use crate::harness::http2::Http2;
use crate::harness::http2::PING;
use crate::harness::http2::PREFACE;
use crate::harness::http2::RESET;
use crate::harness::http2::SETTINGS;
use crate::harness::http2::block;
use crate::harness::http2::frame;

use super::AUTHORITY;
use super::METHOD;
use super::PATH;
use super::SCHEME;
use super::open_route;

const GET: [(&str, &str); 4] = [METHOD, SCHEME, AUTHORITY, PATH];
const POST: [(&str, &str); 4] = [(":method", "POST"), SCHEME, AUTHORITY, PATH];

/// One case.
struct Case {
    /// The section, and what is sent.
    name: &'static str,
    /// Sent first, and answered on stream 1 before the rest is sent.
    first: Vec<u8>,
    sent: Vec<u8>,
    comes: Comes,
}

/// What must come of it.
#[derive(Clone, Copy, Debug)]
enum Comes {
    /// An error of the connection (RFC 9113 §5.4.1): GOAWAY with one of these codes. Its end is enough, as
    /// it is for h2spec: the library says PROTOCOL_ERROR where another code would tell more.
    Connection(&'static [u32]),
    /// An error of the stream with one of these codes (§5.4.2), or one of the connection.
    Stream(&'static [u32]),
    /// Nothing: what follows is served.
    Nothing,
    /// An answer on stream 1.
    Answer,
    /// SETTINGS.
    Settings,
    /// That our settings were heard.
    SettingsAck,
    /// So many bytes, and no more, of the answer on stream 1.
    Bytes(usize),
}

use Comes::Answer;
use Comes::Connection;
use Comes::Nothing;
use Comes::Stream;

fn case(name: &'static str, frames: &[Vec<u8>], comes: Comes) -> Case {
    Case {
        name,
        first: Vec::new(),
        sent: frames.concat(),
        comes,
    }
}

/// On a connection whose stream 1 is closed, by both ends.
fn afterwards(name: &'static str, frames: &[Vec<u8>], comes: Comes) -> Case {
    Case {
        first: headers(1, END_STREAM, &GET),
        ..case(name, frames, comes)
    }
}

fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, &block(fields))
}

/// A whole request on stream 1.
fn get() -> Vec<u8> {
    headers(1, END_STREAM, &GET)
}

/// One on stream 1 whose body is still to come.
fn post() -> Vec<u8> {
    headers(1, 0, &POST)
}

fn settings(settings: &[(u16, u32)]) -> Vec<u8> {
    let payload = settings
        .iter()
        .map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat());
    frame(SETTINGS, 0, 0, &payload.collect::<Vec<_>>().concat())
}

/// Tries all of them and insists that those which fail are the ones that are known to.
async fn check(cases: Vec<Case>, known_to_fail: &[&str]) {
    let gateway = Gateway::start(&open_route("echo"));
    let mut failed = Vec::new();
    for case in cases {
        let http2 = Http2::connect_silently(&gateway).await;
        failed.extend(attempt(http2, case).await);
    }
    let names: Vec<_> = failed.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, known_to_fail, "{failed:#?}");
    gateway.anonymous_http2().get("/x").await.expect(200);
}

type Failed = (&'static str, String);

async fn attempt(mut http2: Http2, case: Case) -> Option<Failed> {
    let starts_by_itself = case.sent.starts_with(b"PRI") || case.sent.starts_with(b"INVALID");
    if !starts_by_itself {
        http2.raw().send(PREFACE).await;
        http2.send(SETTINGS, 0, 0, &[]).await;
    }
    let mut seen = Vec::new();
    if !case.first.is_empty() {
        http2.raw().send(&case.first).await;
        while !seen.last().is_some_and(ends_the_answer) {
            let Ok(Some(frame)) = timeout(ENOUGH, http2.frame()).await else {
                return Some((case.name, format!("no answer: {seen:?}")));
            };
            seen.push(frame);
        }
    }
    http2.raw().send(&case.sent).await;
    if matches!(case.comes, Nothing) {
        http2.send(PING, 0, 0, b"and then").await;
    }
    let mut bytes = 0;
    loop {
        let Ok(frame) = timeout(ENOUGH, http2.frame()).await else {
            return Some((case.name, format!("nothing came but {seen:?}")));
        };
        let before = bytes;
        let verdict = judge(case.comes, frame.as_ref(), &mut bytes);
        if matches!(case.comes, Comes::Bytes(count) if bytes == count && before != count) {
            // Whatever else were sent would come before what answers this.
            http2.send(PING, 0, 0, b"and then").await;
        }
        match verdict {
            Some(true) => return None,
            Some(false) => return Some((case.name, format!("{frame:?} behind {seen:?}"))),
            None => seen.extend(frame),
        }
    }
}

/// What is to come has come by then, however busy the machine is.
const ENOUGH: Duration = Duration::from_secs(10);

fn ends_the_answer(frame: &Frame) -> bool {
    frame.stream == 1 && matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0
}

/// Whether a frame, or the end of the connection, is what must come; `None` where it says nothing yet.
fn judge(comes: Comes, frame: Option<&Frame>, bytes: &mut usize) -> Option<bool> {
    let is_error = matches!(comes, Connection(_) | Stream(_));
    let Some(frame) = frame else {
        return Some(is_error);
    };
    let code = |at: usize| {
        let code = frame.payload.get(at..at + 4)?;
        Some(u32::from_be_bytes(code.try_into().ok()?))
    };
    let (Connection(codes) | Stream(codes)) = comes else {
        return match (comes, frame.kind) {
            (_, GO_AWAY | RESET) => Some(false),
            (Nothing | Comes::Bytes(_), PING) if frame.flags & ACK != 0 => {
                (frame.payload == b"and then").then_some(true)
            }
            (Comes::Bytes(count), DATA) => {
                *bytes += frame.payload.len();
                (*bytes > count).then_some(false)
            }
            (Answer, HEADERS) if frame.stream == 1 => Some(true),
            (Comes::Settings, SETTINGS) if frame.flags & ACK == 0 => Some(true),
            (Comes::SettingsAck, SETTINGS) if frame.flags & ACK != 0 => Some(true),
            _ => None,
        };
    };
    match (comes, frame.kind) {
        (_, GO_AWAY) if code(4).is_some_and(|code| codes.contains(&code)) => Some(true),
        (Stream(_), RESET) => Some(code(0).is_some_and(|code| codes.contains(&code))),
        _ => None,
    }
}
