//! The app of `examples/oidc-app`, as its README.md says it: the built binary, Authlib in Flask, curl, and a
//! browser, each a process of its own.

use std::fs;
use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::harness::binary::Served;
use crate::harness::binary::portcullis;
use crate::harness::browser::browse;
use crate::harness::browser::screenshots;
use crate::harness::caller::PASSWORD;
use crate::harness::eventually;
use crate::harness::gateway::Folder;
use crate::harness::goes_without;
use crate::harness::person::Person;
use crate::harness::program::Program;

const SECRET: &str = "7e1f0c9b2d4a6835c1e0f7a9b8d6c4e2";

/// The app and the gateway that it asks, in a folder of their own; both end with it.
struct Dashboards {
    gateway: Served,
    url: String,
    _app: Program,
    folder: Folder,
}

/// What curl was answered.
#[derive(Debug)]
struct Answer {
    status: u16,
    location: String,
    body: String,
}

impl Dashboards {
    /// On ports that were free a moment ago. Nothing, said aloud, where there is no Authlib.
    async fn start() -> Option<Self> {
        let python = "tests/it/real_clients/venv/bin/python";
        let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(python);
        if !python.exists() {
            goes_without("Authlib and Flask");
            return None;
        }
        for _ in 0..20 {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = free.local_addr().unwrap().port().to_string();
            let folder = Folder::new();
            let file = |name: &str| {
                let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/oidc-app");
                let text = fs::read_to_string(Path::new(example).join(name)).unwrap();
                text.replace("8443", &port)
            };
            folder.write("secrets/dashboards", &format!("{SECRET}\n"));
            folder.write("app.py", &file("app.py"));
            let mut app = Command::new(&python);
            app.current_dir(folder.root()).args(["app.py", "0"]);
            app.env("REQUESTS_CA_BUNDLE", folder.path("certs/ca.pem"));
            app.stderr(File::create(folder.path("app.log")).unwrap());
            let app = Program::start(&mut app);
            let url = eventually("the app to say where it listens", async || {
                let said = fs::read_to_string(folder.path("app.log")).unwrap();
                let (_, rest) = said.split_once("Running on ")?;
                rest.split_once('\n').map(|(url, _)| url.trim().to_owned())
            });
            let url = url.await;
            let own = file("gateway.toml").replace("http://localhost:3000", &url);
            folder.write("gateway.toml", &own);
            drop(free);
            match Served::try_start(&folder).await {
                Ok(gateway) => {
                    return Some(Self {
                        gateway,
                        url,
                        _app: app,
                        folder,
                    });
                }
                Err(said) if said.contains("in use") => {}
                Err(said) => panic!("the gateway did not start: {said}"),
            }
        }
        panic!("no port was free");
    }

    /// Where the gateway is.
    fn issuer(&self) -> String {
        format!("https://localhost:{}", self.gateway.address().port())
    }

