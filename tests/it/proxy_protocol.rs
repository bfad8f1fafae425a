//! The PROXY protocol: who is believed, what is believed, and what is left of the connection.

use std::net::SocketAddr;
use std::process::Command;

use portcullis::config::ListenerKind;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::harness::gateway::Gateway;
use crate::harness::in_time;
use crate::harness::raw::Raw;
use crate::harness::raw::connect_from;
use crate::harness::raw::tls_over;
use crate::harness::upstream::Upstream;

const REQUEST: &str = "GET /app HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// What begins every header of version 2.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Commands and families of version 2.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNIX: u8 = 0x31;

/// From 203.0.113.9 to 192.0.2.1.
const ADDRESSES4: [u8; 12] = [203, 0, 113, 9, 192, 0, 2, 1, 200, 0, 1, 187];

/// A field that says that the client spoke TLS with the balancer, and one without a meaning here.
const FIELDS: &[u8] = b"\x20\0\x05\x01\0\0\0\0\x04\0\x03abc";

fn version1(line: &str) -> Vec<u8> {
    format!("{line}\r\n").into_bytes()
}

fn version2(command: u8, family: u8, rest: &[&[u8]]) -> Vec<u8> {
    let rest = rest.concat();
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, &rest].concat()
}

/// From 2001:db8::9 to 2001:db8::1.
fn addresses6() -> Vec<u8> {
    let address = |last| [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    [&address(9)[..], &address(1), &[200, 0, 1, 187]].concat()
}

/// One app behind listeners that all want a header.
async fn behind_a_balancer(lines: &str) -> (Gateway, Upstream) {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        listeners = [
            {{ address = "127.0.0.1:0", proxy_protocol = true }},
            {{ address = "127.0.0.1:0", proxy_protocol = true, tls = false }},
            {{ address = "127.0.0.1:0", proxy_protocol = true, redirect = true }},
        ]
        {lines}
        [routes.app]
        path = "/app"
        auth = "none"
        upstream = "{}"
        "#,
        app.url()
    ));
    (gateway, app)
}

/// A connection that begins with these bytes.
async fn begin(address: SocketAddr, header: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(header).await.unwrap();
    stream
}

async fn begin_tls(gateway: &Gateway, header: &[u8]) -> Raw {
    let stream = begin(gateway.address(), header).await;
    Raw::new(tls_over(stream, &gateway.authority(), b"http/1.1").await)
}

// SECURITY 15
#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_says_whom_it_speaks_for() {
    let (gateway, app) = behind_a_balancer("").await;
    let tcp6 = addresses6();
    for (header, client) in [
        (
            version1("PROXY TCP4 203.0.113.9 192.0.2.1 51200 443"),
            "203.0.113.9",
        ),
        (
            version1("PROXY TCP6 2001:db8::9 2001:db8::1 51200 443"),
            "2001:db8::9",
        ),
        (version1("PROXY UNKNOWN"), "127.0.0.1"),
        (version1("PROXY UNKNOWN ffff::1 ffff::2 1 2"), "127.0.0.1"),
        (version2(PROXY, TCP4, &[&ADDRESSES4]), "203.0.113.9"),
        (version2(PROXY, TCP4, &[&ADDRESSES4, FIELDS]), "203.0.113.9"),
        (version2(PROXY, TCP6, &[&tcp6]), "2001:db8::9"),
        (version2(PROXY, TCP6, &[&tcp6, FIELDS]), "2001:db8::9"),
        // As much as is taken.
        (
            version2(PROXY, TCP4, &[&ADDRESSES4, &[4, 0x0f, 0xe1], &[0; 4065]]),
            "203.0.113.9",
        ),
        // The balancer's own: health checks, and clients without an address.
        (version2(LOCAL, UNSPECIFIED, &[]), "127.0.0.1"),
        (version2(LOCAL, TCP4, &[&ADDRESSES4]), "127.0.0.1"),
        (version2(PROXY, UNSPECIFIED, &[]), "127.0.0.1"),
        (version2(PROXY, UNIX, &[&[0; 216]]), "127.0.0.1"),
    ] {
        let answer = begin_tls(&gateway, &header).await.ask(REQUEST).await;
        assert_eq!(answer.status(), 200, "{header:?}");
        assert_eq!(app.only().header("x-forwarded-for"), client, "{header:?}");
        let line = gateway.log_line(answer.header("x-request-id")).await;
        assert_eq!(line["client"], client);
    }
}

