//! OAuth 2.0: clients that ask for tokens with their own credentials.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use serde_json::Value;
use serde_json::json;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;

use crate::harness::binary::portcullis;
use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::eventually;
use crate::harness::gateway::Folder;
use crate::harness::gateway::Gateway;
use crate::harness::upstream::Upstream;

const SECRET: &str = "Xq2v8mK4tR9wZ1bN6cL3pS7dF5gH0jYa";
const OTHER_SECRET: &str = "b7Q1sD4fG9hJ2kL6zX3cV8nM5wE0rTyU";

async fn with_clients() -> (Gateway, Upstream) {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&lines(&app.url()));
    (gateway, app)
}

fn lines(app: &str) -> String {
    format!(
        r#"
        [scopes]
        "notes:read" = "Read your notes"
        "notes:write" = "Change your notes"
        [clients.notes-sync]
        secret = "{SECRET}"
        scopes = ["notes:read", "notes:write"]
        grants = ["client_credentials"]
        [clients.other]
        secret = "{OTHER_SECRET}"
        grants = ["client_credentials"]
        [routes.notes]
        path = "/notes"
        scopes = ["notes:read"]
        upstream = "{app}"
        [routes.listed]
        path = "/listed"
        clients = ["other"]
        upstream = "{app}"
        [routes.own]
        path = "/own"
        upstream = "{app}"
        [routes.staff]
        path = "/staff"
        scopes = ["notes:read"]
        roles = ["admin"]
        upstream = "{app}"
        "#
    )
}

/// One request to an endpoint of OAuth, with the credentials in the header where there are any.
async fn ask(
    caller: &Caller,
    endpoint: &str,
    basic: Option<(&str, &str)>,
    form: &[(&str, &str)],
) -> Answer {
    let mut body = url::form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(form);
    let mut request = caller
        .request(Method::POST, &format!("/auth/oauth/{endpoint}"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body.finish());
    if let Some((id, secret)) = basic {
        let joined = STANDARD.encode(format!("{id}:{secret}"));
        request = request.header("authorization", format!("Basic {joined}"));
    }
    Answer::of(request).await
}

const SYNC: Option<(&str, &str)> = Some(("notes-sync", SECRET));
const OTHER: Option<(&str, &str)> = Some(("other", OTHER_SECRET));
const GRANT: (&str, &str) = ("grant_type", "client_credentials");

async fn token(caller: &Caller, basic: Option<(&str, &str)>, form: &[(&str, &str)]) -> String {
    let form = [&[GRANT], form].concat();
    let answer = ask(caller, "token", basic, &form).await.expect(200);
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

#[track_caller]
fn expect_error(answer: &Answer, status: u16, error: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.json()["error"], error, "{}", answer.text());
    let said = answer.json();
    let description = said["error_description"].as_str().unwrap();
    let legal = |byte: u8| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    assert!(
        description.bytes().all(legal),
        "RFC 6749 §5.2: {description}"
    );
    assert_eq!(answer.header("cache-control"), "no-store");
}

// SECURITY 44
#[tokio::test]
async fn a_machine_gets_a_token_that_opens_what_names_its_scopes_and_is_nobody() {
    let (gateway, app) = with_clients().await;
    let caller = gateway.anonymous();
    let answer = ask(&caller, "token", SYNC, &[GRANT]).await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    let body = answer.json();
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["expires_in"], 900);
    assert_eq!(body["scope"], "notes:read notes:write");
    assert_eq!(body.get("refresh_token"), None);

    let machine = caller.with_token(body["access_token"].as_str().unwrap());
    machine.get("/notes").await.expect(200);
    let seen = app.only();
    assert_eq!(seen.header("x-auth-user-id"), "client:notes-sync");
    assert_eq!(seen.header("x-auth-client"), "notes-sync");
    assert_eq!(seen.header("x-auth-method"), "client");
    for name in ["x-auth-user", "x-auth-roles", "x-auth-name", "x-auth-email"] {
        assert!(!seen.headers.contains_key(name), "{name}");
    }

    // Nor does what is signed for the app speak of a person.
    let assertion = seen.header("x-auth-assertion").split('.').nth(1).unwrap();
    let assertion = URL_SAFE_NO_PAD.decode(assertion).unwrap();
    let assertion: Value = serde_json::from_slice(&assertion).unwrap();
    assert_eq!(assertion["sub"], "client:notes-sync");
    for name in ["auth_time", "preferred_username", "name", "email"] {
        assert_eq!(assertion.get(name), None, "{name}");
    }

    for path in ["/own", "/listed"] {
        machine
            .get(path)
            .await
            .expect_problem(403, "insufficient_scope");
    }
    machine
        .get("/staff")
        .await
        .expect_problem(403, "insufficient_role");
    for endpoint in ["/auth/me", "/auth/logout", "/auth/password"] {
        let method = if endpoint == "/auth/me" {
            Method::GET
        } else {
            Method::POST
        };
        let request = machine.request(method, endpoint).json(&json!({}));
        Answer::of(request)
            .await
            .expect_problem(403, "first_party_only");
    }
}

