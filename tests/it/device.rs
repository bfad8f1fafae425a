//! Devices without a browser or a keyboard (RFC 8628): codes, the page on which people let them in, and the tokens.

mod guesses;
mod walk;

use std::time::Duration;

use http::Method;
use serde_json::Value;
use serde_json::json;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;

use crate::harness::binary::portcullis;
use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::gateway::Folder;
use crate::harness::gateway::Gateway;
use crate::harness::person::FormBody as _;
use crate::harness::person::Person;
use crate::harness::upstream::Upstream;

const SECRET: &str = "Xq2v8mK4tR9wZ1bN6cL3pS7dF5gH0jYa";
const GRANT: (&str, &str) = ("grant_type", "urn:ietf:params:oauth:grant-type:device_code");
const TV: (&str, &str) = ("client_id", "tv");
const API: &str = "https://api.localhost";
const PAGE: &str = "/auth/oauth/device";

async fn started() -> (Gateway, Upstream) {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&lines(&app.url()));
    (gateway, app)
}

fn lines(app: &str) -> String {
    format!(
        r#"
        [clients.tv]
        name = "Living Room TV"
        public = true
        grants = ["device_code", "refresh_token"]
        scopes = ["openid", "profile", "offline_access", "notes:read"]
        [clients.printer]
        secret = "{SECRET}"
        grants = ["device_code"]
        scopes = ["notes:read"]
        consent = "skip"
        [clients.staff]
        public = true
        grants = ["device_code"]
        scopes = ["notes:read"]
        roles = ["admin"]
        [clients.web]
        public = true
        redirect_uris = ["https://web.example.com/cb"]
        grants = ["authorization_code"]
        [routes.notes]
        path = "/notes"
        scopes = ["notes:read"]
        upstream = "{app}"
        [routes.api]
        host = "api.localhost"
        path = "/"
        audience = "{API}"
        scopes = ["notes:read"]
        upstream = "{app}"
        "#
    )
}

/// A form for an endpoint of OAuth.
async fn ask(caller: &Caller, endpoint: &str, form: &[(&str, &str)]) -> Answer {
    let request = caller.request(Method::POST, &format!("/auth/oauth/{endpoint}"));
    Answer::of(request.form_of(form)).await
}

#[track_caller]
fn expect_error(answer: &Answer, status: u16, error: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.json()["error"], error, "{}", answer.text());
    assert!(answer.json()["error_description"].is_string());
    assert_eq!(answer.header("cache-control"), "no-store");
}

/// A device that waits to be let in.
struct Device {
    caller: Caller,
    client: &'static str,
    /// What it asks with.
    code: String,
    /// What it shows.
    shows: String,
    /// Where it sends people.
    uri: String,
}

impl Device {
    async fn of(caller: &Caller, client: &'static str, more: &[(&str, &str)]) -> Self {
        let form = [&[("client_id", client)], more].concat();
        let answer = ask(caller, "device_authorization", &form).await.expect(200);
        assert_eq!(answer.header("cache-control"), "no-store");
        let body = answer.json();
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        assert_eq!(
            (&body["expires_in"], &body["interval"]),
            (&json!(600), &json!(5))
        );
        let (shows, uri) = (text("user_code"), text("verification_uri"));
        let complete = format!("{uri}?user_code={shows}");
        assert_eq!(body["verification_uri_complete"], complete);
        Self {
            caller: caller.clone(),
            client,
            code: text("device_code"),
            shows,
            uri,
        }
    }

    async fn tv(gateway: &Gateway) -> Self {
        Self::of(&gateway.anonymous(), "tv", &[]).await
    }

    async fn polls(&self) -> Answer {
        self.polls_with(&[]).await
    }

    async fn polls_with(&self, more: &[(&str, &str)]) -> Answer {
        let own = [
            GRANT,
            ("client_id", self.client),
            ("device_code", &self.code),
        ];
        ask(&self.caller, "token", &[&own, more].concat()).await
    }