// SECURITY 15
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_served_without_a_good_header() {
    // Some could be the beginning of one, and are only late.
    let (gateway, app) = behind_a_balancer("connections.handshake_timeout = \"1s\"").await;
    let mut claims_too_much = [SIGNATURE, &[PROXY, TCP4], &4081_u16.to_be_bytes()].concat();
    claims_too_much.extend(ADDRESSES4);
    let bad = [
        REQUEST.as_bytes().to_vec(),
        vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 0, 0, 0, 0, 0, 0],
        version1("PROXY TCP4 203.0.113.9 192.0.2.1 51200"),
        version1("PROXY TCP4 203.0.113.999 192.0.2.1 51200 443"),
        version1("PROXY TCP4 2001:db8::9 2001:db8::1 51200 443"),
        version1("PROXY TCP4 203.0.113.9 192.0.2.1 512000 443"),
        version1("PROXY UDP4 203.0.113.9 192.0.2.1 51200 443"),
        version1("PROXYxTCP4 203.0.113.9 192.0.2.1 51200 443"),
        version1("proxy TCP4 203.0.113.9 192.0.2.1 51200 443"),
        version1(&format!("PROXY UNKNOWN {}", "a".repeat(100))),
        version1(&format!("PROXY TCP4 {}", "1".repeat(100))),
        b"PROXY TCP4 203.0.113.9 192.0.2.1 51200 443\n\n".to_vec(),
        // A version, a command and a family that there is not, and addresses that are too short.
        version2(0x11, TCP4, &[&ADDRESSES4]),
        version2(0x2f, TCP4, &[&ADDRESSES4]),
        version2(PROXY, 0x71, &[&ADDRESSES4]),
        version2(PROXY, TCP4, &[&ADDRESSES4[..11]]),
        version2(PROXY, TCP6, &[&ADDRESSES4]),
        version2(PROXY, UNIX, &[&ADDRESSES4]),
        claims_too_much,
    ];
    for kind in [
        ListenerKind::Tls,
        ListenerKind::Plain,
        ListenerKind::Redirect,
    ] {
        for header in &bad {
            let mut raw = Raw::new(begin(gateway.listener(kind), header).await);
            raw.assert_closed().await;
        }
    }
    app.assert_untouched();
}

