//! WebSockets with Debian's `websockets` for Python as client and as app, over TLS: with a token, without one,
//! and until the session ends.

use std::fs;

use serde_json::Value;
use serde_json::json;

use crate::harness::caller::Caller;
use crate::harness::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::goes_without;
use crate::harness::program::Program;

/// How a client brings its token.
const WAYS: [&str; 2] = ["header", "protocol"];

struct Bench {
    gateway: Gateway,
    app: Program,
    alice: Caller,
}

impl Bench {
    async fn start() -> Option<Self> {
        if !Program::python_has("websockets") {
            goes_without("python3-websockets");
            return None;
        }
        let app = Program::python("websockets_python/app.py", &[]);
        let port = app.line(|line| line.starts_with("port")).await;
        let port = port.trim_start_matches("port ");
        let gateway = Gateway::start(&format!(
            "routes.app = {{ path = \"/app\", upstream = \"http://127.0.0.1:{port}\" }}"
        ));
        fs::write(gateway.folder().path("trusted.pem"), gateway.authority()).unwrap();
        let alice = gateway.signed_in("alice").await;
        Some(Self {
            gateway,
            app,
            alice,
        })
    }

    /// A client that opens one with this token, or with none.
    fn open(&self, way: &str, token: Option<&str>) -> Program {
        let port = self.gateway.address().port();
        let url = format!("wss://localhost:{port}/app/{way}");
        let authority = self.gateway.folder().path("trusted.pem");
        let mut arguments = vec![&*url, authority.to_str().unwrap(), way];
        arguments.extend(token);
        Program::python("websockets_python/client.py", &arguments)
    }

    /// What has reached the app.
    fn asked(&self) -> Vec<String> {
        self.app.lines(|line| line.starts_with("asked"))
    }
}

/// What a client says next, after so many lines.
async fn said(client: &Program, after: usize) -> Value {
    let line = eventually("a line of a client", async || {
        client.lines(|_| true).into_iter().nth(after)
    });
    serde_json::from_str(&line.await).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_each_kind_come_back_to_whoever_has_a_token() {
    let Some(bench) = Bench::start().await else {
        return;
    };
    let token = bench.alice.token();
    for (way, asked) in WAYS.into_iter().zip([
        "asked /app/header alice - chat",
        "asked /app/protocol alice - chat",
    ]) {
        let client = bench.open(way, Some(token));
        let echoed = said(&client, 0).await;
        assert_eq!(echoed, json!({ "echoed": 6, "protocol": "chat" }), "{way}");
        assert_eq!(bench.asked().last().unwrap(), asked);
    }
    assert_eq!(bench.asked().len(), WAYS.len());
    assert!(!bench.app.said().contains(token), "{}", bench.app.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_none_or_a_bad_one_is_told_so_and_the_app_is_not() {
    let Some(bench) = Bench::start().await else {
        return;
    };
    let token = bench.alice.token();
    let cut = &token[..token.len() - 1];
    for way in WAYS {
        for (token, challenge) in [
            (None, "Bearer realm=\"portcullis\""),
            (Some("x.y.z"), "error=\"invalid_token\""),
            (Some(cut), "error=\"invalid_token\""),
        ] {
            let refused = said(&bench.open(way, token), 0).await;
            assert_eq!(refused["refused"], 401, "{way} {token:?}: {refused}");
            let said = refused["challenge"].as_str().unwrap();
            assert!(said.contains(challenge), "{way} {token:?}: {refused}");
        }
    }
    assert_eq!(
        bench.asked(),
        [""; 0],
        "a refused handshake reached the app"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ends_are_closed_with_the_session_and_those_of_others_are_not() {
    let Some(bench) = Bench::start().await else {
        return;
    };
    let bob = bench.gateway.signed_in("bob").await;
    let ended = async |count: usize| {
        eventually("the app to see an end", async || {
            (bench.app.lines(|line| line == "broken off").len() == count).then_some(())
        })
        .await;
    };
    let [of_alice, other] = WAYS.map(|way| bench.open(way, Some(bench.alice.token())));
    let of_bob = bench.open("header", Some(bob.token()));
    for client in [&of_alice, &other, &of_bob] {
        assert_eq!(said(client, 0).await["echoed"], 6);
    }
    bench
        .alice
        .post("/auth/logout", &json!({}))
        .await
        .expect(204);
    for client in [&of_alice, &other] {
        // 1006 (RFC 6455 §7.1.5): the gateway is no party to the WebSocket, and forges no closing frame.
        assert_eq!(said(client, 1).await, json!({ "closed": 1006 }));
    }
    ended(2).await;
    assert_eq!(of_bob.lines(|_| true).len(), 1, "{}", of_bob.said());
    bob.post("/auth/logout", &json!({})).await.expect(204);
    assert_eq!(said(&of_bob, 1).await, json!({ "closed": 1006 }));
    ended(3).await;
}
