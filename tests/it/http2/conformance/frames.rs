//! RFC 9113 §3, §4 and §6: how a connection begins, and what each frame may be.

use crate::harness::http2::ACK;
use crate::harness::http2::COMPRESSION_ERROR;
use crate::harness::http2::CONTINUATION;
use crate::harness::http2::DATA;
use crate::harness::http2::ENABLE_PUSH;
use crate::harness::http2::END_HEADERS;
use crate::harness::http2::END_STREAM;
use crate::harness::http2::FLOW_CONTROL_ERROR;
use crate::harness::http2::FRAME_SIZE_ERROR;
use crate::harness::http2::GO_AWAY;
use crate::harness::http2::HEADER_TABLE_SIZE;
use crate::harness::http2::HEADERS;
use crate::harness::http2::INITIAL_WINDOW_SIZE;
use crate::harness::http2::MAX_FRAME_SIZE;
use crate::harness::http2::PADDED;
use crate::harness::http2::PING;
use crate::harness::http2::PREFACE;
use crate::harness::http2::PRIORITY;
use crate::harness::http2::PROTOCOL_ERROR;
use crate::harness::http2::PUSH_PROMISE;
use crate::harness::http2::RESET;
use crate::harness::http2::SETTINGS;
use crate::harness::http2::STREAM_CLOSED;
use crate::harness::http2::WINDOW_UPDATE;
use crate::harness::http2::WITH_PRIORITY;
use crate::harness::http2::block;
use crate::harness::http2::frame;

use super::Answer;
use super::Comes;
use super::Connection;
use super::GET;
use super::Nothing;
use super::Stream;
use super::case;
use super::check;
use super::get;
use super::headers;
use super::post;
use super::settings;

const MAX_WINDOW: [u8; 4] = 0x7fff_ffff_u32.to_be_bytes();

/// A block in pieces, the last of which says so or not.
fn pieces(flags: u8, last: u8) -> Vec<Vec<u8>> {
    let block = block(&GET);
    let (first, rest) = block.split_at(10);
    let (second, third) = rest.split_at(10);
    vec![
        frame(HEADERS, flags, 1, first),
        frame(CONTINUATION, 0, 1, second),
        frame(CONTINUATION, last, 1, third),
    ]
}

fn begun() -> Vec<u8> {
    frame(HEADERS, END_STREAM, 1, &block(&GET))
}

fn with_priority(dependency: u32, weight: u8, padding: Option<u8>) -> Vec<u8> {
    let flags = END_HEADERS | END_STREAM | WITH_PRIORITY;
    let (flags, length) = match padding {
        Some(_) => (flags | PADDED, padding),
        None => (flags, None),
    };
    let mut payload: Vec<u8> = length.into_iter().collect();
    payload.extend(dependency.to_be_bytes());
    payload.push(weight);
    payload.extend(block(&GET));
    payload.extend(vec![0; padding.unwrap_or_default().into()]);
    frame(HEADERS, flags, 1, &payload)
}

// SECURITY 8
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_begins_with_the_preface() {
    let started = [PREFACE.to_vec(), settings(&[])];
    check(
        vec![
            case("3.4 preface", &started, Comes::Settings),
            case(
                "3.4 settings are acknowledged",
                &started,
                Comes::SettingsAck,
            ),
            case(
                "3.4 another preface",
                &[b"INVALID CONNECTION PREFACE\r\n\r\n".to_vec()],
                Connection(&[PROTOCOL_ERROR]),
            ),
            case(
                "3.4 no settings behind the preface",
                &[PREFACE.to_vec(), frame(PING, 0, 0, &[0; 8])],
                Connection(&[PROTOCOL_ERROR]),
            ),
        ],
        // The library does not insist on it.
        &["3.4 no settings behind the preface"],
    )
    .await;
}

