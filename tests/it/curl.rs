//! What curl does all day, over HTTP/1.1 and HTTP/2, with a token and without: methods, uploads that wait to
//! be asked for, parts of files, trailers, answers before the answer.

use http::HeaderMap;
use http::Response;

use crate::harness::curl::PROTOCOLS;
use crate::harness::curl::Told;
use crate::harness::curl::curl;
use crate::harness::gateway::Folder;
use crate::harness::gateway::Gateway;
use crate::harness::goes_without;
use crate::harness::nginx::Nginx;
use crate::harness::raw::Raw;
use crate::harness::upstream::RawUpstream;
use crate::harness::upstream::Recorded;
use crate::harness::upstream::Upstream;

const SPA: &str = "https://spa.example.com";

fn guarded(url: &str) -> Gateway {
    Gateway::start(&format!(
        r#"
        [routes.app]
        path = "/app"
        upstream = "{url}"
        [routes.shared]
        path = "/shared"
        cors = {{ origins = ["{SPA}"] }}
        upstream = "{url}"
        "#
    ))
}

/// An app that answers with what it was sent.
async fn mirror() -> Upstream {
    Upstream::answering(|request: &Recorded| {
        let length = request.body.len();
        Response::builder()
            .header("x-app", "there")
            .header("x-length", length)
            .body(request.body.clone().into())
            .unwrap()
    })
    .await
}

#[track_caller]
fn assert_refused(told: &Told) {
    told.answer.clone().expect_problem(401, "unauthenticated");
    assert_eq!(told.before, [0; 0]);
    let challenge = told.answer.challenge();
    assert_eq!(challenge, "Bearer realm=\"portcullis\"");
}

