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
const CALLBACK: &str = "https://notes.example.com/callback";
const AFTERWARDS: &str = "https://notes.example.com/goodbye";
const SCOPE: &str = "openid profile offline_access notes:read";

const LINES: &str = r#"
[clients.authlib]
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
    async fn start(gateway: &Gateway, script: &str, client: &str) -> Option<Self> {
        let mut command = command(script)?;
        let authority = gateway.folder().path("certs/ca.pem");
        command
            .env("REQUESTS_CA_BUNDLE", &authority)
            .env("NODE_EXTRA_CA_CERTS", &authority);
        let person = Person::signed_in(gateway.anonymous(), "alice").await;
        portcullis(gateway.folder(), &["user", "set", "alice", "--add-role", "editor"]).expect(0);
        let mut talk = Self {
            program: Program::start(&mut command),
            person,
            heard: 0,
        };
        talk.program.tell(&json!({
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
                    self.decide(said["url"].as_str().unwrap(), decision).await
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

    /// Goes where a client sends people, signs in and decides where that is asked: where it leads at last.
    async fn decide(&self, url: &str, decision: &str) -> Value {
        let mut answer = self.person.open(url).await;
        if answer.status == 200 {
            let form = answer.form("/auth/oauth/authorize");
            answer = self.person.submit(&form, &[("decision", decision)]).await;
        }
        let led = answer.expect(303);
        let led = led.header("location");
        assert!(led.starts_with(CALLBACK), "{led}");
        json!({ "led": led })
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
    LINES.replace("SECRET", SECRET).replace("CALLBACK", CALLBACK)
}
