//! RFC 9113 §5: what may be sent on a stream, by what it has come to.

use crate::harness::http2::CONTINUATION;
use crate::harness::http2::DATA;
use crate::harness::http2::END_HEADERS;
use crate::harness::http2::END_STREAM;
use crate::harness::http2::HEADERS;
use crate::harness::http2::PRIORITY;
use crate::harness::http2::PROTOCOL_ERROR;
use crate::harness::http2::REFUSED_STREAM;
use crate::harness::http2::RESET;
use crate::harness::http2::STREAM_CLOSED;
use crate::harness::http2::WINDOW_UPDATE;
use crate::harness::http2::WITH_PRIORITY;
use crate::harness::http2::block;
use crate::harness::http2::frame;

use super::Answer;
use super::Connection;
use super::GET;
use super::Nothing;
use super::POST;
use super::Stream;
use super::afterwards;
use super::case;
use super::check;
use super::get;
use super::headers;
use super::post;

const ONE: [u8; 4] = [0, 0, 0, 1];
const CANCELLED: [u8; 4] = [0, 0, 0, 8];

// SECURITY 8
#[tokio::test(flavor = "multi_thread")]
async fn streams_are_used_as_their_states_allow() {
    let protocol = &[PROTOCOL_ERROR];
    let closed = &[STREAM_CLOSED];
    let either = &[PROTOCOL_ERROR, STREAM_CLOSED];
    let data = || frame(DATA, END_STREAM, 1, b"test");
    let goes_on = || frame(CONTINUATION, END_HEADERS, 1, &block(&[("x", "y")]));
    let reset = || frame(RESET, 0, 1, &CANCELLED);
    check(
        vec![
            case(
                "5.1 idle: PRIORITY",
                &[frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 15])],
                Nothing,
            ),
            case("5.1 idle: DATA", &[data()], Connection(protocol)),
            case("5.1 idle: RST_STREAM", &[reset()], Connection(protocol)),
            case(
                "5.1 idle: WINDOW_UPDATE",
                &[frame(WINDOW_UPDATE, 0, 1, &ONE)],
                Connection(protocol),
            ),
            case("5.1 idle: CONTINUATION", &[goes_on()], Connection(protocol)),
            case(
                "5.1 half closed: WINDOW_UPDATE",
                &[get(), frame(WINDOW_UPDATE, 0, 1, &ONE)],
                Answer,
            ),
            case(
                "5.1 half closed: PRIORITY",
                &[get(), frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 15])],
                Answer,
            ),
            case("5.1 half closed: RST_STREAM", &[get(), reset()], Nothing),
            case("5.1 half closed: DATA", &[get(), data()], Stream(closed)),
            case("5.1 half closed: HEADERS", &[get(), get()], Stream(either)),
            case(
                "5.1 half closed: CONTINUATION",
                &[get(), goes_on()],
                Connection(either),
            ),
            case(
                "5.1 reset: PRIORITY",
                &[post(), reset(), frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 15])],
                Nothing,
            ),
            case(
                "5.1 reset: HEADERS",
                &[post(), reset(), get()],
                Stream(closed),
            ),
            case(
                "5.1 reset: CONTINUATION",
                &[post(), reset(), goes_on()],
                Connection(either),
            ),
            case(
                "5.1 reset: DATA",
                &[post(), reset(), data()],
                Stream(closed),
            ),
            afterwards(
                "5.1 closed: PRIORITY",
                &[frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 15])],
                Nothing,
            ),
            afterwards(
                "5.1 closed: WINDOW_UPDATE",
                &[frame(WINDOW_UPDATE, 0, 1, &ONE)],
                Nothing,
            ),
            afterwards("5.1 closed: RST_STREAM", &[reset()], Nothing),
            afterwards("5.1 closed: DATA", &[data()], Stream(closed)),
            afterwards("5.1 closed: HEADERS", &[get()], Connection(closed)),
            afterwards("5.1 closed: CONTINUATION", &[goes_on()], Connection(either)),
        ],
        &[],
    )
    .await;
}

// SECURITY 8
#[tokio::test(flavor = "multi_thread")]
async fn streams_have_numbers_an_end_and_no_circles() {
    let protocol = &[PROTOCOL_ERROR];
    let itself = [&[0, 0, 0, 1, 255][..], &block(&GET)].concat();
    let many: Vec<_> = (0..200)
        .map(|number| headers(2 * number + 1, 0, &POST))
        .collect();
    check(
        vec![
            case(
                "5.1.1 an even number",
                &[headers(2, END_STREAM, &GET)],
                Connection(protocol),
            ),
            case(
                "5.1.1 a smaller number than before",
                &[headers(5, 0, &POST), headers(3, 0, &POST)],
                Connection(&[PROTOCOL_ERROR, STREAM_CLOSED]),
            ),
            case(
                "5.1.2 too many at once",
                &many,
                Stream(&[PROTOCOL_ERROR, REFUSED_STREAM]),
            ),
            case(
                "5.3.1 HEADERS that depend on themselves",
                &[frame(
                    HEADERS,
                    END_HEADERS | END_STREAM | WITH_PRIORITY,
                    1,
                    &itself,
                )],
                Stream(protocol),
            ),
            case(
                "5.3.1 PRIORITY that depends on itself",
                &[post(), frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 255])],
                Stream(protocol),
            ),
        ],
        &[],
    )
    .await;
}
