//! Personal tokens: who gets one, what it opens, and when it opens nothing any more.

mod attacks;
mod commands;
mod on_the_page;
mod pace;

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use serde_json::json;

use crate::harness::binary::portcullis;
use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::caller::PASSWORD;
use crate::harness::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::person::FormBody as _;
use crate::harness::tab::Tab;
use crate::harness::upstream::Upstream;
use crate::websockets::App;
use crate::websockets::assert_alive;
use crate::websockets::assert_ended;
use crate::websockets::open;

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

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn it_ends_when_its_owner_says_so_and_no_one_elses_word_counts() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let bob = gateway.signed_in("bob").await;
    let (token, said) = made(&alice, &["notes:read"]).await;
    let (kept, _) = made(&alice, &["notes:read"]).await;
    let script = gateway.anonymous().with_token(&token);
    script.get("/notes").await.expect(200);
    app.only();
    let id = said["id"].as_str().unwrap();
    let path = format!("/auth/tokens/{id}");
    delete(&bob, &path).await.expect_problem(404, "no_token");
    let session = alice.get("/auth/me").await.expect(200).json();
    let session = session["session"].as_str().unwrap();
    for other in [session, "01900000-0000-7000-8000-000000000000", "x"] {
        let answer = delete(&alice, &format!("/auth/tokens/{other}")).await;
        answer.expect_problem(404, "no_token");
    }
    // Nor is it a session to be ended as one.
    delete(&alice, &format!("/auth/sessions/{id}"))
        .await
        .expect_problem(404, "no_session");
    script.get("/notes").await.expect(200);
    app.only();

    delete(&alice, &path).await.expect(204);
    script
        .get("/notes")
        .await
        .expect_problem(401, "invalid_token");
    delete(&alice, &path).await.expect_problem(404, "no_token");
    app.assert_untouched();
    gateway
        .anonymous()
        .with_token(&kept)
        .get("/notes")
        .await
        .expect(200);
    assert_eq!(listed(&alice).await.len(), 1);
}

