//! OAuth clients: public and confidential ones, what they are refused, and what commands make of them.

use http::Method;
use serde_json::Value;
use serde_json::json;

use crate::harness::binary::portcullis;
use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::gateway::Folder;
use crate::harness::gateway::Gateway;
use crate::harness::person::FormBody as _;

const SECRET: &str = "Xq2v8mK4tR9wZ1bN6cL3pS7dF5gH0jYa";

const CLIENTS: &str = r#"
    [accounts]
    login_scopes = ["notes:read", "notes:write", "openid", "email"]
    [clients.web]
    secret = "Xq2v8mK4tR9wZ1bN6cL3pS7dF5gH0jYa"
    redirect_uris = ["https://notes.example.com/cb"]
    scopes = ["openid", "offline_access", "notes:read"]
    grants = ["authorization_code", "refresh_token", "client_credentials"]
    [clients.app]
    public = true
    redirect_uris = ["http://127.0.0.1/cb"]
    scopes = ["openid"]
    grants = ["authorization_code", "refresh_token"]
    [clients.once]
    public = true
    redirect_uris = ["https://once.example.com/cb"]
    grants = ["authorization_code"]
"#;

/// A form for an endpoint of OAuth, with no other credentials than it has.
async fn ask(caller: &Caller, endpoint: &str, form: &[(&str, &str)]) -> Answer {
    let request = caller.request(Method::POST, &format!("/auth/oauth/{endpoint}"));
    Answer::of(request.form_of(form)).await
}

#[track_caller]
fn expect_error(answer: &Answer, status: u16, error: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.json()["error"], error, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), "no-store");
}

const CODE: (&str, &str) = ("grant_type", "authorization_code");
const REFRESH: (&str, &str) = ("grant_type", "refresh_token");
const APP: (&str, &str) = ("client_id", "app");
const VERIFIER: (&str, &str) = (
    "code_verifier",
    "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
);

// SECURITY 41
#[tokio::test]
async fn a_public_client_says_its_name_and_nothing_else() {
    let gateway = Gateway::start(CLIENTS);
    let caller = gateway.anonymous();
    let known = ask(&caller, "token", &[REFRESH, APP, ("refresh_token", "x")]).await;
    expect_error(&known, 400, "invalid_grant");
    let empty = [REFRESH, APP, ("client_secret", ""), ("refresh_token", "x")];
    expect_error(&ask(&caller, "token", &empty).await, 400, "invalid_grant");
    for form in [
        &[REFRESH][..],
        &[REFRESH, ("client_id", "nobody")],
        &[REFRESH, ("client_id", "portcullis")],
        &[REFRESH, ("client_id", "a b")],
        // One that has a secret has not shown it; one that has none shows one.
        &[REFRESH, ("client_id", "web")],
        &[REFRESH, APP, ("client_secret", SECRET)],
    ] {
        expect_error(&ask(&caller, "token", form).await, 401, "invalid_client");
    }
    let basic = caller.request(Method::POST, "/auth/oauth/token");
    let basic = basic.basic_auth("app", Some("")).form_of(&[REFRESH]);
    expect_error(&Answer::of(basic).await, 401, "invalid_client");

    // It gives up what it has, and nobody who cannot prove to be it is told of it.
    ask(&caller, "revoke", &[APP, ("token", "x")])
        .await
        .expect(200);
    let asked = ask(&caller, "introspect", &[APP, ("token", "x")]).await;
    expect_error(&asked, 401, "invalid_client");
}

