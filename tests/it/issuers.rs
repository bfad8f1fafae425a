//! Other issuers' access tokens: whom they admit where, by which keys, and what happens when those change
//! or cannot be had.

mod boundaries;
mod outages;

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::KeyPair as _;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use aws_lc_rs::signature::RsaKeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures_util::future::join_all;
use http::Response;
use http_body_util::Full;
use serde_json::Value;
use serde_json::json;

use crate::harness::caller::Answer;
use crate::harness::eventually;
use crate::harness::forge::Signer;
use crate::harness::forge::Token;
use crate::harness::gateway::Gateway;
use crate::harness::upstream::Upstream;

const AUDIENCE: &str = "https://notes.example";

/// An issuer that answers whatever the test wants.
struct Issuer {
    server: Upstream,
    documents: Arc<Mutex<Documents>>,
    signer: Signer,
}

#[derive(Clone, Default)]
struct Documents {
    keys: Vec<Value>,
    issuer: Option<String>,
    is_down: bool,
}

impl Issuer {
    async fn start() -> Self {
        let documents = Arc::new(Mutex::new(Documents::default()));
        let shown = Arc::clone(&documents);
        let server = Upstream::answering(move |request| {
            let Documents {
                keys,
                issuer,
                is_down,
            } = shown.lock().unwrap().clone();
            let host = request.header("host");
            let body = match request.target.as_str() {
                "/.well-known/openid-configuration" => json!({
                    "issuer": issuer.unwrap_or_else(|| format!("http://{host}")),
                    "jwks_uri": format!("http://{host}/keys"),
                }),
                "/keys" => json!({ "keys": keys }),
                other => panic!("{other} was asked for"),
            };
            let status = if is_down { 500 } else { 200 };
            Response::builder()
                .status(status)
                .header("content-type", "application/json")
                .body(Full::from(body.to_string()))
                .unwrap()
        })
        .await;
        let issuer = Self {
            server,
            documents,
            signer: Signer::stranger(),
        };
        issuer.publish(vec![jwk(&issuer.signer)]);
        issuer
    }

    fn publish(&self, keys: Vec<Value>) {
        self.documents.lock().unwrap().keys = keys;
    }

    fn is_down(&self, is_down: bool) {
        self.documents.lock().unwrap().is_down = is_down;
    }

    /// How often the keys were fetched.
    fn fetches(&self) -> usize {
        let requests = self.server.requests();
        let fetches = requests.iter().filter(|request| request.target == "/keys");
        fetches.count()
    }

    /// A good token.
    fn token(&self, gateway: &Gateway) -> Token {
        let now = portcullis::clock::unix_seconds(gateway.clock().now());
        Token {
            header: json!({"typ": "at+jwt", "alg": "ES256", "kid": self.signer.kid}),
            payload: json!({
                "iss": self.server.url(), "aud": AUDIENCE, "sub": "248289761001", "iat": now,
                "exp": now + 300, "scope": "notes:read", "preferred_username": "alice",
                "email": "alice@example.com", "name": "Alice",
                "realm_access": {"roles": ["admin", "no role, this"]},
            }),
            signature: String::new(),
        }
    }

    fn lines(&self, app: &Upstream, more: &str) -> String {
        format!(
            r#"
            [issuers.corp]
            issuer = "{}"
            audiences = ["{AUDIENCE}"]
            claims = {{ roles = "realm_access.roles" }}
            {more}
            [routes.notes]
            path = "/notes"
            issuers = ["corp"]
            upstream = "{app}"
            [routes.own]
            path = "/own"
            upstream = "{app}"
            [routes.alice]
            path = "/alice"
            issuers = ["corp"]
            users = ["alice"]
            upstream = "{app}"
            [routes.admin]
            path = "/admin"
            issuers = ["corp"]
            scopes = ["notes:read"]
            roles = ["admin"]
            upstream = "{app}"
            "#,
            self.server.url(),
            app = app.url(),
        )
    }
}

fn jwk(signer: &Signer) -> Value {
    let (x, y) = signer.point();
    json!({"kty": "EC", "crv": "P-256", "kid": signer.kid, "use": "sig", "x": x, "y": y})
}

