//! Both sides of every gate: what a file may say, and where and how it is told what it may not.

mod clients;
mod issuers;
mod keys;
mod providers;
mod ranges;
mod resources;
mod route_keys;
mod routes;
mod sample;
mod upstreams;
mod verify;

use std::fs;
use std::path::Path;

use secrecy::ExposeSecret;

use crate::config::Auth;
use crate::config::Colour;
use crate::config::Listener;
use crate::config::ListenerKind;
use crate::config::Problem;
use crate::config::Problems;
use crate::config::Rate;
use crate::config::Registration;
use crate::config::Secrets;
use crate::config::StoreKey;

use super::Loaded;

/// Good on its own; snippets are put behind it, so that their first line is line 6.
const BASE: &str = r#"[gateway]
public_url = "https://localhost:8443"
[[listeners]]
address = "127.0.0.1:8443"
[accounts]
"#;

fn variable(name: &str) -> Option<String> {
    match name {
        "WEAK" => Some("hunter2".to_owned()),
        "STRONG" | "NOTES_SYNC_SECRET" | "NOTES_WEB_SECRET" | "KEYCLOAK_SECRET" => {
            Some("qL0T9xVd7Zc3mW5yKu2HbRs8NfJgA1eP".to_owned())
        }
        "PREFIX" => Some("/gate".to_owned()),
        _ => None,
    }
}

fn read(text: &str, secrets: Secrets) -> Result<Loaded, Problems> {
    super::text(
        Path::new("/srv/gate/gateway.toml"),
        text,
        secrets,
        &variable,
    )
}

#[track_caller]
fn good(snippet: &str) -> Loaded {
    match read(&format!("{BASE}{snippet}"), Secrets::Read) {
        Ok(loaded) => loaded,
        Err(problems) => panic!("{snippet}\n{problems}"),
    }
}

fn shown(problems: &[Problem]) -> Vec<String> {
    let show = |Problem { position, message }: &Problem| {
        format!("{}:{}: {message}", position.line, position.column)
    };
    problems.iter().map(show).collect()
}

/// `expected` is a place and a part of the message.
#[track_caller]
fn agree(found: &[Problem], expected: &[(&str, &str)], text: &str) {
    let found = shown(found);
    let same = |(found, (place, part)): (&String, &(&str, &str))| {
        found.starts_with(&format!("{place}: ")) && found.contains(part)
    };
    let agree = found.len() == expected.len() && found.iter().zip(expected).all(same);
    assert!(agree, "{text}\nfound {found:#?}\nnot {expected:#?}");
}

#[track_caller]
fn whole(text: &str, expected: &[(&str, &str)]) {
    let found = read(text, Secrets::Read).map_or_else(|problems| problems.problems, |_| Vec::new());
    agree(&found, expected, text);
}

#[track_caller]
fn bad(snippet: &str, expected: &[(&str, &str)]) {
    whole(&format!("{BASE}{snippet}"), expected);
}

/// One route with a few keys; the first of them stands on line 9.
#[track_caller]
fn bad_route(keys: &str, expected: &[(&str, &str)]) {
    bad(
        &format!("[routes.a]\npath = \"/a\"\nupstream = \"echo\"\n{keys}"),
        expected,
    );
}

#[track_caller]
fn good_route(keys: &str) -> Loaded {
    good(&format!(
        "[routes.a]\npath = \"/a\"\nupstream = \"echo\"\n{keys}"
    ))
}

#[track_caller]
fn warned(snippet: &str, expected: &[(&str, &str)]) {
    agree(&good(snippet).warnings, expected, snippet);
}

#[test]
fn what_is_left_out_is_safe() {
    let config = good("[routes.a]\npath = \"/a\"\nupstream = \"echo\"").config;
    assert_eq!(config.accounts.registration, Registration::Off);
    assert_eq!(config.routes[0].auth, Auth::Required);
    assert!(!config.routes[0].forward_authorization);
    assert_eq!(config.accounts.password_length_min, 12);
    assert!(config.accounts.password_reject_common);
    assert_eq!(config.gateway.prefix, "/auth");
    assert_eq!(config.gateway.issuer(), "https://localhost:8443");
    assert!(config.gateway.trusted_proxies.is_empty());
    assert_eq!(config.admin, None);
    let shown = |rate: Option<Rate>| rate.map(|rate| rate.to_string());
    assert_eq!(
        shown(config.limits.per_address).as_deref(),
        Some("6000 per minute")
    );
    assert_eq!(
        shown(config.limits.per_user).as_deref(),
        Some("6000 per minute")
    );
    assert_eq!(
        shown(config.limits.register).as_deref(),
        Some("60 per hour")
    );
    assert_eq!(shown(config.limits.login).as_deref(), Some("60 per minute"));
    assert_eq!(config.hashing.memory_kib, 19 * 1024);
    assert_eq!(
        config.certificates[0].cert,
        Path::new("/srv/gate/certs/localhost.pem")
    );
    assert_eq!(
        config.store.sqlite,
        Path::new("/srv/gate/data/portcullis.db")
    );
    assert!(
        matches!(&config.store.key, StoreKey::File(path) if path == Path::new("/srv/gate/data/store.key"))
    );
}