    /// Somebody types its code, and then says so.
    async fn is_decided_by(&self, person: &Person, decision: &str) -> Answer {
        let page = self.is_shown_to(person).await;
        let form = page.form(PAGE);
        let decided = person.submit(&form, &[("decision", decision)]).await;
        person.follow(decided.expect(303)).await.expect(200)
    }

    /// Somebody types its code: the page that asks whether they mean it.
    async fn is_shown_to(&self, person: &Person) -> Answer {
        let page = person.open(PAGE).await.expect(200);
        let typed = [("user_code", self.shows.as_str())];
        person.submit(&page.form(PAGE), &typed).await.expect(200)
    }
}

/// Nobody's time passes by itself.
fn wait(gateway: &Gateway, seconds: u64) {
    gateway.clock().advance(Duration::from_secs(seconds));
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_lets_a_device_in_and_it_acts_for_them() {
    let (gateway, app) = started().await;
    let device = Device::tv(&gateway).await;
    assert_eq!(device.uri, format!("https://localhost{PAGE}"));
    expect_error(&device.polls().await, 400, "authorization_pending");

    let alice = Person::signed_in(gateway.anonymous(), "alice").await;
    let page = device.is_shown_to(&alice).await;
    for said in [
        "Living Room TV",
        device.shows.as_str(),
        "Read your notes",
        "Did somebody send you this code?",
        "alice",
    ] {
        assert!(page.text().contains(said), "{said}: {}", page.text());
    }
    // Nothing has happened yet.
    wait(&gateway, 6);
    expect_error(&device.polls().await, 400, "authorization_pending");
    let done = device.is_decided_by(&alice, "allow").await;
    assert!(done.text().contains("Device connected"), "{}", done.text());

    let got = device.polls().await.expect(200);
    assert_eq!(got.header("cache-control"), "no-store");
    let got = got.json();
    assert_eq!(got["token_type"], "Bearer");
    assert_eq!(got["scope"], "notes:read openid profile");
    assert!(got["id_token"].is_string());
    let caller = gateway.anonymous();
    let tv = caller.with_token(got["access_token"].as_str().unwrap());
    tv.get("/notes").await.expect(200);
    let seen = app.only();
    assert_eq!(seen.header("x-auth-user"), "alice");
    assert_eq!(seen.header("x-auth-client"), "tv");
    tv.get("/auth/me")
        .await
        .expect_problem(403, "first_party_only");

    // It is no part of the browser: Alice signs out there, and it goes on.
    let account = alice.open("/auth/account").await.expect(200);
    alice
        .submit(&account.form("/auth/logout"), &[])
        .await
        .expect(303);
    tv.get("/notes").await.expect(200);
    let refresh = [
        ("grant_type", "refresh_token"),
        TV,
        ("refresh_token", got["refresh_token"].as_str().unwrap()),
    ];
    let renewed = ask(&caller, "token", &refresh).await.expect(200).json();
    // Until she ends it herself.
    alice.sign_in("alice").await.expect(303);
    let account = alice.open("/auth/account").await.expect(200);
    assert!(
        account.text().contains("Living Room TV"),
        "{}",
        account.text()
    );
    let ends = account.form("/auth/connections/tv");
    alice.submit(&ends, &[]).await.expect(303);
    let tv = caller.with_token(renewed["access_token"].as_str().unwrap());
    tv.get("/notes").await.expect_invalid_token("disconnected");
}

// SECURITY 37
#[tokio::test(flavor = "multi_thread")]
async fn a_device_code_is_good_once_and_its_return_ends_what_it_opened() {
    let (gateway, _app) = started().await;
    let alice = Person::signed_in(gateway.anonymous(), "alice").await;
    let device = Device::tv(&gateway).await;
    device.is_decided_by(&alice, "allow").await;
    let got = device.polls().await.expect(200).json();
    let tv = gateway.anonymous();
    let tv = tv.with_token(got["access_token"].as_str().unwrap());
    tv.get("/notes").await.expect(200);
    expect_error(&device.polls().await, 400, "invalid_grant");
    tv.get("/notes").await.expect_invalid_token("replayed");
    expect_error(&device.polls().await, 400, "invalid_grant");

    // Nor is the code that it shows good again.
    let page = alice.open(PAGE).await.expect(200);
    let typed = [("user_code", device.shows.as_str())];
    let again = alice.submit(&page.form(PAGE), &typed).await.expect(404);
    assert!(again.text().contains("There is no such code"));
}

/// RFC 8628 §3.5.
#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_told_to_wait_to_slow_down_or_to_give_up() {
    let app = Upstream::start().await;
    let folder = Folder::with(&lines(&app.url()));
    let mut gateway = Gateway::start_in(&folder);
    let mut device = Device::tv(&gateway).await;
    expect_error(&device.polls().await, 400, "authorization_pending");
    expect_error(&device.polls().await, 400, "slow_down");
    wait(&gateway, 6);
    expect_error(&device.polls().await, 400, "slow_down");
    // Fifteen seconds by now, for all of its questions, whatever gateway answers.
    gateway.restart();
    device.caller = gateway.anonymous();
    wait(&gateway, 11);
    expect_error(&device.polls().await, 400, "slow_down");
    wait(&gateway, 21);
    expect_error(&device.polls().await, 400, "authorization_pending");

    let alice = Person::signed_in(gateway.anonymous(), "alice").await;
    let done = device.is_decided_by(&alice, "deny").await;
    assert!(done.text().contains("Device not connected"));
    expect_error(&device.polls().await, 400, "access_denied");
    expect_error(&device.polls().await, 400, "access_denied");

    let [late, unfetched] = [Device::tv(&gateway).await, Device::tv(&gateway).await];
    unfetched.is_decided_by(&alice, "allow").await;
    wait(&gateway, 601);
    for device in [&late, &unfetched] {
        expect_error(&device.polls().await, 400, "expired_token");
    }
    let page = alice.open(PAGE).await.expect(200);
    let typed = [("user_code", late.shows.as_str())];
    alice.submit(&page.form(PAGE), &typed).await.expect(404);
}

