//! RFC 9113 §8: what a request is.

use crate::harness::http2::DATA;
use crate::harness::http2::END_STREAM;
use crate::harness::http2::PROTOCOL_ERROR;
use crate::harness::http2::frame;

use super::super::AUTHORITY;
use super::super::METHOD;
use super::super::PATH;
use super::super::SCHEME;
use super::Answer;
use super::Case;
use super::GET;
use super::POST;
use super::Stream;
use super::case;
use super::check;
use super::get;
use super::headers;
use super::post;

fn refused(name: &'static str, fields: &[(&str, &str)]) -> Case {
    case(
        name,
        &[headers(1, END_STREAM, fields)],
        Stream(&[PROTOCOL_ERROR]),
    )
}

fn with(field: (&'static str, &'static str)) -> [(&'static str, &'static str); 5] {
    [METHOD, SCHEME, AUTHORITY, PATH, field]
}

// SECURITY 8
#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_one_header_block_a_body_and_trailers() {
    let protocol = &[PROTOCOL_ERROR];
    let counted = |length| {
        headers(
            1,
            0,
            &[POST[0], SCHEME, AUTHORITY, PATH, ("content-length", length)],
        )
    };
    let data = |flags| frame(DATA, flags, 1, b"test");
    check(
        vec![
            case("8.1 GET", &[get()], Answer),
            case(
                "8.1 HEAD",
                &[headers(
                    1,
                    END_STREAM,
                    &[(":method", "HEAD"), SCHEME, AUTHORITY, PATH],
                )],
                Answer,
            ),
            case("8.1 POST", &[post(), data(END_STREAM)], Answer),
            case(
                "8.1 POST with trailers",
                &[
                    post(),
                    data(0),
                    headers(1, END_STREAM, &[("x-trailer", "1")]),
                ],
                Answer,
            ),
            case(
                "8.1 a second HEADERS without the end",
                &[post(), headers(1, 0, &[("x-trailer", "1")])],
                Stream(protocol),
            ),
            case(
                "8.1 a pseudo field among trailers",
                &[
                    post(),
                    headers(1, END_STREAM, &[("x-trailer", "1"), METHOD]),
                ],
                Stream(protocol),
            ),
            case(
                "8.1.1 shorter than it says",
                &[counted("5"), data(END_STREAM)],
                Stream(protocol),
            ),
            case(
                "8.1.1 longer than it says",
                &[counted("1"), data(END_STREAM)],
                Stream(protocol),
            ),
            case(
                "8.1.1 shorter in several DATA",
                &[counted("9"), data(0), data(END_STREAM)],
                Stream(protocol),
            ),
            case(
                "8.1.1 as it says",
                &[counted("8"), data(0), data(END_STREAM)],
                Answer,
            ),
        ],
        &[],
    )
    .await;
}

// SECURITY 8
#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_its_fields_and_no_others() {
    check(
        vec![
            refused("8.2.1 a name in upper case", &with(("X-TEST", "ok"))),
            refused("8.2.2 connection", &with(("connection", "keep-alive"))),
            refused("8.2.2 keep-alive", &with(("keep-alive", "timeout=5"))),
            refused(
                "8.2.2 transfer-encoding",
                &with(("transfer-encoding", "chunked")),
            ),
            refused("8.2.2 upgrade", &with(("upgrade", "h2c"))),
            refused("8.2.2 te", &with(("te", "trailers, deflate"))),
            case(
                "8.2.2 te: trailers",
                &[headers(1, END_STREAM, &with(("te", "trailers")))],
                Answer,
            ),
            refused("8.3 an unknown pseudo field", &with((":test", "ok"))),
            refused("8.3 a pseudo field of answers", &with((":status", "200"))),
            refused(
                "8.3 a pseudo field behind others",
                &[METHOD, SCHEME, AUTHORITY, ("x-test", "ok"), PATH],
            ),
            refused(
                "8.3.1 an empty path",
                &[METHOD, SCHEME, AUTHORITY, (":path", "")],
            ),
            refused("8.3.1 no method", &[SCHEME, AUTHORITY, PATH]),
            refused("8.3.1 no scheme", &[METHOD, AUTHORITY, PATH]),
            refused("8.3.1 no path", &[METHOD, SCHEME, AUTHORITY]),
            refused("8.3.1 two methods", &with(METHOD)),
            refused("8.3.1 two schemes", &with(SCHEME)),
            refused("8.3.1 two paths", &with(PATH)),
            case(
                "8.3.1 all of them once",
                &[headers(1, END_STREAM, &GET)],
                Answer,
            ),
        ],
        &[],
    )
    .await;
}