// SECURITY 36, 37, 41
#[tokio::test]
async fn what_is_no_code_opens_nothing() {
    let gateway = Gateway::start(CLIENTS);
    let caller = gateway.anonymous();
    let code = (
        "code",
        "ptc_ac_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    );
    let web = [("client_id", "web"), ("client_secret", SECRET)];
    for (form, error) in [
        (vec![CODE, APP], "invalid_request"),
        (vec![CODE, APP, VERIFIER], "invalid_request"),
        (vec![CODE, APP, code], "invalid_request"),
        (
            vec![CODE, APP, code, ("code_verifier", "short")],
            "invalid_request",
        ),
        (vec![CODE, APP, code, VERIFIER], "invalid_grant"),
        (vec![CODE, APP, VERIFIER, ("code", "x")], "invalid_grant"),
        (vec![REFRESH, APP], "invalid_request"),
        (
            vec![REFRESH, APP, ("refresh_token", "ptc_rt_x")],
            "invalid_grant",
        ),
        (
            vec![REFRESH, APP, ("refresh_token", "x"), ("scope", "a  b")],
            "invalid_scope",
        ),
        (
            vec![("grant_type", "client_credentials"), APP],
            "unauthorized_client",
        ),
        (
            vec![REFRESH, ("client_id", "once"), ("refresh_token", "x")],
            "unauthorized_client",
        ),
        (
            vec![
                CODE,
                APP,
                code,
                VERIFIER,
                ("resource", "https://elsewhere.example"),
            ],
            "invalid_target",
        ),
        (
            [&[CODE, code, VERIFIER][..], &web].concat(),
            "invalid_grant",
        ),
    ] {
        expect_error(&ask(&caller, "token", &form).await, 400, error);
    }
}

// SECURITY 22, 44
#[tokio::test]
async fn no_token_of_the_gateways_own_is_a_clients_nor_the_other_way_about() {
    let gateway = Gateway::start(CLIENTS);
    let mut alice = gateway.signed_in("alice").await;
    let caller = gateway.anonymous();
    let token = alice.refresh_token().to_owned();
    let form = [REFRESH, APP, ("refresh_token", &token)];
    expect_error(&ask(&caller, "token", &form).await, 400, "invalid_grant");
    ask(&caller, "revoke", &[APP, ("token", &token)])
        .await
        .expect(200);
    alice.refresh().await;

    // A machine holds nothing that is about people, though the client may.
    let machine = [
        ("grant_type", "client_credentials"),
        ("client_id", "web"),
        ("client_secret", SECRET),
    ];
    let got = ask(&caller, "token", &machine).await.expect(200).json();
    assert_eq!(got["scope"], "notes:read");
    assert_eq!(
        (got.get("id_token"), got.get("refresh_token")),
        (None, None)
    );
    let more = [&machine[..], &[("scope", "openid")]].concat();
    expect_error(&ask(&caller, "token", &more).await, 400, "invalid_scope");
    let machine = caller.with_token(got["access_token"].as_str().unwrap());
    let refused = machine.get("/auth/oauth/userinfo").await;
    refused.expect_problem(403, "insufficient_scope");
}

#[tokio::test]
async fn userinfo_says_what_the_scopes_of_the_token_allow() {
    let gateway = Gateway::start(CLIENTS);
    let caller = gateway.anonymous();
    let nobody = caller.get("/auth/oauth/userinfo").await;
    nobody.expect_problem(401, "unauthenticated");
    let bad = caller.with_token("a.b.c").get("/auth/oauth/userinfo").await;
    bad.expect_invalid_token("no token");

    caller.register("alice").await;
    let login = async |scope: &str| {
        let body = json!({
            "username": "alice", "scope": scope,
            "password": crate::harness::caller::PASSWORD,
        });
        let answer = caller.try_log_in(&body).await.expect(200).json();
        caller.with_token(answer["access_token"].as_str().unwrap())
    };
    let alice = login("openid email").await;
    let id = alice.get("/auth/me").await.expect(200).json()["id"].clone();
    for method in [Method::GET, Method::POST] {
        let answer = Answer::of(alice.request(method, "/auth/oauth/userinfo")).await;
        let answer = answer.expect(200);
        assert_eq!(answer.header("cache-control"), "no-store");
        // She has not shown that any address is hers.
        assert_eq!(answer.json(), json!({ "sub": id }));
    }
    let refused = login("notes:read").await.get("/auth/oauth/userinfo").await;
    let refused = refused.expect_problem(403, "insufficient_scope");
    let challenge = refused.header("www-authenticate");
    assert!(challenge.contains("scope=\"openid\""), "{challenge}");

    // Nowhere else than in the header (SECURITY 23).
    let token = [("access_token", alice.token())];
    let posted = caller.request(Method::POST, "/auth/oauth/userinfo");
    Answer::of(posted.form_of(&token))
        .await
        .expect_problem(401, "unauthenticated");
}

#[test]
fn the_command_makes_every_kind_of_client() {
    let folder = Folder::with(CLIENTS);
    let run = |arguments: &[&str]| portcullis(&folder, arguments);
    let public = [
        "client",
        "add",
        "phone",
        "--name",
        "Notes for phones",
        "--public",
        "--redirect-uri",
        "com.example.notes:/cb",
        "--post-logout-redirect-uri",
        "com.example.notes:/bye",
        "--scope",
        "openid",
        "--scope",
        "notes:read",
        "--role",
        "staff",
        "--resource",
        "https://api.example.com",
        "--resource",
        "urn:example:ledger",
    ];
    let made = run(&public).expect(0).stdout;
    assert_eq!(made, "made phone; it is public and has no secret\n");
    let shown = run(&["client", "show", "--json", "phone"]).expect(0).stdout;
    let mut shown: Value = serde_json::from_str(&shown).unwrap();
    shown.as_object_mut().unwrap().remove("created_at").unwrap();
    let expected = json!({
        "client_id": "phone", "name": "Notes for phones", "from": "command", "state": "enabled",
        "public": true, "scope": "notes:read openid",
        "grants": ["authorization_code", "refresh_token"],
        "redirect_uris": ["com.example.notes:/cb"],
        "post_logout_redirect_uris": ["com.example.notes:/bye"],
        "consent": "ask", "roles": ["staff"],
        "resources": ["https://api.example.com", "urn:example:ledger"],
    });
    assert_eq!(shown, expected);
    let shown = run(&["client", "show", "web"]).expect(0).stdout;
    assert!(shown.contains("https://notes.example.com/cb\n"), "{shown}");
    let both = [
        "client",
        "add",
        "both",
        "--grant",
        "authorization_code",
        "--grant",
        "client_credentials",
        "--redirect-uri",
        "https://both.example/cb",
        "--consent",
        "skip",
    ];
    assert!(run(&both).expect(0).stdout.starts_with("ptc_cs_"));

    // In the words of `check`, and made all the same, as by the file.
    let add = |id: &'static str, more: &[&'static str]| {
        let ran = run(&[&["client", "add", id, "--redirect-uri"], more].concat()).expect(0);
        let words = "warning: consent: a native app cannot prove that it is itself";
        ran.stderr.contains(words)
    };
    let skip = ["--consent", "skip"];
    for (id, more, is_risky) in [
        ("cli", &["http://127.0.0.1/cb", "--public"][..], true),
        ("mobile", &["com.example.app:/cb", "--public"], true),
        ("spa", &["https://spa.example/cb", "--public"], false),
        ("local", &["http://127.0.0.1/cb"], false),
    ] {
        assert_eq!(add(id, &[more, &skip].concat()), is_risky, "{id}");
        run(&["client", "show", id]).expect(0);
    }
    assert!(!add("asks", &["http://127.0.0.1/cb", "--public"]));

    let refused = |arguments: &[&str], why: &str| {
        let ran = run(&[&["client"], arguments].concat()).expect(1);
        assert!(ran.stderr.contains(why), "{arguments:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{arguments:?}");
    };
    refused(
        &["rotate-secret", "phone"],
        "phone is public and has no secret",
    );
    let add = |more: &[&'static str]| [&["add", "x"], more].concat();
    refused(&add(&["--public"]), "no credentials of its own");
    refused(&add(&["--grant", "implicit"]), "a grant is one of");
    refused(&add(&["--grant", "authorization_code"]), "redirect_uris");
    refused(&add(&["--redirect-uri", "http://a.example/"]), "https://");
    refused(&add(&["--scope", "nothing"]), "there is no scope nothing");
    refused(&add(&["--scope", "openid"]), "about people");
    refused(&add(&["--consent", "never"]), "ask or skip");
    refused(
        &add(&["--resource", "api.example.com"]),
        "--resource api.example.com: it must be an absolute URI without fragment",
    );
    let second = ["--role", "staff", "--role", "two words"];
    refused(&add(&second), "--role two words: ");
}