async fn started() -> (Issuer, Gateway, Upstream) {
    let (issuer, app) = (Issuer::start().await, Upstream::start().await);
    let gateway = Gateway::start(&issuer.lines(&app, ""));
    (issuer, gateway, app)
}

async fn ask(gateway: &Gateway, path: &str, token: &str) -> Answer {
    gateway.anonymous().with_token(token).get(path).await
}

// SECURITY 16
#[tokio::test]
async fn a_token_of_another_issuer_opens_the_routes_that_list_it_under_a_name_that_is_nobodys_here()
{
    let (issuer, gateway, app) = started().await;
    let token = issuer.token(&gateway).signed_by(&issuer.signer);
    ask(&gateway, "/notes", &token).await.expect(200);
    let seen = app.only();
    assert_eq!(seen.header("x-auth-user"), "corp:alice");
    assert_eq!(seen.header("x-auth-user-id"), "corp|248289761001");
    assert_eq!(seen.header("x-auth-method"), "outside");
    assert_eq!(seen.header("x-auth-scopes"), "notes:read");
    assert_eq!(seen.header("x-auth-roles"), "admin");
    assert_eq!(seen.header("x-auth-name"), "Alice");
    for name in ["x-auth-email", "x-auth-session", "x-auth-client"] {
        assert!(!seen.headers.contains_key(name), "{name}");
    }
    let assertion = Token::read(seen.header("x-auth-assertion"));
    assert_eq!(assertion.payload["outside_issuer"], issuer.server.url());
    assert_eq!(assertion.payload["sub"], "corp|248289761001");
    assert_eq!(assertion.payload.get("auth_time"), None);

    ask(&gateway, "/admin", &token).await.expect(200);
    app.only();
    ask(&gateway, "/own", &token)
        .await
        .expect_problem(403, "issuer_not_admitted");
    ask(&gateway, "/alice", &token)
        .await
        .expect_problem(403, "user_not_admitted");
    ask(&gateway, "/auth/me", &token)
        .await
        .expect_problem(401, "invalid_token");
    app.assert_untouched();
}

// SECURITY 16
#[tokio::test]
async fn an_address_is_told_only_where_the_issuer_has_verified_it() {
    let (issuer, gateway, app) = started().await;
    for (verified, told) in [(json!(true), "alice@example.com"), (json!("true"), "")] {
        let claims = json!({"email_verified": verified, "preferred_username": "a b\r\nc"});
        let token = issuer.token(&gateway).with_claims(&claims);
        ask(&gateway, "/notes", &token.signed_by(&issuer.signer))
            .await
            .expect(200);
        let seen = app.only();
        assert_eq!(seen.header("x-auth-email"), told);
        assert_eq!(seen.header("x-auth-user"), "");
    }
}

// SECURITY 19, 20, 21 and 22
#[tokio::test]
async fn what_is_wrong_with_a_token_is_wrong_whoever_issued_it() {
    let (issuer, gateway, app) = started().await;
    let good = issuer.token(&gateway);
    let now = good.payload["iat"].as_u64().unwrap();
    ask(&gateway, "/notes", &good.signed_by(&issuer.signer))
        .await
        .expect(200);
    app.only();
    let mut wrong = Vec::new();
    for claims in [
        json!({"iss": "https://evil.example"}),
        json!({"iss": [issuer.server.url()]}),
        json!({"iss": format!("{}/", issuer.server.url())}),
        json!({"aud": "https://other.example"}),
        json!({"aud": []}),
        json!({"aud": null}),
        json!({"sub": ""}),
        json!({"sub": "a b"}),
        json!({"sub": 1}),
        json!({"exp": now - 60}),
        json!({"exp": "tomorrow"}),
        json!({"iat": now + 600}),
        json!({"iat": null}),
        json!({"nbf": now + 600}),
    ] {
        let token = good.with_claims(&claims);
        wrong.push((claims, token.signed_by(&issuer.signer)));
    }
    for name in ["sub", "aud", "exp", "iat", "iss"] {
        let mut token = good.clone();
        token.payload.as_object_mut().unwrap().remove(name);
        wrong.push((json!(name), token.signed_by(&issuer.signer)));
    }
    for header in [
        json!({"typ": "JWT"}),
        json!({"typ": "id+jwt"}),
        json!({"crit": ["exp"]}),
        json!({"alg": "RS256"}),
        json!({"alg": "HS256"}),
        json!({"alg": "none"}),
        json!({"kid": null}),
        json!({"kid": ["stranger"]}),
    ] {
        let token = good.with_header(&header);
        wrong.push((header, token.signed_by(&issuer.signer)));
    }
    let thief = Signer::stranger();
    wrong.push((json!("another's key"), good.signed_by(&thief)));
    wrong.push((
        json!("a key of its own"),
        good.with_header(&json!({"jwk": jwk(&thief), "jku": "http://127.0.0.1:1/keys"}))
            .signed_by(&thief),
    ));
    wrong.push((
        json!("unsigned"),
        good.with_header(&json!({"alg": "none"})).unsigned(),
    ));
    let twice = good
        .payload
        .to_string()
        .replacen('{', "{\"sub\":\"root\",", 1);
    wrong.push((
        json!("a claim twice"),
        issuer.signer.sign_raw(good.header.to_string(), twice),
    ));
    for (what, token) in wrong {
        let answer = ask(&gateway, "/notes", &token).await;
        assert_eq!(answer.status, 401, "{what}: {}", answer.text());
        answer.expect_problem(401, "invalid_token");
    }
    app.assert_untouched();
}

