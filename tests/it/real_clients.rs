//! Clients that others have made, unmodified: Authlib and requests-oauthlib from PyPI, openid-client from npm.
//!
//! Each is a script of `tests/it/real_clients` that insists on what it should be given and fails otherwise;
//! the person it sends to the gateway is played here. Their checks of certificates, issuers, states, nonces,
//! signatures and hashes are all as they come.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use serde_json::json;

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
scopes = ["openid", "profile", "offline_access", "notes:read"]
grants = ["authorization_code", "refresh_token"]
[clients.requests-oauthlib]
public = true
redirect_uris = ["CALLBACK"]
scopes = ["openid", "profile", "offline_access", "notes:read"]
grants = ["authorization_code", "refresh_token"]
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
    /// Starts a client. Nothing, said aloud, where its library is not there.
    async fn start(gateway: &Gateway, script: &str, client: &str, role: &str) -> Option<Self> {
        let mut command = command(script)?;
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
            "as": role,
            "issuer": gateway.url(),
            "client_id": client,
            "client_secret": SECRET,
            "redirect_uri": CALLBACK,
            "post_logout_redirect_uri": AFTERWARDS,
            "scope": SCOPE,
            "resource": format!("{}/notes", gateway.url()),
        }));
        Some(talk)
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
                "done" => {
                    assert!(self.program.ended().await, "it failed at its end");
                    return said;
                }
                other => panic!("nobody knows what {other} means"),
            };
            self.program.tell(&answer);
        }
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

/// What runs a script, if that is there.
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
    let gateway = Gateway::start_at_its_url(&lines());
    let Some(talk) = Talk::start(&gateway, "authlib_client.py", "authlib", "app").await else {
        return;
    };
    let found = talk.held().await;
    expect_alice(&found, "authlib");
    assert_eq!(found["claims"]["roles"], json!(["editor"]));
}

// SECURITY 36, 37
#[tokio::test(flavor = "multi_thread")]
async fn requests_oauthlib_signs_people_in() {
    let gateway = Gateway::start_at_its_url(&lines());
    let (script, client) = ("requests_oauthlib_client.py", "requests-oauthlib");
    let Some(talk) = Talk::start(&gateway, script, client, "app").await else {
        return;
    };
    expect_alice(&talk.held().await, client);
}

// SECURITY 36, 39, 43, 45
#[tokio::test(flavor = "multi_thread")]
async fn openid_client_signs_people_in() {
    let gateway = Gateway::start_at_its_url(&lines());
    let (script, client) = ("openid_client.mjs", "openid-client");
    let Some(talk) = Talk::start(&gateway, script, client, "browser").await else {
        return;
    };
    let found = talk.held().await;
    expect_alice(&found, client);
    assert_eq!(found["claims"]["roles"], json!(["editor"]));
}

/// Without this, a client that insists on nothing would be content with everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_not_given_what_it_expects_fails() {
    let gateway = Gateway::start_at_its_url(&lines());
    for (script, role) in [
        ("authlib_client.py", "app"),
        ("openid_client.mjs", "browser"),
    ] {
        let Some(mut talk) = Talk::start(&gateway, script, "nobody", role).await else {
            return;
        };
        let said = talk.program.next(0).await;
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["say"], "open");
        talk.program
            .tell(&json!({ "led": format!("{CALLBACK}?code=x&state=forged") }));
        assert!(!talk.program.ended().await);
    }
}
