//! What cannot be served is refused at the start: with exit code 2, the place in the file and what
//! would be right, and with nothing made, nothing changed and nobody disturbed.

use std::collections::BTreeMap;
use std::fs;
use std::fs::Permissions;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::chown;
use std::path::PathBuf;

use rcgen::CertificateParams;
use rcgen::KeyPair;
use rustix::process::Signal;
use rustix::process::geteuid;
use sqlx::ConnectOptions as _;
use sqlx::sqlite::SqliteConnectOptions;

use crate::harness::binary::Output;
use crate::harness::binary::Served;
use crate::harness::binary::portcullis;
use crate::harness::binary::portcullis_on_full_disk;
use crate::harness::binary::portcullis_reading;
use crate::harness::binary::portcullis_unprivileged;
use crate::harness::caller::PASSWORD;
use crate::harness::gateway::Folder;

const ROUTE: &str = "[routes.app]\npath = \"/app\"\nupstream = \"echo\"\n";

const OPEN: &str = "[accounts]\nregistration = \"open\"\n";

const STORE: &str =
    "[store]\nurl = \"sqlite:data/portcullis.db\"\nkey = \"${file:data/store.key}\"\n";

/// A file whose lines a test can count: these are the first five.
fn with(lines: &str) -> Folder {
    let folder = Folder::new();
    folder.write(
        "gateway.toml",
        &format!(
            "[gateway]\npublic_url = \"https://localhost\"\n[[listeners]]\n\
             address = \"127.0.0.1:0\"\n\n{lines}"
        ),
    );
    folder
}

/// With a store that has an account, so that there is something to lose; and closed, so that
/// everything is in one file.
async fn with_store(lines: &str) -> Folder {
    let folder = with(lines);
    portcullis_reading(&folder, &["user", "add", "alice"], PASSWORD).expect(0);
    let served = Served::start(&folder).await;
    served.signal(Signal::TERM);
    assert!(served.ended().await.success());
    assert!(!folder.path("data/portcullis.db-wal").exists());
    folder
}

fn set_mode(folder: &Folder, name: &str, mode: u32) {
    fs::set_permissions(folder.path(name), Permissions::from_mode(mode)).unwrap();
}

/// Insists that `serve` refuses, here, in these words, and leaves everything as it was.
#[track_caller]
fn refused(folder: &Folder, place: &str, words: &[&str]) {
    refused_by(folder, place, words, || portcullis(folder, &["serve"]));
}

#[track_caller]
fn refused_by(folder: &Folder, place: &str, words: &[&str], serve: impl Fn() -> Output) {
    let before = lasting(folder);
    let said = serve().expect(2).stderr;
    let file = folder.path("gateway.toml");
    let place = format!("{}:{place}: ", file.file_name().unwrap().display());
    assert!(said.contains(&place), "{place}{said}");
    for words in words {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
    let after = lasting(folder);
    assert!(before.keys().eq(after.keys()), "{:?}: {said}", after.keys());
    for (path, content) in before {
        assert!(after[&path] == content, "{path:?} was changed: {said}");
    }
}

/// What a folder holds, but for SQLite's memory of who is reading, and a log that is empty.
fn lasting(folder: &Folder) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut contents = folder.contents();
    contents.retain(|path, content| {
        let name = path.to_string_lossy();
        !(name.ends_with(".db-shm") || name.ends_with(".db-wal") && content.is_empty())
    });
    contents
}

