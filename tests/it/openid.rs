//! What clients get for people: tokens by codes, their renewal and end, ID tokens, `userinfo`, discovery.

use std::time::Duration;

use jsonwebtoken::DecodingKey;
use jsonwebtoken::Validation;
use jsonwebtoken::decode;
use jsonwebtoken::decode_header;
use jsonwebtoken::jwk::JwkSet;
use reqwest::Method;
use serde_json::Value;
use serde_json::json;

use crate::harness::app::App;
use crate::harness::app::CHALLENGE;
use crate::harness::app::HOUSE;
use crate::harness::app::LINES;
use crate::harness::app::NATIVE;
use crate::harness::app::NOTES;
use crate::harness::app::OTHER;
use crate::harness::app::VERIFIER;
use crate::harness::app::claims;
use crate::harness::app::said;
use crate::harness::app::with_alice;
use crate::harness::binary::portcullis;
use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::caller::PASSWORD;
use crate::harness::gateway::Folder;
use crate::harness::gateway::Gateway;
use crate::harness::person::Person;

fn text<'a>(tokens: &'a Value, name: &str) -> &'a str {
    tokens[name]
        .as_str()
        .unwrap_or_else(|| panic!("no {name} in {tokens}"))
}

fn with_access(caller: &Caller, tokens: &Value) -> Caller {
    caller.with_token(text(tokens, "access_token"))
}

#[track_caller]
fn expect_error(answer: Answer, status: u16, error: &str) {
    let answer = answer.expect(status);
    assert_eq!(answer.json()["error"], error, "{}", answer.text());
    assert!(answer.json()["error_description"].is_string());
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("pragma"), "no-cache");
}

/// RFC 9700 §4.5, code injection; RFC 6749 §4.1.2.
// SECURITY 36, 37
#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_good_once_for_whom_and_what_it_was_issued() {
    let (gateway, person, caller) = with_alice().await;
    NOTES.code(&person, "openid").await;
    let short = "a".repeat(42);
    let other = "a".repeat(43);
    for (app, name, value, error) in [
        (NOTES, "code_verifier", "", "invalid_request"),
        (NOTES, "code_verifier", short.as_str(), "invalid_request"),
        (NOTES, "code_verifier", other.as_str(), "invalid_grant"),
        (NOTES, "code_verifier", CHALLENGE, "invalid_grant"),
        (NOTES, "redirect_uri", "", "invalid_grant"),
        (
            NOTES,
            "redirect_uri",
            "https://notes.example.com/other",
            "invalid_grant",
        ),
        (NOTES, "code", "ptc_ac_x", "invalid_grant"),
        (NOTES, "code", "", "invalid_request"),
        (OTHER, "code_verifier", VERIFIER, "invalid_grant"),
    ] {
        let code = NOTES.code(&person, "openid").await;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", NOTES.redirect_uri),
            ("code_verifier", VERIFIER),
        ];
        form.retain(|(known, _)| *known != name);
        form.push((name, value));
        expect_error(app.token(&caller, &form).await, 400, error);
    }

    let code = NOTES.code(&person, "openid notes:read").await;
    let tokens = NOTES.redeem(&caller, &code).await.expect(200).json();
    let access = with_access(&caller, &tokens);
    access.get("/notes").await.expect(200);
    expect_error(NOTES.redeem(&caller, &code).await, 400, "invalid_grant");
    access
        .get("/notes")
        .await
        .expect_problem(401, "invalid_token");
    let refresh = text(&tokens, "refresh_token");
    expect_error(NOTES.refresh(&caller, refresh).await, 400, "invalid_grant");

    let code = NOTES.code(&person, "openid").await;
    gateway.clock().advance(Duration::from_secs(61));
    expect_error(NOTES.redeem(&caller, &code).await, 400, "invalid_grant");
}

/// RFC 9700 §4.8, PKCE downgrade: a verifier for a code that was asked for without is no way in, because there is
/// no such code; and one of two clients never gets the other's.
// SECURITY 38, 41
#[tokio::test(flavor = "multi_thread")]
async fn there_are_no_other_grants() {
    let (_gateway, person, caller) = with_alice().await;
    let code = NOTES.code(&person, "openid").await;
    for grant in [
        "password",
        "implicit",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "x",
    ] {
        let form = [
            ("grant_type", grant),
            ("username", "alice"),
            ("password", "x"),
            ("code", &code),
        ];
        expect_error(
            NOTES.token(&caller, &form).await,
            400,
            "unsupported_grant_type",
        );
    }
    let form = [("grant_type", "client_credentials")];
    expect_error(
        NOTES.token(&caller, &form).await,
        400,
        "unauthorized_client",
    );
    let form = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    expect_error(
        HOUSE.token(&caller, &form).await,
        400,
        "unauthorized_client",
    );

    let wrong = App {
        secret: Some("z9Hn2Kd7Ls4Pf1Zx6Cv8Bm3Qt5Ry0UgJ"),
        ..NOTES
    };
    expect_error(wrong.redeem(&caller, &code).await, 401, "invalid_client");
    // A confidential client does not pass for a public one.
    let bare = App {
        secret: None,
        ..NOTES
    };
    expect_error(bare.redeem(&caller, &code).await, 401, "invalid_client");
    NOTES.redeem(&caller, &code).await.expect(200);
}

