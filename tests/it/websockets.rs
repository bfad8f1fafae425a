//! WebSockets, with a real client and a real server: admitted as any other request, carried whole, and
//! ended with the session of whoever opened them.

use futures_util::SinkExt as _;
use futures_util::StreamExt as _;
use http::HeaderMap;
use http::HeaderValue;
use http::Request;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::server::Request as Handshake;
use tokio_tungstenite::tungstenite::handshake::server::Response as Accepted;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::harness::caller::Caller;
use crate::harness::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::in_time;
use crate::harness::raw;
use crate::harness::raw::Raw;
use crate::harness::upstream::RawUpstream;
use crate::harness::upstream::Upstream;

/// An app that speaks WebSocket: it chooses the protocol `chat` where it is offered.
pub(crate) struct App(TcpListener);

pub(crate) type Client = WebSocketStream<TlsStream<TcpStream>>;
pub(crate) type Server = WebSocketStream<TcpStream>;

impl App {
    pub(crate) async fn start() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }

    /// Accepts the next handshake: what was said in it, and the open end.
    pub(crate) async fn accept(&self) -> (HeaderMap, Server) {
        let (stream, _) = in_time("a connection", self.0.accept()).await.unwrap();
        let mut said = HeaderMap::new();
        #[expect(clippy::result_large_err, reason = "the library's own type")]
        let judge = |request: &Handshake, mut response: Accepted| {
            said = request.headers().clone();
            let offered = said.get("sec-websocket-protocol");
            if offered.is_some_and(|offered| offered.to_str().unwrap().contains("chat")) {
                let chosen = HeaderValue::from_static("chat");
                response
                    .headers_mut()
                    .insert("sec-websocket-protocol", chosen);
            }
            Ok(response)
        };
        let open = Box::pin(accept_hdr_async(stream, judge)).await.unwrap();
        (said, open)
    }
}

pub(crate) fn routes(url: &str) -> String {
    format!(
        r#"
        [upstreams.app]
        targets = ["{url}"]
        connections = 4
        [routes.app]
        path = "/app"
        upstream = "app"
        [routes.open]
        path = "/open"
        auth = "none"
        upstream = "app"
        "#
    )
}

async fn guarded() -> (Gateway, App) {
    let app = App::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    (gateway, app)
}

fn handshake(path: &str, headers: &[(&'static str, &str)]) -> Request<()> {
    let mut request = format!("wss://localhost{path}")
        .into_client_request()
        .unwrap();
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().unwrap());
    }
    request
}

