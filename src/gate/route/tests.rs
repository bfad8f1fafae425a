//! Which route, and who may pass.

use http::HeaderValue;
use uuid::Uuid;

use super::*;
use crate::authenticate::Identity;
use crate::config::Config;
use crate::config::Secrets;
use crate::domain::ClientId;
use crate::domain::Scopes;
use crate::domain::SessionId;
use crate::domain::UserId;
use crate::telemetry::metrics::Metrics;
use crate::token::verify::Claims;

/// Routes as a file writes them.
fn routes(text: &str) -> Vec<Arc<Route>> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    let head = "[gateway]\npublic_url = \"https://localhost\"\n\
                [[listeners]]\naddress = \"127.0.0.1:0\"\n\
                [store]\nurl = \"sqlite:x.db\"\n\
                [defaults]\nupstream = \"echo\"\n";
    std::fs::write(&file, format!("{head}{text}")).unwrap();
    let config = Config::check(&file, Secrets::Offline).unwrap().config;
    let metrics = Metrics::new();
    let route = |(index, route): (usize, config::Route)| {
        let parts = RouteParts {
            limits: Vec::new(),
            policies: Policies::default(),
            metrics: metrics.route(&route.name),
            host: None,
            resource: None,
        };
        Arc::new(Route::new(route, index, parts))
    };
    config.routes.into_iter().enumerate().map(route).collect()
}

#[track_caller]
fn find(text: &str, method: &Method, host: &'static str, path: &str) -> Result<String, Unrouted> {
    let host = Host::parse(&HeaderValue::from_static(host)).unwrap();
    let path = RequestPath::check(path.parse().unwrap()).unwrap();
    let found = Routes::new(routes(text))
        .find(&host, &path, method)
        .cloned();
    found.map(|route| route.name().to_string())
}

const SEVERAL: &str = r#"
    [routes.all]
    path = "/"
    auth = "none"
    [routes.admin]
    path = "/admin"
    [routes.read]
    path = "/notes"
    methods = ["GET"]
    [routes.write]
    path = "/notes"
    methods = ["POST"]
    [routes.exact]
    host = "app.example.com"
    path = "/only"
    [routes.wild]
    host = "*.example.com"
    path = "/"
    [routes.odd]
    path = "/odd"
    path_allow = ["encoded_slash", "double_slash", "semicolon"]
"#;

#[track_caller]
fn finds(method: &Method, host: &'static str, path: &str, name: &str) {
    assert_eq!(
        find(SEVERAL, method, host, path),
        Ok(name.to_owned()),
        "{path}"
    );
}

#[track_caller]
fn refuses(method: &Method, host: &'static str, path: &str, why: Unrouted) {
    assert_eq!(find(SEVERAL, method, host, path), Err(why), "{path}");
}

// SECURITY 7
#[test]
fn nothing_falls_through() {
    finds(&Method::GET, "x.org", "/admin/users", "admin");
    finds(&Method::GET, "x.org", "/%61dmin", "admin");
    finds(&Method::GET, "x.org", "/administrator", "all");
    finds(&Method::HEAD, "x.org", "/notes/1", "read");
    finds(&Method::POST, "x.org", "/notes", "write");
    let allowed = Unrouted::MethodNotAllowed("GET, HEAD, POST".to_owned());
    refuses(&Method::DELETE, "x.org", "/notes/1", allowed);
    finds(&Method::GET, "app.example.com", "/only/x", "exact");
    refuses(
        &Method::GET,
        "app.example.com",
        "/admin",
        Unrouted::NotFound,
    );
    refuses(
        &Method::GET,
        "App.Example.com.:8443",
        "/",
        Unrouted::NotFound,
    );
    finds(&Method::GET, "b.a.example.com", "/admin", "wild");
    finds(&Method::GET, "example.com", "/admin", "admin");
}