// SECURITY 22, 44, 45
#[tokio::test(flavor = "multi_thread")]
async fn an_id_token_says_who_signed_in_to_this_client_and_opens_nothing() {
    let (gateway, person, caller) = with_alice().await;
    let tokens = NOTES
        .tokens(&caller, &person, "openid profile notes:read")
        .await;
    let id_token = text(&tokens, "id_token");
    let keys: JwkSet =
        serde_json::from_slice(&caller.get("/.well-known/jwks.json").await.body).unwrap();
    let header = decode_header(id_token).unwrap();
    assert_eq!(header.typ.as_deref(), Some("JWT"));
    let key = keys.find(&header.kid.unwrap()).unwrap();
    #[expect(
        clippy::disallowed_methods,
        reason = "here it is the client, and a client's defaults are what is tried"
    )]
    let mut validation = Validation::new(header.alg);
    validation.set_audience(&["notes-web"]);
    validation.set_issuer(&["https://localhost"]);
    let key = DecodingKey::from_jwk(key).unwrap();
    let claims = decode::<Value>(id_token, &key, &validation).unwrap().claims;
    let me = person.open("/auth/me").await.expect(200).json();
    assert_eq!(claims["sub"], me["id"], "{me}");
    assert_eq!(claims["nonce"], "n-0S6");
    assert_eq!(claims["preferred_username"], "alice");
    assert_eq!(claims["amr"], json!(["pwd"]));
    assert!(claims["auth_time"].is_u64() && claims["at_hash"].is_string());
    assert!(claims["sid"].is_string());

    let as_access = caller.with_token(id_token);
    for path in ["/notes", "/own", "/auth/me", "/auth/oauth/userinfo"] {
        as_access.get(path).await.expect(401);
    }
    let access = with_access(&caller, &tokens);
    let seen = access.get("/notes").await.expect(200).json();
    assert_eq!(seen["headers"]["x-auth-user"], "alice");
    assert_eq!(seen["headers"]["x-auth-client"], "notes-web");
    // A delegated token opens what names its scopes or its client, and manages no account.
    access
        .get("/own")
        .await
        .expect_problem(403, "insufficient_scope");
    access
        .get("/auth/me")
        .await
        .expect_problem(403, "first_party_only");
    access
        .get("/auth/sessions")
        .await
        .expect_problem(403, "first_party_only");
    let body = json!({ "current_password": "x", "new_password": "y" });
    access
        .post("/auth/password", &body)
        .await
        .expect_problem(403, "first_party_only");
    let nothing = Answer::of(access.request(Method::POST, "/auth/logout")).await;
    nothing.expect_problem(403, "first_party_only");
    drop(gateway);
}

// SECURITY 45
#[tokio::test(flavor = "multi_thread")]
async fn userinfo_says_what_the_scopes_allow() {
    let gateway = Gateway::start(LINES);
    let caller = gateway.anonymous();
    let account = json!({ "username": "alice", "name": "Alice L.", "password": PASSWORD });
    caller.try_register(&account).await.expect(201);
    let email = ["--email", "alice@example.com", "--email-verified", "true"];
    let set = [
        &["user", "set", "alice", "--add-role", "editor"],
        &email[..],
    ]
    .concat();
    portcullis(gateway.folder(), &set).expect(0);
    let person = Person::new(caller.clone());
    person.sign_in("alice").await.expect(303);
    let ask = async |scope: &str| {
        let tokens = NOTES.tokens(&caller, &person, scope).await;
        let access = with_access(&caller, &tokens);
        let posted = Answer::of(access.request(Method::POST, "/auth/oauth/userinfo")).await;
        let answer = access.get("/auth/oauth/userinfo").await;
        assert_eq!(answer.status, posted.status);
        assert!(answer.status != 200 || answer.body == posted.body);
        answer
    };
    let bare = ask("openid").await.expect(200).json();
    assert_eq!(bare.as_object().unwrap().len(), 1, "{bare}");
    let all = ask("openid profile email").await.expect(200).json();
    assert_eq!(all["sub"], bare["sub"]);
    assert_eq!(all["name"], "Alice L.");
    assert_eq!(all["preferred_username"], "alice");
    assert_eq!(all["email"], "alice@example.com");
    assert_eq!(all["email_verified"], true);
    assert_eq!(all["roles"], json!(["editor"]));
    let none = ask("notes:read").await.expect(403);
    assert!(
        none.header("www-authenticate")
            .contains("insufficient_scope")
    );
    caller.get("/auth/oauth/userinfo").await.expect(401);
    let own = gateway.signed_in("bob").await;
    own.get("/auth/oauth/userinfo").await.expect(403);
}

