//! Clients that others have made, unmodified: Authlib and requests-oauthlib from PyPI, openid-client from npm.
//!
//! Each is a script of `tests/it/real_clients` that insists on what it should be given and fails otherwise;
//! the person it sends to the gateway is played here. Their checks of certificates, issuers, states, nonces,
//! signatures and hashes are all as they come.

use std::fs;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use serde_json::json;
use url::Url;

use crate::harness::binary::portcullis;
use crate::harness::caller::PASSWORD;
use crate::harness::gateway::Gateway;
use crate::harness::goes_without;
use crate::harness::person::Person;
use crate::harness::program::Program;

const SECRET: &str = "Xq2v8mK4tR9wZ1bN6cL3pS7dF5gH0jYa";
const APP: &str = "https://notes.example.com/";
const CALLBACK: &str = "https://notes.example.com/callback";
const AFTERWARDS: &str = "https://notes.example.com/goodbye";
const SCOPE: &str = "notes:read offline_access openid profile";

const LINES: &str = r#"
[clients.authlib]
name = "Notes"
secret = "SECRET"
redirect_uris = ["CALLBACK"]
scopes = ["openid", "profile", "offline_access", "notes:read"]
grants = ["authorization_code", "refresh_token"]
[clients.openid-client]
name = "Notes"
secret = "SECRET"
redirect_uris = ["CALLBACK"]
post_logout_redirect_uris = ["AFTERWARDS"]
scopes = ["openid", "profile", "offline_access", "notes:read"]
grants = ["authorization_code", "refresh_token"]
[clients.requests-oauthlib]
public = true
redirect_uris = ["CALLBACK"]
scopes = ["openid", "profile", "offline_access", "notes:read"]
grants = ["authorization_code", "refresh_token"]
[clients.television]
name = "Television"
public = true
scopes = ["openid", "profile", "offline_access", "notes:read"]
grants = ["device_code", "refresh_token"]
[routes.notes]
path = "/notes"
scopes = ["notes:read"]
upstream = "echo"
"#;

/// A script in the middle of its talk, and whoever it sends to the gateway.
struct Talk {
    program: Program,
    person: Person,
    heard: usize,
}

impl Talk {
    /// Starts a client in one of the ways that its script knows.
    async fn start(gateway: &Gateway, mut command: Command, client: &str, way: &str) -> Self {
        let authority = gateway.folder().path("certs/ca.pem");
        command
            .env("REQUESTS_CA_BUNDLE", &authority)
            .env("NODE_EXTRA_CA_CERTS", &authority);
        let caller = gateway.anonymous();
        caller.register("alice").await;
        let promote = ["user", "set", "alice", "--add-role", "editor"];
        portcullis(gateway.folder(), &promote).expect(0);
        let mut talk = Self {
            program: Program::start(&mut command),
            person: Person::new(caller),
            heard: 0,
        };
        talk.program.tell(&json!({
            "as": way,
            "issuer": gateway.url(),
            "client_id": client,
            "client_secret": SECRET,
            "redirect_uri": CALLBACK,
            "post_logout_redirect_uri": AFTERWARDS,
            // What is offline does not end with the sign-in.
            "scope": if way == "leave" { "notes:read openid profile" } else { SCOPE },
            "resource": format!("{}/notes", gateway.url()),
        }));
        talk
    }

    /// Does what the script says until it is done: what it has found out.
    async fn held(mut self) -> Value {
        loop {
            let said = self.program.next(self.heard).await;
            self.heard += 1;
            let said: Value = serde_json::from_str(&said).unwrap();
            let answer = match said["say"].as_str().unwrap() {
                "open" => {
                    let decision = said["decision"].as_str().unwrap();
                    self.walk(said["url"].as_str().unwrap(), decision).await
                }
                "leave" => self.walk(said["url"].as_str().unwrap(), "").await,
                "device" => {
                    let page = said["verification_uri_complete"].as_str().unwrap();
                    let code = said["user_code"].as_str().unwrap();
                    let decision = said["decision"].as_str().unwrap();
                    self.let_in(page, code, decision).await
                }
                "done" => {
                    assert!(self.program.ended().await, "it failed at its end");
                    return said;
                }
                other => panic!("nobody knows what {other} means"),
            };
            self.program.tell(&answer);
        }
    }

    /// Opens the address that a device shows, checks its code, and decides.
    async fn let_in(&self, page: &str, code: &str, decision: &str) -> Value {
        let answer = self.person.open(page).await;
        let mut page = self.person.follow(answer).await.expect(200);
        if page.forms().iter().any(|form| form.action == "/auth/login") {
            let filled = [("identifier", "alice"), ("password", PASSWORD)];
            let answer = self.person.submit(&page.form("/auth/login"), &filled).await;
            page = self.person.follow(answer).await.expect(200);
        }
        assert!(
            page.text().contains(&format!("value=\"{code}\"")),
            "{}",
            page.text()
        );
        let form = page.form("/auth/oauth/device");
        let asked = self
            .person
            .submit(&form, &[("user_code", code)])
            .await
            .expect(200);
        assert!(
            asked.text().contains("Connect Television?"),
            "{}",
            asked.text()
        );
        let form = asked.form("/auth/oauth/device");
        let decided = self.person.submit(&form, &[("decision", decision)]).await;
        self.person.follow(decided).await.expect(200);
        json!({})
    }

