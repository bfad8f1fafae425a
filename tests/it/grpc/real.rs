//! gRPC end to end, with Debian's `grpcio` as client and as app: all four kinds of call, each with and
//! without a token.

use std::fs;

use serde_json::Value;
use serde_json::json;

use crate::harness::caller::Caller;
use crate::harness::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::goes_without;
use crate::harness::program::Program;

struct Both {
    gateway: Gateway,
    app: Program,
    token: String,
    alice: Caller,
}

async fn start() -> Option<Both> {
    if !Program::python_has("grpc") {
        goes_without("python3-grpcio");
        return None;
    }
    let app = Program::python("grpc/app.py", &[]);
    let port = app.line(|line| line.starts_with("port")).await;
    let port = port.trim_start_matches("port ");
    let gateway = Gateway::start(&format!(
        r#"
        [upstreams.app]
        targets = ["h2c://127.0.0.1:{port}"]
        [upstreams.away]
        targets = ["h2c://127.0.0.1:1"]
        [routes.notes]
        path = "/notes"
        upstream = "app"
        [routes.wider]
        path = "/wider"
        scopes = ["admin"]
        upstream = "app"
        [routes.few]
        path = "/few"
        limits = [{{ rate = "1 per hour", by = "user" }}]
        upstream = "app"
        [routes.away]
        path = "/away"
        upstream = "away"
        [scopes]
        "admin" = "Everything"
        "#
    ));
    fs::write(gateway.folder().path("trusted.pem"), gateway.authority()).unwrap();
    let alice = gateway.signed_in("alice").await;
    Some(Both {
        token: alice.token().to_owned(),
        gateway,
        app,
        alice,
    })
}

impl Both {
    fn begin(&self, call: &str, token: &str) -> Program {
        let target = self.gateway.address().to_string();
        let authority = self.gateway.folder().path("trusted.pem");
        let arguments = [&*target, authority.to_str().unwrap(), call, token];
        Program::python("grpc/client.py", &arguments)
    }

    async fn call(&self, call: &str, token: &str) -> Value {
        outcome(&self.begin(call, token)).await
    }

    /// How many calls have reached the app.
    fn calls(&self) -> usize {
        self.app.lines(|line| line.starts_with("called")).len()
    }

    async fn cancelled(&self, times: usize) {
        eventually("a call to be cancelled", async || {
            (self.app.lines(|line| line == "cancelled").len() == times).then_some(())
        })
        .await;
    }
}

async fn outcome(client: &Program) -> Value {
    let line = client.line(|line| line.contains("\"code\"")).await;
    serde_json::from_str(&line).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_four_kinds_of_call_pass_with_a_token_and_none_without() {
    let Some(both) = start().await else {
        return;
    };
    for (method, messages) in [
        ("Unary", json!(["alice:a"])),
        ("ServerStream", json!(["0:a", "1:a", "2:a"])),
        ("ClientStream", json!(["a,b,c"])),
        ("Both", json!(["alice:a", "alice:b", "alice:c"])),
    ] {
        let call = format!("/notes/{method}");
        let calls = both.calls();
        let refused = both.call(&call, "").await;
        assert_eq!(
            (&refused["code"], &refused["messages"]),
            (&json!(16), &json!([]))
        );
        assert!(
            refused["details"].as_str().unwrap().contains("token"),
            "{refused}"
        );
        let forged = both.call(&call, "x.y.z").await;
        assert_eq!(forged["code"], 16, "{forged}");
        assert_eq!(both.calls(), calls, "a refused call reached the app");
        let answered = both.call(&call, &both.token).await;
        assert_eq!(
            (&answered["code"], &answered["messages"]),
            (&json!(0), &messages)
        );
    }
    let unary = both.call("/notes/Unary", &both.token).await;
    assert_eq!(unary["initial"]["x-app"], "there");
    assert_eq!(unary["trailing"]["x-last"], "word");
    let fails = both.call("/notes/Fails", &both.token).await;
    assert_eq!(
        (&fails["code"], &fails["details"]),
        (&json!(5), &json!("no such note: é"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_learns_from_its_status_why_it_was_refused() {
    let Some(both) = start().await else {
        return;
    };
    assert_eq!(both.call("/few/Unary", &both.token).await["code"], 0);
    let calls = both.calls();
    for (call, code) in [
        ("/wider/Unary", 7),
        ("/few/Unary", 8),
        ("/few/Both", 8),
        ("/none/Unary", 12),
        ("/away/Unary", 14),
        ("/away/ClientStream", 14),
    ] {
        let refused = both.call(call, &both.token).await;
        assert_eq!(refused["code"], code, "{call}: {refused}");
    }
    assert_eq!(both.calls(), calls, "a refused call reached the app");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_ends_with_its_session_and_with_its_deadline() {
    let Some(both) = start().await else {
        return;
    };
    let late = both.call("/notes/Deadline/Slow", &both.token).await;
    assert_eq!(
        (&late["code"], &late["messages"]),
        (&json!(4), &json!(["begun"]))
    );
    both.cancelled(1).await;
    let client = both.begin("/notes/Slow", &both.token);
    client.line(|line| line.contains("begun")).await;
    both.alice
        .post("/auth/logout", &json!({}))
        .await
        .expect(204);
    let ended = outcome(&client).await;
    assert_eq!(
        (&ended["code"], &ended["messages"]),
        (&json!(16), &json!(["begun"]))
    );
    assert!(
        ended["details"]
            .as_str()
            .unwrap()
            .contains("session was ended"),
        "{ended}"
    );
    both.cancelled(2).await;
}