/// RFC 9700 §4.14.
// SECURITY 24, 43
#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_renewed_for_their_client_and_never_for_more() {
    let (gateway, person, caller) = with_alice().await;
    let tokens = NOTES
        .tokens(&caller, &person, "openid notes:read notes:write")
        .await;
    let first = text(&tokens, "refresh_token");
    expect_error(OTHER.refresh(&caller, first).await, 400, "invalid_grant");
    caller.try_refresh(first).await.expect(401);
    let wider = [
        ("grant_type", "refresh_token"),
        ("refresh_token", first),
        ("scope", "openid email"),
    ];
    expect_error(NOTES.token(&caller, &wider).await, 400, "invalid_scope");
    let narrower = [
        ("grant_type", "refresh_token"),
        ("refresh_token", first),
        ("scope", "notes:read"),
    ];
    let renewed = NOTES.token(&caller, &narrower).await.expect(200).json();
    assert_eq!(renewed["scope"], "notes:read");
    let second = text(&renewed, "refresh_token");
    let whole = NOTES.refresh(&caller, second).await.expect(200).json();
    assert_eq!(whole["scope"], "notes:read notes:write openid");
    let third = text(&whole, "refresh_token");
    let access = with_access(&caller, &whole);
    access.get("/notes").await.expect(200);

    // One that was used before comes back: somebody has a copy.
    gateway.clock().advance(Duration::from_secs(11));
    expect_error(NOTES.refresh(&caller, first).await, 400, "invalid_grant");
    access
        .get("/notes")
        .await
        .expect_problem(401, "invalid_token");
    expect_error(NOTES.refresh(&caller, third).await, 400, "invalid_grant");

    let mut own = gateway.anonymous();
    own.register("bob").await;
    own.log_in("bob").await;
    expect_error(
        NOTES.refresh(&caller, own.refresh_token()).await,
        400,
        "invalid_grant",
    );
    own.refresh().await;
    own.get("/auth/me").await.expect(200);
}

/// Whatever the file said when the person allowed it.
// SECURITY 43
#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_from_a_client_is_taken_from_what_it_has() {
    const LEDGER: (&str, &str) = ("resource", "urn:example:ledger");
    let without = "[clients.house]\nscopes = [\"openid\", \"offline_access\"]\n\
                   grants = [\"authorization_code\", \"refresh_token\"]\n\
                   secret = \"m4Tz8Qw1Lk6Vb3Nc9Xs5Dh2Gj7Rf0PyE\"\n\
                   redirect_uris = [\"https://house.example.com/cb\"]\nconsent = \"skip\"\n\
                   [scopes]\n\"notes:read\" = \"Read your notes\"\n";
    let with = without.replace("\"openid\",", "\"openid\", \"notes:read\",");
    let with = with.replace("consent", "resources = [\"urn:example:ledger\"]\nconsent");
    let folder = Folder::with(&with);
    let mut gateway = Gateway::start_in(&folder);
    let caller = gateway.anonymous();
    let alice = Person::signed_in(caller.clone(), "alice").await;
    let scope = "openid notes:read offline_access";
    let code = async |resource| {
        let answer = alice.open(&HOUSE.request(scope, &[resource])).await;
        said(&answer.expect(303))["code"].clone()
    };
    let (for_ledger, kept) = (code(LEDGER).await, HOUSE.code(&alice, scope).await);
    let tokens = HOUSE.redeem(&caller, &for_ledger).await.expect(200).json();
    let late = code(LEDGER).await;
    let refresh = text(&tokens, "refresh_token");
    let renewed = HOUSE.refresh(&caller, refresh).await.expect(200).json();
    assert_eq!(claims(text(&renewed, "access_token"))["aud"], LEDGER.1);

    folder.configure(without);
    gateway.restart();
    let caller = gateway.anonymous();
    let refresh = text(&renewed, "refresh_token");
    expect_error(HOUSE.refresh(&caller, refresh).await, 400, "invalid_grant");
    expect_error(HOUSE.redeem(&caller, &late).await, 400, "invalid_grant");
    let tokens = HOUSE.redeem(&caller, &kept).await.expect(200).json();
    assert_eq!(tokens["scope"], "offline_access openid");
    let shown = [("token", text(&tokens, "refresh_token"))];
    let told = HOUSE.ask(&caller, "introspect", &shown).await;
    assert_eq!(told.expect(200).json()["scope"], "offline_access openid");
    // It is ended, and does not come back with the file.
    folder.configure(&with);
    gateway.restart();
    let again = HOUSE.refresh(&gateway.anonymous(), refresh).await;
    expect_error(again, 400, "invalid_grant");
}