#[tokio::test]
async fn a_route_that_lists_the_client_asks_for_no_scope() {
    let (gateway, _app) = with_clients().await;
    let caller = gateway.anonymous();
    let other = caller.with_token(&token(&caller, OTHER, &[]).await);
    other.get("/listed").await.expect(200);
    other
        .get("/notes")
        .await
        .expect_problem(403, "insufficient_scope");
}

// SECURITY 43
#[tokio::test]
async fn a_client_may_ask_for_less_and_never_for_more() {
    let (gateway, _app) = with_clients().await;
    let caller = gateway.anonymous();
    let less = token(&caller, SYNC, &[("scope", "notes:write")]).await;
    let less = caller.with_token(&less);
    less.get("/notes")
        .await
        .expect_problem(403, "insufficient_scope");
    for scope in [
        "notes:read admin",
        "openid",
        "notes",
        "notes:read  notes:write",
    ] {
        let asked = [GRANT, ("scope", scope)];
        let answer = ask(&caller, "token", SYNC, &asked).await;
        expect_error(&answer, 400, "invalid_scope");
    }
}

// SECURITY 41
#[tokio::test]
async fn a_client_proves_itself_in_one_way() {
    let (gateway, _app) = with_clients().await;
    let caller = gateway.anonymous();
    let id = ("client_id", "notes-sync");
    let secret = ("client_secret", SECRET);
    ask(&caller, "token", None, &[GRANT, id, secret])
        .await
        .expect(200);
    ask(&caller, "token", SYNC, &[GRANT, id]).await.expect(200);

    for endpoint in ["token", "revoke", "introspect"] {
        let mut words = Vec::new();
        for (basic, form) in [
            (None, vec![]),
            (None, vec![id]),
            (None, vec![id, ("client_secret", OTHER_SECRET)]),
            (Some(("notes-sync", OTHER_SECRET)), vec![]),
            (Some(("nobody", SECRET)), vec![]),
            (Some(("portcullis", SECRET)), vec![]),
            (Some(("notes-sync", "")), vec![]),
        ] {
            let form = [vec![GRANT, ("token", "x")], form].concat();
            let answer = ask(&caller, endpoint, basic, &form).await;
            expect_error(&answer, 401, "invalid_client");
            assert!(answer.header("www-authenticate").starts_with("Basic "));
            words.push(answer.text().to_owned());
        }
        words.dedup();
        assert_eq!(words.len(), 1, "the same words for all: {words:?}");

        for (basic, form) in [
            (SYNC, vec![id, secret]),
            (SYNC, vec![("client_id", "other")]),
            (None, vec![secret]),
        ] {
            let form = [vec![GRANT, ("token", "x")], form].concat();
            let answer = ask(&caller, endpoint, basic, &form).await;
            expect_error(&answer, 400, "invalid_request");
        }
    }
}