// SECURITY 41
#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_refused_in_the_words_of_the_rfcs() {
    let (gateway, _app) = started().await;
    let caller = gateway.anonymous();
    let printer = ("client_id", "printer");
    let secret = ("client_secret", SECRET);
    for (form, status, error) in [
        (vec![], 401, "invalid_client"),
        (vec![("client_id", "nobody")], 401, "invalid_client"),
        (vec![printer], 401, "invalid_client"),
        (vec![("client_id", "web")], 400, "unauthorized_client"),
        (vec![TV, ("scope", "notes:write")], 400, "invalid_scope"),
        (vec![TV, ("scope", "a  b")], 400, "invalid_scope"),
        (
            vec![TV, ("resource", "https://elsewhere.example")],
            400,
            "invalid_target",
        ),
        (vec![TV, TV], 400, "invalid_request"),
    ] {
        let answer = ask(&caller, "device_authorization", &form).await;
        expect_error(&answer, status, error);
    }
    ask(&caller, "device_authorization", &[printer, secret])
        .await
        .expect(200);
    let get = caller.get("/auth/oauth/device_authorization").await;
    get.expect_problem(405, "method_not_allowed");
    let query = caller.request(
        Method::POST,
        "/auth/oauth/device_authorization?client_id=tv",
    );
    let query = Answer::of(query.form_of(&[TV])).await;
    expect_error(&query, 400, "invalid_request");

    let device = Device::tv(&gateway).await;
    let code = ("device_code", device.code.as_str());
    let forged = device.code.replace("ptc_dc_", "ptc_ac_");
    let cut = &device.code[..device.code.len() - 1];
    for (form, status, error) in [
        (vec![TV], 400, "invalid_request"),
        (vec![TV, code, code], 400, "invalid_request"),
        (vec![TV, ("device_code", "x")], 400, "invalid_grant"),
        (vec![TV, ("device_code", &forged)], 400, "invalid_grant"),
        (vec![TV, ("device_code", cut)], 400, "invalid_grant"),
        (
            vec![TV, ("device_code", &device.shows)],
            400,
            "invalid_grant",
        ),
        (vec![printer, code], 401, "invalid_client"),
        (vec![printer, secret, code], 400, "invalid_grant"),
        (vec![("client_id", "staff"), code], 400, "invalid_grant"),
        (vec![("client_id", "web"), code], 400, "unauthorized_client"),
        (vec![TV, code], 400, "authorization_pending"),
    ] {
        let form = [vec![GRANT], form].concat();
        expect_error(&ask(&caller, "token", &form).await, status, error);
    }
    // Another's question has not cost this one its turn, nor its code.
    let alice = Person::signed_in(caller.clone(), "alice").await;
    device.is_decided_by(&alice, "allow").await;
    device.polls().await.expect(200);
}

