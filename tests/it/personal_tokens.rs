//! Personal tokens: who gets one, what it opens, and when it opens nothing any more.

mod attacks;
mod commands;
mod ends;
mod on_the_page;
mod pace;

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use serde_json::json;

use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::caller::PASSWORD;
use crate::harness::gateway::Gateway;
use crate::harness::person::FormBody as _;
use crate::harness::tab::Tab;
use crate::harness::upstream::Upstream;

fn routes(url: &str) -> String {
    format!(
        r#"
        [accounts]
        registration = "open"
        login_scopes = ["notes:read", "notes:write"]
        [scopes]
        "notes:read" = "Read your notes"
        "notes:write" = "Change your notes"
        "notes:share" = "Share your notes"
        [routes.notes]
        path = "/notes"
        scopes = ["notes:read"]
        upstream = "{url}"
        [routes.writing]
        path = "/writing"
        scopes = ["notes:read", "notes:write"]
        upstream = "{url}"
        [routes.own]
        path = "/own"
        upstream = "{url}"
        [routes.optional]
        path = "/optional"
        auth = "optional"
        upstream = "{url}"
        [routes.listed]
        path = "/listed"
        clients = ["personal-token"]
        upstream = "{url}"
        [routes.others]
        path = "/others"
        clients = ["somebody-elses"]
        upstream = "{url}"
        [routes.editors]
        path = "/editors"
        scopes = ["notes:read"]
        roles = ["editor"]
        upstream = "{url}"
        [routes.open]
        path = "/open"
        auth = "none"
        upstream = "{url}"
        "#
    )
}

/// Nobody holds a scope, and no route lists personal tokens.
const NOTHING_TO_LEND: &str = r#"
    [accounts]
    login_scopes = []
    [routes.app]
    path = "/app"
    upstream = "echo"
"#;

async fn guarded() -> (Gateway, Upstream) {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&routes(&app.url()));
    (gateway, app)
}

/// An administrator's command that makes one of alice.
const ISSUE: [&str; 7] = [
    "token",
    "issue",
    "alice",
    "--name",
    "Nightly",
    "--scope",
    "notes:read",
];

/// What is asked for, with these scopes.
fn asked(scopes: &[&str]) -> Value {
    json!({ "name": "Backup script", "scopes": scopes })
}

/// A token of the caller's own, and what is said of it.
async fn made(owner: &Caller, scopes: &[&str]) -> (String, Value) {
    let answer = owner.post("/auth/tokens", &asked(scopes)).await.expect(201);
    let said = answer.json();
    (said["token"].as_str().unwrap().to_owned(), said)
}