// SECURITY 59
#[tokio::test(flavor = "multi_thread")]
async fn a_second_gateway_leaves_the_first_alone() {
    let folder = with(&format!("{STORE}{OPEN}{ROUTE}"));
    let first = Served::start(&folder).await;
    let mut alice = first.anonymous();
    alice.register("alice").await;
    alice.log_in("alice").await;
    let keys = alice.get("/.well-known/jwks.json").await.expect(200);

    // The very same ports; and what would be written, were it written before it is known.
    let text = fs::read_to_string(folder.path("gateway.toml")).unwrap();
    let taken = text.replace("127.0.0.1:0", &first.address().to_string());
    folder.write(
        "gateway.toml",
        &format!("{taken}[tokens]\nalgorithm = \"EdDSA\"\n"),
    );
    let words = [
        &*format!("cannot listen on {}", first.address()),
        "perhaps a gateway",
        "choose another port",
    ];
    refused(&folder, "3:1", &words);

    first.anonymous().register("bob").await;
    alice.get("/app").await.expect(200);
    let same = alice.get("/.well-known/jwks.json").await.expect(200);
    assert_eq!(keys.body, same.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_made_where_a_port_is_taken() {
    for lines in [
        "[[listeners]]\naddress = \"TAKEN\"\nredirect = true\n",
        "[admin]\nlisten = \"TAKEN\"\n",
    ] {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let folder = with(&format!("{}{ROUTE}", lines.replace("TAKEN", &address)));
        let place = if lines.contains("admin") {
            "7:10"
        } else {
            "6:1"
        };
        refused(&folder, place, &[&format!("cannot listen on {address}")]);
        drop(taken);
        Served::start(&folder).await.kill();
    }
    // No address of this machine: one that is for documentation (RFC 5737).
    let folder = with(&format!(
        "[[listeners]]\naddress = \"192.0.2.1:0\"\n{ROUTE}"
    ));
    refused(
        &folder,
        "6:1",
        &["192.0.2.1:0", "an address that this machine has"],
    );
}

// SECURITY 50 and 59
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_used_is_left_as_it_is() {
    let database = "data/portcullis.db";
    let lines = format!("{STORE}{ROUTE}");
    let folder = with_store(&lines).await;
    let good = fs::read(folder.path(database)).unwrap();
    let refused = |words: &[&str]| {
        refused_by(
            &folder,
            "7:7",
            &[words, &["portcullis.db"]].concat(),
            || portcullis_unprivileged(&folder, &["serve"]),
        );
        // Commands meet the same words.
        let said = portcullis_unprivileged(&folder, &["user", "list"]).expect(2);
        assert!(said.stderr.contains("gateway.toml:7:7: "), "{said:?}");
    };

    let letter = b"this is a letter, and no database at all. ".repeat(200);
    for (content, words) in [
        (letter.as_slice(), "no SQLite database"),
        (&good[..good.len() / 2], "damaged"),
        (&good[..50], "damaged"),
    ] {
        fs::write(folder.path(database), content).unwrap();
        refused(&[words, "restore a backup"]);
    }
    fs::write(folder.path(database), &good).unwrap();

    set_mode(&folder, database, 0o400);
    refused(&["must be writable", "chmod 600"]);
    set_mode(&folder, database, 0o644);
    refused(&["mode 0644", "chmod 600"]);
    set_mode(&folder, database, 0o600);

    if geteuid().is_root() {
        chown(folder.path(database), Some(65_534), None).unwrap();
        refused(&["belongs to user id 65534", "as its owner"]);
        chown(folder.path(database), Some(0), None).unwrap();
    }

    let version = async |version: i64| {
        let options = SqliteConnectOptions::new().filename(folder.path(database));
        let mut connection = options.connect().await.unwrap();
        sqlx::query(
            "UPDATE _sqlx_migrations SET version = $1 \
             WHERE version = (SELECT max(version) FROM _sqlx_migrations)",
        )
        .bind(version)
        .execute(&mut connection)
        .await
        .unwrap();
        sqlx::Connection::close(connection).await.unwrap();
    };
    version(999).await;
    refused(&["a newer version of portcullis made it"]);
    version(11).await;

    // And once it is repaired, everything is there.
    let served = Served::start(&folder).await;
    served.anonymous().log_in("alice").await;
}

// SECURITY 50 and 59
#[test]
fn a_store_that_cannot_be_made_is_refused() {
    let folder = with(&format!("[store]\nurl = \"sqlite:data\"\n{ROUTE}"));
    fs::create_dir(folder.path("data")).unwrap();
    refused(&folder, "7:7", &["data is no file"]);

    let folder = with(&format!("{STORE}{ROUTE}"));
    fs::create_dir(folder.path("data")).unwrap();
    set_mode(&folder, "data", 0o500);
    refused_by(
        &folder,
        "8:7",
        &["data/store.key", "must be writable"],
        || portcullis_unprivileged(&folder, &["serve"]),
    );
    let folder = with(&format!(
        "[store]\nurl = \"sqlite:gateway.toml/x.db\"\n{ROUTE}"
    ));
    refused(
        &folder,
        "6:1",
        &["gateway.toml/store.key", "Not a directory"],
    );
}

// SECURITY 50
#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_on_a_full_disk_leaves_nothing_half_made() {
    let folder = with(&format!("{STORE}{OPEN}{ROUTE}"));
    // The key does not fit; then the key fits and the database does not.
    for (bytes, place) in [(10, "8:7"), (100, "7:7"), (5000, "7:7")] {
        let said = portcullis_on_full_disk(&folder, &["serve"], bytes).expect(2);
        assert!(
            said.stderr.contains(&format!("gateway.toml:{place}: ")),
            "{said:?}"
        );
        for made in folder.contents().keys() {
            let name = made.file_name().unwrap().to_str().unwrap();
            assert!(!name.starts_with('.'), "a draft stayed: {name}");
        }
    }
    let served = Served::start(&folder).await;
    served.anonymous().register("alice").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_that_was_interrupted_is_begun_again() {
    let folder = with(&format!("{STORE}{OPEN}{ROUTE}"));
    Served::start(&folder).await.kill();
    // The certificate is written last: this is what is there when the start was killed before.
    for missing in [
        &["certs/localhost.pem"][..],
        &["certs/localhost.pem", "certs/ca.pem"],
    ] {
        for file in missing {
            fs::remove_file(folder.path(file)).unwrap();
        }
        let served = Served::start(&folder).await;
        served.anonymous().register("alice").await;
        served.kill();
    }
}

// SECURITY 59
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_not_the_stores_is_refused() {
    let lines = format!("{STORE}{ROUTE}");
    let folder = with_store(&lines).await;
    let other = with_store(&lines).await;
    let key = "data/store.key";
    let good = fs::read_to_string(folder.path(key)).unwrap();
    let of_other = fs::read_to_string(other.path(key)).unwrap();

    let bytes = "must be 32 random bytes";
    for (text, words) in [
        (&*of_other, "is not the key that"),
        (&good[..20], bytes),
        (&good[..42], bytes),
        ("", bytes),
        ("\n", bytes),
        ("!!! no base64 at all, though as long as one", bytes),
        (&*format!("{good}{good}"), bytes),
        ("your_secret_key_here", bytes),
        (
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "an example or was made up",
        ),
    ] {
        fs::write(folder.path(key), text).unwrap();
        refused(&folder, "8:7", &[words]);
        let said = portcullis(&folder, &["user", "list"]).expect(2).stderr;
        assert!(said.contains("gateway.toml:8:7: "), "{said}");
        let secret = text.trim();
        assert!(secret.len() < 10 || !said.contains(secret), "{said}");
    }
    fs::remove_file(folder.path(key)).unwrap();
    refused(
        &folder,
        "8:7",
        &["data/store.key is not: bring the key back"],
    );
    fs::create_dir(folder.path(key)).unwrap();
    refused(&folder, "8:7", &["is no file"]);
    fs::remove_dir(folder.path(key)).unwrap();
    folder.write(key, &good);
    for mode in [0o644, 0o660, 0o602] {
        set_mode(&folder, key, mode);
        refused(&folder, "8:7", &[&format!("mode 0{mode:o}"), "chmod 600"]);
        portcullis(&folder, &["check"]).expect(2);
    }
    set_mode(&folder, key, 0o600);
    portcullis(&folder, &["check"]).expect(0);
    Served::start(&folder)
        .await
        .anonymous()
        .log_in("alice")
        .await;

    // Written into the file itself.
    let literal = with(&format!(
        "[store]\nurl = \"sqlite:data/x.db\"\nkey = \"{}x\"\n{ROUTE}",
        good.trim()
    ));
    refused(&literal, "8:7", &[bytes]);
    let said = portcullis(&literal, &["check"]).expect(2).stderr;
    assert!(
        said.contains("gateway.toml:8:7: ") && !said.contains(good.trim()),
        "{said}"
    );
}

/// A pair that is valid between two dates, as `certs/NAME.pem` and `.key`.
fn pair(folder: &Folder, name: &str, from: i32, until: i32) {
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().unwrap();
    let cert = params.self_signed(&key).unwrap();
    folder.write(&format!("certs/{name}.pem"), &cert.pem());
    folder.write(&format!("certs/{name}.key"), &key.serialize_pem());
    set_mode(folder, &format!("certs/{name}.key"), 0o600);
}

// SECURITY 56 and 59
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_cannot_be_used_is_refused() {
    let certificates = |cert: &str, key: &str| {
        let folder = with(&format!(
            "[[certificates]]\ncert = \"certs/{cert}\"\nkey = \"certs/{key}\"\n{ROUTE}"
        ));
        pair(&folder, "good", 2020, 2090);
        pair(&folder, "other", 2020, 2090);
        pair(&folder, "old", 2020, 2021);
        pair(&folder, "early", 2089, 2090);
        folder.write("certs/empty.pem", "");
        folder.write("certs/text.pem", "a letter");
        folder
    };
    for (cert, key, words) in [
        (
            "good.pem",
            "other.key",
            &["cannot be used together", "made for"][..],
        ),
        (
            "old.pem",
            "old.key",
            &["expired on 2021-01-01T00:00:00Z", "renew it"],
        ),
        (
            "early.pem",
            "early.key",
            &["not valid before 2089-01-01T00:00:00Z", "clock"],
        ),
        (
            "empty.pem",
            "good.key",
            &["empty.pem holds no certificate in PEM form"],
        ),
        (
            "text.pem",
            "good.key",
            &["text.pem holds no certificate in PEM form"],
        ),
        ("good.pem", "good.pem", &["good.pem has mode"]),
        (
            "good.key",
            "good.key",
            &["good.key holds no certificate in PEM form"],
        ),
        (
            "good.pem",
            "none.key",
            &["none.key is not: bring the missing one"],
        ),
        (
            "none.pem",
            "good.key",
            &["none.pem is not: bring the missing one"],
        ),
    ] {
        let folder = certificates(cert, key);
        refused(&folder, "6:1", words);
        if !key.contains("none") && !cert.contains("none") {
            let said = portcullis(&folder, &["check"]).expect(2).stderr;
            assert!(said.contains("gateway.toml:6:1: "), "{cert}: {said}");
        }
        let text = fs::read_to_string(folder.path("gateway.toml")).unwrap();
        let repaired = text.replace(cert, "good.pem").replace(key, "good.key");
        let repaired = repaired.replace("key = \"certs/good.pem\"", "key = \"certs/good.key\"");
        let repaired = repaired.replace("cert = \"certs/good.key\"", "cert = \"certs/good.pem\"");
        folder.write("gateway.toml", &repaired);
        Served::start(&folder).await.kill();
    }
    // Every one of them at once, each at its place.
    let folder = certificates("old.pem", "old.key");
    let text = fs::read_to_string(folder.path("gateway.toml")).unwrap();
    folder.write(
        "gateway.toml",
        &format!("{text}[[certificates]]\ncert = \"certs/good.pem\"\nkey = \"certs/other.key\"\n"),
    );
    refused(
        &folder,
        "6:1",
        &["expired", "gateway.toml:12:1: ", "used together"],
    );
}

// SECURITY 7
#[test]
fn routes_that_nobody_could_choose_between_are_refused() {
    let two = |other: &str| with(&format!("{ROUTE}[routes.b]\nupstream = \"echo\"\n{other}"));
    for (other, words) in [
        ("path = \"/app\"", "route `b` answers for the same host"),
        ("path = \"/%61pp\"", "route `app` on line 6"),
        ("path = \"/auth/login\"", "belongs to the gateway itself"),
        ("path = \"/.well-known/jwks.json\"", "never reached"),
    ] {
        refused(&two(other), "9:1", &[words]);
    }
    refused(
        &two("path = \"/b\"\nupstreem = \"x\""),
        "12:1",
        &["did you mean `upstream`?"],
    );
    let own = with(
        "[admin]\nlisten = \"127.0.0.1:9\"\n[routes.b]\npath = \"/\"\nupstream = \"http://localhost:9\"\n",
    );
    refused(&own, "10:12", &["the gateway itself listens there"]);
}

// SECURITY 59
#[test]
fn a_certificate_is_not_made_up_for_the_world() {
    let folder = with(&format!("[[listeners]]\naddress = \"0.0.0.0:0\"\n{ROUTE}"));
    refused(
        &folder,
        "1:1",
        &["there is no certificate at", "serve --dev"],
    );
    let folder = with(&format!(
        "[[certificates]]\ncert = \"a.pem\"\nkey = \"a.key\"\n\
         [[certificates]]\ncert = \"b.pem\"\nkey = \"b.key\"\n{ROUTE}"
    ));
    refused(
        &folder,
        "9:1",
        &["b.pem; only one of [[certificates]] is made up"],
    );
}

#[test]
fn a_logo_that_cannot_be_shown_is_refused() {
    let folder = with(&format!("{ROUTE}\n[brand]\nlogo = \"logo.png\""));
    let place = |folder: &Folder| {
        let text = String::from_utf8(folder.contents()[&folder.path("gateway.toml")].clone());
        let text = text.unwrap();
        let line = text.lines().position(|line| line.starts_with("logo"));
        format!("{}:8", line.unwrap() + 1)
    };
    refused(&folder, &place(&folder), &["logo.png", "No such file"]);
    folder.write("logo.png", "<svg/>");
    let words = ["does not hold what its name says"];
    refused(&folder, &place(&folder), &words);
    let checked = portcullis(&folder, &["check"]).expect(2);
    assert!(checked.stdout.contains(words[0]) || checked.stderr.contains(words[0]));
}

// SECURITY 59
#[test]
fn a_secret_that_others_may_write_is_refused() {
    let folder = with(&format!("[limits]\nlogin = \"${{file:secret}}\"\n{ROUTE}"));
    folder.write("secret", "5 per minute\n");
    for mode in [0o666, 0o620, 0o602] {
        set_mode(&folder, "secret", mode);
        refused(&folder, "7:9", &["others may write", "chmod 600"]);
    }
    set_mode(&folder, "secret", 0o644);
    let said = portcullis(&folder, &["check"]).expect(0);
    assert!(
        said.stdout
            .contains("7:9: warning: `login`: others may read"),
        "{said:?}"
    );
    set_mode(&folder, "secret", 0o600);
    let said = portcullis(&folder, &["check"]).expect(0);
    assert!(!said.stdout.contains("others may read"), "{said:?}");
}

// SECURITY 58
#[test]
fn no_message_gives_a_secret_away() {
    const SECRET: &str = "hunter2-Zebra-47";
    for lines in [
        "[store]\nkey = \"SECRET\"",
        "[store]\nkey = \"${file:secret}\"",
        "[store]\nkey = \"${env:NO_SUCH:-SECRET}\"",
        "[store]\nkey = SECRET",
        "[store]\nkey = \"SECRET",
        "[store]\nurl = \"postgres://ann:SECRET@db/x\"",
        "[store]\npassword = \"SECRET\"",
        "[tokens]\naccess_ttl = \"${file:secret}\"",
        "[limits]\nredis = \"redis://:SECRET@cache\"",
        "[limits]\nlogin = \"${file:secret}\"",
        "[upstreams.a]\ntargets = \"http://ann:SECRET@app\"",
        "[gateway.x]\n[routes.b]\npath = \"/b\"\nupstream = \"https://SECRET@app\"",
        "[clients.web]\nsecret = \"SECRET\"",
    ] {
        let folder = with(&format!("{}\n{ROUTE}", lines.replace("SECRET", SECRET)));
        folder.write("secret", SECRET);
        set_mode(&folder, "secret", 0o600);
        for arguments in [&["serve"][..], &["check"], &["check", "--json"]] {
            let said = portcullis(&folder, arguments).expect(2);
            let said = said.stdout + &said.stderr;
            assert!(
                !said.contains("hunter2") && !said.contains("Zebra"),
                "{lines}: {said}"
            );
            assert!(said.contains("gateway.toml"), "{lines}: {said}");
        }
    }
}
