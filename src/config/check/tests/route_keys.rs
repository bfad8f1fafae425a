//! Whom a route admits, by which path its app is called, and which headers it sets: both sides of each.

use crate::config::HeaderChanges;
use crate::config::Route;
use crate::config::Secrets;

use super::BASE;
use super::bad;
use super::bad_route;
use super::good;
use super::good_route;
use super::read;
use super::shown;
use super::warned;

/// Two routes to one app, with a few keys each; they stand on lines 6 and 9 plus their keys.
fn two(one: &str, other: &str) -> String {
    let route = |name: &str, keys: &str| {
        format!("[routes.{name}]\nupstream = \"http://127.0.0.1:5000\"\n{keys}\n")
    };
    format!("{}{}", route("one", one), route("other", other))
}

#[track_caller]
fn request_headers(changes: &HeaderChanges) -> (Vec<String>, Vec<&str>) {
    let set = changes.set.iter();
    let set = set.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?")));
    (
        set.collect(),
        changes.remove.iter().map(|name| name.as_str()).collect(),
    )
}

// SECURITY 13
#[test]
fn no_identity_header_of_any_route_can_be_set_or_removed() {
    let other = "[routes.other]\npath = \"/other\"\nupstream = \"echo\"\nidentity = { user = \"X-Webauth-User\" }";
    for name in [
        "X-Auth-User",
        "x-auth-assertion",
        "X-AUTH-ROLES",
        "X--Auth-User",
        "X-Webauth-User",
        "X-WebAuth--User",
        "X-Auth-User-Id",
        "X-Auth-Name",
        "X-Auth-Email",
        "X-Auth-Scopes",
        "X-Auth-Session",
        "X-Auth-Method",
        "X-Auth-Client",
    ] {
        for keys in [
            format!("request_headers = {{ set = {{ \"{name}\" = \"root\" }} }}"),
            format!("request_headers = {{ remove = [\"{name}\"] }}"),
        ] {
            bad(
                &format!("[routes.a]\npath = \"/a\"\nupstream = \"echo\"\n{keys}\n{other}"),
                &[("6:1", "which says who is calling")],
            );
        }
    }
    for name in ["X_Auth_User", "X.Auth.User", "X-Auth_User", ""] {
        bad_route(
            &format!("request_headers = {{ set = {{ \"{name}\" = \"root\" }} }}"),
            &[(&format!("9:{}", name.len() + 34), "")],
        );
        bad_route(
            &format!("request_headers = {{ remove = [\"{name}\"] }}"),
            &[("9:31", "")],
        );
    }
    good_route("request_headers = { set = { \"X-Auth-Token\" = \"the app's own\" } }");
    good_route("response_headers = { remove = [\"X-Auth-User\"] }");
}

// SECURITY 13
#[test]
fn what_the_gateway_answers_for_is_not_a_routes_to_change() {
    let of_both = [
        ("Connection", "one connection"),
        ("Keep-Alive", "one connection"),
        ("Proxy-Authorization", "one connection"),
        ("TE", "one connection"),
        ("Trailer", "one connection"),
        ("Transfer-Encoding", "one connection"),
        ("Upgrade", "one connection"),
        ("Content-Length", "how the body"),
        ("Content-Encoding", "how the body"),
        ("X-Request-Id", "the gateway names requests"),
        ("Sec-WebSocket-Accept", "opens a WebSocket"),
    ];
    let of_requests = [
        ("Host", "host_header = \"upstream\""),
        ("X-Forwarded-For", "`trusted_proxies`"),
        ("x-forwarded-prefix", "`trusted_proxies`"),
        ("X-Forwarded-Proto", "`trusted_proxies`"),
        ("X-Forwarded-Host", "`trusted_proxies`"),
        ("X-Forwarded-Port", "`trusted_proxies`"),
        ("X-Real-IP", "`trusted_proxies`"),
        ("Traceparent", "`trusted_proxies`"),
        ("Client-Cert", "`forward_client_certificate`"),
    ];
    let of_responses = [
        ("Access-Control-Allow-Origin", "`cors`"),
        ("RateLimit-Policy", "the gateway's limits"),
    ];
    let check = |key: &str, (name, why): (&str, &str)| {
        let set = format!("{key} = {{ set = {{ \"{name}\" = \"1\" }} }}");
        bad_route(&set, &[(&format!("9:{}", set.len() - 6), why)]);
        let remove = format!("{key} = {{ remove = [\"{name}\"] }}");
        bad_route(
            &remove,
            &[(&format!("9:{}", remove.len() - name.len() - 4), why)],
        );
    };
    for refused in of_both.into_iter().chain(of_requests) {
        check("request_headers", refused);
    }
    for refused in of_both.into_iter().chain(of_responses) {
        check("response_headers", refused);
    }
    bad_route(
        "response_headers = { set = { Set-Cookie = \"a=1\" } }",
        &[("9:43", "the app's cookies")],
    );
    good_route("response_headers = { remove = [\"Set-Cookie\", \"Server\", \"Host\"] }");
    good_route("request_headers = { remove = [\"RateLimit\"] }");
    bad_route(
        "authorization = \"forward\"\nauth = \"none\"\nrequest_headers = { set = { Authorization = \"Basic YTpi\" } }",
        &[("6:1", "only one of them can be meant")],
    );
    bad_route(
        "allow_headers = [\"x_tenant\"]\nrequest_headers = { set = { X-Tenant = \"acme\" } }",
        &[("6:1", "a header of its `request_headers`")],
    );
}