#[test]
fn every_problem_is_told_at_once_in_order() {
    whole(
        r#"
listners = 1
[gateway]
public_url = "http://example.com"
prefix = "/auth/"
[[listeners]]
address = "8443"
tls = "yes"
[tokens]
access_ttl = "5s"
[routes.a]
path = "a"
"#,
        &[
            ("2:1", "unknown key `listners`; did you mean `listeners`?"),
            ("4:14", "must start with https://"),
            ("5:10", "without the '/' at the end"),
            ("7:11", "an address and a port"),
            ("8:7", "of type string, but must be true or false"),
            ("10:14", "\"5s\": it must be from 10s to 1day"),
            ("11:1", "`upstream` is missing"),
            ("12:8", "a path starts with '/'"),
        ],
    );
}

#[test]
fn syntax_errors_stand_beside_the_others() {
    bad(
        "x = = 1\n[tokens]\naccess_ttl = 5",
        &[
            ("6:1", "unknown key `x`"),
            ("6:5", "extra `=`"),
            ("6:7", "unexpected key or value"),
            ("8:14", "of type integer, but must be a string"),
        ],
    );
    bad("[tokens]\n[tokens]", &[("7:2", "duplicate")]);
    whole(
        "",
        &[
            ("1:1", "`public_url` is missing"),
            ("1:1", "there is no listener"),
        ],
    );
    whole(
        "\u{1}",
        &[
            ("1:1", "`public_url` is missing"),
            ("1:1", "invalid"),
            ("1:1", "there is no listener"),
            ("1:2", "key with no value"),
        ],
    );
}

#[test]
fn columns_count_characters() {
    bad(
        "reserved_usernames = [\"ä\", 5]",
        &[
            ("6:23", "\"ä\": a username has"),
            ("6:28", "of type integer"),
        ],
    );
}

#[test]
fn unknown_keys_are_problems_with_advice() {
    bad(
        "registraton = \"off\"",
        &[("6:1", "did you mean `registration`?")],
    );
    bad(
        "[limits]\nredit = 1",
        &[("7:1", "known here are `per_address`")],
    );
    bad(
        "[log]\ncolour = 1",
        &[("7:1", "unknown key `colour`; known here are `format`")],
    );
    bad_route(
        "paths.\"/a/b\".path = \"/c\"",
        &[("9:14", "unknown key `path`")],
    );
    bad("[defaults]\npaths = {}", &[("7:1", "unknown key `paths`")]);
}

#[test]
fn a_house_has_its_own_name_logo_and_colour() {
    let plain = good("").config.brand;
    assert_eq!(
        (&*plain.name, plain.colour),
        ("Portcullis", Colour::DEFAULT)
    );
    assert!(plain.logo.is_none());

    let brand = good("[brand]\nname = \"Acme\"\nlogo = \"acme.svg\"\ncolour = \"#336699\"");
    let brand = brand.config.brand;
    assert_eq!((&*brand.name, brand.colour.green), ("Acme", 0x66));
    let logo = brand.logo.expect("it was given");
    assert_eq!(logo.path, Path::new("/srv/gate/acme.svg"));

    bad(
        "[brand]\nname = \"\"\nlogo = \"acme.jpg\"\ncolour = \"red\"",
        &[
            ("7:8", "1 to 40 characters"),
            ("8:8", ".svg or .png"),
            ("9:10", "six hexadecimal digits"),
        ],
    );
}

#[test]
fn what_this_version_does_not_have_is_said() {
    for table in ["mail", "lockout", "acme"] {
        bad(
            &format!("[{table}]\nx = 1"),
            &[("6:1", "this version does not have it")],
        );
    }
    bad(
        "verify_email = \"required\"",
        &[("6:16", "this version does not have it; it has `off`")],
    );
    bad(
        "registration = \"invite\"",
        &[("6:16", "it has `open`, `off`")],
    );
    bad(
        "registration = \"approval\"",
        &[("6:16", "does not have it")],
    );
    bad("allow_domains = []", &[("6:17", "does not have it")]);
    bad(
        "[store]\nurl = \"postgres://a@b/c\"\npassword = \"x\"",
        &[
            ("7:7", "does not have PostgreSQL"),
            ("8:12", "does not have it"),
        ],
    );
    bad(
        "[limits]\nredis = \"redis://a\"\non_redis_error = \"local\"",
        &[("7:9", "does not have it"), ("8:18", "does not have it")],
    );
    bad_route(
        "on_unauthenticated = \"302\"",
        &[("9:22", "`auto`, `redirect`, `401`")],
    );
    for key in ["max_age", "amr"] {
        let place = format!("9:{}", key.len() + 4);
        bad_route(
            &format!("{key} = 1"),
            &[(&place, "this version does not have it")],
        );
    }
    good("verify_email = \"off\"");
    good_route("on_unauthenticated = \"auto\"");
    good_route("on_unauthenticated = \"redirect\"");
    good_route("on_unauthenticated = \"401\"");
}

