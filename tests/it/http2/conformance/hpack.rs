//! RFC 7541: how fields are written down.

use crate::harness::http2::COMPRESSION_ERROR;
use crate::harness::http2::END_HEADERS;
use crate::harness::http2::END_STREAM;
use crate::harness::http2::HEADERS;
use crate::harness::http2::block;
use crate::harness::http2::frame;

use super::Answer;
use super::Case;
use super::Comes;
use super::Connection;
use super::GET;
use super::case;
use super::check;

/// A request whose block goes on with these bytes.
fn with(name: &'static str, more: &[u8], comes: Comes) -> Case {
    let block = [&block(&GET), more].concat();
    let whole = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block);
    case(name, &[whole], comes)
}

// SECURITY 8
#[tokio::test(flavor = "multi_thread")]
async fn every_way_of_writing_a_field_is_understood() {
    let huffman = [
        0x00, 0x85, 0xf2, 0xb2, 0x4a, 0x84, 0xff, 0x83, 0x49, 0x50, 0x9f,
    ];
    let size_first = [&[0x20][..], &block(&GET)].concat();
    check(
        vec![
            with("6.1 an indexed field", &[0x90], Answer),
            with("6.2.1 indexed, known name", &[0x7a, 2, b'o', b'k'], Answer),
            with(
                "6.2.1 indexed, new name",
                &[0x40, 1, b'x', 2, b'o', b'k'],
                Answer,
            ),
            with(
                "6.2.1 indexed, and used",
                &[0x40, 1, b'x', 2, b'o', b'k', 0xbe],
                Answer,
            ),
            with(
                "6.2.2 not indexed, known name",
                &[0x0f, 0x2b, 2, b'o', b'k'],
                Answer,
            ),
            with(
                "6.2.2 not indexed, new name",
                &[0x00, 1, b'x', 2, b'o', b'k'],
                Answer,
            ),
            with(
                "6.2.3 never indexed, known name",
                &[0x1f, 0x2b, 2, b'o', b'k'],
                Answer,
            ),
            with(
                "6.2.3 never indexed, new name",
                &[0x10, 1, b'x', 2, b'o', b'k'],
                Answer,
            ),
            with("5.2 Huffman's code", &huffman, Answer),
            case(
                "6.3 a table size",
                &[frame(HEADERS, END_HEADERS | END_STREAM, 1, &size_first)],
                Answer,
            ),
        ],
        &[],
    )
    .await;
}

// SECURITY 8
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_ends_the_connection() {
    let error = Connection(&[COMPRESSION_ERROR]);
    check(
        vec![
            with("2.3.3 an index that there is not", &[0xff, 0x00], error),
            with(
                "2.3.3 a name that there is not",
                &[0x7f, 0x64, 2, b'o', b'k'],
                error,
            ),
            with("4.2 a table size behind fields", &[0x20], error),
            with(
                "5.2 more than seven bits of padding",
                &[
                    0x00, 0x85, 0xf2, 0xb2, 0x4a, 0x84, 0xff, 0x84, 0x49, 0x50, 0x9f, 0xff,
                ],
                error,
            ),
            with(
                "5.2 padding of zeros",
                &[
                    0x00, 0x85, 0xf2, 0xb2, 0x4a, 0x84, 0xff, 0x83, 0x49, 0x50, 0x90,
                ],
                error,
            ),
            with(
                "5.2 the end of a string inside",
                &[
                    0x00, 0x85, 0xf2, 0xb2, 0x4a, 0x84, 0xff, 0x88, 0xfc, 0xff, 0xff, 0xff, 0xff,
                    0xff, 0xff, 0xf7,
                ],
                error,
            ),
            with("6.1 index 0", &[0x80], error),
            case(
                "6.3 a table size that is too large",
                &[frame(
                    HEADERS,
                    END_HEADERS | END_STREAM,
                    1,
                    &[&[0x3f, 0xe2, 0x1f][..], &block(&GET)].concat(),
                )],
                error,
            ),
            with(
                "5.1 a number without an end",
                &[0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
                error,
            ),
            with("5.2 a string that is cut off", &[0x00, 5, b'x'], error),
        ],
        &[],
    )
    .await;
}