// SECURITY 19
#[tokio::test]
async fn the_public_key_of_an_issuer_is_no_secret_to_sign_with() {
    let (issuer, app) = (Issuer::start().await, Upstream::start().await);
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    // RFC 8017 §A.1.1: a sequence of a modulus of 257 bytes, the first of them 0, and an exponent.
    let public = pair.public_key().as_ref().to_vec();
    let modulus = URL_SAFE_NO_PAD.encode(&public[9..265]);
    let key = json!({"kty": "RSA", "kid": "rsa", "n": modulus, "e": "AQAB"});
    issuer.publish(vec![key.clone()]);
    let gateway = Gateway::start(&issuer.lines(&app, ""));
    let sign = |alg: &str| {
        let token = issuer.token(&gateway);
        token.with_header(&json!({"alg": alg, "kid": "rsa"}))
    };
    let unsigned = sign("RS256").unsigned();
    let mut signature = vec![0; pair.public_modulus_len()];
    let message = unsigned.trim_end_matches('.').as_bytes();
    let random = SystemRandom::new();
    pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
        .unwrap();
    let good = format!("{unsigned}{}", URL_SAFE_NO_PAD.encode(signature));
    ask(&gateway, "/notes", &good).await.expect(200);
    app.only();

    for secret in [
        public,
        modulus.into_bytes(),
        key.to_string().into_bytes(),
        Vec::new(),
    ] {
        for alg in ["HS256", "RS256"] {
            let forged = sign(alg).hmac(&secret);
            ask(&gateway, "/notes", &forged)
                .await
                .expect_problem(401, "invalid_token");
        }
    }
    app.assert_untouched();
}

// SECURITY 22
#[tokio::test]
async fn a_token_that_calls_itself_jwt_passes_only_where_the_file_says_so() {
    let (issuer, app) = (Issuer::start().await, Upstream::start().await);
    let gateway = Gateway::start(&issuer.lines(&app, "typ = [\"JWT\"]"));
    let token = issuer.token(&gateway);
    ask(&gateway, "/notes", &token.signed_by(&issuer.signer))
        .await
        .expect_problem(401, "invalid_token");
    app.assert_untouched();
    let token = token.with_header(&json!({"typ": "JWT"}));
    ask(&gateway, "/notes", &token.signed_by(&issuer.signer))
        .await
        .expect(200);
}

