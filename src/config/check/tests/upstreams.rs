//! Where requests may go: an origin over plain HTTP, and never the gateway itself.

use std::time::Duration;

use crate::config::Balance;
use crate::config::Retries;
use crate::config::Upstream;

use super::bad;
use super::good;

/// As a target, and as a route's own URL.
#[track_caller]
fn refused(url: &str, words: &str) {
    bad(
        &format!("[upstreams.a]\ntargets = [\"{url}\"]"),
        &[("7:12", words)],
    );
    bad(
        &format!("[routes.a]\npath = \"/a\"\nupstream = \"{url}\""),
        &[("8:12", words)],
    );
}

#[test]
fn an_upstream_is_scheme_host_and_port_and_nothing_else() {
    for url in ["https://app:5000", "h2c://app:5000"] {
        refused(url, "this version does not have https and h2c upstreams");
    }
    for url in [
        "ftp://app",
        "ws://app",
        "unix://run/app.sock",
        "HTTP://app",
        "http://",
        "http://app:99999",
        "http://app/path",
        "http://app/",
        "http://app?query",
        "http://app#fragment",
        "http://app app",
        "http://app\\\\path",
        "http://[::1",
        "http://300.1.1.1",
    ] {
        refused(url, "it must be http://, host and port alone");
    }
    // What is no URL at all could only be a name.
    for name in ["app:5000", "//app", "127.0.0.1"] {
        bad_route_upstream(name, "write a name from there, a URL");
    }
    good("[upstreams.a]\ntargets = [\"http://app:5000\"]");
    good("[upstreams.a]\ntargets = [\"http://[::1]:5000\"]");
}

#[track_caller]
fn bad_route_upstream(written: &str, words: &str) {
    bad(
        &format!("[routes.a]\npath = \"/a\"\nupstream = \"{written}\""),
        &[("8:12", words)],
    );
}

#[test]
fn a_misspelt_upstream_is_told_with_the_one_that_was_meant() {
    bad(
        "[upstreams.notes]\ntargets = [\"http://app\"]\n\
         [routes.a]\npath = \"/a\"\nupstream = \"nots\"",
        &[(
            "10:12",
            "there is no [upstreams.nots]; did you mean \"notes\"?",
        )],
    );
    bad_route_upstream("Echo", "did you mean \"echo\"?");
}

// SECURITY 58
#[test]
fn a_password_in_a_url_is_not_shown() {
    refused("http://ann:hunter2@app:5000", "\"http://...@app:5000\"");
    bad_route_upstream("ann:hunter2@app", "[upstreams....@app]");
    bad(
        "[store]\nurl = \"postgres://ann:hunter2@db/x\"",
        &[(
            "7:7",
            "\"postgres://...@db/x\": this version does not have PostgreSQL",
        )],
    );
}

#[test]
fn the_gateway_does_not_forward_to_itself() {
    const WORDS: &str = "the gateway itself listens there";
    for url in [
        "http://127.0.0.1:8443",
        "http://localhost:8443",
        "http://app.localhost:8443",
        "http://0.0.0.0:8443",
        "http://[::ffff:127.0.0.1]:8443",
    ] {
        refused(url, WORDS);
    }
    for url in [
        "http://127.0.0.1:8444",
        "http://127.0.0.2:8443",
        "http://10.0.0.1:8443",
        "http://app:8443",
    ] {
        good(&format!("[upstreams.a]\ntargets = [\"{url}\"]"));
    }
    let behind = |listener: &str, url: &str| {
        format!(
            "[[listeners]]\naddress = \"{listener}\"\ntls = false\n\
             [upstreams.a]\ntargets = {url}"
        )
    };
    for (listener, url) in [
        ("0.0.0.0:80", "\"http://127.0.0.1\""),
        ("[::]:80", "\"http://[::1]\""),
        ("[::]:80", "\"http://localhost\""),
        ("10.0.0.1:80", "\"http://10.0.0.1:80\""),
    ] {
        let trusted = super::BASE.replace("[[", "trusted_proxies = [\"10.0.0.2\"]\n[[");
        let text = format!("{trusted}{}", behind(listener, url));
        super::whole(&text, &[("11:11", WORDS)]);
    }
    // Whoever could reach it would read what is for operators.
    bad(
        "[admin]\nlisten = \"127.0.0.1:9900\"\n[upstreams.a]\ntargets = \"http://localhost:9900\"",
        &[("9:11", WORDS)],
    );
}