    /// Asks with a jar of cookies that is kept.
    fn curl(&self, url: &str, arguments: &[&str]) -> Answer {
        let output = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--noproxy",
                "*",
                "--max-time",
                "20",
            ])
            .args([
                "--cacert",
                "certs/ca.pem",
                "--cookie",
                "jar",
                "--cookie-jar",
                "jar",
            ])
            .args(["--write-out", "\n%{http_code} %{redirect_url}"])
            .args(arguments)
            .arg(url)
            .current_dir(self.folder.root())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let told = String::from_utf8(output.stdout).unwrap();
        let (body, last) = told.rsplit_once('\n').unwrap();
        let (status, location) = last.split_once(' ').unwrap();
        Answer {
            status: status.parse().unwrap(),
            location: location.to_owned(),
            body: body.to_owned(),
        }
    }

    fn app(&self, path: &str, arguments: &[&str]) -> Answer {
        self.curl(&format!("{}{path}", self.url), arguments)
    }

    /// Begins to sign in, lets somebody decide at the gateway, and goes back to the app: its answer.
    async fn sign_in(&self, person: &Person, decision: &str) -> Answer {
        let begun = self.app("/login", &[]);
        assert_eq!(begun.status, 302, "{begun:?}");
        let page = person.open(&begun.location).await.expect(200);
        assert!(page.text().contains("Dashboards"), "{}", page.text());
        let form = page.form("/auth/oauth/consent");
        let led = person.submit(&form, &[("decision", decision)]).await;
        let back = led.expect(303).header("location").to_owned();
        assert!(back.starts_with(&format!("{}/login/callback?", self.url)));
        self.curl(&back, &["--location"])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_app_welcomes_whom_the_gateway_knows_in_the_role_that_they_have() {
    let Some(dashboards) = Dashboards::start().await else {
        return;
    };
    let person = Person::signed_in(dashboards.gateway.anonymous(), "alice").await;
    assert!(
        dashboards
            .app("/", &[])
            .body
            .contains("Sign in with Portcullis")
    );
    let home = dashboards.sign_in(&person, "allow").await;
    assert_eq!(home.status, 200, "{home:?}");
    assert!(home.body.contains("Welcome, alice!"), "{}", home.body);
    assert!(
        home.body.contains("You are here as Viewer."),
        "{}",
        home.body
    );
    assert_eq!(dashboards.app("/settings", &[]).status, 403);

    // As the tour has it: signed in by JSON, led through by curl, and not asked again.
    let promote = ["user", "set", "alice", "--add-role", "admin"];
    portcullis(&dashboards.folder, &promote).expect(0);
    let login = format!("{}/auth/login", dashboards.issuer());
    let body = json!({ "username": "alice", "password": PASSWORD, "session": "cookie" });
    let signed_in = dashboards.curl(&login, &["--json", &body.to_string()]);
    assert_eq!(signed_in.status, 204, "{signed_in:?}");
    let home = dashboards.app("/login", &["--location"]);
    assert!(
        home.body.contains("You are here as Admin."),
        "{}",
        home.body
    );
    let settings = dashboards.app("/settings", &[]);
    assert_eq!(settings.status, 200);
    assert!(settings.body.contains("yours to change"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_in_the_app_who_was_not_let_in() {
    let Some(dashboards) = Dashboards::start().await else {
        return;
    };
    let person = Person::signed_in(dashboards.gateway.anonymous(), "alice").await;
    let denied = dashboards.sign_in(&person, "deny").await;
    assert_eq!(denied.status, 403, "{denied:?}");
    assert!(denied.body.contains("You are not signed in"));
    for callback in [
        "/login/callback",
        "/login/callback?code=x&state=forged",
        "/login/callback?error=server_error",
    ] {
        let refused = dashboards.app(callback, &[]);
        assert_eq!(refused.status, 403, "{callback}: {refused:?}");
    }
    assert_eq!(dashboards.app("/settings", &[]).status, 403);

    // A code that came from nowhere, in a sign-in that did begin.
    let begun = dashboards.app("/login", &[]);
    let (_, state) = begun.location.split_once("&state=").unwrap();
    let state = state.split('&').next().unwrap();
    let forged = dashboards.app(&format!("/login/callback?code=x&state={state}"), &[]);
    assert_eq!(forged.status, 403, "{forged:?}");
    assert!(
        dashboards
            .app("/", &[])
            .body
            .contains("Sign in with Portcullis")
    );
}

// SECURITY 43, 46
#[tokio::test(flavor = "multi_thread")]
async fn a_browser_registers_consents_uses_the_app_and_leaves() {
    let Some(dashboards) = Dashboards::start().await else {
        return;
    };
    let look = |width, scheme| json!({ "width": width, "scheme": scheme, "username": format!("alice{width}") });
    let told = json!({
        "issuer": dashboards.issuer(),
        "app": dashboards.url,
        "password": PASSWORD,
        "looks": [look(390, "light"), look(1280, "dark")],
        "folder": screenshots(),
    });
    let Some(answer) = browse("oidc.mjs", &told).await else {
        return;
    };
    assert_eq!(answer["wrong"], json!([]), "{answer:#}");
}
