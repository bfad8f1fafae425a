//! What routes say, inherit and ask for, and where they get into each other's way.

use crate::config::Auth;
use crate::config::HostPattern;
use crate::config::LimitBy;
use crate::config::Route;
use crate::config::Target;

use super::BASE;
use super::bad;
use super::bad_route;
use super::good;
use super::good_route;
use super::warned;
use super::whole;

#[test]
fn routes_inherit_what_they_do_not_say() {
    let config = good(
        r#"
[defaults]
max_body = "1MiB"
upstream = "http://127.0.0.1:5000"
limit = "5 per minute"
[routes.notes]
host = ["App.example.com", "*.example.org"]
path = ["/notes", "/n"]
methods = ["GET", "POST"]
scopes = ["notes:read"]
limits = [{ rate = "1 per second", by = "route" }, { rate = "off" }]
strip_prefix = true
[routes.notes.paths."/notes/public"]
auth = "none"
scopes = []
limit = "off"
[routes.aaa]
path = "/"
upstream = "echo"
path_allow = ["semicolon"]
"#,
    )
    .config;
    let [notes, public, aaa] = config.routes.as_slice() else {
        panic!("{:#?}", config.routes)
    };

    assert_eq!(
        (&*notes.name, &*public.name, &*aaa.name),
        ("notes", "notes /notes/public", "aaa")
    );
    assert_eq!((notes.position.line, public.position.line), (11, 18));
    assert_eq!(
        notes.hosts,
        [
            HostPattern::Exact("app.example.com".to_owned()),
            HostPattern::Wildcard("example.org".to_owned()),
        ]
    );
    assert_eq!(public.hosts, notes.hosts);
    assert_eq!(notes.methods.as_deref().map(<[_]>::len), Some(3));
    assert_eq!(notes.body_bytes_max, 1 << 20);
    assert_eq!((notes.auth, public.auth), (Auth::Required, Auth::None));
    let from = |route: &Route| route.rewrite.as_ref().map(|rewrite| rewrite.from.clone());
    assert_eq!(from(notes).as_ref(), Some(&notes.paths));
    assert_eq!(from(public).as_ref(), Some(&notes.paths));
    assert_eq!(from(aaa), None);
    assert_eq!(notes.limits.len(), 1);
    assert_eq!(notes.limits[0].by, LimitBy::Route);
    assert!(public.limits.is_empty());
    assert_eq!(aaa.limits[0].by, LimitBy::User);
    assert!(aaa.path_allow.semicolon && !aaa.path_allow.double_slash);
    assert_eq!(
        (&notes.target, &aaa.target),
        (&Target::Upstream(0), &Target::Echo)
    );
    assert_eq!(config.upstreams.len(), 1);
    assert_eq!(config.upstreams[0].targets[0].authority, "127.0.0.1:5000");
    assert!(public.paths[0].to_string() == "/notes/public" && aaa.paths[0].to_string() == "/");
}

#[test]
fn what_is_wrong_in_the_defaults_is_told_once() {
    let routes = "[routes.a]\npath = \"/a\"\nupstream = \"echo\"\n[routes.b]\npath = \"/b\"\nupstream = \"echo\"";
    bad(
        &format!("[defaults]\nauth = \"maybe\"\n{routes}"),
        &[("7:8", "one of `required`")],
    );
    bad("[defaults]\nmax_body = 5", &[("7:12", "must be a string")]);
}