#[test]
fn numbers_have_bounds() {
    for (table, keys) in [
        (
            "connections",
            "max = 0\nhandshake_timeout = \"0s\"\nheader_timeout = \"1h\"\nbody_timeout = \"2h\"\nheader_bytes = \"4KiB\"\nheaders = 1\nstreams = 201\ndrain_timeout = \"2h\"",
        ),
        (
            "tokens",
            "access_ttl = \"25h\"\nrefresh_ttl = \"367d\"\nrefresh_grace = \"61s\"",
        ),
        ("accounts.password", "min_length = 7"),
        (
            "hashing",
            "memory = \"18MiB\"\niterations = 1\nthreads = 0\nqueue = -1\ndeadline = \"2m\"",
        ),
        ("limits", "keys_max = 1"),
        (
            "upstreams.a",
            "targets = \"http://a\"\nconnections = 0\ntimeouts = { connect = \"0s\" }",
        ),
    ] {
        let text = format!("{BASE}[{table}]\n{keys}");
        let Err(Problems { problems, .. }) = read(&text, Secrets::Read) else {
            panic!("{text}")
        };
        let expected = keys
            .lines()
            .filter(|line| !line.starts_with("targets"))
            .count();
        let bounds = problems
            .iter()
            .filter(|problem| problem.message.contains("it must be from"));
        assert_eq!(bounds.count(), expected, "{problems:#?}");
        assert_eq!(problems.len(), expected, "{problems:#?}");
    }
    good(
        "[connections]\nheader_bytes = \"64KiB\"\nstreams = 1\n[tokens]\naccess_ttl = \"10s\"\nrefresh_ttl = \"366d\"\nrefresh_grace = \"60s\"",
    );
    bad(
        "[tokens]\naccess_ttl = \"2h\"\nrefresh_ttl = \"1h\"",
        &[("8:15", "longer than `access_ttl`")],
    );
    bad(
        "[tokens]\nalgorithm = \"HS256\"",
        &[("7:13", "one of `ES256`, `EdDSA`")],
    );
    bad(
        "[limits]\nlogin = \"5 a minute\"",
        &[("7:9", "a rate looks like")],
    );
    assert_eq!(good("[limits]\nlogin = \"off\"").config.limits.login, None);
}

#[test]
fn a_listener_for_balancers_without_any_is_told() {
    let listener = |keys: &str| format!("[[listeners]]\naddress = \"0.0.0.0:80\"\n{keys}");
    warned(&listener("tls = false"), &[("6:1", "speaks plain HTTP")]);
    for keys in [
        "proxy_protocol = true",
        "proxy_protocol = true\ntls = false",
    ] {
        warned(&listener(keys), &[("6:1", "takes PROXY headers")]);
    }
    warned(&listener(""), &[]);
    warned(
        "[[listeners]]\naddress = \"127.0.0.1:80\"\nproxy_protocol = true",
        &[],
    );
}

#[test]
fn listeners_are_told_apart() {
    let kinds = |text: &str| -> Vec<_> {
        let listeners = good(text).config.listeners;
        listeners
            .iter()
            .map(|listener: &Listener| listener.kind)
            .collect()
    };
    assert_eq!(
        kinds("[[listeners]]\naddress = \"[::]:80\"\nredirect = true"),
        [ListenerKind::Tls, ListenerKind::Redirect]
    );
    assert_eq!(
        kinds("[[listeners]]\naddress = \"127.0.0.1:80\"\ntls = false"),
        [ListenerKind::Tls, ListenerKind::Plain]
    );
    assert_eq!(
        kinds("[[listeners]]\naddress = \"127.0.0.1:0\"\n[[listeners]]\naddress = \"127.0.0.1:0\"")
            .len(),
        3
    );

    bad(
        "[[listeners]]\naddress = \"127.0.0.1:8443\"",
        &[("6:1", "127.0.0.1:8443 is listened on twice")],
    );
    bad(
        "[[listeners]]\nredirect = true\ntls = true",
        &[
            ("6:1", "`address` is missing"),
            ("6:1", "speaks plain HTTP"),
        ],
    );
    bad(
        "[admin]\nlisten = \"0.0.0.0:9900\"",
        &[("7:10", "must be on loopback")],
    );
    bad(
        "[admin]\nlisten = \"127.0.0.1:8443\"",
        &[("3:1", "listened on twice")],
    );
    bad(
        "[[certificates]]\ncert = \"\"",
        &[("6:1", "`key` is missing"), ("7:8", "a path is needed")],
    );
    whole(
        &format!("certificates = []\n{BASE}"),
        &[("1:16", "a listener speaks TLS")],
    );
    whole(
        "listeners = 5\ngateway.public_url = \"https://a\"",
        &[("1:1", "there is no listener"), ("1:13", "an array")],
    );
}

