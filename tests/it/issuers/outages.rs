//! Issuers that are down, come back, take their keys back, or describe themselves in another way.

use super::*;
use crate::harness::upstream::RawUpstream;

const OK: &str = "portcullis_issuer_key_refreshes_total{issuer=\"corp\",result=\"ok\"}";
const FAILED: &str = "portcullis_issuer_key_refreshes_total{issuer=\"corp\",result=\"failed\"}";
const HELD: &str = "portcullis_issuer_keys{issuer=\"corp\"}";

#[tokio::test]
async fn an_issuer_that_was_down_is_asked_again_though_nobody_wants_its_keys() {
    let (issuer, app) = (Issuer::start().await, Upstream::start().await);
    issuer.is_down(true);
    let gateway = Gateway::start(&issuer.lines(&app, ""));
    eventually("a failure", async || {
        (gateway.metric(FAILED) >= 1.0).then_some(())
    })
    .await;
    assert_eq!([gateway.metric(OK), gateway.metric(HELD)], [0.0; 2]);
    issuer.is_down(false);
    eventually("its keys", async || {
        (gateway.metric(OK) >= 1.0).then_some(())
    })
    .await;
    assert_eq!(gateway.metric(HELD), 1.0);
    let before = issuer.fetches();
    let token = issuer.token(&gateway).signed_by(&issuer.signer);
    ask(&gateway, "/notes", &token).await.expect(200);
    assert_eq!(issuer.fetches(), before);
}

// SECURITY 20
#[tokio::test]
async fn an_issuer_that_takes_all_its_keys_back_is_not_believed_by_them() {
    let (issuer, gateway, app) = started().await;
    let token = issuer.token(&gateway).signed_by(&issuer.signer);
    ask(&gateway, "/notes", &token).await.expect(200);
    app.only();
    assert_eq!(gateway.metric(HELD), 1.0);

    let keys = vec![json!({"kty": "oct", "k": "AAAA", "kid": issuer.signer.kid})];
    for none in [Vec::new(), keys] {
        issuer.publish(none);
        gateway.clock().advance(Duration::from_secs(60));
        let unknown = issuer.token(&gateway).with_header(&json!({"kid": "?"}));
        for token in [unknown.signed_by(&issuer.signer), token.clone()] {
            ask(&gateway, "/notes", &token)
                .await
                .expect_problem(503, "issuer_unavailable");
        }
        assert_eq!(gateway.metric(HELD), 0.0);
    }
    app.assert_untouched();

    issuer.publish(vec![jwk(&issuer.signer)]);
    gateway.clock().advance(Duration::from_secs(60));
    ask(&gateway, "/notes", &token).await.expect(200);
}

// SECURITY 20
#[tokio::test]
async fn whoever_makes_keys_up_holds_a_new_one_off_for_ten_seconds_at_most() {
    let (mut issuer, gateway, app) = started().await;
    let token = issuer.token(&gateway).signed_by(&issuer.signer);
    ask(&gateway, "/notes", &token).await.expect(200);
    app.only();
    gateway.clock().advance(Duration::from_secs(60));
    let unknown = issuer.token(&gateway).with_header(&json!({"kid": "?"}));
    ask(&gateway, "/notes", &unknown.signed_by(&issuer.signer))
        .await
        .expect_invalid_token("a key that nobody has");

    let next = Signer::stranger().named("next");
    issuer.publish(vec![jwk(&issuer.signer), jwk(&next)]);
    issuer.signer = next;
    let token = issuer.token(&gateway).signed_by(&issuer.signer);
    ask(&gateway, "/notes", &token)
        .await
        .expect_invalid_token("a key that was not there a moment ago");
    gateway.clock().advance(Duration::from_secs(10));
    ask(&gateway, "/notes", &token).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_under_way_ends_with_the_key_of_its_callers_issuer() {
    let (issuer, app) = (Issuer::start().await, RawUpstream::start().await);
    let gateway = Gateway::start(&format!(
        r#"
        [issuers.corp]
        issuer = "{}"
        audiences = ["{AUDIENCE}"]
        [routes.notes]
        path = "/notes"
        issuers = ["corp"]
        upstream = "{}"
        "#,
        issuer.server.url(),
        app.url(),
    ));
    let token = issuer.token(&gateway).signed_by(&issuer.signer);
    let mut client = gateway.raw().await;
    client
        .send(format!(
            "GET /notes HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
        ))
        .await;
    let mut link = app.accept().await;
    link.head().await;
    link.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        .await;
    assert_eq!(client.head().await.status(), 200);
    client.until(b"half").await;

    // A key that comes ends nothing; one that goes does.
    let next = Signer::stranger().named("next");
    for keys in [vec![jwk(&issuer.signer), jwk(&next)], vec![jwk(&next)]] {
        link.send("more").await;
        client.until(b"more").await;
        issuer.publish(keys);
        gateway.clock().advance(Duration::from_secs(60));
        let unknown = issuer.token(&gateway).with_header(&json!({"kid": "?"}));
        ask(&gateway, "/notes", &unknown.signed_by(&issuer.signer))
            .await
            .expect_invalid_token("a key that nobody has");
    }
    client.assert_closed().await;
    link.assert_closed().await;
}

/// RFC 8414 §3.1 puts its document between the host and the issuer's path.
#[tokio::test]
async fn an_issuer_without_an_openid_document_is_found_by_that_of_oauth() {
    let app = Upstream::start().await;
    for (status, kind) in [(404, "application/json"), (200, "text/html")] {
        let signer = Signer::stranger();
        let keys = json!({ "keys": [jwk(&signer)] });
        let server = Upstream::answering(move |request| {
            let host = request.header("host");
            let (status, kind, body) = match request.target.as_str() {
                "/tenant/.well-known/openid-configuration" => (status, kind, json!("no such page")),
                "/.well-known/oauth-authorization-server/tenant" => {
                    let document = json!({
                        "issuer": format!("http://{host}/tenant"),
                        "jwks_uri": format!("http://{host}/keys"),
                    });
                    (200, "application/json", document)
                }
                "/keys" => (200, "application/json", keys.clone()),
                other => panic!("{other} was asked for"),
            };
            Response::builder()
                .status(status)
                .header("content-type", kind)
                .body(Full::from(body.to_string()))
                .unwrap()
        })
        .await;
        let url = format!("{}/tenant", server.url());
        let issuer = Issuer {
            server,
            documents: Arc::default(),
            signer,
        };
        let lines = issuer.lines(&app, "");
        let gateway = Gateway::start(&lines.replace(&issuer.server.url(), &url));
        let token = issuer.token(&gateway).with_claims(&json!({ "iss": url }));
        ask(&gateway, "/notes", &token.signed_by(&issuer.signer))
            .await
            .expect(200);
        app.only();
    }
}