// SECURITY 8
#[tokio::test(flavor = "multi_thread")]
async fn get_and_head_are_answered_alike_but_for_the_body() {
    let app = Upstream::answering(|_| Response::new("hello".into())).await;
    let gateway = guarded(&app.url());
    let alice = gateway.signed_in("alice").await;
    for protocol in PROTOCOLS {
        for (arguments, method) in [(&[protocol][..], "GET"), (&[protocol, "--head"], "HEAD")] {
            let told = curl(&gateway, Some(&alice), "/app?x=1", arguments, b"").await;
            let answer = told.answer.expect(200);
            assert_eq!(answer.header("content-length"), "5", "{arguments:?}");
            // With `--head` curl writes down the head as if it were the body.
            if method == "GET" {
                assert_eq!(answer.text(), "hello");
            }
            let arrived = app.only();
            assert_eq!((&*arrived.method, &*arrived.target), (method, "/app?x=1"));
            assert_eq!(arrived.header("x-auth-user"), "alice");
        }
        let refused = curl(&gateway, None, "/app", &[protocol], b"").await;
        assert_refused(&refused);
        let length = refused.answer.header("content-length");
        let refused_head = curl(&gateway, None, "/app", &[protocol, "--head"], b"").await;
        let head = refused_head.answer.expect(401);
        assert_eq!(head.header("content-length"), length, "{protocol}");
        assert!(!head.text().contains("unauthenticated"), "{protocol}");
        app.assert_untouched();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_of_no_length_said_arrives_whole() {
    let app = mirror().await;
    let gateway = guarded(&app.url());
    let alice = gateway.signed_in("alice").await;
    let upload: Vec<u8> = (0..700_001_u32).map(|at| (at % 251) as u8).collect();
    for protocol in PROTOCOLS {
        let arguments = [protocol, "--request", "POST", "--upload-file", "-"];
        let refused = curl(&gateway, None, "/app", &arguments, &upload).await;
        refused.answer.expect_problem(401, "unauthenticated");
        app.assert_untouched();
        let told = curl(&gateway, Some(&alice), "/app", &arguments, &upload).await;
        let answer = told.answer.expect(200);
        assert!(answer.body == upload, "{} bytes", answer.body.len());
        let arrived = app.only();
        assert!(arrived.body == upload, "{} bytes", arrived.body.len());
        assert_eq!(arrived.method, "POST");
        assert_eq!(arrived.header("transfer-encoding"), "chunked");
        assert_eq!(arrived.header("content-length"), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_to_be_told_to_continue_is_refused_without_sending_anything() {
    let app = mirror().await;
    let gateway = guarded(&app.url());
    let alice = gateway.signed_in("alice").await;
    // Longer than curl is given in all: it sends nothing that it was not asked for.
    let waiting = [
        "--http1.1",
        "--expect100-timeout",
        "1000",
        "--header",
        "Expect: 100-continue",
        "--request",
        "POST",
        "--upload-file",
        "-",
    ];
    let upload = vec![b'a'; 100_000];
    for path in ["/app", "/none", "/app/%00"] {
        let refused = curl(&gateway, None, path, &waiting, &upload).await;
        assert!(refused.answer.status >= 400, "{path}: {refused:?}");
        assert_eq!(refused.before, [0; 0], "{path}");
        assert_eq!(refused.sent, 0, "{path}");
    }
    let known = alice.with_token("x.y.z");
    let refused = curl(&gateway, Some(&known), "/app", &waiting, &upload).await;
    refused.answer.expect_problem(401, "invalid_token");
    assert_eq!((refused.before, refused.sent), (vec![], 0));
    app.assert_untouched();

    let told = curl(&gateway, Some(&alice), "/app", &waiting, &upload).await;
    assert_eq!(told.before, [100]);
    assert!(told.sent >= upload.len(), "{} bytes", told.sent);
    assert_eq!(told.answer.expect(200).header("x-length"), "100000");
    let arrived = app.only();
    assert_eq!(arrived.header("expect"), "");
    assert!(arrived.body == upload, "{} bytes", arrived.body.len());
}

/// curl does not wait for it over HTTP/2, but says that it expects it.
#[tokio::test(flavor = "multi_thread")]
async fn over_http2_an_upload_that_expects_something_arrives_as_well() {
    let app = mirror().await;
    let gateway = guarded(&app.url());
    let alice = gateway.signed_in("alice").await;
    let arguments = ["--http2", "-H", "Expect: 100-continue", "-T", "-"];
    let refused = curl(&gateway, None, "/app", &arguments, b"there").await;
    refused.answer.expect_problem(401, "unauthenticated");
    app.assert_untouched();
    let told = curl(&gateway, Some(&alice), "/app", &arguments, b"there").await;
    assert_eq!(told.answer.expect(200).text(), "there");
    assert_eq!(app.only().header("expect"), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_file_pass_unchanged() {
    if !Nginx::is_there() {
        return goes_without("nginx");
    }
    let folder = Folder::new();
    let file: String = (0..10_000).map(|line| format!("{line:05}\n")).collect();
    folder.write("files/app/file.txt", &file);
    let server = format!("root {};", folder.path("files").display());
    let nginx = Nginx::start(&folder, "", &server).await;
    let gateway = guarded(&format!("http://{}", nginx.address()));
    let alice = gateway.signed_in("alice").await;
    let mut asked = 0;
    for protocol in PROTOCOLS {
        let range = ["--range", "6-17"];
        let path = "/app/file.txt";
        let arguments = [&[protocol], &range[..]].concat();
        let refused = curl(&gateway, None, path, &arguments, b"").await;
        assert_refused(&refused);
        assert_eq!(nginx.asked(asked).await.len(), asked);

        let mut ask = async |arguments: &[&str]| {
            let arguments = [&[protocol], arguments].concat();
            let told = curl(&gateway, Some(&alice), path, &arguments, b"").await;
            asked += 1;
            assert_eq!(nginx.asked(asked).await.len(), asked);
            told.answer
        };
        let whole = ask(&[]).await.expect(200);
        assert_eq!(whole.text(), file);
        assert_eq!(whole.header("accept-ranges"), "bytes");
        let tag = whole.header("etag");

        let part = ask(&range).await.expect(206);
        assert_eq!(part.text(), "00001\n00002\n");
        assert_eq!(part.header("content-range"), "bytes 6-17/60000");
        assert_eq!(part.header("content-length"), "12");
        let last = ask(&["--range", "-6"]).await.expect(206);
        assert_eq!(last.text(), "09999\n");

        let beyond = ask(&["--range", "60000-"]).await.expect(416);
        assert_eq!(beyond.header("content-range"), "bytes */60000");

        let parts = ask(&["--range", "0-5,12-17"]).await.expect(206);
        let kind = parts.header("content-type");
        let boundary = kind.strip_prefix("multipart/byteranges; boundary=");
        let boundary = boundary.unwrap_or_else(|| panic!("{kind}"));
        let expected: String = [("0-5", "00000\n"), ("12-17", "00002\n")]
            .iter()
            .map(|(range, text)| {
                format!(
                    "\r\n--{boundary}\r\nContent-Type: text/plain\r\n\
                     Content-Range: bytes {range}/60000\r\n\r\n{text}"
                )
            })
            .collect();
        assert_eq!(parts.text(), format!("{expected}\r\n--{boundary}--\r\n"));

        let same = format!("If-Range: {tag}");
        let part = ask(&["--range", "0-5", "--header", &same]).await;
        assert_eq!(part.expect(206).text(), "00000\n");
        let other = ["--range", "0-5", "--header", "If-Range: \"other\""];
        assert_eq!(ask(&other).await.expect(200).text(), file);
        let unchanged = format!("If-None-Match: {tag}");
        let unchanged = ask(&["--header", &unchanged]).await.expect(304);
        assert_eq!((unchanged.header("etag"), unchanged.text()), (tag, ""));
    }
}

/// Asks as curl does, and lets the test play the app for that one request.
async fn played(
    gateway: &Gateway,
    app: &RawUpstream,
    arguments: &[&str],
    play: impl AsyncFnOnce(&mut Raw),
) -> Told {
    let alice = gateway.signed_in("alice").await;
    let asking = curl(gateway, Some(&alice), "/app", arguments, b"");
    let app = async {
        let mut link = app.accept().await;
        link.head().await;
        play(&mut link).await;
        link
    };
    tokio::join!(asking, app).0
}

// SECURITY 54
#[tokio::test(flavor = "multi_thread")]
async fn trailers_of_an_answer_come_after_it_and_only_the_apps_own() {
    let app = RawUpstream::start().await;
    let gateway = guarded(&app.url());
    for protocol in PROTOCOLS {
        let arguments = [protocol, "--header", "TE: trailers"];
        let refused = curl(&gateway, None, "/app", &arguments, b"").await;
        assert_refused(&refused);
        assert_eq!(refused.trailers, HeaderMap::new());
        let told = played(&gateway, &app, &arguments, async |link| {
            link.send(
                "HTTP/1.1 200 OK\r\nTrailer: X-Sum, Set-Cookie, X-Request-Id\r\n\
                 Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\
                 X-Sum: 7\r\nSet-Cookie: a=1\r\nX-Request-Id: forged\r\n\
                 Content-Length: 1\r\n\r\n",
            )
            .await;
        })
        .await;
        assert_eq!(told.answer.expect(200).text(), "hello", "{protocol}");
        let trailers: Vec<_> = told.trailers.iter().collect();
        assert_eq!(trailers.len(), 1, "{protocol}: {trailers:?}");
        assert_eq!(told.trailers["x-sum"], "7", "{protocol}");
    }
}

// SECURITY 54
#[tokio::test(flavor = "multi_thread")]
async fn what_an_app_says_before_its_answer_is_not_taken_for_it() {
    let app = RawUpstream::start().await;
    let gateway = guarded(&app.url());
    for protocol in PROTOCOLS {
        for early in [
            "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\nSet-Cookie: a=1\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 102 Processing\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
        ] {
            let told = played(&gateway, &app, &[protocol], async |link| {
                // Twice, and the answer in pieces of its own.
                link.send(early.repeat(2)).await;
                link.send("HTTP/1.1 404 Not Found\r\nConnection: close\r\n")
                    .await;
                link.send("X-App: there\r\nContent-Length: 5\r\n\r\nhello")
                    .await;
            })
            .await;
            assert_eq!(told.before, [0; 0], "{protocol}: {early:?}");
            let answer = told.answer.expect(404);
            assert_eq!(answer.text(), "hello", "{protocol}: {early:?}");
            assert_eq!(answer.header("x-app"), "there");
            for name in ["link", "set-cookie"] {
                assert_eq!(answer.header(name), "", "{protocol}: {early:?}");
            }
        }
    }
    // Early hints alone are no answer.
    let told = played(&gateway, &app, &["--http1.1"], async |link| {
        link.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
            .await;
        link.end().await;
    })
    .await;
    assert_eq!(told.before, [0; 0]);
    told.answer.expect_problem(502, "upstream_invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_needs_no_token_and_reaches_nothing_and_other_options_do() {
    let app = mirror().await;
    let gateway = guarded(&app.url());
    let alice = gateway.signed_in("alice").await;
    let evil = "https://evil.example.com";
    for protocol in PROTOCOLS {
        for caller in [None, Some(&alice)] {
            let preflight = async |path: &str, origin: &str| {
                let origin = format!("Origin: {origin}");
                let asks = [
                    &[protocol, "--request", "OPTIONS", "--header", &origin][..],
                    &["--header", "Access-Control-Request-Method: PUT"],
                    &["--header", "Access-Control-Request-Headers: authorization"],
                ];
                let told = curl(&gateway, caller, path, &asks.concat(), b"").await;
                told.answer
            };
            let admitted = preflight("/shared", SPA).await.expect(204);
            assert_eq!(admitted.header("access-control-allow-origin"), SPA);
            let allowed = admitted.header("access-control-allow-headers");
            assert_eq!(allowed, "authorization");
            assert_eq!(admitted.text(), "");
            let refused = preflight("/shared", evil).await;
            assert_eq!(refused.header("access-control-allow-origin"), "");
            refused.expect_problem(403, "origin_refused");
            app.assert_untouched();
        }
        let options = [protocol, "--request", "OPTIONS"];
        let refused = curl(&gateway, None, "/shared", &options, b"").await;
        assert_refused(&refused);
        app.assert_untouched();
        let told = curl(&gateway, Some(&alice), "/shared", &options, b"").await;
        assert_eq!(told.answer.expect(200).header("x-app"), "there");
        assert_eq!(app.only().method, "OPTIONS");
    }
}