#[test]
fn routes_say_what_they_mean() {
    bad(
        "[routes.a]",
        &[
            ("6:1", "`path` is missing"),
            ("6:1", "`upstream` is missing"),
        ],
    );
    bad(
        "[routes.\"a b\"]\npath = \"/a\"\nupstream = \"echo\"",
        &[("6:1", "a name has 1 to 64")],
    );
    bad(
        "[routes.a]\npath = \"/a\"\nupstream = \"notes\"",
        &[("8:12", "there is no [upstreams.notes]")],
    );
    bad(
        "[routes.a]\npath = \"/a\"\nupstream = \"http://a/b\"",
        &[("8:12", "host and port alone")],
    );
    bad(
        "[upstreams.echo]\ntargets = \"http://a\"",
        &[("6:1", "taken by the built-in echo")],
    );
    bad(
        "[upstreams.a]\ntargets = []\n[upstreams.b]",
        &[("7:11", "needs a target"), ("8:1", "`targets` is missing")],
    );
    bad_route(
        "auth = \"maybe\"",
        &[("9:8", "one of `required`, `optional`, `none`")],
    );
    bad_route("methods = []", &[("9:11", "leave it out")]);
    bad_route(
        "methods = [\"get\", \"TRACE\", \"PUT\", \"PUT\"]",
        &[
            ("9:12", "in capitals"),
            ("9:19", "never forwarded"),
            ("9:35", "listed twice"),
        ],
    );
    bad_route(
        "host = \"app.example.com:443\"",
        &[("9:8", "without scheme and port")],
    );
    bad_route(
        "limit = \"1 per second\"\nlimits = []",
        &[("9:9", "only one of `limits`, `limit`")],
    );
    bad_route(
        "limits = [{ by = \"moon\" }]",
        &[("9:11", "`rate` is missing"), ("9:18", "one of `user`")],
    );
    bad_route(
        "cors = { origins = [\"*\"], credentials = true }",
        &[("9:8", "without `credentials`")],
    );
    bad_route(
        "cors = { origins = [\"*\", \"https://a.example\"] }",
        &[("9:8", "stands alone")],
    );
    bad_route(
        "cors = { origins = [\"https://a.example/\"] }",
        &[("9:21", "host and port alone")],
    );
    bad_route("path_allow = [\"dots\"]", &[("9:15", "encoded_slash")]);
    bad_route("max_body = \"2TiB\"", &[("9:12", "a size is")]);
    bad_route("clients = [\"*\", \"a\"]", &[("9:11", "write it alone")]);
    bad_route("clients = [\"a b\"]", &[("9:12", "a client id has")]);
    bad_route(
        "paths.\"/a/\" = {}",
        &[("9:15", "without the '/' at the end")],
    );
    bad(
        "[scopes]\n\"a b\" = \"x\"\nb = 1",
        &[("7:9", "a scope has"), ("8:5", "must be a string")],
    );
    assert!(
        good_route("cors = { origins = [\"*\"] }").config.routes[0]
            .cors
            .is_some()
    );
    assert!(
        good_route("cors = { origins = [] }").config.routes[0]
            .cors
            .is_none()
    );
}

#[test]
fn only_a_route_that_requires_a_caller_asks_for_more() {
    bad_route(
        "auth = \"none\"\nscopes = [\"x\"]\nroles = [\"y\"]\nclients = \"*\"",
        &[
            ("9:8", "has `clients`"),
            ("9:8", "has `roles`"),
            ("9:8", "has `scopes`"),
        ],
    );
    bad_route(
        "auth = \"optional\"\nroles = [\"y\"]",
        &[("9:8", "write roles = []")],
    );
    bad_route(
        "roles = [\"y\"]\n[routes.a.paths.\"/a/b\"]\nauth = \"none\"",
        &[("11:8", "has `roles`")],
    );
    good_route("roles = [\"y\"]\n[routes.a.paths.\"/a/b\"]\nauth = \"none\"\nroles = []");
}