// SECURITY 6
#[test]
fn a_sub_path_takes_away_what_its_route_does_and_no_more() {
    let text = r#"
        [routes.notes]
        path = "/notes"
        strip_prefix = true
        [routes.notes.paths."/notes/public"]
        auth = "none"
    "#;
    let stripped = |path: &str| {
        let path = RequestPath::check(path.parse().unwrap()).unwrap();
        let host = Host::parse(&HeaderValue::from_static("x.org")).unwrap();
        let all = Routes::new(routes(text));
        let route = all.find(&host, &path, &Method::GET).unwrap();
        let permit = Permit {
            route: Arc::clone(route),
            caller: Caller::Anonymous,
        };
        let name = route.name().to_string();
        (name, permit.forwarded_prefix(&path).map(str::to_owned))
    };
    let notes = Some("/notes".to_owned());
    assert_eq!(
        stripped("/notes/admin"),
        ("notes".to_owned(), notes.clone())
    );
    assert_eq!(
        stripped("/notes/public/admin"),
        ("notes /notes/public".to_owned(), notes)
    );
}

// SECURITY 6
#[test]
fn odd_spellings_need_leave_and_must_mean_the_same_route() {
    refuses(
        &Method::GET,
        "x.org",
        "//admin",
        Unrouted::Oddity("double_slash"),
    );
    refuses(
        &Method::GET,
        "x.org",
        "/x%2fadmin",
        Unrouted::Oddity("encoded_slash"),
    );
    refuses(
        &Method::GET,
        "x.org",
        "/admin;x",
        Unrouted::Oddity("semicolon"),
    );
    refuses(
        &Method::GET,
        "x.org",
        "/odd/%2561",
        Unrouted::Oddity("double_encoding"),
    );
    finds(&Method::GET, "x.org", "/odd/a%2fb", "odd");
    finds(&Method::GET, "x.org", "/odd//b;c", "odd");
}

#[test]
fn an_allowed_spelling_may_not_mean_another_route() {
    let text = r#"
        [routes.all]
        path = "/"
        auth = "none"
        path_allow = ["double_slash", "encoded_slash", "semicolon", "double_encoding"]
        [routes.admin]
        path = "/admin"
    "#;
    for path in [
        "//admin",
        "/%2fadmin",
        "/admin;a",
        "/%2561dmin",
        "/x\\..;/admin",
    ] {
        let Ok(path) = path.parse() else { continue };
        let Ok(path) = RequestPath::check(path) else {
            continue;
        };
        let host = Host::parse(&HeaderValue::from_static("x.org")).unwrap();
        let all = Routes::new(routes(text));
        assert_eq!(
            all.find(&host, &path, &Method::GET).err(),
            Some(Unrouted::Ambiguous)
        );
    }
    assert_eq!(
        find(text, &Method::GET, "x.org", "/a//b").as_deref(),
        Ok("all")
    );
}

// SECURITY 6
#[test]
fn a_path_in_another_case_is_no_way_around_a_route() {
    let text = r#"
        [routes.all]
        path = "/"
        auth = "none"
        [routes.admin]
        path = "/admin"
        [routes.capital]
        path = "/Users/Me"
        [routes.street]
        path = "/straße"
        [routes.small]
        path = "/users"
        [routes.plain]
        path = "/plain"
        path_allow = ["case"]
        [routes.plain-beside]
        path = "/plain/Kept"
    "#;
    let find = |path: &str| find(text, &Method::GET, "x.org", path);
    let case = Err(Unrouted::Oddity("case"));
    for path in [
        "/ADMIN",
        "/Admin/x",
        "/%41dmin",
        "/admi%4E",
        "/users/me",
        "/Users/me/x",
        "/USERS",
        "/U%53ers",
        // The long s is an S to whoever folds case by way of capitals.
        "/u%C5%BFers",
        // And a capital ß is one to whoever folds it by way of small letters.
        "/stra%E1%BA%9Ee",
        "/STRASSE",
    ] {
        assert_eq!(find(path), case, "{path}");
    }
    for (path, route) in [
        ("/admin/X", "admin"),
        ("/administrator", "all"),
        ("/ADMINISTRATOR/x", "all"),
        ("/users/Alice", "small"),
        ("/Users/Me/x", "capital"),
        ("/plain/kept", "plain"),
        ("/plain/Kept", "plain-beside"),
        ("/%C3%89t%C3%A9", "all"),
    ] {
        assert_eq!(find(path).as_deref(), Ok(route), "{path}");
    }
}

