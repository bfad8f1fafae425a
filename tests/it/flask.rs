//! The tutorials' app behind the gateway, as `examples/flask/README.md` says it: the built binary,
//! Debian's Flask and curl, each a process of its own.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use tempfile::TempDir;

use crate::harness::goes_without;

const PYTHON: &str = "/usr/bin/python3";
const ACCOUNT: &str = r#"{"username": "alice", "email": "alice@example.com", "password": "correct horse battery staple"}"#;
const LOGIN: &str = r#"{"email": "alice@example.com", "password": "correct horse battery staple"}"#;

// SECURITY 13
#[test]
fn the_app_welcomes_whom_the_gateway_knows() {
    let Some(tutorial) = Tutorial::start() else {
        return;
    };
    let registered = tutorial.post("/register", ACCOUNT);
    assert_eq!(registered.status, 201, "{}", registered.body);
    let token = tutorial.sign_in();

    let welcome = tutorial.get(
        "/protected",
        &[
            &bearer(&token),
            "X-Auth-User: mallory",
            "X_Auth_User: mallory",
        ],
    );

    assert_eq!(welcome.status, 200, "{}", welcome.body);
    assert_eq!(welcome.json("message"), "Welcome, alice!");
    assert_eq!(tutorial.seen_by_the_app("/protected"), 1);
}

#[test]
fn nobody_reaches_the_app_without_a_token() {
    let Some(tutorial) = Tutorial::start() else {
        return;
    };
    tutorial.post("/register", ACCOUNT);
    let token = tutorial.sign_in();

    let anonymous = tutorial.get("/protected", &["X-Auth-User: mallory"]);
    assert_eq!(
        (anonymous.status, anonymous.json("code")),
        (401, "unauthenticated".into())
    );

    // The second article's decorator crashes on a header without a space.
    for malformed in [
        &token,
        "Bearer",
        "Bearer ",
        "Bearer a b",
        "Basic YTpi",
        "Bearer ....",
        "-",
    ] {
        let refused = tutorial.get("/protected", &[&format!("Authorization: {malformed}")]);
        assert_eq!(refused.status, 401, "{malformed}: {}", refused.body);
    }
    assert_eq!(tutorial.seen_by_the_app("/protected"), 0);
}

#[test]
fn the_sixth_request_of_a_minute_is_refused() {
    let Some(tutorial) = Tutorial::start() else {
        return;
    };
    for _ in 0..5 {
        let admitted = tutorial.get("/rate_limited", &[]);
        assert_eq!(admitted.status, 200, "{}", admitted.body);
    }
    let refused = tutorial.get("/rate_limited", &["X-Forwarded-For: 198.51.100.7"]);
    assert_eq!(
        (refused.status, refused.json("code")),
        (429, "limited".into())
    );
    assert_eq!(tutorial.seen_by_the_app("/rate_limited"), 5);
}

#[test]
fn everything_else_is_as_the_articles_have_it() {
    let Some(tutorial) = Tutorial::start() else {
        return;
    };
    let open = tutorial.get("/api", &[]);
    assert_eq!(
        (open.status, open.json("message")),
        (200, "Welcome to the API".into())
    );

    // The app answers for what it does not have, the gateway for what no route names.
    let of_the_app = tutorial.get("/api/nothing", &[]);
    assert_eq!(
        (of_the_app.status, of_the_app.json("error")),
        (404, "Not found".into())
    );
    let of_the_gateway = tutorial.get("/nothing", &[]);
    assert_eq!(
        (of_the_gateway.status, of_the_gateway.json("code")),
        (404, "no_route".into())
    );
    assert_eq!(tutorial.seen_by_the_app("/nothing"), 0);

    let sample = r#"{"username": "bob", "password": "password123"}"#;
    assert_eq!(tutorial.post("/register", sample).status, 422);
    let wrong = tutorial.post("/login", sample);
    assert_eq!(wrong.status, 401, "{}", wrong.body);
}

/// An app that knows nothing of the prefix but what `ProxyFix` makes of `X-Forwarded-Prefix`, as README.md
/// has it.
const BELOW_A_PREFIX: &str = r#"
import sys
from flask import Flask, jsonify, redirect, url_for
from werkzeug.middleware.proxy_fix import ProxyFix

app = Flask(__name__)
app.wsgi_app = ProxyFix(app.wsgi_app, x_prefix=1)

@app.get("/")
def home():
    return jsonify(cart=url_for("cart"), whole=url_for("cart", _external=True),
                   style=url_for("static", filename="shop.css"))

@app.get("/cart/")
def cart():
    return jsonify(message="the cart")

@app.get("/old")
def old():
    return redirect(url_for("cart"))

app.run(host="127.0.0.1", port=int(sys.argv[1]))
"#;