// SECURITY 13
#[test]
fn identity_headers_have_names_of_their_own() {
    let names = |text: &str| {
        let config = good(text).config;
        let names = config.routes[0].identity.names();
        names
            .map(|name| name.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    let route = "[routes.a]\npath = \"/a\"\nupstream = \"echo\"\n";
    assert_eq!(names(route).len(), 10);
    assert_eq!(
        names(&format!("[identity]\nassertion = \"off\"\n{route}")).len(),
        9
    );
    assert_eq!(
        names(&format!("[identity]\nheaders = \"authelia\"\n{route}")),
        [
            "remote-user",
            "remote-name",
            "remote-email",
            "remote-groups",
            "x-auth-assertion"
        ]
    );
    assert_eq!(
        names(&format!(
            "[identity]\nheaders = \"oauth2-proxy\"\n{route}identity = {{ user = \"X-WEBAUTH-USER\" }}"
        )),
        [
            "x-webauth-user",
            "x-forwarded-user",
            "x-forwarded-email",
            "x-forwarded-groups",
            "x-auth-assertion"
        ]
    );
    assert_eq!(
        names(&format!(
            "[identity]\nassertion = \"off\"\nheaders = {{ user = \"X-User\" }}\n{route}identity.assertion = \"X-A\""
        )),
        ["x-user"]
    );
    bad(
        "[identity]\nheaders = \"nginx\"",
        &[("7:11", "one of `portcullis`, `oauth2-proxy`, `authelia`")],
    );
    bad(
        "[identity.headers]\nuser = \"X_User\"\nemail = \"Host\"\nphone = \"X\"",
        &[
            ("7:8", "only letters, digits and '-'"),
            ("8:9", "a meaning of its own"),
            ("9:1", "unknown key `phone`"),
        ],
    );
    bad_route(
        "identity = { user = \"X-Auth-Email\" }",
        &[("9:12", "both called x-auth-email")],
    );
}

// SECURITY 13
#[test]
fn no_alias_of_an_identity_header_is_let_through() {
    good_route("allow_headers = [\"api_key\", \"x.y\"]");
    for alias in [
        "X_Auth_User",
        "x-auth-anything",
        "x.auth.user",
        "x__auth_user",
        "content_length",
        "x_forwarded_for",
        "client_cert",
        "Client.Cert-Chain",
    ] {
        bad_route(
            &format!("allow_headers = [\"{alias}\"]"),
            &[("9:18", "apps could take this header")],
        );
    }
    bad_route(
        "allow_headers = [\"a b\", \"\"]",
        &[("9:18", "no header name"), ("9:25", "no header name")],
    );
    bad(
        "[routes.a]\npath = \"/a\"\nupstream = \"echo\"\nallow_headers = [\"x_webauth.user\"]\n\
         [routes.b]\npath = \"/b\"\nupstream = \"echo\"\nidentity.user = \"X-WebAuth-User\"",
        &[("6:1", "lets x_webauth.user through")],
    );
}

#[test]
fn ties_are_refused() {
    let two = |one: &str, other: &str| {
        format!("[routes.a]\nupstream = \"echo\"\n{one}\n[routes.b]\nupstream = \"echo\"\n{other}")
    };
    let tie = [(
        "9:1",
        "route `b` answers for the same host, path (/x) and method as route `a` on line 6",
    )];
    bad(&two("path = \"/x\"", "path = [\"/y\", \"/x\"]"), &tie);
    bad(
        &two(
            "path = \"/%78\"\nmethods = [\"GET\"]",
            "path = \"/x\"\nmethods = [\"HEAD\"]",
        ),
        &[("10:1", "(/x)")],
    );
    bad(
        &two(
            "path = \"/x\"\nhost = \"A.b\"",
            "path = \"/x\"\nhost = [\"c.d\", \"a.b\"]",
        ),
        &[("10:1", "(/x)")],
    );
    good(&two("path = \"/x\"\nhost = \"a.b\"", "path = \"/x\""));
    good(&two(
        "path = \"/x\"\nhost = \"a.b\"",
        "path = \"/x\"\nhost = \"*.b\"",
    ));
    good(&two(
        "path = \"/x\"\nmethods = [\"GET\"]",
        "path = \"/x\"\nmethods = [\"POST\"]",
    ));
    good(&two("path = \"/x\"", "path = \"/x/y\""));
    bad_route(
        "paths.\"/a\" = {}",
        &[("9:14", "route `a /a` answers for the same")],
    );
}

#[test]
fn own_endpoints_are_not_routed_elsewhere() {
    let route = |path: &str| format!("[routes.a]\npath = \"{path}\"\nupstream = \"echo\"");
    for path in [
        "/auth",
        "/auth/login",
        "/auth/x/y",
        "/.well-known/jwks.json",
    ] {
        bad(&route(path), &[("6:1", "belongs to the gateway itself")]);
    }
    for path in [
        "/",
        "/authors",
        "/login",
        "/.well-known",
        "/.well-known/security.txt",
    ] {
        good(&route(path));
    }
    let at_root =
        |path: &str| BASE.replace("public_url", "prefix = \"\"\npublic_url") + &route(path);
    for path in [
        "/login",
        "/me",
        "/password",
        "/portcullis-assets",
        "/portcullis-assets/x",
        "/.well-known/openid-configuration",
    ] {
        whole(&at_root(path), &[("7:1", "belongs to the gateway itself")]);
    }
    for path in ["/", "/auth", "/login/help"] {
        whole(&at_root(path), &[]);
    }
}

#[test]
fn what_is_odd_is_a_warning() {
    let route = |keys: &str| format!("[routes.a]\npath = \"/a\"\nupstream = \"echo\"\n{keys}");
    warned(&route(""), &[]);
    warned(&route("auth = \"none\""), &[("6:1", "route `a` is public")]);
    warned(
        &route("scopes = [\"x\"]"),
        &[("6:1", "nobody can pass route `a`")],
    );
    warned(&route("scopes = [\"x\"]\nclients = [\"c\"]"), &[]);
    warned(
        &format!("login_scopes = [\"x\"]\n{}", route("scopes = [\"x\"]")),
        &[],
    );
    warned(&route("authorization = \"forward\""), &[]);
    warned(
        &format!("registration = \"open\"\n{}", route("")),
        &[("7:1", "whoever registers may pass")],
    );
    warned(
        &format!("registration = \"open\"\n{}", route("roles = [\"r\"]")),
        &[],
    );
    warned(
        &route("paths.\"/b\" = {}"),
        &[("9:14", "does not lie below")],
    );
    warned(&route("paths.\"/a/b\" = {}"), &[]);
    warned(
        "[[listeners]]\naddress = \"0.0.0.0:80\"\ntls = false",
        &[("6:1", "there are none")],
    );
    warned(
        "[[listeners]]\naddress = \"127.0.0.1:80\"\ntls = false",
        &[],
    );
}
