//! The newcomer's first minute: the shipped file, a start that makes what is missing, and the tour.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::harness::binary::Served;
use crate::harness::binary::portcullis;
use crate::harness::caller::Answer;
use crate::harness::caller::PASSWORD;
use crate::harness::gateway::Folder;

/// The shipped file, but for its ports.
fn shipped() -> Folder {
    let sample = include_str!("../../gateway.toml");
    let ports = [
        ("127.0.0.1:8443\"", "127.0.0.1:0\""),
        ("127.0.0.1:8080\"", "127.0.0.1:0\""),
        ("127.0.0.1:9900\"", "127.0.0.1:0\""),
    ];
    let text = ports.iter().fold(sample.to_owned(), |text, (fixed, free)| {
        assert!(text.contains(fixed), "{fixed}");
        text.replace(fixed, free)
    });
    let folder = Folder::new();
    folder.write("gateway.toml", &text);
    folder
}

// SECURITY 25
#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_makes_what_is_missing_and_the_second_makes_nothing() {
    let folder = shipped();
    let served = Served::start(&folder).await;
    let said = served.said();
    for made in [
        "certs/ca.pem",
        "certs/localhost.pem",
        "data/store.key",
        "data/portcullis.db",
    ] {
        assert!(folder.path(made).exists(), "{made}");
        assert!(
            said.lines()
                .any(|line| line.starts_with("made ") && line.contains(made)),
            "{said}"
        );
    }
    for secret in [
        "certs/localhost.key",
        "data/store.key",
        "data/portcullis.db",
    ] {
        let mode = folder.path(secret).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{secret}");
    }
    // The authority's private key is kept nowhere.
    let certs = std::fs::read_dir(folder.path("certs")).unwrap();
    assert_eq!(certs.count(), 3);
    for words in [
        "https://127.0.0.1:",
        "/echo",
        "/rate_limited",
        "user add",
        "register",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let mut alice = served.anonymous();
    alice.register("alice").await;
    alice.log_in("alice").await;
    served.kill();

    let served = Served::start(&folder).await;
    assert!(!served.said().contains("made "), "{}", served.said());
    served
        .anonymous()
        .with_token(alice.token())
        .get("/echo")
        .await
        .expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tour_of_the_shipped_file() {
    let folder = shipped();
    let served = Served::start(&folder).await;
    let mut alice = served.anonymous();
    let body = json!({ "username": "alice", "email": "alice@example.com", "password": PASSWORD });
    alice.post("/auth/register", &body).await.expect(201);
    alice
        .get("/echo")
        .await
        .expect_problem(401, "unauthenticated");
    alice.get("/api/anything").await.expect(200);

    let login = json!({ "email": "alice@example.com", "password": PASSWORD });
    let granted = alice.post("/auth/login", &login).await.expect(200);
    alice.keep(&granted);
    let echoed = alice.get("/echo?x=1").await.expect(200).json();
    assert_eq!(echoed["method"], "GET");
    assert_eq!(echoed["target"], "/echo?x=1");
    assert_eq!(echoed["headers"]["x-auth-user"], "alice");
    assert!(echoed["headers"]["authorization"].is_null());
    alice.get("/notes").await.expect(200);
    alice
        .get("/admin")
        .await
        .expect_problem(403, "insufficient_role");
    alice.get("/nowhere").await.expect_problem(404, "no_route");

    portcullis(&folder, &["user", "set", "alice", "--add-role", "admin"]).expect(0);
    alice.log_in("alice").await;
    alice.get("/admin").await.expect(200);

    for _ in 0..5 {
        alice.get("/rate_limited").await.expect(200);
    }
    let refused = alice.get("/rate_limited").await;
    assert_ne!(refused.header("retry-after"), "");
    refused.expect_problem(429, "limited");

    alice.refresh().await;
    alice.get("/echo").await.expect(200);
    let out = alice.request(reqwest::Method::POST, "/auth/logout");
    Answer::of(out).await.expect(204);
    alice
        .get("/echo")
        .await
        .expect_problem(401, "invalid_token");
}