#[test]
fn links_and_redirects_of_an_app_below_a_prefix_lead_back_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("shop.py");
    fs::write(&script, BELOW_A_PREFIX).unwrap();
    let file = folder.path().join("shop.toml");
    let tutorial = fs::read_to_string(example().join("gateway.toml")).unwrap();
    let tables = tutorial.split("[routes.").next().unwrap();
    let route = "[routes.shop]\npath = \"/shop\"\nupstream = \"flask\"\nauth = \"none\"\nstrip_prefix = true\n";
    fs::write(&file, format!("{tables}{route}")).unwrap();
    let Some(shop) = Tutorial::of(&script, &file) else {
        return;
    };

    let home = shop.get("/shop", &[]);
    assert_eq!(home.status, 200, "{}", home.body);
    assert_eq!(home.json("cart"), "/shop/cart/");
    assert_eq!(home.json("whole"), format!("{}/shop/cart/", shop.address));
    assert_eq!(home.json("style"), "/shop/static/shop.css");
    // One that the app makes, and one that Werkzeug makes for a slash that is missing.
    for path in ["/shop/old", "/shop/cart"] {
        let redirected = shop.curl(path, []);
        assert!([302, 308].contains(&redirected.status), "{redirected:?}");
        let followed = shop.curl(path, ["--location"]);
        assert_eq!(
            (followed.status, followed.json("message")),
            (200, "the cart".into()),
            "{path}: {followed:?}"
        );
    }
    // What a stranger says of it counts for nothing.
    let forged = shop.get("/shop", &["X-Forwarded-Prefix: /evil"]);
    assert_eq!(forged.json("cart"), "/shop/cart/");
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flask")
}

/// Flask and the gateway, in a folder of their own; both end with it.
struct Tutorial {
    address: String,
    app: Process,
    _gateway: Process,
    folder: TempDir,
}

impl Tutorial {
    fn start() -> Option<Self> {
        Self::of(&example().join("app.py"), &example().join("gateway.toml"))
    }

    /// An app and a gateway's file. `None`, said aloud, where this machine has no Flask; in CI that is an
    /// error.
    fn of(script: &Path, configuration: &Path) -> Option<Self> {
        if !has_flask() {
            goes_without(&format!("Flask for {PYTHON}"));
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.toml");
        fs::copy(configuration, &file).unwrap();

        let mut app = Command::new(PYTHON);
        app.arg(script).arg("0");
        let app = Process::start(app, folder.path().join("flask"));
        let url = app.wait_for("http://127.0.0.1:");

        let mut gateway = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        gateway.arg("--config").arg(file);
        gateway
            .env("FLASK_URL", url)
            .env("PORTCULLIS_LISTEN", "127.0.0.1:0");
        let gateway = Process::start(gateway, folder.path().join("gateway"));
        let address = gateway.wait_for("https://127.0.0.1:");
        Some(Self {
            address,
            app,
            _gateway: gateway,
            folder,
        })
    }

    fn sign_in(&self) -> String {
        let granted = self.post("/login", LOGIN);
        assert_eq!(granted.status, 200, "{}", granted.body);
        granted.json("access_token")
    }

    fn get(&self, path: &str, headers: &[&str]) -> Answer {
        let headers = headers.iter().flat_map(|header| ["--header", header]);
        self.curl(path, headers)
    }

    fn post(&self, path: &str, body: &str) -> Answer {
        let json = "Content-Type: application/json";
        self.curl(path, ["--header", json, "--data", body])
    }

    fn curl<'a>(&self, path: &str, arguments: impl IntoIterator<Item = &'a str>) -> Answer {
        let output = Command::new("curl")
            .args([
                "--silent",
                "--show-error",
                "--noproxy",
                "*",
                "--max-time",
                "30",
            ])
            .args(["--write-out", "\n%{http_code}", "--cacert"])
            .arg(self.folder.path().join("certs/ca.pem"))
            .args(arguments)
            .arg(format!("{}{path}", self.address))
            .output()
            .expect("curl is there: tests/run installs it");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let told = String::from_utf8(output.stdout).unwrap();
        let (body, status) = told.rsplit_once('\n').unwrap();
        Answer {
            status: status.parse().unwrap(),
            body: body.to_owned(),
        }
    }

    /// How many requests for a path Flask has logged: it writes the line before it answers.
    fn seen_by_the_app(&self, path: &str) -> usize {
        self.app
            .told()
            .matches(&format!("\"GET {path} HTTP/"))
            .count()
    }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    body: String,
}

impl Answer {
    fn json(&self, key: &str) -> String {
        let body: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        body[key].as_str().unwrap_or_default().to_owned()
    }
}

/// A child that is killed when this is dropped, and what it says on standard error.
struct Process {
    child: Child,
    errors: PathBuf,
}

impl Process {
    fn start(mut command: Command, errors: PathBuf) -> Self {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&errors).unwrap())
            .spawn()
            .unwrap();
        Self { child, errors }
    }

    fn told(&self) -> String {
        fs::read_to_string(&self.errors).unwrap()
    }

    /// Waits until it has said where it listens: the rest of the line after `start`, with it.
    fn wait_for(&self, start: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            let told = self.told();
            // A line that has not ended may still lack digits of the port.
            let lines = told
                .split_inclusive('\n')
                .filter(|line| line.ends_with('\n'));
            for line in lines {
                if let Some(at) = line.find(start) {
                    return line[at..].trim().to_owned();
                }
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("it does not listen: {}", self.told());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn has_flask() -> bool {
    let asked = Command::new(PYTHON)
        .args(["-c", "import flask"])
        .stderr(Stdio::null())
        .status();
    asked.is_ok_and(|status| status.success())
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}