// SECURITY 20
#[tokio::test]
async fn an_unknown_key_makes_the_issuer_be_asked_once_for_everybody() {
    let (mut issuer, gateway, app) = started().await;
    let old = issuer.token(&gateway).signed_by(&issuer.signer);
    ask(&gateway, "/notes", &old).await.expect(200);
    app.only();
    let before = issuer.fetches();
    gateway.clock().advance(Duration::from_secs(60));

    // The next key signs, and a crowd comes with it at once.
    let next = Signer::stranger().named("next");
    issuer.publish(vec![jwk(&issuer.signer), jwk(&next)]);
    issuer.signer = next;
    let new = issuer.token(&gateway).signed_by(&issuer.signer);
    let answers = join_all((0..20).map(|_| ask(&gateway, "/notes", &new))).await;
    for answer in answers {
        answer.expect(200);
    }
    assert_eq!(issuer.fetches(), before + 1);

    // Whoever makes names up makes nobody ask again.
    let made_up = (0..20).map(|kid| {
        let header = json!({"kid": format!("made-up-{kid}")});
        let token = issuer.token(&gateway).with_header(&header);
        token.signed_by(&issuer.signer)
    });
    for token in made_up.collect::<Vec<_>>() {
        ask(&gateway, "/notes", &token)
            .await
            .expect_problem(401, "invalid_token");
    }
    assert_eq!(issuer.fetches(), before + 1);
}

// SECURITY 20
#[tokio::test]
async fn a_token_that_is_remembered_ends_with_its_key() {
    let (issuer, gateway, app) = started().await;
    let token = issuer.token(&gateway).signed_by(&issuer.signer);
    ask(&gateway, "/notes", &token).await.expect(200);
    app.only();
    gateway.clock().advance(Duration::from_secs(60));
    issuer.publish(vec![jwk(&Signer::stranger().named("other"))]);
    let unknown = issuer.token(&gateway).with_header(&json!({"kid": "?"}));
    ask(&gateway, "/notes", &unknown.signed_by(&issuer.signer))
        .await
        .expect_problem(401, "invalid_token");
    ask(&gateway, "/notes", &token)
        .await
        .expect_problem(401, "invalid_token");
    app.assert_untouched();
}

// SECURITY 20
#[tokio::test]
async fn keys_serve_for_a_day_without_their_issuer_and_then_nobody_is_refused_for_it() {
    let (issuer, gateway, app) = started().await;
    let fresh = || issuer.token(&gateway).signed_by(&issuer.signer);
    ask(&gateway, "/notes", &fresh()).await.expect(200);
    app.only();
    issuer.is_down(true);

    gateway.clock().advance(Duration::from_secs(23 * 60 * 60));
    ask(&gateway, "/notes", &fresh()).await.expect(200);
    app.only();
    let unknown = issuer.token(&gateway).with_header(&json!({"kid": "next"}));
    let answer = ask(&gateway, "/notes", &unknown.signed_by(&issuer.signer)).await;
    let answer = answer.expect_problem(503, "issuer_unavailable");
    assert_eq!(answer.header("retry-after"), "30");

    gateway.clock().advance(Duration::from_secs(2 * 60 * 60));
    ask(&gateway, "/notes", &fresh())
        .await
        .expect_problem(503, "issuer_unavailable");
    app.assert_untouched();

    issuer.is_down(false);
    gateway.clock().advance(Duration::from_secs(60));
    ask(&gateway, "/notes", &fresh()).await.expect(200);
}

// SECURITY 20
#[tokio::test]
async fn a_document_of_another_issuer_brings_no_keys() {
    let (issuer, app) = (Issuer::start().await, Upstream::start().await);
    let other = format!("{}/", issuer.server.url());
    issuer.documents.lock().unwrap().issuer = Some(other);
    let gateway = Gateway::start(&issuer.lines(&app, ""));
    let token = issuer.token(&gateway).signed_by(&issuer.signer);
    ask(&gateway, "/notes", &token)
        .await
        .expect_problem(503, "issuer_unavailable");
    app.assert_untouched();
    assert_eq!(issuer.fetches(), 0);
}

