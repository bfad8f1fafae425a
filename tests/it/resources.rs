//! Resources: tokens that are for one of them alone (RFC 8707), and how each is found (RFC 9728).

mod shown;

use http::Method;
use portcullis::store::KeyPurpose;
use serde_json::Value;
use serde_json::json;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;

use crate::harness::binary::portcullis;
use crate::harness::binary::portcullis_reading;
use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::eventually;
use crate::harness::forge::Signer;
use crate::harness::forge::Token;
use crate::harness::gateway::Folder;
use crate::harness::gateway::Gateway;
use crate::harness::upstream::Upstream;

const SECRET: &str = "Xq2v8mK4tR9wZ1bN6cL3pS7dF5gH0jYa";
const OTHER_SECRET: &str = "b7Q1sD4fG9hJ2kL6zX3cV8nM5wE0rTyU";
const API: &str = "https://api.localhost/v1";
const SHOP: &str = "https://shop.localhost";
const ELSEWHERE: &str = "https://elsewhere.example";
const FAR: &str = "https://far.example/v1";

async fn started() -> (Gateway, Upstream) {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&lines(&app.url()));
    (gateway, app)
}

fn lines(app: &str) -> String {
    format!(
        r#"
        [clients.sync]
        secret = "{SECRET}"
        scopes = ["notes:read"]
        grants = ["client_credentials"]
        resources = ["{ELSEWHERE}"]
        [clients.other]
        secret = "{OTHER_SECRET}"
        grants = ["client_credentials"]
        [defaults]
        upstream = "{app}"
        [routes.api]
        host = "api.localhost"
        path = "/v1"
        audience = "{API}"
        scopes = ["notes:read"]
        [routes.api-too]
        host = "api.localhost"
        path = "/v1/write"
        audience = "{API}"
        scopes = ["notes:write"]
        [routes.shop]
        host = "shop.localhost"
        path = "/"
        audience = "{SHOP}"
        clients = "*"
        [routes.shop-staff]
        host = "shop.localhost"
        path = "/staff"
        audience = "{SHOP}"
        clients = "*"
        roles = ["admin"]
        [routes.ledger]
        path = "/ledger"
        audience = "urn:example:ledger"
        clients = "*"
        [routes.plain]
        path = "/plain"
        clients = "*"
        [routes.third]
        host = "third.localhost"
        path = "/plain"
        clients = "*"
        [routes.optional]
        path = "/optional"
        auth = "optional"
        [routes.open]
        path = "/open"
        auth = "none"
        "#
    )
}