/// Opens one, as a client with these headers.
pub(crate) async fn open(
    gateway: &Gateway,
    path: &str,
    headers: &[(&'static str, &str)],
) -> Result<(Client, HeaderMap), Error> {
    let stream = raw::tls(gateway.address(), &gateway.authority(), b"http/1.1").await;
    let opening = Box::pin(client_async(handshake(path, headers), stream));
    let (client, response) = in_time("a handshake", opening).await?;
    Ok((client, response.headers().clone()))
}

/// A pair of ends that have greeted each other.
async fn pair(gateway: &Gateway, app: &App, path: &str, caller: &Caller) -> (Client, Server) {
    let bearer = format!("Bearer {}", caller.token());
    let headers = [("authorization", &*bearer)];
    let (client, (_, server)) = tokio::join!(open(gateway, path, &headers), app.accept());
    let (mut client, mut server) = (client.unwrap().0, server);
    assert_alive(&mut client, &mut server).await;
    (client, server)
}

pub(crate) async fn assert_alive(client: &mut Client, server: &mut Server) {
    client.send(Message::text("there")).await.unwrap();
    let there = in_time("a message", server.next()).await.unwrap().unwrap();
    assert_eq!(there, Message::text("there"));
    server.send(Message::text("back")).await.unwrap();
    let back = in_time("a message", client.next()).await.unwrap().unwrap();
    assert_eq!(back, Message::text("back"));
}

/// Neither end hears anything more.
pub(crate) async fn assert_ended(mut client: Client, mut server: Server) {
    let at_client = in_time("the end of a WebSocket", client.next()).await;
    assert!(!matches!(at_client, Some(Ok(_))), "{at_client:?}");
    let at_server = in_time("the end of a WebSocket", server.next()).await;
    assert!(!matches!(at_server, Some(Ok(_))), "{at_server:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_every_kind_go_both_ways() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let (mut client, mut server) = pair(&gateway, &app, "/app", &alice).await;
    let long = vec![7; 1 << 20];
    for message in [
        Message::text("é"),
        Message::binary(long),
        Message::binary(vec![]),
        Message::Ping(vec![1, 2].into()),
    ] {
        let (sent, arrived) = tokio::join!(client.send(message.clone()), server.next());
        sent.unwrap();
        assert_eq!(arrived.unwrap().unwrap(), message);
        let (sent, arrived) = tokio::join!(server.send(message.clone()), async {
            loop {
                // An answer to the ping above comes first.
                let arrived = client.next().await.unwrap().unwrap();
                if !arrived.is_pong() {
                    return arrived;
                }
            }
        });
        sent.unwrap();
        assert_eq!(arrived, message);
    }
    let goodbye = CloseFrame {
        code: CloseCode::Away,
        reason: "bye".into(),
    };
    server.close(Some(goodbye.clone())).await.unwrap();
    let last = in_time("a close", async {
        loop {
            let message = client.next().await.unwrap().unwrap();
            if message.is_close() {
                return message;
            }
        }
    });
    assert_eq!(last.await, Message::Close(Some(goodbye)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_is_told_who_opens_it_and_no_more() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let bearer = format!("Bearer {}", alice.token());
    let headers = [
        ("authorization", &*bearer),
        ("x-auth-user", "root"),
        ("sec-websocket-protocol", "chat"),
        ("origin", "https://app.example.com"),
    ];
    let (opened, (said, _server)) =
        tokio::join!(open(&gateway, "/app?x=1", &headers), app.accept());
    let (_client, answered) = opened.unwrap();
    assert_eq!(
        said.get_all("x-auth-user").iter().collect::<Vec<_>>(),
        ["alice"]
    );
    assert_eq!(said["x-forwarded-proto"], "https");
    assert_eq!(said["sec-websocket-protocol"], "chat");
    assert_eq!(said["origin"], "https://app.example.com");
    assert_eq!(said["upgrade"], "websocket");
    assert!(!said.contains_key("authorization"));
    assert!(!said.contains_key("content-length") && !said.contains_key("transfer-encoding"));
    assert_eq!(answered["sec-websocket-protocol"], "chat");
    assert!(answered.contains_key("x-request-id"));
}

// SECURITY 23
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_may_bring_its_token_among_the_protocols() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    for (offered, arrives, chosen) in [
        (format!("bearer, {}", alice.token()), None, "bearer"),
        (
            format!("chat, bearer, {}", alice.token()),
            Some("chat"),
            "chat",
        ),
    ] {
        let headers = [("sec-websocket-protocol", &*offered)];
        let (opened, (said, _server)) =
            tokio::join!(open(&gateway, "/app", &headers), app.accept());
        let (_client, answered) = opened.unwrap();
        assert_eq!(said["x-auth-user"], "alice");
        assert_eq!(
            said.get("sec-websocket-protocol")
                .map(|it| it.to_str().unwrap()),
            arrives
        );
        assert_eq!(answered["sec-websocket-protocol"], chosen);
        let everything = format!("{said:?}");
        assert!(!everything.contains(alice.token()), "{everything}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_pass_opens_nothing() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    let alice = gateway.signed_in("alice").await;
    let good = format!("Bearer {}", alice.token());
    let offered = format!("bearer, {}", alice.token());
    for (headers, status, code) in [
        (vec![], 401, "unauthenticated"),
        (vec![("authorization", "Bearer x")], 401, "invalid_token"),
        (
            vec![("sec-websocket-protocol", "bearer, x")],
            401,
            "invalid_token",
        ),
        (
            vec![("sec-websocket-protocol", "bearer")],
            401,
            "invalid_token",
        ),
        (
            vec![
                ("authorization", &*good),
                ("sec-websocket-protocol", &*offered),
            ],
            400,
            "two_credentials",
        ),
    ] {
        let refused = open(&gateway, "/app", &headers).await;
        let Err(Error::Http(response)) = refused else {
            panic!("{headers:?}: {refused:?}");
        };
        assert_eq!(response.status(), status, "{headers:?}");
        let body = response.body().as_deref().unwrap_or_default();
        let problem: serde_json::Value = serde_json::from_slice(body).unwrap();
        assert_eq!(problem["code"], code, "{headers:?}");
        app.assert_untouched();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_half_a_handshake_is_refused_and_says_why() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    let refused = async |line: &str, lines: &str, status: u16| {
        let mut raw = gateway.raw().await;
        let request =
            format!("{line} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n{lines}\r\n");
        let answer = raw.ask(request).await;
        assert_eq!(answer.status(), status, "{line} {lines}");
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(problem["code"], "websocket_refused", "{line} {lines}");
        app.assert_untouched();
        answer
    };
    const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    const VERSION: &str = "Sec-WebSocket-Version: 13\r\n";
    const CONNECTION: &str = "Connection: Upgrade\r\n";
    refused("GET /open", &format!("{KEY}{VERSION}"), 400).await;
    refused("GET /open", &format!("{CONNECTION}{VERSION}"), 400).await;
    refused(
        "GET /open",
        &format!("{CONNECTION}{VERSION}{KEY}{KEY}"),
        400,
    )
    .await;
    refused(
        "POST /open",
        &format!("{CONNECTION}{VERSION}{KEY}Content-Length: 0\r\n"),
        400,
    )
    .await;
    let old = format!("{CONNECTION}{KEY}Sec-WebSocket-Version: 8\r\n");
    let old = refused("GET /open", &old, 426).await;
    assert_eq!(old.header("sec-websocket-version"), "13");
    // Any other protocol is not asked for on anybody's behalf: it stays a request.
    let mut raw = gateway.raw().await;
    let other =
        "GET /open HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
    assert_eq!(raw.ask(other).await.status(), 200);
    assert_eq!(app.only().header("upgrade"), "");
}

// SECURITY 54
#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_has_not_understood_opens_nothing() {
    let app = RawUpstream::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    for (answer, status) in [
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", 403),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", 502),
        (
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOO=\r\n\r\n",
            502,
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            502,
        ),
    ] {
        let mut raw = gateway.raw().await;
        raw.send(
            "GET /open HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await;
        let mut link = app.accept().await;
        link.head().await;
        link.send(answer).await;
        assert_eq!(raw.message().await.status(), status, "{answer}");
        // The connection still speaks HTTP.
        assert_eq!(
            raw.ask("GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .await
                .status(),
            404
        );
    }
}

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_ends_with_its_session_and_no_other_does() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let bob = gateway.signed_in("bob").await;
    let of_alice = pair(&gateway, &app, "/app", &alice).await;
    let mut of_bob = pair(&gateway, &app, "/app", &bob).await;
    let mut open = pair(&gateway, &app, "/open", &alice).await;
    alice.post("/auth/logout", &json!({})).await.expect(204);
    assert_ended(of_alice.0, of_alice.1).await;
    assert_alive(&mut of_bob.0, &mut of_bob.1).await;
    assert_alive(&mut open.0, &mut open.1).await;
}

// SECURITY 53
#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_keeps_its_places_for_as_long_as_it_is_open() {
    let app = App::start().await;
    let lines = routes(&app.url()).replace(
        "connections = 4",
        "connections = 1\ntimeouts.connect = '100ms'",
    );
    let gateway = Gateway::start(&format!("[gateway]\nthreads = 1\n{lines}"));
    let alice = gateway.signed_in("alice").await;
    let connections = || gateway.metric("portcullis_connections_open");
    let before = connections();
    let (client, server) = pair(&gateway, &app, "/app", &alice).await;
    assert_eq!(connections(), before + 1.0);
    alice.get("/app").await.expect_problem(503, "upstream_busy");
    drop(client);
    drop(server);
    eventually("the place of a WebSocket", async || {
        let (asked, accepted) = tokio::join!(open(&gateway, "/open", &[]), async {
            tokio::time::timeout(std::time::Duration::from_secs(1), app.accept()).await
        });
        (asked.is_ok() && accepted.is_ok()).then_some(())
    })
    .await;
}

// SECURITY 53
#[tokio::test(flavor = "multi_thread")]
async fn one_address_cannot_take_an_app_from_others_by_websockets() {
    let app = App::start().await;
    let lines = routes(&app.url()).replace(
        "connections = 4",
        "connections = 16\ntimeouts.connect = '200ms'",
    );
    let gateway = Gateway::start(&format!("[gateway]\nthreads = 1\n{lines}"));
    let mut under_way = Vec::new();
    for _ in 0..8 {
        let (opened, accepted) = tokio::join!(open(&gateway, "/open", &[]), app.accept());
        under_way.push((opened.unwrap(), accepted));
    }
    let refused = open(&gateway, "/open", &[]).await;
    let Err(Error::Http(refused)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(refused.status(), 503);
    let stream = from_another_address(&gateway).await;
    let stream = raw::tls_over(stream, &gateway.authority(), b"http/1.1").await;
    let opening = Box::pin(client_async(handshake("/open", &[]), stream));
    let (opened, _accepted) = tokio::join!(opening, app.accept());
    opened.unwrap();
}

/// As somebody else of 127.0.0.0/8, whose end is a reset.
async fn from_another_address(gateway: &Gateway) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
    socket.set_zero_linger().unwrap();
    socket.connect(gateway.address()).await.unwrap()
}

// SECURITY 53
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_gone_before_the_answer_leaves_nothing_behind() {
    let app = RawUpstream::start().await;
    let lines = routes(&app.url()).replace("connections = 4", "connections = 1");
    let gateway = Gateway::start(&format!("[gateway]\nthreads = 1\n{lines}"));
    let stream = from_another_address(&gateway).await;
    let mut client = Raw::new(raw::tls_over(stream, &gateway.authority(), b"http/1.1").await);
    // With a byte behind the handshake nobody looks whether the client is still there.
    client
        .send(
            "GET /open HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nx",
        )
        .await;
    let mut link = app.accept().await;
    link.head().await;
    drop(client);
    link.send(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    )
    .await;
    link.assert_closed().await;
    let mut next = gateway.raw().await;
    next.send("GET /open HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    app.accept().await.head().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_does_not_stay_for_long_when_the_other_has_gone() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let bearer = format!("Bearer {}", alice.token());
    let headers = [("authorization", &*bearer)];
    let (opened, (_, server)) = tokio::join!(open(&gateway, "/app", &headers), app.accept());
    let (_silent, answered) = opened.unwrap();
    drop(server);
    let line = gateway
        .log_line(answered["x-request-id"].to_str().unwrap())
        .await;
    assert_eq!(line["status"], 101);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_on_which_nobody_says_anything_ends() {
    let app = App::start().await;
    let lines = routes(&app.url()).replace("connections = 4", "timeouts.stream_idle = '200ms'");
    let gateway = Gateway::start(&lines);
    let (opened, (_, server)) = tokio::join!(open(&gateway, "/open", &[]), app.accept());
    let (client, answered) = opened.unwrap();
    assert_ended(client, server).await;
    let line = gateway
        .log_line(answered["x-request-id"].to_str().unwrap())
        .await;
    assert_eq!(
        (&line["decision"], &line["reason"]),
        (&json!("ended"), &json!("idle"))
    );
}

// SECURITY 17
#[tokio::test(flavor = "multi_thread")]
async fn a_token_among_the_protocols_is_never_the_apps() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [routes.app]
        path = "/app"
        auth = "none"
        authorization = "forward"
        upstream = "{}"
        "#,
        app.url()
    ));
    let lines = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for lines in [lines, ""] {
        let request = format!(
            "GET /app HTTP/1.1\r\nHost: localhost\r\n{lines}Sec-WebSocket-Protocol: bearer, s3cret\r\n\r\n"
        );
        gateway.raw().await.ask(request).await;
        let arrived = format!("{:?}", app.only().headers);
        assert!(!arrived.contains("s3cret"), "{arrived}");
    }
}

// SECURITY 51
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_drains_does_not_wait_for_websockets() {
    let (mut gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let (client, server) = pair(&gateway, &app, "/app", &alice).await;
    gateway.begin_to_drain();
    assert_ended(client, server).await;
    gateway.stop();
}

// SECURITY 58
#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_has_one_line_in_the_log() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let bearer = format!("Bearer {}", alice.token());
    let headers = [("authorization", &*bearer)];
    let (opened, (_, mut server)) = tokio::join!(open(&gateway, "/app", &headers), app.accept());
    let (mut client, answered) = opened.unwrap();
    assert_alive(&mut client, &mut server).await;
    let id = answered["x-request-id"].to_str().unwrap();
    assert!(!gateway.log_text().contains(id), "it is not over yet");
    drop(client);
    drop(server);
    let line = gateway.log_line(id).await;
    assert_eq!(line["status"], 101);
    assert_eq!(line["decision"], "allow");
    assert_eq!(line["user"], app_user(&alice).await);
    assert!(line["bytes"].as_u64().unwrap() >= 6, "{line}");
}

async fn app_user(caller: &Caller) -> serde_json::Value {
    caller.get("/auth/me").await.expect(200).json()["id"].clone()
}