// SECURITY 24, 42
#[tokio::test(flavor = "multi_thread")]
async fn what_an_app_has_ends_with_the_sign_in_unless_it_is_offline() {
    let (gateway, person, caller) = with_alice().await;
    let with = NOTES.tokens(&caller, &person, "openid notes:read").await;
    let without = NATIVE
        .tokens(&caller, &person, "openid offline_access notes:read")
        .await;
    let revoked = NOTES.tokens(&caller, &person, "openid notes:read").await;
    let gone = [("token", text(&revoked, "refresh_token"))];
    NOTES.ask(&caller, "revoke", &gone).await.expect(200);
    with_access(&caller, &revoked)
        .get("/notes")
        .await
        .expect(401);
    expect_error(
        NOTES.refresh(&caller, gone[0].1).await,
        400,
        "invalid_grant",
    );
    // Another's token is nothing to a client.
    let foreign = [("token", text(&with, "refresh_token"))];
    NATIVE.ask(&caller, "revoke", &foreign).await.expect(200);
    with_access(&caller, &with).get("/notes").await.expect(200);

    let account = person.open("/auth/account").await.expect(200);
    person
        .submit(&account.form("/auth/logout"), &[])
        .await
        .expect(303);
    with_access(&caller, &with).get("/notes").await.expect(401);
    expect_error(
        NOTES.refresh(&caller, foreign[0].1).await,
        400,
        "invalid_grant",
    );
    with_access(&caller, &without)
        .get("/notes")
        .await
        .expect(200);
    let renewed = NATIVE
        .refresh(&caller, text(&without, "refresh_token"))
        .await
        .expect(200)
        .json();
    portcullis(gateway.folder(), &["user", "disable", "alice"]).expect(0);
    expect_error(
        NATIVE
            .refresh(&caller, text(&renewed, "refresh_token"))
            .await,
        400,
        "invalid_grant",
    );
}

/// RFC 9700 §4.4, mix-up: `iss` in the response is the document's `issuer`.
// SECURITY 39, 45
#[tokio::test(flavor = "multi_thread")]
async fn discovery_is_true_and_the_same_everywhere() {
    let (_gateway, _, caller) = with_alice().await;
    let openid = caller
        .get("/.well-known/openid-configuration")
        .await
        .expect(200)
        .json();
    let oauth = caller
        .get("/.well-known/oauth-authorization-server")
        .await
        .expect(200)
        .json();
    assert_eq!(openid, oauth);
    assert_eq!(openid["issuer"], "https://localhost");
    assert_eq!(
        openid["authorization_response_iss_parameter_supported"],
        true
    );
    assert_eq!(openid["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(openid["response_types_supported"], json!(["code"]));
    for (name, value) in openid.as_object().unwrap() {
        if !name.ends_with("_endpoint") && name != "jwks_uri" {
            continue;
        }
        let path = value
            .as_str()
            .unwrap()
            .strip_prefix("https://localhost")
            .unwrap();
        let answer = caller.get(path).await;
        assert_ne!(answer.status, 404, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_claims_of_an_access_token_are_those_of_rfc_9068() {
    let (_gateway, person, caller) = with_alice().await;
    let tokens = NOTES.tokens(&caller, &person, "openid notes:read").await;
    let claims = claims(text(&tokens, "access_token"));
    assert_eq!(claims["client_id"], "notes-web");
    assert_eq!(claims["aud"], "https://localhost");
    assert_eq!(claims["scope"], "notes:read openid");
    for name in ["iss", "sub", "exp", "iat", "jti", "sid", "auth_time"] {
        assert!(!claims[name].is_null(), "{name}: {claims}");
    }
}