/// One request of `sync` to an endpoint of OAuth.
async fn ask(caller: &Caller, endpoint: &str, form: &[(&str, &str)]) -> Answer {
    let mut body = url::form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(form);
    if !form.iter().any(|(name, _)| *name == "client_id") {
        body.extend_pairs([("client_id", "sync"), ("client_secret", SECRET)]);
    }
    let request = caller
        .request(Method::POST, &format!("/auth/oauth/{endpoint}"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body.finish());
    Answer::of(request).await
}

const GRANT: (&str, &str) = ("grant_type", "client_credentials");

/// A token of `sync` for a resource, or for the gateway.
async fn token(gateway: &Gateway, resource: &str) -> String {
    let caller = gateway.anonymous();
    let answer = ask(&caller, "token", &[GRANT, ("resource", resource)]).await;
    let answer = answer.expect(200).json();
    answer["access_token"].as_str().unwrap().to_owned()
}

/// Every route that lists `sync`, by host and path.
const ROUTES: [(&str, &str); 4] = [
    ("api.localhost", "/v1/notes"),
    ("shop.localhost", "/"),
    ("localhost", "/ledger"),
    ("localhost", "/plain"),
];

/// Shows a token to every route, and insists that these are opened, and that no other is reached.
async fn opens(gateway: &Gateway, app: &Upstream, token: &str, opened: &[(&str, &str)]) {
    let caller = gateway.anonymous().with_token(token);
    // Twice: also once it is remembered.
    for (host, path) in ROUTES.into_iter().chain(ROUTES) {
        let answer = caller.at(host).get(path).await;
        if opened.contains(&(host, path)) {
            answer.expect(200);
            app.only();
        } else {
            let answer = answer.expect_problem(401, "invalid_token");
            let challenge = answer.header("www-authenticate");
            assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
        }
    }
    app.assert_untouched();
}

// SECURITY 21
// RFC 9700 §4.9.1 and §4.10.2: a token that one app gets is worthless at its neighbours.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_one_resource_opens_its_routes_and_no_others() {
    let (gateway, app) = started().await;
    for (resource, opened) in [
        (API, ROUTES[0]),
        (SHOP, ROUTES[1]),
        ("urn:example:ledger", ROUTES[2]),
    ] {
        let token = token(&gateway, resource).await;
        assert_eq!(Token::read(&token).payload["aud"], resource);
        opens(&gateway, &app, &token, &[opened]).await;
    }
    let for_api = gateway.anonymous().with_token(&token(&gateway, API).await);
    // Not for who asks nobody, nor for endpoints of the gateway itself.
    let optional = for_api.get("/optional").await;
    let optional = optional.expect_invalid_token("optional");
    for endpoint in ["/auth/me", "/auth/sessions"] {
        for_api.get(endpoint).await.expect_invalid_token(endpoint);
    }
    app.assert_untouched();
    for_api.get("/open").await.expect(200);
    app.only();
    // The caller is not told what the operator is.
    let line = gateway.log_line(optional.header("x-request-id")).await;
    assert_eq!(line["reason"], "wrong_audience", "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_the_gateway_is_for_whatever_is_behind_it() {
    let (gateway, app) = started().await;
    for resource in ["", "https://localhost", "https://localhost/"] {
        let token = token(&gateway, resource).await;
        assert_eq!(Token::read(&token).payload["aud"], "https://localhost");
        opens(&gateway, &app, &token, &ROUTES).await;
    }
    let alice = gateway.signed_in("alice").await;
    opens(&gateway, &app, alice.token(), &ROUTES).await;
    // What it may do there is another question.
    let write = alice.at("api.localhost").get("/v1/write").await;
    write.expect(200);
    let machine = alice.with_token(&token(&gateway, API).await);
    let write = machine.at("api.localhost").get("/v1/write").await;
    write.expect_problem(403, "insufficient_scope");
}

// SECURITY 21
#[tokio::test(flavor = "multi_thread")]
async fn what_a_token_is_for_is_read_from_all_of_its_audience() {
    let (gateway, app) = started().await;
    let good = Token::read(&token(&gateway, API).await);
    let access = Signer::stolen(&gateway, KeyPurpose::Access).await;
    for (audience, opened) in [
        (json!([API]), &ROUTES[..1]),
        (json!([API, SHOP]), &ROUTES[..2]),
        (json!([ELSEWHERE, API]), &ROUTES[..1]),
        (json!([ELSEWHERE, "https://localhost"]), &ROUTES),
        (json!([]), &[]),
        (json!("https://api.localhost"), &[]),
        (json!("https://api.localhost/v1/"), &[]),
        (json!("https://api.localhost/v1/notes"), &[]),
        (json!(format!("{API} {SHOP}")), &[]),
        (json!("https://stranger.example"), &[]),
    ] {
        let token = good.with_claims(&json!({ "aud": audience }));
        opens(&gateway, &app, &token.signed_by(&access), opened).await;
    }
}

// RFC 8707 §2
#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_ask_for_its_own_resources_and_is_refused_what_there_is_not() {
    let (gateway, app) = started().await;
    let caller = gateway.anonymous();
    for resource in [
        "https://stranger.example",
        "https://api.localhost",
        "https://api.localhost/v1/",
        "https://api.localhost/v1#x",
        "https://localhost//",
        "http://localhost",
        "localhost",
        "/v1",
        "sync",
    ] {
        let refused = ask(&caller, "token", &[GRANT, ("resource", resource)]).await;
        assert_eq!(refused.status, 400, "{resource}");
        assert_eq!(refused.json()["error"], "invalid_target", "{resource}");
        assert_eq!(refused.header("cache-control"), "no-store");
    }
    // One token is for one resource: two would be each other's.
    let two = [GRANT, ("resource", API), ("resource", SHOP)];
    let refused = ask(&caller, "token", &two).await.expect(400);
    assert_eq!(refused.json()["error"], "invalid_request");
    assert!(refused.text().contains("resource"), "{}", refused.text());
    // What is one client's own is no other's.
    let other = [
        GRANT,
        ("client_id", "other"),
        ("client_secret", OTHER_SECRET),
        ("resource", ELSEWHERE),
    ];
    let refused = ask(&caller, "token", &other).await.expect(400);
    assert_eq!(refused.json()["error"], "invalid_target");

    // A token for somebody else's API opens nothing here, and can be asked about and given up.
    let elsewhere = token(&gateway, ELSEWHERE).await;
    opens(&gateway, &app, &elsewhere, &[]).await;
    let form = [("token", &*elsewhere)];
    let told = ask(&caller, "introspect", &form).await.expect(200).json();
    assert_eq!(
        (&told["active"], &told["aud"]),
        (&json!(true), &json!(ELSEWHERE))
    );
    ask(&caller, "revoke", &form).await.expect(200);
    let told = ask(&caller, "introspect", &form).await.expect(200).json();
    assert_eq!(told, json!({"active": false}));
    let for_gateway = token(&gateway, "").await;
    let told = ask(&caller, "introspect", &[("token", &for_gateway)]).await;
    assert_eq!(told.expect(200).json()["aud"], "https://localhost");
}