// SECURITY 20
#[tokio::test]
async fn another_portcullis_is_an_issuer_over_tls_of_its_own_authority() {
    let outside = Gateway::start("[gateway]\npublic_url = \"https://outside.localhost\"");
    let app = Upstream::start().await;
    let lines = |ca: &str| {
        format!(
            r#"
            [issuers.outside]
            issuer = "https://outside.localhost"
            audiences = ["https://outside.localhost"]
            jwks_url = "https://localhost:{}/.well-known/jwks.json"
            {ca}
            [routes.notes]
            path = "/notes"
            issuers = ["outside"]
            upstream = "{}"
            "#,
            outside.address().port(),
            app.url(),
        )
    };
    let ca = outside.folder().path("certs/ca.pem");
    let alice = outside.signed_in("alice").await;
    let token = alice.token();

    let trusting = Gateway::start(&lines(&format!("ca = \"{}\"", ca.display())));
    ask(&trusting, "/notes", token).await.expect(200);
    assert_eq!(app.only().header("x-auth-user"), "outside:alice");
    // An account of the same name is somebody else.
    let here = trusting.signed_in("alice").await;
    here.get("/notes").await.expect(200);
    assert_eq!(app.only().header("x-auth-user"), "alice");

    let wary = Gateway::start(&lines(""));
    eventually("an answer", async || {
        let answer = ask(&wary, "/notes", token).await;
        (answer.status == 503).then_some(())
    })
    .await;
    app.assert_untouched();
}

// SECURITY 21
// RFC 9700 §4.10.2
#[tokio::test]
async fn a_token_for_the_audience_of_one_route_is_nothing_at_its_neighbours() {
    let (issuer, app) = (Issuer::start().await, Upstream::start().await);
    let gateway = Gateway::start(&format!(
        r#"
        [issuers.corp]
        issuer = "{}"
        audiences = ["{AUDIENCE}", "https://api.example", "https://all.example"]
        [defaults]
        issuers = ["corp"]
        upstream = "{}"
        [routes.notes]
        path = "/notes"
        audience = "{AUDIENCE}"
        [routes.api]
        path = "/api"
        audience = "https://api.example"
        [routes.plain]
        path = "/plain"
        "#,
        issuer.server.url(),
        app.url(),
    ));
    for (audience, opened) in [
        (json!(AUDIENCE), &["/notes"][..]),
        (json!([AUDIENCE, "https://stranger.example"]), &["/notes"]),
        (
            json!(["https://api.example", AUDIENCE]),
            &["/notes", "/api"],
        ),
        (json!("https://all.example"), &["/notes", "/api", "/plain"]),
        (
            json!(["https://api.example", "https://all.example"]),
            &["/notes", "/api", "/plain"],
        ),
    ] {
        let token = issuer
            .token(&gateway)
            .with_claims(&json!({ "aud": audience }));
        let token = token.signed_by(&issuer.signer);
        for path in ["/notes", "/api", "/plain"] {
            let answer = ask(&gateway, path, &token).await;
            if opened.contains(&path) {
                answer.expect(200);
                app.only();
            } else {
                answer.expect_problem(401, "invalid_token");
            }
        }
    }
    app.assert_untouched();
}

/// Nothing but JSON that says so is read, and a redirect leads nowhere.
#[tokio::test]
async fn keys_are_read_from_plain_answers_only() {
    let app = Upstream::start().await;
    let signer = Signer::stranger();
    let keys = json!({ "keys": [jwk(&signer)] }).to_string();
    let elsewhere = Upstream::start().await;
    for (status, kind, body) in [
        (200, "application/jwk-set+json", keys.clone()),
        (200, "text/html", keys.clone()),
        (302, "application/json", keys.clone()),
        (
            200,
            "application/json",
            format!("{keys}{}", " ".repeat(1 << 20)),
        ),
        (200, "application/json", "{\"keys\": []}".to_owned()),
    ] {
        let location = elsewhere.url();
        let answer = move || -> Response<Full<Bytes>> {
            Response::builder()
                .status(status)
                .header("content-type", kind)
                .header("location", location.clone())
                .body(Full::from(body.clone()))
                .unwrap()
        };
        let server = Upstream::answering(move |_| answer()).await;
        let issuer = Issuer {
            server,
            documents: Arc::default(),
            signer: signer.clone(),
        };
        let jwks = format!("jwks_url = \"{}/keys\"", issuer.server.url());
        let gateway = Gateway::start(&issuer.lines(&app, &jwks));
        let token = issuer.token(&gateway).signed_by(&signer);
        let answer = ask(&gateway, "/notes", &token).await;
        if kind == "application/jwk-set+json" {
            answer.expect(200);
            app.only();
        } else {
            answer.expect_problem(503, "issuer_unavailable");
        }
    }
    app.assert_untouched();
    elsewhere.assert_untouched();
}