// SECURITY 6
#[test]
fn a_route_of_some_methods_cannot_ask_its_app_for_another() {
    let problem = [("6:1", "for another method than the one that was admitted")];
    for name in [
        "X-HTTP-Method-Override",
        "x-http-method",
        "X--Method-Override",
    ] {
        let set = format!("request_headers = {{ set = {{ \"{name}\" = \"DELETE\" }} }}");
        bad_route(&format!("methods = [\"POST\"]\n{set}"), &problem);
        good_route(&set);
        good_route(&format!(
            "methods = [\"POST\"]\nrequest_headers = {{ remove = [\"{name}\"] }}"
        ));
    }
    let allowed = "allow_headers = [\"x_http_method_override\"]";
    bad_route(&format!("methods = [\"POST\"]\n{allowed}"), &problem);
    good_route(allowed);
}

#[test]
fn headers_say_what_they_mean() {
    bad_route(
        "request_headers = { sett = {} }",
        &[("9:21", "did you mean `set`?")],
    );
    bad_route(
        "request_headers = { set = { A = 1, B = \"\", C = \" x\", D = \"é\", \"E\\n\" = \"x\" } }",
        &[
            ("9:33", "must be a string"),
            ("9:40", "list it in `remove`"),
            ("9:48", "list it in `remove`"),
            ("9:58", "printable ASCII"),
            ("9:71", "only letters, digits and '-'"),
        ],
    );
    bad_route(
        "request_headers = { set = { X-A = \"1\", x-a = \"2\" }, remove = [\"X-A\", \"Via\", \"via\"] }",
        &[
            ("9:46", "set twice"),
            ("9:63", "x-a is named already"),
            ("9:77", "via is named already"),
        ],
    );
}

#[test]
fn header_changes_are_inherited_header_by_header() {
    let config = good(
        r#"
[defaults]
upstream = "echo"
request_headers = { set = { X-Tenant = "acme", X-Tier = "basic" }, remove = ["Accept-Encoding"] }
[routes.a]
path = "/a"
request_headers = { set = { X-Tier = "gold" } }
[routes.a.paths."/a/b"]
request_headers = { set = { Accept-Encoding = "identity" }, remove = ["X-Tier"] }
[routes.c]
path = "/c"
"#,
    )
    .config;
    let [a, b, c] = config.routes.as_slice() else {
        panic!("{:?}", config.routes)
    };
    let set = |values: &[&str]| values.iter().map(|&value| value.to_owned()).collect();
    assert_eq!(
        request_headers(&a.request_headers),
        (
            set(&["x-tier: gold", "x-tenant: acme"]),
            vec!["accept-encoding"]
        )
    );
    assert_eq!(
        request_headers(&b.request_headers),
        (
            set(&["accept-encoding: identity", "x-tenant: acme"]),
            vec!["x-tier"]
        )
    );
    assert_eq!(
        request_headers(&c.request_headers),
        (
            set(&["x-tenant: acme", "x-tier: basic"]),
            vec!["accept-encoding"]
        )
    );
}