    /// Goes where a client sends people and does what each page of the gateway asks for, until it leads out
    /// of the house: to there.
    async fn walk(&self, url: &str, decision: &str) -> Value {
        let mut answer = self.person.open(url).await;
        for _ in 0..10 {
            if answer.status == 303 {
                let location = answer.header("location").to_owned();
                if location.starts_with(APP) {
                    return json!({ "led": location });
                }
                answer = self.person.open(&location).await;
            } else {
                let page = answer.expect(200);
                let form = page.forms().into_iter().next().unwrap();
                let filled: &[_] = match &*form.action {
                    "/auth/login" => &[("identifier", "alice"), ("password", PASSWORD)],
                    "/auth/oauth/consent" => &[("decision", decision)],
                    _ => panic!("nobody knows what this is: {}", page.text()),
                };
                answer = self.person.submit(&form, filled).await;
            }
        }
        panic!("it leads around in circles: {answer:?}");
    }
}

/// What runs a script. Nothing, said aloud, where its library is not there.
fn command(script: &str) -> Option<Command> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/real_clients");
    let (program, needed): (PathBuf, _) = if script.ends_with(".py") {
        (folder.join("venv/bin/python"), "venv/.installed")
    } else {
        ("node".into(), "node_modules/.installed")
    };
    if !folder.join(needed).exists() {
        goes_without(&format!("what {script} needs"));
        return None;
    }
    let mut command = Command::new(program);
    command.arg(folder.join(script));
    Some(command)
}

fn lines() -> String {
    LINES
        .replace("SECRET", SECRET)
        .replace("CALLBACK", CALLBACK)
        .replace("AFTERWARDS", AFTERWARDS)
}

/// What every client finds out: who has signed in, and what the route's app is told of them.
#[track_caller]
fn expect_alice(found: &Value, client: &str) {
    let userinfo = &found["userinfo"];
    assert_eq!(userinfo["preferred_username"], "alice");
    assert_eq!(userinfo["roles"], json!(["editor"]));
    let seen = &found["resource"]["headers"];
    assert_eq!(seen["x-auth-user"], "alice");
    assert_eq!(seen["x-auth-user-id"], userinfo["sub"]);
    assert_eq!(seen["x-auth-client"], client);
    assert_eq!(seen["x-auth-scopes"], SCOPE);
}

// SECURITY 36, 39, 43, 45
#[tokio::test(flavor = "multi_thread")]
async fn authlib_signs_people_in() {
    let Some(command) = command("authlib_client.py") else {
        return;
    };
    let gateway = Gateway::start_at_its_url(&lines());
    let talk = Talk::start(&gateway, command, "authlib", "browser").await;
    let found = talk.held().await;
    expect_alice(&found, "authlib");
    assert_eq!(found["claims"]["roles"], json!(["editor"]));
}

// SECURITY 36, 37
#[tokio::test(flavor = "multi_thread")]
async fn requests_oauthlib_signs_people_in() {
    let Some(command) = command("requests_oauthlib_client.py") else {
        return;
    };
    let gateway = Gateway::start_at_its_url(&lines());
    let talk = Talk::start(&gateway, command, "requests-oauthlib", "browser").await;
    expect_alice(&talk.held().await, "requests-oauthlib");
}

// SECURITY 36, 39, 43, 45
#[tokio::test(flavor = "multi_thread")]
async fn openid_client_signs_people_in() {
    let Some(command) = command("openid_client.mjs") else {
        return;
    };
    let gateway = Gateway::start_at_its_url(&lines());
    let talk = Talk::start(&gateway, command, "openid-client", "browser").await;
    let found = talk.held().await;
    expect_alice(&found, "openid-client");
    assert_eq!(found["claims"]["roles"], json!(["editor"]));
}

// SECURITY 24
#[tokio::test(flavor = "multi_thread")]
async fn openid_client_signs_people_out() {
    let Some(command) = command("openid_client.mjs") else {
        return;
    };
    let gateway = Gateway::start_at_its_url(&lines());
    let talk = Talk::start(&gateway, command, "openid-client", "leave").await;
    let found = talk.held().await;
    assert_eq!(found["claims"]["preferred_username"], "alice");
}

/// RFC 8628, as a library polls.
#[tokio::test(flavor = "multi_thread")]
async fn openid_client_signs_people_in_on_a_device() {
    let Some(command) = command("openid_client.mjs") else {
        return;
    };
    let gateway = Gateway::start_at_its_url(&lines());
    let talk = Talk::start(&gateway, command, "television", "device").await;
    let found = talk.held().await;
    assert_eq!(found["userinfo"]["preferred_username"], "alice");
    assert_eq!(found["claims"]["sub"], found["userinfo"]["sub"]);
}

/// The answer of another server than the one that was asked: RFC 9207. Without this, a client that looks at
/// nothing would be content with everything.
// SECURITY 39
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_answered_by_somebody_else_fails() {
    for (script, client, why) in [
        ("authlib_client.py", "authlib", "evil.example"),
        ("openid_client.mjs", "openid-client", "unexpected \"iss\""),
    ] {
        let Some(mut command) = command(script) else {
            return;
        };
        let gateway = Gateway::start_at_its_url(&lines());
        let complaint = gateway.folder().path("complaint");
        command.stderr(File::create(&complaint).unwrap());
        let mut talk = Talk::start(&gateway, command, client, "browser").await;
        let said: Value = serde_json::from_str(&talk.program.next(0).await).unwrap();
        let asked = said["url"].as_str().unwrap().parse::<Url>().unwrap();
        let (_, state) = asked
            .query_pairs()
            .find(|(name, _)| name == "state")
            .unwrap();
        let forged =
            format!("{CALLBACK}?error=access_denied&state={state}&iss=https%3A%2F%2Fevil.example");
        talk.program.tell(&json!({ "led": forged }));
        assert!(!talk.program.ended().await, "{script}");
        let complaint = fs::read_to_string(complaint).unwrap();
        assert!(complaint.contains(why), "{script}: {complaint}");
    }
}