// SECURITY 8
#[tokio::test(flavor = "multi_thread")]
async fn frames_are_of_a_size_and_of_a_kind() {
    let large = vec![b'a'; 16384];
    let too_large = vec![b'a'; 16385];
    let size = &[FRAME_SIZE_ERROR];
    check(
        vec![
            case("4.1 unknown type", &[frame(22, 0, 0, &[0; 8])], Nothing),
            case(
                "4.1 unknown flags",
                &[frame(PING, 0x16, 0, &[0; 8])],
                Nothing,
            ),
            case(
                "4.1 reserved bit",
                &[frame(PING, 0, 0x8000_0000, &[0; 8])],
                Nothing,
            ),
            case(
                "4.2 as large as allowed",
                &[post(), frame(DATA, END_STREAM, 1, &large)],
                Answer,
            ),
            case(
                "4.2 too large DATA",
                &[post(), frame(DATA, END_STREAM, 1, &too_large)],
                Stream(size),
            ),
            case(
                "4.2 too large HEADERS",
                &[frame(HEADERS, END_HEADERS | END_STREAM, 1, &too_large)],
                Connection(size),
            ),
            case(
                "4.2 too large SETTINGS",
                &[frame(SETTINGS, 0, 0, &[0; 16386])],
                Connection(size),
            ),
            case(
                "4.3 no header block",
                &[frame(
                    HEADERS,
                    END_HEADERS | END_STREAM,
                    1,
                    &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                )],
                Connection(&[COMPRESSION_ERROR]),
            ),
            case(
                "4.3 PRIORITY inside a header block",
                &[
                    begun(),
                    frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 255]),
                    frame(CONTINUATION, END_HEADERS, 1, &[]),
                ],
                Connection(&[PROTOCOL_ERROR]),
            ),
            case(
                "4.3 HEADERS of another stream inside a header block",
                &[begun(), headers(3, END_STREAM, &GET)],
                Connection(&[PROTOCOL_ERROR]),
            ),
            case(
                "5.5 unknown extension",
                &[frame(0x16, 0, 0, b"unknown!")],
                Nothing,
            ),
            case(
                "5.5 unknown extension inside a header block",
                &[begun(), frame(0x16, 0, 1, b"unknown!")],
                Connection(&[PROTOCOL_ERROR]),
            ),
            case(
                "5.4.1 the connection ends behind an error",
                &[frame(PING, 0, 1, &[0; 6])],
                Connection(&[PROTOCOL_ERROR, FRAME_SIZE_ERROR]),
            ),
        ],
        &[],
    )
    .await;
}

// SECURITY 8
#[tokio::test(flavor = "multi_thread")]
async fn data_headers_and_priority_are_as_they_must_be() {
    let protocol = &[PROTOCOL_ERROR];
    check(
        vec![
            case(
                "6.1 DATA",
                &[post(), frame(DATA, END_STREAM, 1, b"test")],
                Answer,
            ),
            case(
                "6.1 several DATA",
                &[
                    post(),
                    frame(DATA, 0, 1, b"test"),
                    frame(DATA, END_STREAM, 1, b"test"),
                ],
                Answer,
            ),
            case(
                "6.1 padded DATA",
                &[
                    post(),
                    frame(DATA, END_STREAM | PADDED, 1, &[2, b'a', 0, 0]),
                ],
                Answer,
            ),
            case(
                "6.1 DATA on stream 0",
                &[frame(DATA, END_STREAM, 0, b"test")],
                Connection(protocol),
            ),
            case(
                "6.1 DATA on a stream that is not open",
                &[get(), frame(DATA, END_STREAM, 1, b"test")],
                Stream(&[STREAM_CLOSED]),
            ),
            case(
                "6.1 DATA with too much padding",
                &[
                    post(),
                    frame(DATA, END_STREAM | PADDED, 1, &[5, b'a', b'b']),
                ],
                Connection(protocol),
            ),
            case("6.2 HEADERS", &[get()], Answer),
            case(
                "6.2 padded HEADERS",
                &[frame(
                    HEADERS,
                    END_HEADERS | END_STREAM | PADDED,
                    1,
                    &[&[2][..], &block(&GET), &[0, 0]].concat(),
                )],
                Answer,
            ),
            case(
                "6.2 HEADERS with priority",
                &[with_priority(0, 255, None)],
                Answer,
            ),
            case(
                "6.2 padded HEADERS with priority",
                &[with_priority(0, 255, Some(7))],
                Answer,
            ),
            case(
                "6.2 HEADERS on stream 0",
                &[headers(0, END_STREAM, &GET)],
                Connection(protocol),
            ),
            case(
                "6.2 HEADERS with too much padding",
                &[frame(
                    HEADERS,
                    END_HEADERS | END_STREAM | PADDED,
                    1,
                    &[200, 0, 0],
                )],
                Connection(protocol),
            ),
            case(
                "6.3 PRIORITY",
                &[frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 0]), get()],
                Answer,
            ),
            case(
                "6.3 PRIORITY of 256",
                &[frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 255]), get()],
                Answer,
            ),
            case(
                "6.3 PRIORITY with dependency",
                &[frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 15]), get()],
                Answer,
            ),
            case(
                "6.3 PRIORITY, exclusive",
                &[frame(PRIORITY, 0, 1, &[0x80, 0, 0, 3, 15]), get()],
                Answer,
            ),
            case(
                "6.3 PRIORITY of a higher stream than the request's",
                &[frame(PRIORITY, 0, 101, &[0, 0, 0, 0, 15]), get()],
                Answer,
            ),
            case(
                "6.3 PRIORITY on stream 0",
                &[frame(PRIORITY, 0, 0, &[0, 0, 0, 1, 15])],
                Connection(protocol),
            ),
            case(
                "6.3 PRIORITY of another length",
                &[post(), frame(PRIORITY, 0, 1, &[0, 0, 0, 1])],
                Stream(&[FRAME_SIZE_ERROR]),
            ),
            case(
                "6.6 and 8.4 PUSH_PROMISE",
                &[frame(
                    PUSH_PROMISE,
                    END_HEADERS,
                    1,
                    &[&[0, 0, 0, 3][..], &block(&GET)].concat(),
                )],
                Connection(protocol),
            ),
        ],
        &[],
    )
    .await;
}