// SECURITY 38, 41
#[tokio::test]
async fn the_token_endpoint_refuses_in_the_words_of_the_rfc() {
    let (gateway, _app) = with_clients().await;
    let caller = gateway.anonymous();
    expect_error(
        &ask(&caller, "token", SYNC, &[]).await,
        400,
        "invalid_request",
    );
    for grant in ["password", "implicit", "Client_Credentials", "device_code"] {
        let answer = ask(&caller, "token", SYNC, &[("grant_type", grant)]).await;
        expect_error(&answer, 400, "unsupported_grant_type");
    }
    for grant in ["authorization_code", "refresh_token"] {
        let answer = ask(&caller, "token", SYNC, &[("grant_type", grant)]).await;
        expect_error(&answer, 400, "unauthorized_client");
    }
    for twice in [GRANT, ("\u{e9}\"\\\n", "x")] {
        let answer = ask(&caller, "token", SYNC, &[twice, twice]).await;
        expect_error(&answer, 400, "invalid_request");
    }
    let elsewhere = [GRANT, ("resource", "https://elsewhere.example")];
    let answer = ask(&caller, "token", SYNC, &elsewhere).await;
    expect_error(&answer, 400, "invalid_target");
    let here = [GRANT, ("resource", "https://localhost")];
    ask(&caller, "token", SYNC, &here).await.expect(200);

    let basic = STANDARD.encode(format!("notes-sync:{SECRET}"));
    let post = |path: &str| {
        let request = caller.request(Method::POST, path);
        request.header("authorization", format!("Basic {basic}"))
    };
    let body = "grant_type=client_credentials";
    let form = "application/x-www-form-urlencoded";
    let query = post(&format!("/auth/oauth/token?{body}")).header("content-type", form);
    let as_text = post("/auth/oauth/token").body(body);
    let as_json = post("/auth/oauth/token").json(&json!({"grant_type": "client_credentials"}));
    let latin = post("/auth/oauth/token").body(body);
    let latin = latin.header("content-type", format!("{form}; charset=latin1"));
    let not_utf8 = post("/auth/oauth/token").header("content-type", form);
    let not_utf8 = not_utf8.body("grant_type=%ff");
    for request in [query.body(body), as_text, as_json, latin, not_utf8] {
        expect_error(&Answer::of(request).await, 400, "invalid_request");
    }
    let get = caller.get("/auth/oauth/token").await;
    get.expect_problem(405, "method_not_allowed");
}

// SECURITY 42
#[tokio::test]
async fn a_client_learns_of_its_own_tokens_only() {
    let (gateway, _app) = with_clients().await;
    let alice = gateway.signed_in("alice").await;
    let caller = gateway.anonymous();
    let own = token(&caller, SYNC, &[("scope", "notes:read")]).await;
    let answer = ask(&caller, "introspect", SYNC, &[("token", &own)]).await;
    let said = answer.expect(200).json();
    assert_eq!(said["active"], true);
    assert_eq!(said["sub"], "client:notes-sync");
    assert_eq!(said["client_id"], "notes-sync");
    assert_eq!(said["scope"], "notes:read");
    assert_eq!(said["iss"], "https://localhost");
    assert!(said["exp"].is_u64());

    let foreign = token(&caller, OTHER, &[]).await;
    for token in [&*foreign, alice.token(), "nonsense", "a.b.c"] {
        let answer = ask(&caller, "introspect", SYNC, &[("token", token)]).await;
        assert_eq!(answer.expect(200).json(), json!({"active": false}));
        let answer = ask(&caller, "revoke", SYNC, &[("token", token)]).await;
        assert_eq!(answer.expect(200).text(), "");
    }
    alice.get("/own").await.expect(200);
    caller.with_token(&foreign).get("/listed").await.expect(200);
    let nothing = ask(&caller, "revoke", SYNC, &[]).await;
    expect_error(&nothing, 400, "invalid_request");
}

// SECURITY 42, 49
#[tokio::test]
async fn a_revoked_token_is_dead_at_the_next_request_and_after_a_restart() {
    let app = Upstream::start().await;
    let folder = Folder::with(&lines(&app.url()));
    let mut gateway = Gateway::start_in(&folder);
    let caller = gateway.anonymous();
    let [revoked, kept] = [
        token(&caller, SYNC, &[]).await,
        token(&caller, SYNC, &[]).await,
    ];
    caller.with_token(&revoked).get("/notes").await.expect(200);
    ask(&caller, "revoke", SYNC, &[("token", &revoked)])
        .await
        .expect(200);
    let dead = caller.with_token(&revoked).get("/notes").await;
    dead.expect_invalid_token("revoked");
    let answer = ask(&caller, "introspect", SYNC, &[("token", &revoked)]).await;
    assert_eq!(answer.expect(200).json(), json!({"active": false}));
    caller.with_token(&kept).get("/notes").await.expect(200);

    gateway.restart();
    let caller = gateway.anonymous();
    let dead = caller.with_token(&revoked).get("/notes").await;
    dead.expect_invalid_token("revoked before the restart");
    caller.with_token(&kept).get("/notes").await.expect(200);
}