#[test]
fn a_secret_value_is_never_shown() {
    let loaded =
        good_route("request_headers = { set = { X-Key = \"${env:STRONG}\", X-Plain = \"1\" } }");
    let set = &loaded.config.routes[0].request_headers.set;
    assert_eq!(set[0].1, super::variable("STRONG").unwrap());
    assert!(set[0].1.is_sensitive() && !set[1].1.is_sensitive());
    assert!(!format!("{:?}", loaded.config).contains("qL0T9x"));

    // Without its secrets a file still says which headers it names.
    let offline = |name: &str| {
        let text = format!(
            "{BASE}[routes.a]\npath = \"/a\"\nupstream = \"echo\"\n\
             request_headers = {{ set = {{ {name} = \"${{env:NONE}}\" }} }}"
        );
        read(&text, Secrets::Offline).map_err(|problems| shown(&problems.problems))
    };
    assert_eq!(
        offline("X-Key").unwrap().config.routes[0]
            .request_headers
            .set
            .len(),
        1
    );
    assert_eq!(offline("X-Auth-User").unwrap_err().len(), 1);
    for name in ["NONE", "STRONG}\n${env:NONE"] {
        let told = super::whole;
        told(
            &format!(
                "{BASE}[routes.a]\npath = \"/a\"\nupstream = \"echo\"\n\
                 request_headers = {{ set = {{ X-Key = \"${{env:{}}}\" }} }}",
                name.replace('\n', " ")
            ),
            &[("9:37", "the environment has no variable NONE")],
        );
    }
}

#[test]
fn users_and_addresses_are_lists_of_what_they_say() {
    let loaded = good_route(
        "users = [\"Alice\", \"bob@example.com\", \"01a201df-6deb-7f98-b7c4-a0327a7f6146\"]\n\
         addresses = [\"10.1.2.3/8\", \"2001:db8::1\"]",
    );
    let route = &loaded.config.routes[0];
    let networks: Vec<_> = route.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["10.0.0.0/8", "2001:db8::1/128"]);
    assert_eq!(route.users.len(), 3);

    bad_route(
        "users = [\"a b\", \"a@b\", 1]",
        &[
            ("9:10", "a username has"),
            ("9:17", "an e-mail address looks like"),
            ("9:24", "must be a string"),
        ],
    );
    bad_route(
        "users = [\"alice\"]\nauth = \"none\"",
        &[("10:8", "this route has `users`")],
    );
    bad_route(
        "users = [\"alice\"]\nauth = \"optional\"",
        &[("10:8", "or write users = []")],
    );
    bad_route("addresses = []", &[("9:13", "[\"0.0.0.0/0\", \"::/0\"]")]);
    bad_route(
        "addresses = [\"10.0.0.0/33\", \"localhost\"]",
        &[
            ("9:14", "a network looks like"),
            ("9:29", "a network looks like"),
        ],
    );
}

#[test]
fn users_that_do_not_hold_what_they_promise_are_told() {
    warned(
        "[routes.a]\npath = \"/a\"\nupstream = \"echo\"\nusers = []",
        &[("9:9", "nobody is listed")],
    );
    warned(
        "registration = \"open\"\n[routes.a]\npath = \"/a\"\nupstream = \"echo\"\nusers = [\"alice\"]",
        &[("7:1", "whoever registers that name may pass")],
    );
    // An id is nobody else's, and without registration nobody takes a name.
    warned(
        "registration = \"open\"\n[routes.a]\npath = \"/a\"\nupstream = \"echo\"\n\
         users = [\"01a201df-6deb-7f98-b7c4-a0327a7f6146\"]",
        &[],
    );
    warned(
        "[routes.a]\npath = \"/a\"\nupstream = \"echo\"\nusers = [\"alice\"]",
        &[],
    );
}

// SECURITY 6
#[test]
fn a_rewrite_is_one_path_that_everybody_reads_alike() {
    for (bad, why) in [
        ("v2", "starts with '/'"),
        ("/v2/", "without the '/' at the end"),
        ("/a//b", "empty segment"),
        ("/a/../b", "dot segments"),
        ("/a/%2e%2e", "dot segments"),
        ("/a%2fb", "encoded slash"),
        ("/a;b", "'%' and ';'"),
        ("/a%3bb", "'%' and ';'"),
        ("/a%252e", "'%' and ';'"),
        ("/a?b", "not part of a path"),
    ] {
        bad_route(&format!("rewrite = \"{bad}\""), &[("9:11", why)]);
    }
    bad_route(
        "strip_prefix = true\nrewrite = \"/v2\"",
        &[("9:16", "only one of `rewrite`, `strip_prefix`")],
    );
    bad_route(
        "host_header = \"app.local\"",
        &[("9:15", "one of `original`, `upstream`")],
    );
}

#[test]
fn an_inherited_rewrite_is_of_its_routes_path_and_an_own_one_of_its_own() {
    let config = good(
        r#"
[routes.a]
path = "/a"
upstream = "echo"
rewrite = "/v2"
[routes.a.paths."/a/inherits"]
[routes.a.paths."/a/own"]
rewrite = "/v3"
[routes.a.paths."/a/plain"]
strip_prefix = false
"#,
    )
    .config;
    let rewrite = |route: &Route| {
        let rewrite = route.rewrite.as_ref()?;
        Some(format!("{} to {}", rewrite.from[0], rewrite.to))
    };
    let rewrites: Vec<_> = config.routes.iter().map(rewrite).collect();
    let expected = [
        Some("/a to /v2"),
        Some("/a to /v2"),
        Some("/a/own to /v3"),
        None,
    ];
    assert_eq!(rewrites, expected.map(|text| text.map(str::to_owned)));
}

