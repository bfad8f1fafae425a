//! WebSockets over HTTP/2, by extended CONNECT (RFC 8441): the app sees the handshake of HTTP/1.1, and
//! everything that holds for one of those holds for each of these, which are streams of one connection.

use std::time::Duration;

use futures_util::SinkExt as _;
use futures_util::StreamExt as _;
use http::HeaderMap;
use http::Method;
use http::Request;
use http::Response;
use http_body_util::BodyExt as _;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::client::conn::http2::SendRequest;
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use serde_json::json;
use tokio::time::sleep;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::harness::caller::Caller;
use crate::harness::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::http2::CANCEL;
use crate::harness::http2::DATA;
use crate::harness::http2::END_STREAM;
use crate::harness::http2::HEADERS;
use crate::harness::http2::Http2;
use crate::harness::http2::INITIAL_WINDOW_SIZE;
use crate::harness::http2::Outcome;
use crate::harness::http2::RESET;
use crate::harness::http2::WINDOW_UPDATE;
use crate::harness::http2::frame;
use crate::harness::in_time;
use crate::harness::raw;
use crate::harness::upstream::RawUpstream;
use crate::harness::upstream::Upstream;
use crate::websockets::App;
use crate::websockets::Server;
use crate::websockets::routes;

type Client = WebSocketStream<TokioIo<Upgraded>>;