// SECURITY 10
#[tokio::test(flavor = "multi_thread")]
async fn a_header_has_the_time_of_a_handshake() {
    let (gateway, app) = behind_a_balancer("[connections]\nhandshake_timeout = \"1s\"").await;
    let whole = version2(PROXY, TCP4, &[&ADDRESSES4]);
    let begun = [&whole[..0], &whole[..1], &whole[..20], b"PROXY TCP4 1"];
    let closed = begun.map(|begun| async {
        let mut raw = Raw::new(begin(gateway.address(), begun).await);
        raw.assert_closed().await;
    });
    for closed in closed {
        closed.await;
    }
    // Nor does a header that is in time give the handshake behind it another second.
    Raw::new(begin(gateway.address(), &whole).await)
        .assert_closed()
        .await;
    // Half of one, and nothing more.
    let mut raw = Raw::new(begin(gateway.address(), &whole[..20]).await);
    assert_eq!(raw.end().await, b"");
    app.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_may_come_in_pieces_and_together_with_what_follows() {
    for header in [
        version1("PROXY TCP4 203.0.113.9 192.0.2.1 51200 443"),
        version2(PROXY, TCP4, &[&ADDRESSES4, FIELDS]),
    ] {
        let (gateway, app) = behind_a_balancer("").await;
        let plain = gateway.listener(ListenerKind::Plain);
        let mut stream = TcpStream::connect(plain).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in &header {
            stream.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut raw = Raw::new(stream);
        assert_eq!(raw.ask(REQUEST).await.status(), 200);
        assert_eq!(app.only().header("x-forwarded-for"), "203.0.113.9");

        let together = [&header, REQUEST.as_bytes(), REQUEST.as_bytes()].concat();
        let mut raw = Raw::new(begin(plain, &together).await);
        for _ in 0..2 {
            assert_eq!(raw.message().await.status(), 200);
        }
        let arrived = app.requests();
        assert_eq!(arrived.len(), 2);
        for request in arrived {
            assert_eq!(request.header("x-forwarded-for"), "203.0.113.9");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_that_ended_tls_says_so() {
    let (gateway, app) = behind_a_balancer("").await;
    let plain = gateway.listener(ListenerKind::Plain);
    for (header, scheme) in [
        (version2(PROXY, TCP4, &[&ADDRESSES4, FIELDS]), "https"),
        (version2(PROXY, TCP4, &[&ADDRESSES4]), "http"),
        (
            version1("PROXY TCP4 203.0.113.9 192.0.2.1 51200 443"),
            "http",
        ),
    ] {
        let mut raw = Raw::new(begin(plain, &header).await);
        assert_eq!(raw.ask(REQUEST).await.status(), 200);
        assert_eq!(app.only().header("x-forwarded-proto"), scheme);
    }
    let redirect = gateway.listener(ListenerKind::Redirect);
    let header = version2(PROXY, TCP4, &[&ADDRESSES4]);
    let answer = Raw::new(begin(redirect, &header).await).ask(REQUEST).await;
    assert_eq!(answer.status(), 308);
    assert_eq!(answer.header("location"), "https://localhost/app");
}

// SECURITY 15
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_named_is_believed_no_more_than_one_who_came_himself() {
    let trusting = "[gateway]\ntrusted_proxies = ['127.0.0.1', '198.51.100.0/24']";
    let (gateway, app) = behind_a_balancer(trusting).await;
    let forging = "GET /app HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.66\r\n\r\n";
    let named = |address| version1(&format!("PROXY TCP4 {address} 192.0.2.1 51200 443"));
    for (header, told) in [
        (named("203.0.113.9"), "203.0.113.9"),
        // A proxy in front of the balancer.
        (named("198.51.100.1"), "192.0.2.66, 198.51.100.1"),
        // Whoever it is, the balancer does not say so, and passes on what a stranger wrote.
        (version1("PROXY UNKNOWN"), "127.0.0.1"),
        (version2(LOCAL, UNSPECIFIED, &[]), "127.0.0.1"),
        (version2(PROXY, UNSPECIFIED, &[]), "127.0.0.1"),
        (version2(PROXY, UNIX, &[&[0; 216]]), "127.0.0.1"),
    ] {
        let answer = begin_tls(&gateway, &header).await.ask(forging).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(app.only().header("x-forwarded-for"), told);
    }
}

// SECURITY 11, 15 and 47
#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_named_is_counted() {
    let (gateway, app) = behind_a_balancer(
        "connections.per_address = 2\nlimits.per_address = \"3 per hour\"\nlimits.exempt = [\"127.0.0.1\"]",
    )
    .await;
    let named = |last| {
        let line = format!("PROXY TCP4 203.0.113.{last} 192.0.2.1 51200 443");
        version1(&line)
    };
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(begin_tls(&gateway, &named(9)).await);
    }
    let third = begin(gateway.address(), &named(9)).await;
    Raw::new(third).assert_closed().await;
    assert_eq!(gateway.metric("portcullis_connections_refused_total"), 1.0);
    // Others are not counted with them, nor is the balancer itself.
    held.push(begin_tls(&gateway, &named(10)).await);
    for _ in 0..4 {
        let local = version2(LOCAL, UNSPECIFIED, &[]);
        held.push(begin_tls(&gateway, &local).await);
    }
    for (connection, status) in [(0, 200), (1, 200), (0, 200), (1, 429), (2, 200), (3, 200)] {
        let answer = held[connection].ask(REQUEST).await;
        assert_eq!(answer.status(), status, "{connection}");
    }
    assert_eq!(app.requests().len(), 5);
    // A place comes back to whom it was counted for.
    held.remove(0);
    let again = async {
        loop {
            let mut raw = Raw::new(
                begin(
                    gateway.listener(ListenerKind::Plain),
                    &[&named(9)[..], REQUEST.as_bytes()].concat(),
                )
                .await,
            );
            if raw.peek(1).await.is_some() {
                return raw.message().await.status();
            }
        }
    };
    assert_eq!(in_time("a place again", again).await, 429);
}

/// Every address of this machine's own network may be a balancer, and is counted as such: not at all.
#[tokio::test(flavor = "multi_thread")]
async fn a_balancer_on_loopback_opens_connections_for_many() {
    let (gateway, _app) = behind_a_balancer("connections.per_address = 1").await;
    let mut held = Vec::new();
    for last in 0..8 {
        let mut stream = connect_from(gateway.address(), [127, 0, 0, 1]).await;
        let line = format!("PROXY TCP4 203.0.113.{last} 192.0.2.1 51200 443");
        stream.write_all(&version1(&line)).await.unwrap();
        let mut raw = Raw::new(tls_over(stream, &gateway.authority(), b"http/1.1").await);
        assert_eq!(raw.ask(REQUEST).await.status(), 200);
        held.push(raw);
    }
}

/// With curl, which says its own address in version 1.
#[tokio::test(flavor = "multi_thread")]
async fn curl_speaks_it_over_both_protocols() {
    let (gateway, app) = behind_a_balancer("").await;
    let url = format!("https://localhost:{}/app", gateway.address().port());
    for protocol in ["--http1.1", "--http2"] {
        for (header, succeeds) in [(Some("--haproxy-protocol"), true), (None, false)] {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--show-error", "--max-time", "20", protocol])
                .args(header)
                .arg("--cacert")
                .arg(gateway.folder().path("certs/ca.pem"))
                .arg(&url);
            let said = tokio::task::block_in_place(|| curl.output()).unwrap();
            assert_eq!(said.status.success(), succeeds, "{said:?}");
        }
        assert_eq!(app.only().header("x-forwarded-for"), "127.0.0.1");
    }
}