fn authorize(route: &str, change: impl Fn(&mut Claims)) -> Result<(), Forbidden> {
    let text = format!("[routes.one]\npath = \"/\"\n{route}");
    let user = UserId::new(Uuid::from_u128(1));
    let mut claims = Claims::for_test(user, SessionId::new(Uuid::from_u128(2)));
    claims.scopes = Scopes::parse("notes:read").unwrap();
    claims.roles = vec![Role::parse("editor").unwrap()];
    change(&mut claims);
    let caller = Caller::Known(Identity::for_test(claims));
    routes(&text).remove(0).authorize(caller, None).map(|_| ())
}

fn delegated(claims: &mut Claims) {
    claims.client = ClientId::parse("notes-sync").unwrap();
}

// SECURITY 26
#[test]
fn scopes_are_what_a_token_may_do() {
    let scopes = |text: &str| format!("scopes = [{text}]");
    assert_eq!(authorize(&scopes("\"notes:read\""), |_| ()), Ok(()));
    let missing = Err(Forbidden::Scopes("notes:read notes:write".to_owned()));
    assert_eq!(
        authorize(&scopes("\"notes:read\", \"notes:write\""), |_| ()),
        missing
    );
    let part = Err(Forbidden::Scopes("notes".to_owned()));
    assert_eq!(authorize(&scopes("\"notes\""), |_| ()), part);
}

#[test]
fn roles_are_what_a_user_may_do() {
    assert_eq!(authorize("roles = [\"admin\", \"editor\"]", |_| ()), Ok(()));
    assert_eq!(
        authorize("roles = [\"admin\"]", |_| ()),
        Err(Forbidden::Roles)
    );
    let stranger = |claims: &mut Claims| claims.roles.clear();
    assert_eq!(
        authorize("roles = [\"editor\"]", stranger),
        Err(Forbidden::Roles)
    );
}

#[test]
fn a_delegated_token_opens_only_what_names_it() {
    assert_eq!(authorize("", |_| ()), Ok(()));
    assert_eq!(authorize("", delegated), Err(Forbidden::Delegated));
    assert_eq!(
        authorize("auth = \"optional\"", delegated),
        Err(Forbidden::Delegated)
    );
    assert_eq!(authorize("scopes = [\"notes:read\"]", delegated), Ok(()));
    let other = Err(Forbidden::Scopes("notes:write".to_owned()));
    assert_eq!(authorize("scopes = [\"notes:write\"]", delegated), other);
    assert_eq!(authorize("clients = [\"notes-sync\"]", delegated), Ok(()));
    assert_eq!(authorize("clients = [\"*\"]", delegated), Ok(()));
    assert_eq!(
        authorize("clients = [\"other\"]", delegated),
        Err(Forbidden::Delegated)
    );
}

#[test]
fn anonymous_callers_pass_only_where_nobody_is_asked() {
    let route =
        |auth: &str| routes(&format!("[routes.one]\npath = \"/\"\nauth = \"{auth}\"")).remove(0);
    assert!(route("none").authorize(Caller::Anonymous, None).is_ok());
    assert!(route("optional").authorize(Caller::Anonymous, None).is_ok());
    let refused = route("required").authorize(Caller::Anonymous, None).err();
    assert_eq!(refused, Some(Forbidden::Anonymous));
}