/// One connection, and what it opens.
#[derive(Clone)]
pub(crate) struct Connection(SendRequest<Empty<&'static [u8]>>);

/// A request that got an answer instead of a WebSocket.
#[derive(Debug)]
struct Refused {
    status: u16,
    code: Value,
}

impl Connection {
    pub(crate) async fn to(gateway: &Gateway) -> Self {
        let stream = raw::tls(gateway.address(), &gateway.authority(), b"h2").await;
        let builder = http2::Builder::new(TokioExecutor::new());
        let shaking = builder.handshake(TokioIo::new(stream));
        let (sender, mut connection) = in_time("a handshake", shaking).await.unwrap();
        // An extended CONNECT is legal only once the server has said that it may be sent.
        let settings = async {
            while !connection.is_extended_connect_protocol_enabled() {
                tokio::select! {
                    ended = &mut connection => panic!("{ended:?}"),
                    () = sleep(Duration::from_millis(5)) => {}
                }
            }
        };
        in_time("the server's settings", settings).await;
        tokio::spawn(connection);
        Self(sender)
    }

    /// GET.
    pub(crate) async fn get(&self, path: &str) -> Response<Incoming> {
        self.ask(Method::GET, path, None, &[]).await
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        protocol: Option<&'static str>,
        headers: &[(&'static str, &str)],
    ) -> Response<Incoming> {
        let mut request = Request::new(Empty::new());
        *request.method_mut() = method;
        *request.uri_mut() = format!("https://localhost{path}").parse().unwrap();
        if let Some(protocol) = protocol {
            let protocol = Protocol::from_static(protocol);
            request.extensions_mut().insert(protocol);
        }
        for (name, value) in headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        let answered = self.0.clone().send_request(request);
        in_time("an answer", answered).await.unwrap()
    }

    /// Opens one, with these headers.
    async fn open(
        &self,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<(Client, HeaderMap), Refused> {
        let headers = [&[("sec-websocket-version", "13")], headers].concat();
        let asked = self.ask(Method::CONNECT, path, Some("websocket"), &headers);
        let mut response = asked.await;
        let status = response.status().as_u16();
        if status != 200 {
            let body = response.into_body().collect().await.unwrap().to_bytes();
            let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
            let code = problem["code"].clone();
            return Err(Refused { status, code });
        }
        let upgraded = hyper::upgrade::on(&mut response);
        let upgraded = in_time("a stream", upgraded).await.unwrap();
        let stream = TokioIo::new(upgraded);
        let client = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
        Ok((client, response.headers().clone()))
    }

    /// A pair of ends that have greeted each other.
    async fn pair(&self, app: &App, path: &str, caller: &Caller) -> (Client, Server) {
        let bearer = format!("Bearer {}", caller.token());
        let headers = [("authorization", &*bearer)];
        let (opened, (_, mut server)) = tokio::join!(self.open(path, &headers), app.accept());
        let mut client = opened.unwrap().0;
        assert_alive(&mut client, &mut server).await;
        (client, server)
    }
}

async fn guarded() -> (Gateway, App) {
    let app = App::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    (gateway, app)
}

async fn assert_alive(client: &mut Client, server: &mut Server) {
    client.send(Message::text("there")).await.unwrap();
    let there = in_time("a message", server.next()).await.unwrap().unwrap();
    assert_eq!(there, Message::text("there"));
    server.send(Message::text("back")).await.unwrap();
    let back = in_time("a message", client.next()).await.unwrap().unwrap();
    assert_eq!(back, Message::text("back"));
}

/// Neither end hears anything more.
async fn assert_ended(mut client: Client, mut server: Server) {
    let at_client = in_time("the end of a WebSocket", client.next()).await;
    assert!(!matches!(at_client, Some(Ok(_))), "{at_client:?}");
    let at_server = in_time("the end of a WebSocket", server.next()).await;
    assert!(!matches!(at_server, Some(Ok(_))), "{at_server:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_every_kind_go_both_ways() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let connection = Connection::to(&gateway).await;
    let (mut client, mut server) = connection.pair(&app, "/app", &alice).await;
    let long = vec![7; 2 << 20];
    for message in [
        Message::text("é"),
        Message::binary(long),
        Message::binary(vec![]),
    ] {
        let (sent, arrived) = tokio::join!(client.send(message.clone()), server.next());
        sent.unwrap();
        assert_eq!(arrived.unwrap().unwrap(), message);
        let (sent, arrived) = tokio::join!(server.send(message.clone()), client.next());
        sent.unwrap();
        assert_eq!(arrived.unwrap().unwrap(), message);
    }
    server.close(None).await.unwrap();
    let last = in_time("a close", client.next()).await;
    assert!(last.unwrap().unwrap().is_close());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_sees_a_handshake_of_http1_and_who_opens_it() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let connection = Connection::to(&gateway).await;
    let bearer = format!("Bearer {}", alice.token());
    let headers = [
        ("authorization", &*bearer),
        ("x-auth-user", "root"),
        ("sec-websocket-protocol", "chat"),
        ("sec-websocket-key", "of the client's own"),
        ("origin", "https://app.example.com"),
    ];
    let (opened, (said, _server)) =
        tokio::join!(connection.open("/app?x=1", &headers), app.accept());
    let (_client, answered) = opened.unwrap();
    assert_eq!(
        said.get_all("x-auth-user").iter().collect::<Vec<_>>(),
        ["alice"]
    );
    assert_eq!(said["host"], "localhost");
    assert_eq!(said["x-forwarded-proto"], "https");
    assert_eq!(said["sec-websocket-protocol"], "chat");
    assert_eq!(said["origin"], "https://app.example.com");
    assert_eq!(said["upgrade"], "websocket");
    assert_eq!(said["connection"], "Upgrade");
    assert_eq!(said["sec-websocket-key"].len(), 24);
    assert!(!said.contains_key("authorization"));
    assert!(!said.contains_key("content-length") && !said.contains_key("transfer-encoding"));
    assert_eq!(answered["sec-websocket-protocol"], "chat");
    assert!(!answered.contains_key("sec-websocket-accept"));
    assert!(!answered.contains_key("upgrade"));
    assert!(answered.contains_key("x-request-id"));
}

// SECURITY 23
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_may_bring_its_token_among_the_protocols() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let connection = Connection::to(&gateway).await;
    let offered = format!("bearer, {}", alice.token());
    let headers = [("sec-websocket-protocol", &*offered)];
    let (opened, (said, _server)) = tokio::join!(connection.open("/app", &headers), app.accept());
    assert_eq!(said["x-auth-user"], "alice");
    assert!(!format!("{said:?}").contains(alice.token()), "{said:?}");
    assert_eq!(opened.unwrap().1["sec-websocket-protocol"], "bearer");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_pass_opens_nothing() {
    let app = Upstream::start().await;
    let only_post =
        "[routes.post]\npath = '/post'\nauth = 'none'\nmethods = ['POST']\nupstream = 'app'";
    let gateway = Gateway::start(&format!("{}{only_post}", routes(&app.url())));
    let alice = gateway.signed_in("alice").await;
    let connection = Connection::to(&gateway).await;
    let good = format!("Bearer {}", alice.token());
    let offered = format!("bearer, {}", alice.token());
    let both = [
        ("authorization", &*good),
        ("sec-websocket-protocol", &*offered),
    ];
    let forged = [("sec-websocket-protocol", "bearer, x")];
    let call = [("content-type", "application/grpc")];
    for (path, headers, status, code) in [
        ("/app", &[][..], 401, "unauthenticated"),
        (
            "/app",
            &[("authorization", "Bearer x")],
            401,
            "invalid_token",
        ),
        ("/app", &forged, 401, "invalid_token"),
        ("/app", &both, 400, "two_credentials"),
        ("/app", &call, 401, "unauthenticated"),
        ("/none", &[], 404, "no_route"),
        ("/post", &[], 405, "method_not_allowed"),
        ("/app%00", &call, 400, "path_refused"),
        // A success would mean that there is a WebSocket.
        ("/.well-known/jwks.json", &[], 400, "websocket_refused"),
    ] {
        let refused = connection.open(path, headers).await;
        let Err(refused) = refused else {
            panic!("{path} {headers:?}: {refused:?}");
        };
        assert_eq!(
            (refused.status, &refused.code),
            (status, &json!(code)),
            "{path} {headers:?}"
        );
        app.assert_untouched();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn any_other_connect_is_refused() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    let connection = Connection::to(&gateway).await;
    let version = |version| [("sec-websocket-version", version)];
    for (protocol, headers, status) in [
        (Some("connect-udp"), &version("13")[..], 405),
        (Some("websockets"), &version("13"), 405),
        (Some("websocket"), &version("8"), 426),
        (Some("websocket"), &[], 426),
    ] {
        let answered = connection.ask(Method::CONNECT, "/open", protocol, headers);
        assert_eq!(answered.await.status(), status, "{protocol:?} {headers:?}");
    }
    // Without a protocol it is for a proxy, and has neither scheme nor path.
    let mut http2 = Http2::connect(&gateway).await;
    let plain = [(":method", "CONNECT"), (":authority", "localhost")];
    let outcome = http2.ask(1, &plain).await;
    assert_eq!(outcome, Outcome::answered(405, "method_refused"));
    // A protocol belongs to CONNECT alone.
    let mut http2 = Http2::connect(&gateway).await;
    let get = [
        (":method", "GET"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", "/open"),
        ("sec-websocket-version", "13"),
    ];
    let outcome = http2.ask(1, &get).await;
    assert!(!matches!(outcome, Outcome::Answered(200, _)), "{outcome:?}");
    app.assert_untouched();
}

// SECURITY 54
#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_has_not_understood_opens_nothing() {
    let app = RawUpstream::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    let connection = Connection::to(&gateway).await;
    for (answer, status) in [
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", 403),
        // Over HTTP/1.1 it would be an answer like any other.
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 502),
        ("HTTP/1.1 204 No Content\r\n\r\n", 502),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n", 502),
        (
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            502,
        ),
    ] {
        let (opened, _link) = tokio::join!(connection.open("/open", &[]), async {
            let mut link = app.accept().await;
            link.head().await;
            link.send(answer).await;
            link
        });
        assert_eq!(opened.unwrap_err().status, status, "{answer}");
    }
}

// SECURITY 18, 24
#[tokio::test(flavor = "multi_thread")]
async fn one_ends_with_its_session_and_its_connection_goes_on() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let bob = gateway.signed_in("bob").await;
    let connection = Connection::to(&gateway).await;
    let of_alice = connection.pair(&app, "/app", &alice).await;
    let mut of_bob = connection.pair(&app, "/app", &bob).await;
    let mut open = connection.pair(&app, "/open", &alice).await;
    alice.post("/auth/logout", &json!({})).await.expect(204);
    assert_ended(of_alice.0, of_alice.1).await;
    assert_alive(&mut of_bob.0, &mut of_bob.1).await;
    assert_alive(&mut open.0, &mut open.1).await;
    let refused = connection.open("/app", &[]).await.unwrap_err();
    assert_eq!(refused.status, 401);
}

// SECURITY 53
#[tokio::test(flavor = "multi_thread")]
async fn each_keeps_a_place_of_the_app_for_as_long_as_it_is_open() {
    let app = App::start().await;
    let lines = routes(&app.url()).replace(
        "connections = 4",
        "connections = 1\ntimeouts.connect = '100ms'",
    );
    let gateway = Gateway::start(&format!("[gateway]\nthreads = 1\n{lines}"));
    let alice = gateway.signed_in("alice").await;
    let connection = Connection::to(&gateway).await;
    let (client, server) = connection.pair(&app, "/app", &alice).await;
    let refused = connection.open("/open", &[]).await.unwrap_err();
    assert_eq!(
        (refused.status, refused.code),
        (503, json!("upstream_busy"))
    );
    drop(client);
    drop(server);
    eventually("the place of a WebSocket", async || {
        let (asked, accepted) = tokio::join!(connection.open("/open", &[]), async {
            timeout(Duration::from_secs(1), app.accept()).await
        });
        (asked.is_ok() && accepted.is_ok()).then_some(())
    })
    .await;
}

// SECURITY 9
#[tokio::test(flavor = "multi_thread")]
async fn each_is_one_of_the_streams_that_a_connection_may_have() {
    let app = App::start().await;
    let gateway = Gateway::start(&format!(
        "[connections]\nstreams = 2\n{}",
        routes(&app.url())
    ));
    let connection = Connection::to(&gateway).await;
    let first = tokio::join!(connection.open("/open", &[]), app.accept());
    let _second = tokio::join!(connection.open("/open", &[]), app.accept());
    let third = connection.open("/none", &[]);
    let third = timeout(Duration::from_millis(300), third).await;
    assert!(third.is_err(), "a third stream was opened");
    drop(first);
    let third = in_time("a place for a third", connection.open("/none", &[])).await;
    assert_eq!(third.unwrap_err().status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_on_which_nobody_says_anything_ends() {
    let app = App::start().await;
    let lines = routes(&app.url()).replace("connections = 4", "timeouts.stream_idle = '200ms'");
    let gateway = Gateway::start(&lines);
    let connection = Connection::to(&gateway).await;
    let (opened, (_, server)) = tokio::join!(connection.open("/open", &[]), app.accept());
    let (client, answered) = opened.unwrap();
    assert_ended(client, server).await;
    let id = answered["x-request-id"].to_str().unwrap();
    let line = gateway.log_line(id).await;
    assert_eq!(
        (&line["decision"], &line["reason"]),
        (&json!("ended"), &json!("idle"))
    );
    // The connection is none the worse for it.
    let refused = connection.open("/none", &[]).await.unwrap_err();
    assert_eq!(refused.status, 404);
}

// SECURITY 51
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_drains_does_not_wait_for_websockets() {
    let (mut gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let connection = Connection::to(&gateway).await;
    let (client, server) = connection.pair(&app, "/app", &alice).await;
    gateway.begin_to_drain();
    assert_ended(client, server).await;
    gateway.stop();
}

// SECURITY 58
#[tokio::test(flavor = "multi_thread")]
async fn one_has_one_line_in_the_log() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let connection = Connection::to(&gateway).await;
    let bearer = format!("Bearer {}", alice.token());
    let headers = [("authorization", &*bearer)];
    let (opened, (_, mut server)) = tokio::join!(connection.open("/app", &headers), app.accept());
    let (mut client, answered) = opened.unwrap();
    assert_alive(&mut client, &mut server).await;
    let id = answered["x-request-id"].to_str().unwrap();
    assert!(!gateway.log_text().contains(id), "it is not over yet");
    drop(client);
    drop(server);
    let line = gateway.log_line(id).await;
    assert_eq!(line["status"], 200);
    assert_eq!(line["method"], "GET");
    assert_eq!(line["decision"], "allow");
    assert!(line["bytes"].as_u64().unwrap() >= 6, "{line}");
}

/// The request of one on an open route, frame by frame.
const OPENING: [(&str, &str); 6] = [
    (":method", "CONNECT"),
    (":protocol", "websocket"),
    (":scheme", "https"),
    (":authority", "localhost"),
    (":path", "/open"),
    ("sec-websocket-version", "13"),
];

// SECURITY 12
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_slows_its_own_app_down_and_nothing_else() {
    let (gateway, app) = guarded().await;
    // Sixteen bytes of every stream until the client opens its window.
    let mut http2 = Http2::connect_with(&gateway, &[(INITIAL_WINDOW_SIZE, 16)]).await;
    http2.headers(1, 0, &OPENING).await;
    let (_, mut server) = app.accept().await;
    assert_eq!(http2.frame_of(1).await.kind, HEADERS);
    // What the gateway and two sockets hold is little beside this.
    let much = Message::binary(vec![7; 64 << 20]);
    let sending = timeout(Duration::from_secs(1), server.send(much)).await;
    assert!(sending.is_err(), "64 MiB went somewhere");
    let piece = http2.frame_of(1).await;
    assert_eq!((piece.kind, piece.payload.len()), (DATA, 16));
    // Another stream goes on.
    let mut none = OPENING.to_vec();
    none[0] = (":method", "GET");
    none[4] = (":path", "/none");
    none.remove(1);
    http2.headers(3, END_STREAM, &none).await;
    assert_eq!(http2.frame_of(3).await.kind, HEADERS);
}

// SECURITY 9
#[tokio::test(flavor = "multi_thread")]
async fn windows_that_are_opened_for_messages_are_no_flood() {
    let app = App::start().await;
    let gateway = Gateway::start(&format!(
        "connections.control_frames = 100\n{}",
        routes(&app.url())
    ));
    let mut http2 = Http2::connect(&gateway).await;
    http2.headers(1, 0, &OPENING).await;
    let (_, mut server) = app.accept().await;
    assert_eq!(http2.frame_of(1).await.kind, HEADERS);
    let opening = [0, 1].map(|stream| frame(WINDOW_UPDATE, 0, stream, &7_u32.to_be_bytes()));
    for _ in 0..300 {
        server.send(Message::text("there")).await.unwrap();
        assert_eq!(http2.frame_of(1).await.kind, DATA);
        http2.raw().send(opening.concat()).await;
    }
    assert_eq!(gateway.metric("portcullis_http2_floods_total"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_resets_its_stream_is_gone_for_the_app() {
    let (gateway, app) = guarded().await;
    let mut http2 = Http2::connect(&gateway).await;
    http2.headers(1, 0, &OPENING).await;
    let (_, mut server) = app.accept().await;
    assert_eq!(http2.frame_of(1).await.kind, HEADERS);
    http2.send(RESET, 0, 1, &CANCEL.to_be_bytes()).await;
    let at_server = in_time("the end of a WebSocket", server.next()).await;
    assert!(!matches!(at_server, Some(Ok(_))), "{at_server:?}");
}