// SECURITY 23, 24
#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_it_opened_ends_with_it_and_the_app_never_sees_it() {
    let app = App::start().await;
    let gateway = Gateway::start(&format!(
        r#"
        [routes.app]
        path = "/app"
        clients = ["personal-token"]
        upstream = "{}"
        "#,
        app.url()
    ));
    let alice = gateway.signed_in("alice").await;
    let (token, said) = made(&alice, &[]).await;
    let (kept, _) = made(&alice, &[]).await;
    let opened = async |token: &str| {
        let offered = format!("chat, bearer, {token}");
        let headers = [("sec-websocket-protocol", &*offered)];
        let opening = open(&gateway, "/app", &headers);
        let (opened, (seen, server)) = tokio::join!(opening, app.accept());
        assert_eq!(seen["x-auth-user"], "alice");
        assert!(!format!("{seen:?}").contains(token), "{seen:?}");
        (opened.unwrap().0, server)
    };
    let (client, server) = opened(&token).await;
    let (mut other_client, mut other_server) = opened(&kept).await;
    let path = format!("/auth/tokens/{}", said["id"].as_str().unwrap());
    delete(&alice, &path).await.expect(204);
    assert_ended(client, server).await;
    assert_alive(&mut other_client, &mut other_server).await;
}

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn it_outlives_its_session_but_not_the_end_of_all_nor_the_password() {
    let (gateway, app) = guarded().await;
    let mut alice = gateway.signed_in("alice").await;
    let (token, _) = made(&alice, &["notes:read"]).await;
    let script = gateway.anonymous().with_token(&token);
    alice.post("/auth/logout", &json!({})).await.expect(204);
    script.get("/notes").await.expect(200);
    app.only();
    alice.log_in("alice").await;
    alice
        .post("/auth/logout", &json!({ "all": true }))
        .await
        .expect(204);
    script
        .get("/notes")
        .await
        .expect_problem(401, "invalid_token");

    alice.log_in("alice").await;
    let (token, _) = made(&alice, &["notes:read"]).await;
    let script = gateway.anonymous().with_token(&token);
    script.get("/notes").await.expect(200);
    app.only();
    let body =
        json!({ "current_password": PASSWORD, "new_password": "another-walrus-on-42-bikes" });
    alice.post("/auth/password", &body).await.expect(204);
    script
        .get("/notes")
        .await
        .expect_problem(401, "invalid_token");
    assert!(listed(&alice).await.is_empty());
    app.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_by_itself() {
    let (gateway, _) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let body = json!({ "name": "x", "scopes": ["notes:read"], "expires_in": 60 });
    let said = alice.post("/auth/tokens", &body).await.expect(201).json();
    let script = gateway
        .anonymous()
        .with_token(said["token"].as_str().unwrap());
    script.get("/notes").await.expect(200);
    gateway.clock().advance(Duration::from_secs(61));
    script
        .get("/notes")
        .await
        .expect_problem(401, "invalid_token");
    assert!(listed(&alice).await.is_empty());
}

/// It has no idle end, and what is seen of it is taken down.
#[tokio::test(flavor = "multi_thread")]
async fn it_may_lie_about_for_weeks_and_its_use_is_seen() {
    let (gateway, _) = guarded().await;
    let mut alice = gateway.signed_in("alice").await;
    let (token, _) = made(&alice, &["notes:read"]).await;
    gateway.clock().advance(Duration::from_hours(29 * 24));
    let script = gateway.anonymous().with_token(&token);
    script.get("/notes").await.expect(200);
    alice.log_in("alice").await;
    let used = eventually("the use is taken down", async || {
        let listed = listed(&alice).await;
        listed[0]["last_used_at"].as_str().map(str::to_owned)
    });
    let used = used.await;
    assert!(*used > *listed(&alice).await[0]["created_at"].as_str().unwrap());
}

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_forgets_neither_the_living_nor_the_revoked() {
    let (mut gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let (living, _) = made(&alice, &["notes:read"]).await;
    let (dead, said) = made(&alice, &["notes:read"]).await;
    let path = format!("/auth/tokens/{}", said["id"].as_str().unwrap());
    delete(&alice, &path).await.expect(204);
    gateway.restart();
    let script = gateway.anonymous().with_token(&dead);
    script
        .get("/notes")
        .await
        .expect_problem(401, "invalid_token");
    app.assert_untouched();
    gateway
        .anonymous()
        .with_token(&living)
        .get("/notes")
        .await
        .expect(200);
    assert_eq!(app.only().header("x-auth-user"), "alice");
}

// SECURITY 50
#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_down_those_that_were_seen_before_go_on() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let (seen, _) = made(&alice, &["notes:read"]).await;
    let (unseen, _) = made(&alice, &["notes:read"]).await;
    let (ended, said) = made(&alice, &["notes:read"]).await;
    let path = format!("/auth/tokens/{}", said["id"].as_str().unwrap());
    delete(&alice, &path).await.expect(204);
    let with = |token: &str| gateway.anonymous().with_token(token);
    with(&seen).get("/notes").await.expect(200);
    app.only();

    gateway
        .behind_its_back("ALTER TABLE sessions RENAME TO gone")
        .await;
    for path in ["/notes", "/optional", "/auth/me"] {
        let answer = with(&unseen).get(path).await;
        answer.expect_problem(503, "store_unavailable");
    }
    with(&ended)
        .get("/notes")
        .await
        .expect_problem(401, "invalid_token");
    with("ptc_pat_x")
        .get("/notes")
        .await
        .expect_problem(401, "invalid_token");
    app.assert_untouched();
    with(&seen).get("/notes").await.expect(200);
    app.only();
    let answer = alice.post("/auth/tokens", &asked(&["notes:read"])).await;
    answer.expect_problem(503, "store_unavailable");

    gateway
        .behind_its_back("ALTER TABLE gone RENAME TO sessions")
        .await;
    with(&unseen).get("/notes").await.expect(200);
    assert_eq!(listed(&alice).await.len(), 2);
}

// SECURITY 26
#[tokio::test(flavor = "multi_thread")]
async fn what_sign_ins_may_hold_no_more_is_taken_from_what_was_made_before() {
    let app = Upstream::start().await;
    let before = routes(&app.url());
    let mut gateway = Gateway::start(&before);
    let mut alice = gateway.signed_in("alice").await;
    let tab = Tab::new(gateway.anonymous());
    tab.sign_in("alice").await.expect(204);
    let (token, _) = made(&alice, &["notes:read", "notes:write"]).await;
    let after = before.replace(
        r#"login_scopes = ["notes:read", "notes:write"]"#,
        r#"login_scopes = ["notes:read"]"#,
    );
    gateway.stop();
    gateway.folder().configure(&after);
    gateway.restart();

    let script = gateway.anonymous().with_token(&token);
    let tab = tab.with(gateway.anonymous());
    let refreshed = gateway.anonymous().try_refresh(alice.refresh_token()).await;
    alice = gateway.anonymous();
    alice.keep(&refreshed.expect(200));
    for answer in [
        script.get("/writing").await,
        tab.get("/writing").await,
        alice.get("/writing").await,
    ] {
        answer.expect_problem(403, "insufficient_scope");
    }
    app.assert_untouched();
    script.get("/notes").await.expect(200);
    tab.get("/notes").await.expect(200);
    alice.get("/notes").await.expect(200);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_owners_opens_nothing_and_what_they_are_now_counts() {
    let (gateway, app) = guarded().await;
    let alice = gateway.signed_in("alice").await;
    let (token, _) = made(&alice, &["notes:read"]).await;
    let script = gateway.anonymous().with_token(&token);
    script
        .get("/editors")
        .await
        .expect_problem(403, "insufficient_role");
    portcullis(
        gateway.folder(),
        &["user", "set", "alice", "--add-role", "editor"],
    )
    .expect(0);
    eventually("the role is felt", async || {
        (script.get("/editors").await.status == 200).then_some(())
    })
    .await;
    assert_eq!(app.requests()[0].header("x-auth-roles"), "editor");
    portcullis(gateway.folder(), &["user", "disable", "alice"]).expect(0);
    eventually("the end is felt", async || {
        (script.get("/editors").await.status == 401).then_some(())
    })
    .await;
}
