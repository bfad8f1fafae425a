//! The command line: exit codes, messages with their place, and what no command gives away.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::harness::binary::Served;
use crate::harness::binary::portcullis;
use crate::harness::binary::portcullis_on_full_disk;
use crate::harness::binary::portcullis_reading;
use crate::harness::caller::PASSWORD;
use crate::harness::gateway::Folder;

const GOOD: &str = r#"
    [routes.app]
    path = "/app"
    roles = ["staff"]
    upstream = "echo"
"#;

fn with_text(text: &str) -> Folder {
    let folder = Folder::new();
    folder.write("gateway.toml", text);
    folder
}

#[test]
fn check_shows_the_routes_and_what_is_odd() {
    let folder = Folder::with(GOOD);
    let output = portcullis(&folder, &["check"]).expect(0);
    assert!(output.stdout.contains("/app"), "{output:?}");
    portcullis(&folder, &["check", "--strict"]).expect(0);

    let folder = Folder::with("[routes.app]\npath = '/app'\nauth = 'none'\nupstream = 'echo'");
    let output = portcullis(&folder, &["check"]).expect(0);
    assert!(
        output.stdout.contains("warning: route `app` is public"),
        "{output:?}"
    );
    portcullis(&folder, &["check", "--strict"]).expect(1);
    let output = portcullis(&folder, &["check", "--json"]).expect(0);
    let checked: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!(checked["routes"][0]["name"], "app");
    // Nothing was made by looking.
    assert!(!folder.path("data").exists() && !folder.path("certs").exists());
}

// SECURITY 59
#[test]
fn every_problem_is_named_with_its_place_and_stops_the_start() {
    let folder = with_text(
        "[gateway]\npublic_url = \"https://localhost\"\npublik = 1\n[[listeners]]\n\
         address = \"127.0.0.1:0\"\n[[certificates]]\ncert = \"c\"\nkey = \"k\"\n\
         [routes.app]\npath = \"app\"\nupstream = \"nowhere\"\n",
    );
    for arguments in [&["check"][..], &["serve"], &[]] {
        let output = portcullis(&folder, arguments).expect(2);
        for place in [
            "gateway.toml:3:1: ",
            "gateway.toml:10:8: ",
            "gateway.toml:11:12: ",
        ] {
            assert!(output.stderr.contains(place), "{place}{output:?}");
        }
        assert!(output.stderr.contains("public_url"), "{output:?}");
    }
    let output = portcullis(&with_text("[gateway\n"), &["check"]).expect(2);
    assert!(output.stderr.contains("gateway.toml:1:9: "), "{output:?}");
}

// SECURITY 7
#[test]
fn a_rule_that_cannot_be_understood_stops_the_start() {
    for bad in [
        "path = '/a/../b'",
        "path = '/app'\nauth = 'maybe'",
        "path = '/app'\nmethods = ['G E T']",
        "path = '/app'\nhost = '*'",
        "path = '/app'\nauth = 'none'\nscopes = ['notes:read']",
        "path = '/app'\nlimit = 'often'",
        "path = '/auth/login'",
    ] {
        let folder = Folder::with(&format!("[routes.app]\nupstream = 'echo'\n{bad}"));
        portcullis(&folder, &["serve"]).expect(2);
        assert!(!folder.path("data").exists(), "{bad}");
    }
}

// SECURITY 59
#[test]
fn secrets_from_examples_are_refused_and_not_repeated() {
    for weak in ["your_secret_key_here", "changeme", "short", ""] {
        let folder = Folder::with(&format!("[store]\nkey = '{weak}'\n{GOOD}"));
        let output = portcullis(&folder, &["serve"]).expect(2);
        assert!(
            output
                .stderr
                .contains("this key is short, simple or from an example"),
            "{output:?}"
        );
        assert!(
            weak.len() < 6 || !output.stderr.contains(weak),
            "{output:?}"
        );
    }
}

// SECURITY 59
#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_that_others_can_read_is_refused() {
    let folder = Folder::with(GOOD);
    Served::start(&folder).await.kill();
    let key = folder.path("data/store.key");
    for mode in [0o644, 0o640, 0o604, 0o660] {
        std::fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
        let output = portcullis(&folder, &["serve"]).expect(2);
        assert!(
            output.stderr.contains(&format!("mode 0{mode:o}")),
            "{output:?}"
        );
        assert!(output.stderr.contains("0600"), "{output:?}");
        let text = std::fs::read_to_string(&key).unwrap();
        assert!(!output.stderr.contains(text.trim()), "{output:?}");
    }
    std::fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    Served::start(&folder).await.kill();

    // Another key, and none at all: refused, because nothing would open any more.
    std::fs::rename(&key, folder.path("data/elsewhere")).unwrap();
    let output = portcullis(&folder, &["serve"]).expect(2);
    assert!(output.stderr.contains("store.key"), "{output:?}");
}