// SECURITY 45
#[tokio::test]
async fn the_metadata_names_what_there_is() {
    let (gateway, _app) = with_clients().await;
    let caller = gateway.anonymous();
    let answer = caller.get("/.well-known/oauth-authorization-server").await;
    let document = answer.expect(200).json();
    assert_eq!(document["issuer"], "https://localhost");
    let openid = caller.get("/.well-known/openid-configuration").await;
    assert_eq!(openid.expect(200).json(), document, "one document");
    let grants = document["grant_types_supported"].as_array().unwrap();
    assert!(grants.contains(&json!("client_credentials")), "{grants:?}");
    let scopes = document["scopes_supported"].as_array().unwrap();
    for scope in ["openid", "profile", "email", "offline_access", "notes:read"] {
        assert!(scopes.contains(&json!(scope)), "{scopes:?}");
    }
    assert_eq!(document["response_types_supported"], json!(["code"]));
    assert_eq!(
        document["code_challenge_methods_supported"],
        json!(["S256"])
    );
    let iss = &document["authorization_response_iss_parameter_supported"];
    assert_eq!(iss, &json!(true));
    let path = |name: &str| {
        let url = document[name].as_str().unwrap();
        url.strip_prefix("https://localhost").unwrap().to_owned()
    };
    caller.get(&path("jwks_uri")).await.expect(200);
    let userinfo = caller.get(&path("userinfo_endpoint")).await;
    userinfo.expect_problem(401, "unauthenticated");
    for endpoint in [
        "token_endpoint",
        "revocation_endpoint",
        "introspection_endpoint",
    ] {
        let answer = Answer::of(caller.request(Method::POST, &path(endpoint))).await;
        expect_error(&answer, 400, "invalid_request");
    }
}

#[tokio::test]
async fn explain_shows_what_a_machine_may() {
    let folder = Folder::with(&lines("http://127.0.0.1:9"));
    let gateway = Gateway::start_in(&folder);
    let explain = |caller: &str, path: &str| {
        let url = format!("https://localhost{path}");
        let ran = portcullis(&folder, &["explain", "--json", "--as", caller, "GET", &url]);
        let shown: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
        (ran.code, shown.to_string(), ran.stderr)
    };
    let (code, shown, _) = explain("client:notes-sync", "/notes");
    assert_eq!(code, 0, "{shown}");
    assert!(shown.contains("client:notes-sync"), "{shown}");
    assert_eq!(explain("client:notes-sync", "/own").0, 1);
    let (code, _, said) = explain("client:nobody", "/notes");
    assert_eq!(code, 1);
    assert!(said.contains("there is no client nobody"), "{said}");
    drop(gateway);
}

