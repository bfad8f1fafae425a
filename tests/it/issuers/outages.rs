//! Issuers that are down, come back, take their keys back, or describe themselves in another way.

use super::*;

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