#[test]
fn a_file_without_an_end_is_an_error_and_not_the_end_of_the_memory() {
    let folder = Folder::with(GOOD);
    for command in ["check", "serve"] {
        let output = portcullis(&folder, &[command, "--config", "/dev/zero"]).expect(2);
        let said = output.stderr;
        assert!(said.contains("/dev/zero:1:1: "), "{said}");
        assert!(said.contains("larger than 64 MiB"), "{said}");
    }
    portcullis_reading(&folder, &["user", "add", "alice"], PASSWORD).expect(0);
    for arguments in [
        ["user", "add", "bob", "--password-file", "/dev/zero"],
        ["user", "password", "alice", "--password-file", "/dev/zero"],
    ] {
        let said = portcullis(&folder, &arguments).expect(1).stderr;
        assert!(said.contains("at most"), "{said}");
    }
    portcullis(&folder, &["user", "show", "bob"]).expect(1);
}

#[test]
fn without_a_file_it_is_said_how_to_get_one() {
    let folder = Folder::new();
    let output = portcullis(&folder, &["check", "--config", "nowhere.toml"]).expect(2);
    assert!(output.stderr.contains("nowhere.toml"), "{output:?}");
    portcullis(&folder, &["no-such-command"]).expect(2);
    portcullis(&folder, &["check", "--no-such-option"]).expect(2);
    portcullis(&folder, &["user", "show"]).expect(2);
    let output = portcullis(&folder, &["--help"]).expect(0);
    for command in ["serve", "check", "explain", "user", "key", "token", "init"] {
        assert!(output.stdout.contains(command), "{command}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_init_writes_can_be_served() {
    let folder = Folder::new();
    portcullis_on_full_disk(&folder, &["init"], 10).expect(1);
    assert!(folder.contents().is_empty(), "{:?}", folder.contents());
    portcullis(&folder, &["init"]).expect(0);
    let text = std::fs::read_to_string(folder.path("gateway.toml")).unwrap();
    assert!(text.lines().count() <= 30, "{text}");
    portcullis(&folder, &["check"]).expect(0);
    portcullis(&folder, &["init"]).expect(1);
    assert_eq!(
        std::fs::read_to_string(folder.path("gateway.toml")).unwrap(),
        text
    );

    folder.write(
        "gateway.toml",
        &text.replace(":8443\"\n", ":0\"\n").replace(":9900", ":0"),
    );
    let served = Served::start(&folder).await;
    served
        .anonymous()
        .get("/")
        .await
        .expect_problem(401, "unauthenticated");
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_managed_from_the_command_line() {
    let folder = Folder::with(GOOD);
    let run = |arguments: &[&str]| portcullis(&folder, arguments);
    let with_password = |arguments: &[&str], password: &str| {
        portcullis_reading(&folder, arguments, &format!("{password}\n"))
    };
    run(&["user", "list"]).expect(1);
    with_password(&["user", "add", "alice", "--role", "staff"], PASSWORD).expect(0);
    with_password(&["user", "add", "alice"], PASSWORD).expect(1);
    with_password(&["user", "add", "bob"], "password123").expect(1);
    with_password(&["user", "add", "no good"], PASSWORD).expect(1);
    run(&["user", "add", "bob"]).expect(1);
    run(&["user", "add", "bob", PASSWORD]).expect(2);
    run(&["user", "show", "nobody"]).expect(1);
    run(&["user", "disable", "nobody"]).expect(1);
    run(&["user", "delete", "alice"]).expect(1);

    let listed = run(&["user", "list", "--json"]).expect(0);
    let users: Value = serde_json::from_str(&listed.stdout).unwrap();
    assert_eq!(users.as_array().unwrap().len(), 1);
    assert_eq!(users[0]["username"], "alice");
    assert_eq!(users[0]["roles"], serde_json::json!(["staff"]));
    assert!(!listed.stdout.contains("argon2"));

    let served = Served::start(&folder).await;
    let mut alice = served.anonymous();
    alice.log_in("alice").await;
    alice.get("/app").await.expect(200);
    with_password(&["user", "password", "alice"], "quartz-lantern-drizzle-48").expect(0);
    let body = serde_json::json!({ "username": "alice", "password": PASSWORD });
    alice.post("/auth/login", &body).await.expect(401);
    run(&["user", "delete", "alice", "--yes"]).expect(0);
    run(&["user", "show", "alice"]).expect(1);
    // Never given to a second person.
    with_password(&["user", "add", "alice"], PASSWORD).expect(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_what_would_become_of_a_request() {
    let folder = Folder::with(GOOD);
    portcullis_reading(
        &folder,
        &["user", "add", "alice", "--role", "staff"],
        PASSWORD,
    )
    .expect(0);
    portcullis_reading(&folder, &["user", "add", "bob"], PASSWORD).expect(0);
    let explain =
        |caller: &str, url: &str| portcullis(&folder, &["explain", "--as", caller, "GET", url]);
    let allowed = explain("alice", "https://localhost/app/x").expect(0);
    for line in [
        "route     app",
        "allow",
        "x-auth-user: alice",
        "x-auth-roles: staff",
    ] {
        assert!(allowed.stdout.contains(line), "{line}: {}", allowed.stdout);
    }
    // A token that could be used, and an assertion that an app would believe, are not shown.
    assert!(!allowed.stdout.contains("eyJ"), "{}", allowed.stdout);
    for (caller, url, words) in [
        ("anonymous", "https://localhost/app", "401"),
        ("bob", "https://localhost/app", "403"),
        ("alice", "https://localhost/other", "404"),
        ("nobody", "https://localhost/app", ""),
    ] {
        let refused = explain(caller, url).expect(1);
        assert!(refused.stdout.contains(words), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_says_who_is_sent_to_sign_in() {
    let folder = Folder::with(
        r#"
        [routes.auto]
        path = "/auto"
        upstream = "echo"
        [routes.redirect]
        host = "app.example.com"
        path = "/redirect"
        on_unauthenticated = "redirect"
        upstream = "echo"
        [routes.never]
        path = "/never"
        on_unauthenticated = "401"
        upstream = "echo"
        [routes.open]
        path = "/open"
        auth = "none"
        upstream = "echo"
        [routes.staff]
        path = "/staff"
        roles = ["staff"]
        upstream = "echo"
        "#,
    );
    portcullis_reading(&folder, &["user", "add", "alice"], PASSWORD).expect(0);
    let explain = |arguments: &[&str], code: i32| {
        let ran = portcullis(&folder, &[&["explain"], arguments].concat());
        ran.expect(code).stdout
    };
    let location = "location: https://localhost/auth/login?return_to=https%3A%2F%2F";
    let said = explain(&["GET", "https://localhost/auto/x?y=1"], 1);
    for words in [
        "decision  401 Unauthorized unauthenticated",
        "browser   303 See Other",
        &format!("{location}localhost%2Fauto%2Fx%3Fy%3D1\n"),
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    // Every GET is sent away, browser or not; the cookie that it is known again by is nobody else's.
    let said = explain(&["GET", "https://app.example.com/redirect"], 1);
    for words in [
        "decision  303 See Other unauthenticated",
        &format!("{location}app.example.com%2Fredirect&binding="),
        "set-cookie: (a secret)",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains("browser "), "{said}");
    let url = "https://localhost/auto";
    for (arguments, code) in [
        (["--as", "anonymous", "POST", url], 1),
        (["--as", "alice", "GET", url], 0),
        (["--as", "alice", "GET", "https://localhost/staff"], 1),
        (["--as", "anonymous", "GET", "https://localhost/never"], 1),
        (["--as", "anonymous", "GET", "https://localhost/open"], 0),
        (["--as", "anonymous", "GET", "https://localhost/nothing"], 1),
        (
            ["--as", "anonymous", "GET", "https://localhost/auto/a%2fb"],
            1,
        ),
    ] {
        let said = explain(&arguments, code);
        assert!(!said.contains("login"), "{arguments:?}: {said}");
        assert!(!said.contains("sec-fetch"), "{arguments:?}: {said}");
    }
    let said = explain(&["--json", "GET", url], 1);
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["decision"]["status"], 401);
    assert_eq!(said["browser"]["status"], 303);
    let place = said["browser"]["location"].as_str().unwrap();
    assert!(place.ends_with("return_to=https%3A%2F%2Flocalhost%2Fauto"));
}