/// Within a second, as everything that a command ends.
async fn is_dead(robot: &Caller) {
    let refused = async || (robot.get("/notes").await.status == 401).then_some(());
    eventually("the end of a token", refused).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_the_command_lives_and_dies_without_a_restart() {
    let app = Upstream::start().await;
    let folder = Folder::with(&lines(&app.url()));
    let gateway = Gateway::start_in(&folder);
    let caller = gateway.anonymous();
    let run = |arguments: &[&str]| portcullis(&folder, arguments);
    let secret = |ran: &str| ran.trim().to_owned();

    let added = run(&["client", "add", "robot", "--scope", "notes:read"]).expect(0);
    let first = secret(&added.stdout);
    assert!(first.starts_with("ptc_cs_"), "{first}");
    let robot = caller.with_token(&token(&caller, Some(("robot", &first)), &[]).await);
    robot.get("/notes").await.expect(200);
    assert_eq!(app.only().header("x-auth-user-id"), "client:robot");
    let explained = [
        "explain",
        "--as",
        "client:robot",
        "GET",
        "https://localhost/notes",
    ];
    run(&explained).expect(0);

    let listed = run(&["client", "list", "--json"]).expect(0).stdout;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let ids: Vec<_> = listed.as_array().unwrap().iter().collect();
    let ids: Vec<_> = ids
        .iter()
        .map(|client| client["client_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["notes-sync", "other", "robot"]);
    let shown = run(&["client", "show", "robot"]).expect(0).stdout;
    assert!(
        shown.contains("notes:read") && !shown.contains("ptc_cs_"),
        "{shown}"
    );

    // Another secret: the old one and what it got are dead.
    let second = secret(&run(&["client", "rotate-secret", "robot"]).expect(0).stdout);
    is_dead(&robot).await;
    let refused = ask(&caller, "token", Some(("robot", &first)), &[GRANT]).await;
    expect_error(&refused, 401, "invalid_client");
    let robot = caller.with_token(&token(&caller, Some(("robot", &second)), &[]).await);
    robot.get("/notes").await.expect(200);

    run(&["client", "disable", "robot"]).expect(0);
    is_dead(&robot).await;
    let refused = ask(&caller, "token", Some(("robot", &second)), &[GRANT]).await;
    expect_error(&refused, 401, "invalid_client");
    run(&explained).expect(1);
    run(&["client", "enable", "robot"]).expect(0);
    let robot = caller.with_token(&token(&caller, Some(("robot", &second)), &[]).await);
    robot.get("/notes").await.expect(200);

    run(&["client", "delete", "robot"]).expect(0);
    is_dead(&robot).await;
    let refused = ask(&caller, "token", Some(("robot", &second)), &[GRANT]).await;
    expect_error(&refused, 401, "invalid_client");
}

#[test]
fn the_command_refuses_what_it_cannot_change() {
    let folder = Folder::with(&lines("http://127.0.0.1:9"));
    portcullis(&folder, &["client", "add", "robot"]).expect(0);
    for (arguments, why) in [
        (&["add", "robot"][..], "there is a client robot already"),
        (&["add", "portcullis"], "the gateway's own name"),
        (&["add", "a b"], "a client id has"),
        (&["add", "x", "--scope", "a b"], "a scope has"),
        (&["add", "notes-sync"], "[clients.notes-sync] stands in"),
        (&["rotate-secret", "notes-sync"], "change it there"),
        (&["disable", "nobody"], "there is no client nobody"),
        (&["enable", "nobody"], "there is no client nobody"),
        (&["delete", "nobody"], "there is no client nobody"),
        (&["rotate-secret", "nobody"], "there is no client nobody"),
        (&["show", "nobody"], "there is no client nobody"),
    ] {
        let ran = portcullis(&folder, &[&["client"], arguments].concat()).expect(1);
        assert!(ran.stderr.contains(why), "{arguments:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_prefix_they_stand_where_the_tutorials_have_them() {
    let app = Upstream::start().await;
    let text = lines(&app.url()).replace("\"/notes\"", "\"/oauth/protected\"");
    let gateway = Gateway::start(&format!("{text}\n[gateway]\nprefix = \"\""));
    let caller = gateway.anonymous();
    let form = format!("grant_type=client_credentials&client_id=notes-sync&client_secret={SECRET}");
    let asking = caller
        .request(Method::POST, "/oauth/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form);
    let answer = Answer::of(asking).await.expect(200);
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let machine = caller.with_token(&token);
    machine.get("/oauth/protected").await.expect(200);
    app.only();
    let refused = caller.get("/oauth/protected").await;
    refused.expect_problem(401, "unauthenticated");
}

// SECURITY 50
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_store_gives_no_token_and_breaks_none() {
    let (gateway, _app) = with_clients().await;
    let caller = gateway.anonymous();
    let held = token(&caller, SYNC, &[]).await;
    let options = SqliteConnectOptions::new().filename(gateway.folder().path("data/portcullis.db"));
    let mut other = options.connect().await.unwrap();
    let begin = sqlx::query("BEGIN IMMEDIATE").execute(&mut other);
    begin.await.unwrap();

    let form = [GRANT, ("token", &held)];
    for endpoint in ["token", "revoke"] {
        let answer = ask(&caller, endpoint, SYNC, &form).await;
        expect_error(&answer, 503, "temporarily_unavailable");
        assert_eq!(answer.header("retry-after"), "5");
    }
    // Nothing was half-done, and what only reads goes on.
    caller.with_token(&held).get("/notes").await.expect(200);
    let answer = ask(&caller, "introspect", SYNC, &form).await;
    assert_eq!(answer.expect(200).json()["active"], true);

    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    token(&caller, SYNC, &[]).await;
    ask(&caller, "revoke", SYNC, &form).await.expect(200);
    let dead = caller.with_token(&held).get("/notes").await;
    dead.expect_invalid_token("revoked");
}