// SECURITY 8
#[tokio::test(flavor = "multi_thread")]
async fn frames_about_the_connection_are_as_they_must_be() {
    let protocol = &[PROTOCOL_ERROR];
    let size = &[FRAME_SIZE_ERROR];
    let unknown = 0xff_u32.to_be_bytes();
    check(
        vec![
            case(
                "6.4 RST_STREAM",
                &[post(), frame(RESET, 0, 1, &[0, 0, 0, 8])],
                Nothing,
            ),
            case(
                "6.4 RST_STREAM on stream 0",
                &[frame(RESET, 0, 0, &[0, 0, 0, 8])],
                Connection(protocol),
            ),
            case(
                "6.4 RST_STREAM on an idle stream",
                &[frame(RESET, 0, 1, &[0, 0, 0, 8])],
                Connection(protocol),
            ),
            case(
                "6.4 RST_STREAM of another length",
                &[post(), frame(RESET, 0, 1, &[0, 0, 0])],
                Connection(size),
            ),
            case(
                "6.5 SETTINGS",
                &[settings(&[(HEADER_TABLE_SIZE, 4096)])],
                Comes::SettingsAck,
            ),
            case(
                "6.5 acknowledgement with a payload",
                &[frame(SETTINGS, ACK, 0, &[0; 6])],
                Connection(size),
            ),
            case(
                "6.5 SETTINGS on a stream",
                &[frame(SETTINGS, 0, 1, &[0, 3, 0, 0, 0, 100])],
                Connection(protocol),
            ),
            case(
                "6.5 SETTINGS of another length",
                &[frame(SETTINGS, 0, 0, &[0, 3, 0])],
                Connection(size),
            ),
            case(
                "6.5.2 ENABLE_PUSH of 2",
                &[settings(&[(ENABLE_PUSH, 2)])],
                Connection(protocol),
            ),
            case(
                "6.5.2 INITIAL_WINDOW_SIZE too large",
                &[settings(&[(INITIAL_WINDOW_SIZE, 0x8000_0000)])],
                Connection(&[FLOW_CONTROL_ERROR]),
            ),
            case(
                "6.5.2 MAX_FRAME_SIZE too small",
                &[settings(&[(MAX_FRAME_SIZE, 16383)])],
                Connection(protocol),
            ),
            case(
                "6.5.2 MAX_FRAME_SIZE too large",
                &[settings(&[(MAX_FRAME_SIZE, 1 << 24)])],
                Connection(protocol),
            ),
            case("6.5.2 unknown setting", &[settings(&[(0xff, 1)])], Nothing),
            case(
                "6.5.3 the last of several values counts",
                &[
                    settings(&[(INITIAL_WINDOW_SIZE, 100), (INITIAL_WINDOW_SIZE, 1)]),
                    get(),
                ],
                Comes::Bytes(1),
            ),
            case("6.7 PING", &[frame(PING, 0, 0, b"and then")], Nothing),
            case(
                "6.7 acknowledgement that nobody asked for",
                &[frame(PING, ACK, 0, b"not ours")],
                Nothing,
            ),
            case(
                "6.7 PING on a stream",
                &[frame(PING, 0, 1, &[0; 8])],
                Connection(protocol),
            ),
            case(
                "6.7 PING of another length",
                &[frame(PING, 0, 0, &[0; 6])],
                Connection(size),
            ),
            case(
                "6.8 GOAWAY on a stream",
                &[frame(GO_AWAY, 0, 1, &[0; 8])],
                Connection(protocol),
            ),
            case(
                "6.9 WINDOW_UPDATE",
                &[frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])],
                Nothing,
            ),
            case(
                "6.9 WINDOW_UPDATE of a stream",
                &[get(), frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])],
                Answer,
            ),
            case(
                "6.9 WINDOW_UPDATE by 0",
                &[frame(WINDOW_UPDATE, 0, 0, &[0; 4])],
                Connection(protocol),
            ),
            case(
                "6.9 WINDOW_UPDATE of a stream by 0",
                &[post(), frame(WINDOW_UPDATE, 0, 1, &[0; 4])],
                Stream(protocol),
            ),
            case(
                "6.9 WINDOW_UPDATE of another length",
                &[frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1])],
                Connection(size),
            ),
            case(
                "6.9.1 a window of 1",
                &[settings(&[(INITIAL_WINDOW_SIZE, 1)]), get()],
                Comes::Bytes(1),
            ),
            case(
                "6.9.1 too large a window",
                &[
                    frame(WINDOW_UPDATE, 0, 0, &MAX_WINDOW),
                    frame(WINDOW_UPDATE, 0, 0, &MAX_WINDOW),
                ],
                Connection(&[FLOW_CONTROL_ERROR]),
            ),
            case(
                "6.9.1 too large a window of a stream",
                &[
                    post(),
                    frame(WINDOW_UPDATE, 0, 1, &MAX_WINDOW),
                    frame(WINDOW_UPDATE, 0, 1, &MAX_WINDOW),
                ],
                Stream(&[FLOW_CONTROL_ERROR]),
            ),
            case(
                "6.9.2 a window that is opened later",
                &[
                    settings(&[(INITIAL_WINDOW_SIZE, 0)]),
                    get(),
                    settings(&[(INITIAL_WINDOW_SIZE, 1)]),
                ],
                Comes::Bytes(1),
            ),
            case(
                "6.9.2 a window below nothing",
                &[
                    settings(&[(INITIAL_WINDOW_SIZE, 3)]),
                    get(),
                    settings(&[(INITIAL_WINDOW_SIZE, 0)]),
                    frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 2]),
                ],
                Nothing,
            ),
            case(
                "7 GOAWAY with an unknown code",
                &[frame(GO_AWAY, 0, 0, &[&[0; 4][..], &unknown].concat())],
                Connection(&[0]),
            ),
            case(
                "7 RST_STREAM with an unknown code",
                &[post(), frame(RESET, 0, 1, &unknown)],
                Nothing,
            ),
        ],
        &[],
    )
    .await;
}

