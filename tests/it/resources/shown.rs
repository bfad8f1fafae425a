//! What people are told of where a token would be used.

use http::Method;

use crate::harness::app::App;
use crate::harness::app::said;
use crate::harness::caller::Answer;
use crate::harness::gateway::Gateway;
use crate::harness::person::FormBody as _;
use crate::harness::person::Person;

const WEB: App = App {
    id: "web",
    secret: None,
    redirect_uri: "https://web.example.com/cb",
};

const LINES: &str = r#"
    [clients.web]
    public = true
    redirect_uris = ["https://web.example.com/cb"]
    scopes = ["notes:read"]
    grants = ["authorization_code", "device_code"]
    resources = ["https://api.example.com:8443/v1", "https://other.example", "urn:example:ledger", "https://both.localhost"]
    [routes.both]
    host = "both.localhost"
    path = "/"
    audience = "https://both.localhost"
    scopes = ["notes:read"]
    upstream = "echo"
    [routes.api]
    host = "api.localhost"
    path = "/"
    audience = "https://api.localhost"
    scopes = ["notes:read"]
    upstream = "echo"
"#;

/// Whoever asks for a resource, and what people are told of it.
const TOLD: [(&str, Option<&str>); 7] = [
    ("", None),
    ("https://localhost", None),
    ("https://api.localhost", None),
    ("https://both.localhost", None),
    ("https://other.example/", Some("other.example")),
    (
        "https://api.example.com:8443/v1",
        Some("api.example.com:8443"),
    ),
    ("urn:example:ledger", Some("urn:example:ledger")),
];

#[track_caller]
fn expect_told(page: &Answer, host: Option<&str>) {
    let text = page.text();
    match host {
        Some(host) => {
            let words = format!("This is for use at <strong>{host}</strong>");
            assert!(text.contains(&words), "{words}: {text}");
        }
        None => assert!(!text.contains("for use at"), "{text}"),
    }
    assert!(text.contains("Read your notes"), "{text}");
}

// SECURITY 43
#[tokio::test(flavor = "multi_thread")]
async fn people_are_told_where_a_token_is_used_that_is_not_for_here() {
    let gateway = Gateway::start(LINES);
    let caller = gateway.anonymous();
    let alice = Person::signed_in(caller.clone(), "alice").await;
    for (resource, host) in TOLD {
        let asked = WEB.request("notes:read", &[("resource", resource)]);
        expect_told(&alice.open(&asked).await.expect(200), host);

        let device = caller.request(Method::POST, "/auth/oauth/device_authorization");
        let form = [("client_id", "web"), ("resource", resource)];
        let waits = Answer::of(device.form_of(&form)).await.expect(200).json();
        let code = waits["user_code"].as_str().unwrap();
        let page = alice.open("/auth/oauth/device").await.expect(200);
        let form = page.form("/auth/oauth/device");
        let page = alice.submit(&form, &[("user_code", code)]).await;
        expect_told(&page.expect(200), host);
    }
}

/// What was allowed for here was not allowed for there.
// SECURITY 43
#[tokio::test(flavor = "multi_thread")]
async fn people_are_asked_each_time_where_a_token_is_not_for_here() {
    let gateway = Gateway::start(LINES);
    let alice = Person::signed_in(gateway.anonymous(), "alice").await;
    WEB.code(&alice, "notes:read").await;
    for (resource, host) in TOLD {
        let asked = WEB.request("notes:read", &[("resource", resource)]);
        let answer = alice.open(&asked).await;
        match host {
            None => assert!(said(&answer.expect(303)).contains_key("code"), "{resource}"),
            Some(_) => {
                let form = answer.expect(200).form("/auth/oauth/consent");
                let allowed = alice.submit(&form, &[("decision", "allow")]).await;
                assert!(
                    said(&allowed.expect(303)).contains_key("code"),
                    "{resource}"
                );
                alice.open(&asked).await.expect(200);
            }
        }
        let silent = [("resource", resource), ("prompt", "none")];
        let silent = alice.open(&WEB.request("notes:read", &silent)).await;
        let error = host.map(|_| "consent_required");
        let told = said(&silent.expect(303));
        assert_eq!(told.get("error").map(String::as_str), error, "{resource}");
    }
}
