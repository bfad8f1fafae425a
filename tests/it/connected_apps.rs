//! Connected apps: what the account page says of them, and what is left of one that is disconnected.

use http::Method;

use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::gateway::Gateway;
use crate::harness::person::FormBody as _;
use crate::harness::person::Person;

const LINES: &str = r#"
    [clients.notes-web]
    name = "Notes"
    secret = "Xq2v8mK4tR9wZ1bN6cL3pS7dF5gH0jYa"
    redirect_uris = ["https://notes.example.com/callback"]
    scopes = ["openid", "offline_access", "notes:read"]
    grants = ["authorization_code", "refresh_token"]
    [scopes]
    "openid" = "Know who you are"
    [routes.notes]
    path = "/notes"
    scopes = ["notes:read"]
    upstream = "echo"
"#;

// The example of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const AUTHORIZE: &str = "/auth/oauth/authorize?response_type=code&client_id=notes-web&state=x\
     &redirect_uri=https%3A%2F%2Fnotes.example.com%2Fcallback&scope=openid%20offline_access%20notes%3Aread\
     &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256";
const DISCONNECT: &str = "/auth/apps/notes-web";

/// What the app asks the token endpoint.
async fn ask(caller: &Caller, form: &[(&str, &str)]) -> Answer {
    let request = caller.request(Method::POST, "/auth/oauth/token");
    let request = request.basic_auth("notes-web", Some("Xq2v8mK4tR9wZ1bN6cL3pS7dF5gH0jYa"));
    Answer::of(request.form_of(form)).await
}

/// Somebody allows the app what it asks for: the app with its tokens.
async fn connect(gateway: &Gateway, person: &Person) -> Caller {
    let page = person.open(AUTHORIZE).await.expect(200);
    let form = page.form("/auth/oauth/authorize");
    let led = person.submit(&form, &[("decision", "allow")]).await;
    let led = led
        .expect(303)
        .header("location")
        .parse::<url::Url>()
        .unwrap();
    let (_, code) = led.query_pairs().find(|(name, _)| name == "code").unwrap();
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("code_verifier", VERIFIER),
        ("redirect_uri", "https://notes.example.com/callback"),
    ];
    let mut app = gateway.anonymous();
    let answer = ask(&app, &form).await.expect(200);
    app.keep(&answer);
    app
}

async fn refresh(app: &Caller) -> Answer {
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", app.refresh_token()),
    ];
    ask(app, &form).await
}

// SECURITY 24, 43
#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_disconnected_has_nothing_left_and_must_ask_again() {
    let gateway = Gateway::start(LINES);
    let alice = Person::signed_in(gateway.anonymous(), "alice").await;
    let bob = Person::signed_in(gateway.anonymous(), "bob").await;
    let page = alice.open("/auth/account").await.expect(200);
    assert!(page.text().contains("No app has access to your account."));

    let app = connect(&gateway, &alice).await;
    let of_bob = connect(&gateway, &bob).await;
    app.get("/notes").await.expect(200);
    // Allowed once is allowed.
    alice.open(AUTHORIZE).await.expect(303);
    let page = alice.open("/auth/account").await.expect(200);
    for words in [
        "Notes",
        "notes.example.com",
        // As the file has them, and as we have them.
        "Know who you are",
        "Keep this access when you have signed out",
        "Read your notes",
    ] {
        assert!(page.text().contains(words), "{words}: {}", page.text());
    }
    // It is no place where somebody is signed in.
    assert!(!page.text().contains("End all other sessions"));

    let form = page.form(DISCONNECT);
    let done = alice.submit(&form, &[]).await.expect(303);
    assert_eq!(done.header("location"), "/auth/account?done=app");
    app.get("/notes")
        .await
        .expect_invalid_token("its session has ended");
    assert_eq!(
        refresh(&app).await.expect(400).json()["error"],
        "invalid_grant"
    );
    let page = alice.follow(done).await.expect(200);
    assert!(page.text().contains("The app is disconnected"));
    assert!(page.text().contains("No app has access to your account."));
    alice.open(AUTHORIZE).await.expect(200);

    // Nobody else's, and no second time.
    of_bob.get("/notes").await.expect(200);
    refresh(&of_bob).await.expect(200);
    alice.submit(&form, &[]).await.expect(303);
}

// SECURITY 34
#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_disconnects_an_app() {
    let gateway = Gateway::start(LINES);
    let alice = Person::signed_in(gateway.anonymous(), "alice").await;
    let app = connect(&gateway, &alice).await;
    let form = alice
        .open("/auth/account")
        .await
        .expect(200)
        .form(DISCONNECT);
    let csrf = ("csrf", form.hidden["csrf"].as_str());
    alice
        .post(DISCONNECT, &[], &[])
        .await
        .expect_page(403, "cross_site");
    let elsewhere = [("origin", "https://evil.example")];
    alice
        .post(DISCONNECT, &[csrf], &elsewhere)
        .await
        .expect_page(403, "cross_site");
    for unknown in ["/auth/apps/portcullis", "/auth/apps/a%20b"] {
        alice
            .post(unknown, &[csrf], &[])
            .await
            .expect_page(404, "no_app");
    }

    let stranger = Person::new(gateway.anonymous());
    let page = stranger.open("/auth/login").await.expect(200);
    let form = page.form("/auth/login");
    let csrf = ("csrf", form.hidden["csrf"].as_str());
    let sent = stranger.post(DISCONNECT, &[csrf], &[]).await.expect(303);
    assert!(sent.header("location").starts_with("/auth/login?"));
    // Nor does the app itself, with what it was given.
    let own = app.request(Method::POST, DISCONNECT).form_of(&[csrf]);
    Answer::of(own).await.expect_page(403, "cross_site");
    app.get("/notes").await.expect(200);
    refresh(&app).await.expect(200);
}
