//! Where requests may go: an origin over plain HTTP, and never the gateway itself.

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