// SECURITY 59
#[test]
fn weak_store_keys_are_refused_and_never_shown() {
    for key in [
        "your_secret_key_here",
        "secret",
        "changeme",
        "",
        "${env:WEAK}",
        "${env:NONE:-hunter2}",
        "your_secret_key_here_your_secret_key_here",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "ChangeMe-0123456789-ABCDEFGHIJ-klmnopq",
    ] {
        let text = format!("{BASE}[store]\nkey = \"{key}\"");
        let problems = read(&text, Secrets::Read)
            .map(|_| ())
            .expect_err("it is weak")
            .to_string();
        assert!(
            problems.contains(":7:7: `key`: this key is short"),
            "{problems}"
        );
        assert!(
            !problems.contains("hunter2") && !problems.contains("ChangeMe-0"),
            "{problems}"
        );
    }
    let key = |text: &str| good(text).config.store.key;
    let strong = key("[store]\nkey = \"${env:STRONG}\"");
    assert!(matches!(strong, StoreKey::Value(key) if key.expose_secret().starts_with("qL0T")));
    let file = key("[store]\nurl = \"sqlite:/var/lib/gate/db\"\nkey = \"${file:not/there}\"");
    assert!(matches!(file, StoreKey::File(path) if path == Path::new("/srv/gate/not/there")));
    let beside = key("[store]\nurl = \"sqlite:/var/lib/gate/db\"");
    assert!(matches!(beside, StoreKey::File(path) if path == Path::new("/var/lib/gate/store.key")));
    for url in [
        "data/x.db",
        "sqlite:",
        "sqlite::memory:",
        "sqlite:x?mode=ro",
        "mysql://x",
        "sqlite:x/",
    ] {
        bad(&format!("[store]\nurl = \"{url}\""), &[("7:7", "sqlite:")]);
    }
}

#[test]
fn references_stand_for_their_values_and_messages_show_the_reference() {
    let text = BASE.replace("public_url", "prefix = \"${env:PREFIX}\"\npublic_url");
    let config = read(&text, Secrets::Read).expect("it is good").config;
    assert_eq!(config.gateway.prefix, "/gate");
    bad(
        "[tokens]\naccess_ttl = \"${env:WEAK}\"",
        &[("7:14", "\"${env:WEAK}\": a duration is")],
    );
    bad(
        "[tokens]\naccess_ttl = \"${env:NONE}\"",
        &[("7:14", "no variable NONE")],
    );
    bad(
        "[tokens]\naccess_ttl = \"${now}\"",
        &[("7:14", "${now} is none of")],
    );
}

#[test]
fn offline_trips_over_nothing_it_did_not_look_up() {
    let text = r#"
[gateway]
public_url = "${env:A}"
prefix = "${file:b}"
[[listeners]]
address = "${env:C}"
[store]
url = "${env:D}"
key = "${credential:e}"
[upstreams.one]
targets = ["${env:F}"]
[routes.a]
path = "${env:G}"
host = ["${env:H}"]
upstream = "${env:I}"
limit = "${env:J}"
[routes.b]
path = "/b"
upstream = "one"
auth = "${env:K}"
"#;
    let loaded = read(text, Secrets::Offline).expect("nothing is wrong with its form");
    assert_eq!(loaded.config.routes.len(), 2);
    assert!(read(text, Secrets::Read).is_err());
    let broken = text
        .replace("${env:A}", "${env A}")
        .replace("${env:J}", "often");
    let problems = read(&broken, Secrets::Offline)
        .map(|_| ())
        .expect_err("its form is wrong");
    agree(
        &problems.problems,
        &[("3:14", "is none of"), ("16:9", "a rate looks like")],
        text,
    );
}

#[test]
fn a_file_that_cannot_be_read_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("gateway.toml");
    let problems = super::load(&file, Secrets::Read)
        .map(|_| ())
        .expect_err("it is not there");
    assert!(
        problems
            .to_string()
            .contains("gateway.toml:1:1: cannot be read"),
        "{problems}"
    );
    fs::write(&file, b"[gateway]\n# \xff").expect("it is written");
    let problems = super::load(&file, Secrets::Read)
        .map(|_| ())
        .expect_err("it is not text");
    assert!(
        problems
            .to_string()
            .contains("gateway.toml:2:1: this line is not UTF-8"),
        "{problems}"
    );
}