// SECURITY 6
#[test]
fn a_rewrite_into_what_another_route_guards_is_told() {
    let opened = |one: &str, other: &str, line: usize, part: &str| {
        let lines = two(one, other);
        let loaded = good(&lines);
        let told = shown(&loaded.warnings);
        let expected = format!("{line}:1: ");
        assert!(
            told.iter()
                .any(|text| text.starts_with(&expected) && text.contains(part)),
            "{lines}\n{told:#?}"
        );
    };
    let closed = |one: &str, other: &str| {
        let lines = two(one, other);
        let told = shown(&good(&lines).warnings);
        assert!(
            !told.iter().any(|text| text.contains(" of the app")),
            "{lines}\n{told:#?}"
        );
    };
    let open = "path = \"/open\"\nauth = \"none\"\nrewrite = \"/admin\"";
    opened(
        open,
        "path = \"/admin\"",
        6,
        "leads to /admin of the app, where route `other`",
    );
    opened(open, "path = \"/\"", 6, "leads to /admin of the app");
    opened(
        open,
        "path = \"/admin/keys\"",
        6,
        "leads to /admin/keys of the app",
    );
    // As strict as what it leads to, or somewhere else.
    closed(open, "path = \"/admin\"\nauth = \"none\"");
    closed(open, "path = \"/other\"");
    closed(
        "path = \"/open\"\nrewrite = \"/admin\"",
        "path = \"/admin\"",
    );
    // By roles, users, scopes and addresses as well.
    for guard in [
        "roles = [\"admin\"]",
        "users = [\"alice\"]",
        "scopes = [\"notes:read\"]",
        "addresses = [\"10.0.0.0/8\"]",
    ] {
        let guarded = format!("path = \"/admin\"\n{guard}");
        let weak = "path = \"/open\"\nrewrite = \"/admin\"";
        opened(weak, &guarded, 6, "leads to /admin of the app");
        closed(&format!("{weak}\n{guard}"), &guarded);
    }
    // A network within another one is not wider, but the other one is.
    opened(
        "path = \"/admin\"\naddresses = [\"10.0.0.0/8\"]",
        "path = \"/open\"\nrewrite = \"/admin\"\naddresses = [\"10.1.0.0/16\"]",
        6,
        "leads to /admin of the app, where route `other`",
    );
    // The other way round: what is guarded by a rewrite lies open by its own name.
    opened(
        "path = \"/\"\nauth = \"none\"",
        "path = \"/secure\"\nrewrite = \"/internal\"",
        6,
        "leads to /internal of the app, where route `other`",
    );
    // A route of its own for that path takes it away.
    let taken = "path = \"/internal\"\nroles = [\"x\"]\n[routes.third]\nupstream = \"http://127.0.0.1:5000\"\npath = \"/\"\nauth = \"none\"";
    let lines = two(
        "path = \"/secure\"\nroles = [\"x\"]\nrewrite = \"/internal\"",
        taken,
    );
    let told = shown(&good(&lines).warnings);
    assert!(
        !told.iter().any(|text| text.contains(" of the app")),
        "{told:#?}"
    );
    // A public part of a stripped route is what somebody meant.
    closed(
        "path = \"/notes\"\nstrip_prefix = true\n[routes.one.paths.\"/notes/public\"]\nauth = \"none\"",
        "path = \"/elsewhere\"\nauth = \"none\"\nrewrite = \"/public\"",
    );
}

// SECURITY 13
#[test]
fn a_header_that_one_route_sets_and_another_lets_through_is_told() {
    let set = "path = \"/a\"\nroles = [\"x\"]\nrequest_headers = { set = { X-Tenant = \"acme\" } }";
    let told = |other: &str| {
        let lines = two(set, other);
        let told = shown(&good(&lines).warnings);
        told.into_iter()
            .filter(|text| text.contains("x-tenant"))
            .collect::<Vec<_>>()
    };
    let open = told("path = \"/b\"");
    assert_eq!(open.len(), 1, "{open:?}");
    assert!(open[0].contains("route `other` lets clients write x-tenant, which route `one` sets"));
    assert!(told("path = \"/b\"\nrequest_headers = { remove = [\"X-Tenant\"] }").is_empty());
    assert!(told("path = \"/b\"\nrequest_headers = { set = { x-tenant = \"b\" } }").is_empty());
}