fn upstream(keys: &str) -> Upstream {
    let text = format!("[upstreams.a]\ntargets = [\"http://a\", \"http://b:81\"]\n{keys}");
    good(&text).config.upstreams.remove(0)
}

#[track_caller]
fn bad_upstream(keys: &str, place: &str, words: &str) {
    let text = format!("[upstreams.a]\ntargets = \"http://a\"\n{keys}");
    bad(&text, &[(place, words)]);
}

#[test]
fn several_targets_have_defaults_that_hurt_nobody() {
    let plain = upstream("");
    let targets: Vec<_> = plain.targets.iter().map(ToString::to_string).collect();
    assert_eq!(targets, ["http://a", "http://b:81"]);
    assert_eq!(plain.balance, Balance::P2c);
    assert!(plain.health.is_none());
    let ejection = plain.ejection.unwrap();
    assert_eq!((ejection.failures, ejection.time.as_secs()), (5, 10));
    assert!(ejection.statuses.is_empty());
    let retries = Retries {
        percent: 20,
        per_second: 10,
    };
    assert_eq!(plain.retries, Some(retries));
    assert_eq!((plain.connections, plain.queue), (256, 256));
    assert_eq!(plain.keep_alive_timeout, Duration::from_secs(4));
    assert_eq!(plain.slow_start, Duration::from_secs(10));
    assert_eq!(upstream("connections = 7").queue, 7);
}

#[test]
fn an_upstream_says_what_it_wants() {
    let off = upstream("ejection = \"off\"\nretries = \"off\"");
    assert!(off.ejection.is_none() && off.retries.is_none());
    let asked = upstream("health = { path = \"/up?deep=1\", host = \"a.internal\", status = 204 }");
    let health = asked.health.unwrap();
    assert_eq!(health.path, "/up?deep=1");
    assert_eq!(health.host.unwrap(), "a.internal");
    assert_eq!(health.statuses, [204]);
    assert_eq!((health.healthy, health.unhealthy), (2, 3));
    let both =
        upstream("ejection.statuses = [502, 503]\nhealth = { path = \"/\", status = [200, 302] }");
    assert_eq!(both.ejection.unwrap().statuses, [502, 503]);
    assert_eq!(both.health.unwrap().statuses, [200, 302]);
    for (word, balance) in [
        ("p2c", Balance::P2c),
        ("round_robin", Balance::RoundRobin),
        ("hash_user", Balance::HashUser),
        ("hash_address", Balance::HashAddress),
    ] {
        assert_eq!(upstream(&format!("balance = \"{word}\"")).balance, balance);
    }
}

#[test]
fn what_is_wrong_with_an_upstream_is_told_with_what_would_be_right() {
    bad_upstream(
        "balance = \"random\"",
        "8:11",
        "one of `p2c`, `round_robin`",
    );
    bad_upstream(
        "ejection = \"no\"",
        "8:12",
        "a table, as in { .. }, or \"off\"",
    );
    bad_upstream("retries = 5", "8:11", "a table, as in { .. }, or \"off\"");
    bad_upstream(
        "health = { interval = \"5s\" }",
        "8:10",
        "write path = \"/healthz\"",
    );
    for path in ["healthz", "http://a/", "/a#b", "/a b", ""] {
        let keys = format!("health = {{ path = \"{path}\" }}");
        bad_upstream(&keys, "8:19", "it must be a path");
    }
    for host in ["", "a b", "ann@a", "a/b"] {
        let keys = format!("health = {{ path = \"/\", host = \"{host}\" }}");
        bad_upstream(&keys, "8:31", "it must be a host");
    }
    let targets = |targets: &str, place: &str, words: &str| {
        bad(
            &format!("[upstreams.a]\ntargets = {targets}"),
            &[(place, words)],
        );
    };
    targets("[]", "7:11", "an upstream needs a target");
    targets("[\"http://a\", \"http://a\"]", "7:24", "listed twice");
    let many: Vec<_> = (0..65)
        .map(|number| format!("\"http://a{number}\""))
        .collect();
    targets(
        &format!("[{}]", many.join(", ")),
        "7:11",
        "at most 64 targets",
    );
    good(&format!(
        "[upstreams.a]\ntargets = [{}]",
        many[1..].join(", ")
    ));
}