// SECURITY 21, 42
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_a_command_made_may_ask_for_resources_of_its_own_as_one_of_the_file() {
    let (gateway, app) = started().await;
    let caller = gateway.anonymous();
    let folder = gateway.folder();
    let add = ["client", "add", "late", "--resource", FAR];
    let secret = portcullis(folder, &add).expect(0).stdout;
    let late = [("client_id", "late"), ("client_secret", secret.trim())];
    let asks = async |endpoint: &str, form: &[(&str, &str)]| {
        ask(&caller, endpoint, &[form, &late].concat()).await
    };
    let token = async |resource: &str| {
        let got = asks("token", &[GRANT, ("resource", resource)]).await;
        let got = got.expect(200).json();
        got["access_token"].as_str().unwrap().to_owned()
    };
    let far = token(FAR).await;
    assert_eq!(Token::read(&far).payload["aud"], FAR);
    // What is another client's own is not its own, nor the other way about.
    for resource in [ELSEWHERE, "https://far.example/v2"] {
        let refused = asks("token", &[GRANT, ("resource", resource)]).await;
        assert_eq!(refused.expect(400).json()["error"], "invalid_target");
    }
    let other = ask(&caller, "token", &[GRANT, ("resource", FAR)]).await;
    assert_eq!(other.expect(400).json()["error"], "invalid_target");

    // It opens nothing here, neither a route nor an endpoint of the gateway, and changes no account.
    opens(&gateway, &app, &far, &[]).await;
    let stranger = caller.with_token(&far);
    for path in [
        "/optional",
        "/auth/me",
        "/auth/sessions",
        "/auth/tokens",
        "/auth/oauth/userinfo",
    ] {
        stranger.get(path).await.expect_invalid_token(path);
    }
    for path in ["/auth/logout", "/auth/password", "/auth/tokens"] {
        let answer = stranger.post(path, &json!({})).await;
        answer.expect_invalid_token(path);
    }
    app.assert_untouched();

    // Its client asks about it and gives it up; to others it is nothing.
    let form = [("token", &*far)];
    let told = asks("introspect", &form).await.expect(200).json();
    assert_eq!((&told["active"], &told["aud"]), (&json!(true), &json!(FAR)));
    let told = ask(&caller, "introspect", &form).await.expect(200).json();
    assert_eq!(told, json!({"active": false}));
    ask(&caller, "revoke", &form).await.expect(200);
    let told = asks("introspect", &form).await.expect(200).json();
    assert_eq!(told["active"], true, "another client's word");
    asks("revoke", &form).await.expect(200);
    let told = asks("introspect", &form).await.expect(200).json();
    assert_eq!(told, json!({"active": false}));

    // So does whoever finds one somewhere.
    let found = token(FAR).await;
    let ended = portcullis_reading(folder, &["token", "revoke", "-"], &found).expect(0);
    assert!(ended.stdout.contains("is ended"), "{}", ended.stdout);
    eventually("the end of a session", async || {
        let told = asks("introspect", &[("token", &found)]).await.expect(200);
        (told.json() == json!({"active": false})).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_remembers_what_its_tokens_are_for() {
    let (gateway, _app) = started().await;
    let [for_api, for_gateway] = [token(&gateway, API).await, token(&gateway, "").await];
    let options = SqliteConnectOptions::new().filename(gateway.folder().path("data/portcullis.db"));
    let mut store = options.connect().await.unwrap();
    for (token, expected) in [(for_api, Some(API)), (for_gateway, None)] {
        let session = Token::read(&token).payload["sid"].clone();
        let session = session.as_str().unwrap().replace('-', "");
        let kept: Option<String> =
            sqlx::query_scalar("SELECT audience FROM sessions WHERE lower(hex(id)) = $1")
                .bind(session)
                .fetch_one(&mut store)
                .await
                .unwrap();
        assert_eq!(kept.as_deref(), expected);
    }
}

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

// RFC 9728 §3.1 and §3.3
#[tokio::test(flavor = "multi_thread")]
async fn each_resource_describes_itself_at_its_own_address_and_nowhere_else() {
    let (gateway, app) = started().await;
    let caller = gateway.anonymous();
    let documents = [
        (
            "localhost",
            "",
            json!({"resource": "https://localhost", "scopes_supported": ["notes:read", "notes:write"]}),
        ),
        (
            "api.localhost",
            "/v1",
            json!({"resource": API, "scopes_supported": ["notes:read", "notes:write"]}),
        ),
        ("shop.localhost", "", json!({ "resource": SHOP })),
    ];
    for (host, path, mut expected) in documents {
        let answer = caller.at(host).get(&format!("{WELL_KNOWN}{path}")).await;
        let answer = answer.expect(200);
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("cache-control"), "public, max-age=300");
        let members = expected.as_object_mut().unwrap();
        members.insert(
            "authorization_servers".to_owned(),
            json!(["https://localhost"]),
        );
        members.insert("bearer_methods_supported".to_owned(), json!(["header"]));
        assert_eq!(answer.json(), expected);
    }
    for (host, path) in [
        ("localhost", "/v1"),
        ("localhost", "/plain"),
        ("localhost", "/"),
        ("api.localhost", ""),
        ("api.localhost", "/v1/"),
        ("api.localhost", "/v1/write"),
        ("api.localhost", "/%76%31"),
        ("shop.localhost", "/v1"),
        ("third.localhost", ""),
    ] {
        let answer = caller.at(host).get(&format!("{WELL_KNOWN}{path}")).await;
        assert_eq!(answer.status, 404, "{host}{path}: {}", answer.text());
    }
    let post = caller.request(Method::POST, WELL_KNOWN);
    let refused = Answer::of(post)
        .await
        .expect_problem(405, "method_not_allowed");
    assert_eq!(refused.header("allow"), "GET, HEAD");
    // The route of the whole host `shop.localhost` got none of it.
    app.assert_untouched();
}

// SECURITY 26
// RFC 9728 §5.1
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_names_the_metadata_of_the_resource_that_was_asked_for() {
    let (gateway, app) = started().await;
    let anonymous = gateway.anonymous();
    let machine = anonymous.with_token(&token(&gateway, API).await);
    let bad = anonymous.with_token("x.y.z");
    let realm = "Bearer realm=\"portcullis\"";
    let invalid = format!(
        "{realm}, error=\"invalid_token\", error_description=\"The access token is malformed, \
         expired or revoked\""
    );
    let narrow = format!("{realm}, error=\"insufficient_scope\"");
    let write = format!("{narrow}, scope=\"notes:write\"");
    let of_gateway = "https://localhost/.well-known/oauth-protected-resource";
    let of_api = "https://api.localhost/.well-known/oauth-protected-resource/v1";
    let of_shop = "https://shop.localhost/.well-known/oauth-protected-resource";
    let alice = gateway.signed_in("alice").await;
    for (caller, host, path, status, challenge, metadata) in [
        (&anonymous, "localhost", "/plain", 401, realm, of_gateway),
        (&bad, "localhost", "/optional", 401, &*invalid, of_gateway),
        (&anonymous, "api.localhost", "/v1", 401, realm, of_api),
        (&bad, "api.localhost", "/v1/x", 401, &invalid, of_api),
        (&machine, "api.localhost", "/v1/write", 403, &write, of_api),
        (&machine, "shop.localhost", "/x", 401, &invalid, of_shop),
        // The gateway's own address is not that of this host; and a name is no address.
        (&anonymous, "third.localhost", "/plain", 401, realm, ""),
        (&anonymous, "localhost", "/ledger", 401, realm, ""),
        // Nor do its own endpoints belong to an app.
        (&anonymous, "localhost", "/auth/me", 401, realm, ""),
        // No token would help.
        (&alice, "shop.localhost", "/staff", 403, "", ""),
    ] {
        let answer = caller.at(host).get(path).await.expect(status);
        let expected = match metadata {
            "" => challenge.to_owned(),
            metadata => format!("{challenge}, resource_metadata=\"{metadata}\""),
        };
        assert_eq!(answer.header("www-authenticate"), expected, "{host}{path}");
        if let Some((_, path)) = metadata.split_once("localhost") {
            let document = anonymous.at(host).get(path).await.expect(200).json();
            assert_eq!(
                document["authorization_servers"],
                json!(["https://localhost"])
            );
        }
    }
    app.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_for_what_a_token_is_and_why_it_does_not_pass() {
    let folder = Folder::with(&lines("http://127.0.0.1:9"));
    let gateway = Gateway::start_in(&folder);
    gateway.signed_in("alice").await;
    let explain = |arguments: &[&str], url: &str| {
        let arguments = [&["explain"], arguments, &["GET", url]].concat();
        portcullis(&folder, &arguments)
    };
    let sync = ["--as", "client:sync", "--resource", API];
    let shown = explain(&sync, "https://api.localhost/v1").expect(0).stdout;
    assert!(shown.contains(&format!("audience {API}")), "{shown}");
    let shown = explain(&sync, "https://shop.localhost/").expect(1).stdout;
    for expected in [
        "401 Unauthorized invalid_token",
        "because of wrong_audience",
        "resource_metadata=\"https://shop.localhost/.well-known/oauth-protected-resource\"",
    ] {
        assert!(shown.contains(expected), "{shown}");
    }
    let json = [&["--json"], &sync[..]].concat();
    let shown = explain(&json, "https://shop.localhost/").expect(1).stdout;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["decision"]["reason"], "wrong_audience");

    explain(&["--as", "client:sync"], "https://shop.localhost/").expect(0);
    explain(&["--as", "alice"], "https://shop.localhost/").expect(0);
    let for_api = ["--as", "alice", "--resource", API];
    explain(&for_api, "https://shop.localhost/").expect(1);
    let own = ["--as", "client:sync", "--resource", ELSEWHERE];
    explain(&own, "https://shop.localhost/").expect(1);
    let unknown = ["--as", "client:other", "--resource", ELSEWHERE];
    let refused = explain(&unknown, "https://shop.localhost/").expect(1);
    assert!(
        refused.stderr.contains("there is no such resource"),
        "{}",
        refused.stderr
    );
    drop(gateway);
}