// SECURITY 8
#[tokio::test(flavor = "multi_thread")]
async fn a_header_block_goes_on_without_a_break() {
    let protocol = &[PROTOCOL_ERROR];
    let whole = pieces(END_STREAM, END_HEADERS);
    let behind = |last: Vec<u8>| [&whole[..], &[last]].concat();
    let one = frame(CONTINUATION, END_HEADERS, 1, &block(&[("x", "y")]));
    let stray = &[PROTOCOL_ERROR, STREAM_CLOSED];
    check(
        vec![
            case("6.10 CONTINUATION", &whole, Answer),
            case(
                "6.10 DATA inside",
                &[begun(), frame(DATA, END_STREAM, 1, b"test")],
                Connection(protocol),
            ),
            case(
                "6.10 HEADERS inside",
                &[begun(), get()],
                Connection(protocol),
            ),
            case(
                "6.10 CONTINUATION on stream 0",
                &[begun(), frame(CONTINUATION, END_HEADERS, 0, &[])],
                Connection(protocol),
            ),
            case(
                "6.10 CONTINUATION of another stream",
                &[begun(), frame(CONTINUATION, END_HEADERS, 3, &[])],
                Connection(protocol),
            ),
            case(
                "6.10 CONTINUATION behind the end in HEADERS",
                &[post(), one.clone()],
                Connection(stray),
            ),
            case(
                "6.10 CONTINUATION behind the end in CONTINUATION",
                &behind(one.clone()),
                Connection(stray),
            ),
            case(
                "6.10 CONTINUATION behind DATA",
                &[post(), frame(DATA, 0, 1, b"test"), one],
                Connection(stray),
            ),
        ],
        &[],
    )
    .await;
}