/// RFC 8628 §5.4, and §3.3.1: an address alone lets nobody in, however complete it is.
// SECURITY 34
#[tokio::test(flavor = "multi_thread")]
async fn nobody_lets_a_device_in_without_being_asked() {
    let (gateway, _app) = started().await;
    let caller = gateway.anonymous();
    let alice = Person::signed_in(caller.clone(), "alice").await;
    let device = Device::of(
        &caller,
        "printer",
        &[("client_secret", SECRET), ("scope", "notes:read")],
    )
    .await;
    let polls = async || {
        wait(&gateway, 6);
        device.polls_with(&[("client_secret", SECRET)]).await
    };
    let complete = format!("{PAGE}?user_code={}", device.shows);
    for more in ["", "&decision=allow", "&decision=allow&person=x"] {
        let page = alice.open(&format!("{complete}{more}")).await.expect(200);
        assert!(page.text().contains(&format!("value=\"{}\"", device.shows)));
        expect_error(&polls().await, 400, "authorization_pending");
    }
    // Though its client's people are not asked in a browser.
    let page = device.is_shown_to(&alice).await;
    assert!(page.text().contains("Connect printer?"), "{}", page.text());
    let form = page.form(PAGE);
    let fields: Vec<_> = form
        .hidden
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .chain([("decision", "allow")])
        .collect();
    for origin in ["https://evil.example", "null"] {
        let forged = alice.post(PAGE, &fields, &[("origin", origin)]).await;
        forged.expect_page(403, "cross_site");
    }
    let mut without = form.clone();
    without.hidden.remove("csrf");
    let forged = alice.submit(&without, &[("decision", "allow")]).await;
    forged.expect_page(403, "cross_site");
    // A decision that does not come from the page that asks is asked again.
    let mut skipped = form.clone();
    skipped.hidden.remove("person");
    let asked = alice.submit(&skipped, &[("decision", "allow")]).await;
    assert!(asked.expect(200).text().contains("Connect printer?"));
    let asked = alice.submit(&form, &[("decision", "perhaps")]).await;
    asked.expect(200);
    // Nor does Bob decide on what Alice was shown.
    caller.register("bob").await;
    alice.sign_in("bob").await.expect(303);
    let asked = alice.submit(&form, &[("decision", "allow")]).await;
    assert!(asked.expect(200).text().contains("bob"));
    expect_error(&polls().await, 400, "authorization_pending");
    // Signed out, nobody does.
    let account = alice.open("/auth/account").await.expect(200);
    alice
        .submit(&account.form("/auth/logout"), &[])
        .await
        .expect(303);
    let sent = alice.submit(&form, &[("decision", "allow")]).await;
    assert!(
        sent.expect(303)
            .header("location")
            .starts_with("/auth/login?")
    );
    expect_error(&polls().await, 400, "authorization_pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_typed_as_people_type_and_survives_the_sign_in() {
    let (gateway, _app) = started().await;
    let caller = gateway.anonymous();
    caller.register("alice").await;
    let alice = Person::new(caller);
    let device = Device::tv(&gateway).await;
    let complete = format!("{PAGE}?user_code={}", device.shows);
    let sent = alice.open(&complete).await.expect(303);
    let page = alice.follow(sent).await.expect(200);
    let filled = [
        ("identifier", "alice"),
        ("password", crate::harness::caller::PASSWORD),
    ];
    let back = alice.submit(&page.form("/auth/login"), &filled).await;
    assert_eq!(back.header("location"), complete);
    let page = alice.follow(back).await.expect(200);
    assert!(page.text().contains(&device.shows));

    let letters = device.shows.replace('-', "");
    let form = page.form(PAGE);
    for typed in [
        letters.to_lowercase(),
        format!(" {} {} ", &letters[..4], &letters[4..]),
        letters.chars().map(|it| format!("{it}.")).collect(),
    ] {
        let shown = alice.submit(&form, &[("user_code", &typed)]).await;
        assert!(shown.expect(200).text().contains(&device.shows), "{typed}");
    }
    for wrong in ["", "a", "WDJB-MJH", "AEIO-UAEI", "<b>x</b>", "12345678"] {
        let shown = alice.submit(&form, &[("user_code", wrong)]).await;
        let shown = shown.expect(422);
        assert!(shown.text().contains("eight letters"), "{}", shown.text());
        assert!(!shown.text().contains("<b>"));
    }
    let not_you = device.is_shown_to(&alice).await;
    assert!(
        not_you.text().contains("prompt=login"),
        "{}",
        not_you.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_people_whom_the_client_admits_let_it_in() {
    let (gateway, _app) = started().await;
    let caller = gateway.anonymous();
    let alice = Person::signed_in(caller.clone(), "alice").await;
    let device = Device::of(&caller, "staff", &[]).await;
    let page = alice.open(PAGE).await.expect(200);
    let typed = [("user_code", device.shows.as_str())];
    let refused = alice.submit(&page.form(PAGE), &typed).await;
    refused.expect_page(403, "insufficient_role");
    expect_error(&device.polls().await, 400, "authorization_pending");

    let run = |arguments: &[&str]| portcullis(gateway.folder(), arguments).expect(0);
    run(&["user", "set", "alice", "--add-role", "admin"]);
    device.is_decided_by(&alice, "allow").await;
    // Taken away before it was fetched.
    run(&["user", "set", "alice", "--remove-role", "admin"]);
    expect_error(&device.polls().await, 400, "invalid_grant");
    let again = Device::tv(&gateway).await;
    again.is_decided_by(&alice, "allow").await;
    let tokens = again.polls().await.expect(200).json();
    assert_eq!(tokens["scope"], "notes:read openid profile");
}

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn what_is_allowed_and_not_fetched_ends_with_everything_else() {
    let (gateway, _app) = started().await;
    let caller = gateway.anonymous();
    let alice = Person::signed_in(caller.clone(), "alice").await;
    let hasty = Device::tv(&gateway).await;
    hasty.is_decided_by(&alice, "allow").await;
    let account = alice.open("/auth/account").await.expect(200);
    let ends = account.form("/auth/connections/tv");
    alice.submit(&ends, &[]).await.expect(303);
    expect_error(&hasty.polls().await, 400, "access_denied");

    let device = Device::tv(&gateway).await;
    device.is_decided_by(&alice, "allow").await;
    let mut elsewhere = caller.clone();
    elsewhere.log_in("alice").await;
    let all = json!({ "all": true });
    elsewhere.post("/auth/logout", &all).await.expect(204);
    expect_error(&device.polls().await, 400, "access_denied");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_gets_a_token_for_one_resource() {
    let (gateway, _app) = started().await;
    let caller = gateway.anonymous();
    let alice = Person::signed_in(caller.clone(), "alice").await;
    let device = Device::of(&caller, "tv", &[("resource", API)]).await;
    device.is_decided_by(&alice, "allow").await;
    let other = device
        .polls_with(&[("resource", "https://localhost")])
        .await;
    expect_error(&other, 400, "invalid_target");
    let got = device.polls_with(&[("resource", API)]).await.expect(200);
    let tv = caller.with_token(got.json()["access_token"].as_str().unwrap());
    tv.at("api.localhost").get("/").await.expect(200);
    // RFC 9700 §4.9: none of its neighbours takes it.
    tv.get("/notes").await.expect_invalid_token("a neighbour");
}

/// What became of it is told to whoever decided, whenever they ask again, and to nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn the_page_tells_strangers_nothing() {
    let (gateway, _app) = started().await;
    let caller = gateway.anonymous();
    let alice = Person::signed_in(caller.clone(), "alice").await;
    let bob = Person::signed_in(caller.clone(), "bob").await;
    let device = Device::tv(&gateway).await;
    let other = Device::tv(&gateway).await;
    let at = |device: &Device| format!("{PAGE}?user_code={}", device.shows);
    device.is_decided_by(&alice, "allow").await;
    device.polls().await.expect(200);
    let told = alice.open(&at(&device)).await.expect(200);
    assert!(told.text().contains("Device connected"));
    // A device that waits, one that was let in by another, and none at all look the same.
    let mut seen = Vec::new();
    for code in [&other.shows, &device.shows, "BBBB-BBBB"] {
        let page = bob.open(&format!("{PAGE}?user_code={code}")).await;
        seen.push(page.expect(200).text().replace(code, ""));
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:#?}");
    let none = bob.open(&format!("{PAGE}?user_code=%3Cb%3E")).await;
    assert!(!none.expect(200).text().contains("<b>"));
}

// SECURITY 45
#[tokio::test]
async fn discovery_names_the_device_grant() {
    let (gateway, _app) = started().await;
    let caller = gateway.anonymous();
    let document = caller.get("/.well-known/openid-configuration").await;
    let document: Value = document.expect(200).json();
    let endpoint = &document["device_authorization_endpoint"];
    assert_eq!(
        endpoint,
        "https://localhost/auth/oauth/device_authorization"
    );
    let grants = document["grant_types_supported"].as_array().unwrap();
    assert!(grants.contains(&json!(GRANT.1)), "{grants:?}");
}

// SECURITY 50, 58
#[tokio::test(flavor = "multi_thread")]
async fn a_locked_store_lets_nobody_in_and_no_code_is_logged() {
    let (gateway, _app) = started().await;
    let caller = gateway.anonymous();
    let alice = Person::signed_in(caller.clone(), "alice").await;
    let device = Device::tv(&gateway).await;
    let form = device.is_shown_to(&alice).await.form(PAGE);
    let path = gateway.folder().path("data/portcullis.db");
    let mut other = SqliteConnectOptions::new()
        .filename(path)
        .connect()
        .await
        .unwrap();
    let begin = sqlx::query("BEGIN IMMEDIATE").execute(&mut other);
    begin.await.unwrap();
    let refused = ask(&caller, "device_authorization", &[TV]).await;
    expect_error(&refused, 503, "temporarily_unavailable");
    expect_error(&device.polls().await, 503, "temporarily_unavailable");
    let refused = alice.submit(&form, &[("decision", "allow")]).await;
    refused.expect_page(503, "store_unavailable");
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    expect_error(&device.polls().await, 400, "authorization_pending");
    alice
        .submit(&form, &[("decision", "allow")])
        .await
        .expect(303);
    device.polls().await.expect(200);
    let log = gateway.log_text();
    for secret in [&device.code, &device.shows] {
        assert!(!log.contains(secret.as_str()), "{log}");
    }
}