async fn listed(owner: &Caller) -> Vec<Value> {
    let answer = owner.get("/auth/tokens").await.expect(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    answer.json()["tokens"].as_array().unwrap().clone()
}

async fn delete(owner: &Caller, path: &str) -> Answer {
    Answer::of(owner.request(Method::DELETE, path)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_uses_one_instead_of_the_password() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let answer = alice.post("/auth/tokens", &asked(&["notes:read"])).await;
    assert_eq!(answer.header("cache-control"), "no-store");
    let said = answer.expect(201).json();
    assert_eq!(said["name"], "Backup script");
    assert_eq!(said["scopes"], json!(["notes:read"]));
    assert_eq!(said["last_used_at"], Value::Null);
    let token = said["token"].as_str().unwrap();
    assert!(token.starts_with("ptc_pat_"), "{token}");

    let script = gateway.anonymous().with_token(token);
    script.get("/notes").await.expect(200);
    let seen = app.only();
    assert_eq!(seen.header("x-auth-user"), "alice");
    assert_eq!(seen.header("x-auth-scopes"), "notes:read");
    assert_eq!(seen.header("x-auth-client"), "personal-token");
    assert_eq!(seen.header("x-auth-method"), "personal_token");
    assert_eq!(seen.header("x-auth-session"), said["id"].as_str().unwrap());
    assert_eq!(seen.header("authorization"), "");
    for spelt in [format!("bearer {token}"), format!("BEARER   {token}")] {
        let spelt = [("authorization", &*spelt)];
        let caller = gateway.anonymous();
        caller.get_with("/notes", &spelt).await.expect(200);
        app.only();
    }
    assert!(!format!("{seen:?}").contains(token));

    let tokens = listed(&alice).await;
    assert_eq!(tokens.len(), 1);
    assert_eq!(tokens[0]["id"], said["id"]);
    assert_eq!(tokens[0].get("token"), None, "it is shown once");
    let sessions = alice.get("/auth/sessions").await.expect(200);
    assert!(!sessions.text().contains(said["id"].as_str().unwrap()));
    assert!(!gateway.log_text().contains(token));
    // The store keeps its id, and nothing that it could be made of.
    let secret = token.strip_prefix("ptc_pat_").unwrap().as_bytes();
    for (name, bytes) in gateway.folder().contents() {
        let is_in = bytes.windows(secret.len()).any(|some| some == secret);
        assert!(!is_in, "{}", name.display());
    }
}

// SECURITY 26
#[tokio::test(flavor = "multi_thread")]
async fn it_opens_only_routes_that_ask_for_what_it_holds_or_list_it() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let (reading, _) = made(&alice, &["notes:read"]).await;
    let (both, _) = made(&alice, &["notes:write", "notes:read"]).await;
    let (bare, _) = made(&alice, &[]).await;
    let opens = async |token: &str, path: &str, code: Option<&str>| {
        let script = gateway.anonymous().with_token(token);
        let answer = script.get(path).await;
        match code {
            None => {
                answer.expect(200);
                app.only();
            }
            Some(code) => {
                answer.expect_problem(403, code);
                app.assert_untouched();
            }
        }
    };
    opens(&reading, "/notes", None).await;
    opens(&reading, "/writing", Some("insufficient_scope")).await;
    opens(&reading, "/own", Some("insufficient_scope")).await;
    opens(&reading, "/others", Some("insufficient_scope")).await;
    opens(&reading, "/listed", None).await;
    opens(&reading, "/optional", Some("insufficient_scope")).await;
    opens(&reading, "/editors", Some("insufficient_role")).await;
    opens(&both, "/writing", None).await;
    opens(&bare, "/listed", None).await;
    opens(&bare, "/notes", Some("insufficient_scope")).await;
}

/// The contract, section 3: account endpoints take first-party sessions only.
// SECURITY 22
#[tokio::test(flavor = "multi_thread")]
async fn it_manages_no_account_and_makes_no_other() {
    let (gateway, _) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let (token, said) = made(&alice, &["notes:read"]).await;
    let script = gateway.anonymous().with_token(&token);
    for path in ["/auth/me", "/auth/tokens", "/auth/sessions"] {
        script
            .get(path)
            .await
            .expect_problem(403, "first_party_only");
    }
    for (path, body) in [
        ("/auth/tokens", asked(&["notes:read"])),
        ("/auth/logout", json!({ "all": true })),
        (
            "/auth/password",
            json!({ "current_password": PASSWORD, "new_password": "another-walrus-on-42-bikes" }),
        ),
    ] {
        let answer = script.post(path, &body).await;
        answer.expect_problem(403, "first_party_only");
    }
    let own = format!("/auth/tokens/{}", said["id"].as_str().unwrap());
    delete(&script, &own)
        .await
        .expect_problem(403, "first_party_only");
    script.get("/auth/oauth/userinfo").await.expect(401);
    // It is no cookie, and no refresh token.
    let cookie = format!(
        "__Host-portcullis={}",
        token.strip_prefix("ptc_pat_").unwrap()
    );
    let other = gateway.anonymous();
    other
        .get_with("/own", &[("cookie", &cookie)])
        .await
        .expect(401);
    other.try_refresh(&token).await.expect(401);
    alice.get("/auth/me").await.expect(200);
}

// SECURITY 26
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_had_is_refused_by_name() {
    let (gateway, _) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let refused = async |body: Value, fields: &[&str]| {
        let answer = alice.post("/auth/tokens", &body).await;
        let said = answer.expect_problem(422, "bad_fields").json();
        let named: Vec<_> = said["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["field"].clone())
            .collect();
        assert_eq!(named, fields, "{said:#}");
        said.to_string()
    };
    let said = refused(
        json!({ "name": "x", "scopes": ["notes:share"] }),
        &["scopes"],
    )
    .await;
    assert!(
        said.contains("the sign-in holds: notes:read notes:write"),
        "{said}"
    );
    refused(json!({ "name": "x", "scopes": ["no such"] }), &["scopes"]).await;
    refused(
        json!({ "name": "\u{202e}", "scopes": ["notes:read"] }),
        &["name"],
    )
    .await;
    for expires_in in [0, 31_622_401, u64::MAX] {
        let body = json!({ "name": "x", "scopes": ["notes:read"], "expires_in": expires_in });
        refused(body, &["expires_in"]).await;
    }
    let all = json!({ "name": "", "scopes": ["admin"], "expires_in": 0 });
    refused(all, &["name", "scopes", "expires_in"]).await;
    let answer = alice.post("/auth/tokens", &json!({ "name": "x" })).await;
    assert!(answer.expect(422).text().contains("scopes"));
    // Whoever forgot to say that it is JSON is told so as a program.
    let form = alice.request(Method::POST, "/auth/tokens");
    let form = Answer::of(form.form_of(&[("name", "x")])).await;
    form.expect_problem(415, "not_json");
    assert!(listed(&alice).await.is_empty(), "nothing was half done");
    alice
        .post(
            "/auth/tokens",
            &json!({ "name": "x", "scopes": ["notes:read"], "expires_in": 31_622_400 }),
        )
        .await
        .expect(201);
}

// SECURITY 26
#[tokio::test(flavor = "multi_thread")]
async fn nobody_lends_more_than_they_hold_themselves() {
    let (gateway, _) = guarded().await;
    let caller = gateway.anonymous();
    caller.register("alice").await;
    let body = json!({ "username": "alice", "password": PASSWORD, "scope": "notes:read" });
    let answer = caller.try_log_in(&body).await.expect(200);
    let mut narrow = caller.clone();
    narrow.keep(&answer);
    let answer = narrow.post("/auth/tokens", &asked(&["notes:write"])).await;
    answer.expect_problem(422, "bad_fields");
    narrow
        .post("/auth/tokens", &asked(&["notes:read"]))
        .await
        .expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_route_that_lists_it_a_token_without_a_scope_is_refused() {
    let gateway = Gateway::start(NOTHING_TO_LEND);
    let alice = gateway.signed_in("alice").await;
    let answer = alice.post("/auth/tokens", &asked(&[])).await;
    let said = answer.expect_problem(422, "bad_fields");
    assert!(said.text().contains("login_scopes"), "{}", said.text());
}

/// RFC 9470 §3.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_one_needs_a_fresh_sign_in() {
    let (gateway, _) = guarded().await;
    let mut alice = gateway.signed_in("alice").await;
    let tab = Tab::new(gateway.anonymous());
    tab.sign_in("alice").await.expect(204);
    gateway.clock().advance(Duration::from_secs(540));
    made(&alice, &["notes:read"]).await;
    gateway.clock().advance(Duration::from_secs(61));
    alice.refresh().await;
    for answer in [
        alice.post("/auth/tokens", &asked(&["notes:read"])).await,
        tab.post("/auth/tokens", &asked(&["notes:read"])).await,
    ] {
        let answer = answer.expect_problem(401, "insufficient_user_authentication");
        let challenge = answer.challenge();
        assert!(challenge.contains("error=\"insufficient_user_authentication\""));
        assert!(challenge.contains("max_age=\"600\""), "{challenge}");
    }
    assert_eq!(
        listed(&alice).await.len(),
        1,
        "to look needs no new sign-in"
    );
    alice.log_in("alice").await;
    made(&alice, &["notes:read"]).await;
}

// SECURITY 34
#[tokio::test(flavor = "multi_thread")]
async fn no_other_site_makes_one_by_the_cookie() {
    let (gateway, _) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let tab = Tab::new(gateway.anonymous());
    tab.sign_in("alice").await.expect(204);
    let request = tab
        .request(Method::POST, "/auth/tokens")
        .json(&asked(&["notes:read"]));
    let request = request.header("origin", "https://evil.example");
    tab.send(request).await.expect_problem(403, "cross_site");
    assert!(listed(&alice).await.is_empty());
    tab.post("/auth/tokens", &asked(&["notes:read"]))
        .await
        .expect(201);
}

// SECURITY 22
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_one_is_refused_and_another_gateways_as_well() {
    let (gateway, app) = guarded().await;
    let (other, _) = guarded().await;
    let (foreign, _) = made(&other.signed_in("alice").await, &["notes:read"]).await;
    let (token, _) = made(&gateway.signed_in("alice").await, &["notes:read"]).await;
    let mut changed = token.clone();
    let at = token.len() - 4;
    let letter = if token[at..].starts_with('A') {
        "B"
    } else {
        "A"
    };
    changed.replace_range(at..=at, letter);
    let cut = &token[..token.len() - 1];
    for wrong in [
        &foreign,
        &changed,
        cut,
        "ptc_pat_",
        "ptc_pat_x",
        &format!("{token}A"),
    ] {
        for path in ["/notes", "/optional", "/auth/me"] {
            let script = gateway.anonymous().with_token(wrong);
            script.get(path).await.expect_problem(401, "invalid_token");
        }
    }
    app.assert_untouched();
    // Nobody is asked there, so that nobody is refused.
    gateway
        .anonymous()
        .with_token(&changed)
        .get("/open")
        .await
        .expect(200);
    app.only();
}

/// Forward-auth judges it as the path does.
#[tokio::test(flavor = "multi_thread")]
async fn verify_knows_it_as_well() {
    let gateway = Gateway::start(&format!(
        "{}\n[verify]\ncallers = [\"127.0.0.1\"]",
        routes("echo")
    ));
    let alice = gateway.signed_in("alice").await;
    let (token, _) = made(&alice, &["notes:read"]).await;
    let script = gateway.anonymous().with_token(&token);
    let asked = |path: &'static str| {
        [
            ("x-forwarded-for", "203.0.113.7"),
            ("x-forwarded-method", "GET"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "localhost"),
            ("x-forwarded-uri", path),
        ]
    };
    let answer = script.get_with("/auth/verify", &asked("/notes")).await;
    assert_eq!(answer.expect(200).header("x-auth-user"), "alice");
    let answer = script.get_with("/auth/verify", &asked("/own")).await;
    answer.expect_problem(403, "insufficient_scope");
    let forged = gateway.anonymous().with_token("ptc_pat_x");
    forged
        .get_with("/auth/verify", &asked("/notes"))
        .await
        .expect(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_more_than_fifty() {
    let (gateway, _) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let (_, first) = made(&alice, &["notes:read"]).await;
    for _ in 1..50 {
        made(&alice, &["notes:read"]).await;
    }
    let answer = alice.post("/auth/tokens", &asked(&["notes:read"])).await;
    answer.expect_problem(409, "too_many_tokens");
    let bob = gateway.signed_in("bob").await;
    made(&bob, &["notes:read"]).await;
    let path = format!("/auth/tokens/{}", first["id"].as_str().unwrap());
    delete(&alice, &path).await.expect(204);
    made(&alice, &["notes:read"]).await;
}

/// One client's limit is no limit that strangers share: the tokens of each user count as that user.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_by_client_counts_each_user_for_themselves() {
    let gateway = Gateway::start(
        r#"
        [accounts]
        registration = "open"
        [routes.app]
        path = "/app"
        clients = ["personal-token"]
        limits = [{ rate = "1 per hour", by = "client" }]
        upstream = "echo"
        "#,
    );
    let (first, _) = made(&gateway.signed_in("alice").await, &[]).await;
    let (second, _) = made(&gateway.signed_in("bob").await, &[]).await;
    let get = async |token: &str| gateway.anonymous().with_token(token).get("/app").await;
    get(&first).await.expect(200);
    get(&first).await.expect(429);
    get(&second).await.expect(200);
}
