//! What TLS offers, as a scanner sees it, and that browsers are kept to it.

use std::process::Command;

use http::Response;
use http_body_util::Full;
use serde_json::Value;

use crate::harness::gateway::Gateway;
use crate::harness::goes_without;
use crate::harness::raw::Message;
use crate::harness::upstream::Upstream;

const OPEN: &str = r#"
[routes.app]
path = "/"
auth = "none"
upstream = "echo"
[routes.guarded]
path = "/guarded"
upstream = "echo"
"#;

// SECURITY 56
#[tokio::test(flavor = "multi_thread")]
async fn a_scanner_finds_nothing_to_complain_about() {
    let gateway = Gateway::start(OPEN);
    // Debian's testssl.sh tries protocols, ciphers, renegotiation and the attacks that have names.
    let report = gateway.folder().path("testssl.json");
    let mut scan = Command::new("testssl");
    scan.args(["--quiet", "--color", "0", "--warnings", "off"])
        .args(["-p", "-s", "-f", "-P", "-S", "-U"])
        .arg("--add-ca")
        .arg(gateway.folder().path("certs/ca.pem"))
        .arg("--jsonfile")
        .arg(&report)
        .arg(format!("localhost:{}", gateway.address().port()));
    let Ok(output) = tokio::task::block_in_place(|| scan.output()) else {
        return goes_without("testssl.sh");
    };
    let findings = std::fs::read(&report).unwrap_or_else(|_| panic!("{output:?}"));
    let findings: Vec<Value> = serde_json::from_slice(&findings).unwrap();
    let found = |id: &str| findings.iter().find(|finding| finding["id"] == id).unwrap();
    for (id, finding) in [
        ("SSLv3", "not offered"),
        ("TLS1", "not offered"),
        ("TLS1_1", "not offered"),
        ("TLS1_2", "offered"),
        ("TLS1_3", "offered with final"),
        ("cert_chain_of_trust", "passed."),
        ("secure_renego", "supported"),
        ("secure_client_renego", "not vulnerable"),
        ("cipher_order", "server"),
    ] {
        assert_eq!(found(id)["finding"], finding, "{id}");
    }
    // A certificate for development names nobody who could revoke it.
    let grave = ["MEDIUM", "HIGH", "CRITICAL"];
    let bad: Vec<_> = findings
        .iter()
        .filter(|it| grave.iter().any(|severity| it["severity"] == *severity))
        .filter(|it| it["id"] != "cert_revocation")
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

async fn asked(gateway: &Gateway, host: &str, path: &str) -> Message {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    gateway.raw().await.ask(request).await
}

/// As [`OPEN`], for a name of somebody's own and for the subdomains of another.
fn named(hsts: &str) -> Gateway {
    Gateway::start(&format!(
        r#"
        [gateway]
        public_url = "https://app.example.com:8443"
        hsts = "{hsts}"
        [routes.named]
        host = ["*.example.org", "app.localhost", "10.0.0.1"]
        path = "/"
        auth = "none"
        upstream = "echo"
        {OPEN}
        "#
    ))
}

// SECURITY 56
#[tokio::test(flavor = "multi_thread")]
async fn browsers_are_kept_to_https_for_the_names_in_the_file() {
    let gateway = named("365d");
    let said = async |host: &str, path: &str| {
        let answer = asked(&gateway, host, path).await;
        answer.header("strict-transport-security").to_owned()
    };
    for path in ["/", "/guarded", "/auth/me", "/.well-known/jwks.json"] {
        for own in ["app.example.com:8443", "APP.example.com.", "a.example.org"] {
            assert_eq!(said(own, path).await, "max-age=31536000", "{own}{path}");
        }
        for other in [
            "localhost",
            "app.localhost:8443",
            "127.0.0.1",
            "10.0.0.1",
            "[::1]:8443",
            "example.org",
            "stranger.example.com",
        ] {
            assert_eq!(said(other, path).await, "", "{other}{path}");
        }
    }
}

// SECURITY 56
#[tokio::test(flavor = "multi_thread")]
async fn what_browsers_were_told_can_be_taken_back_or_left_unsaid() {
    for (hsts, expected) in [("0s", "max-age=0"), ("off", "")] {
        let gateway = named(hsts);
        let answer = asked(&gateway, "app.example.com", "/").await;
        assert_eq!(answer.header("strict-transport-security"), expected);
    }
}

// SECURITY 56
#[tokio::test(flavor = "multi_thread")]
async fn an_apps_own_words_about_https_are_kept() {
    let app = Upstream::answering(|_| {
        let response = Response::builder();
        let response = response.header("strict-transport-security", "max-age=60; preload");
        response.body(Full::default()).unwrap()
    })
    .await;
    let gateway = Gateway::start(&format!(
        "[routes.app]\nhost = \"app.example.com\"\npath = \"/\"\nauth = \"none\"\nupstream = \"{}\"",
        app.url()
    ));
    let answer = asked(&gateway, "app.example.com", "/").await;
    let said = answer.header("strict-transport-security");
    assert_eq!(said, "max-age=60; preload");
}
