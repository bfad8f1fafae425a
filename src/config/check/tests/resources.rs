//! `audience` of routes and `resources` of clients.

use crate::config::UnknownResource;

use super::bad;
use super::bad_route;
use super::good;
use super::good_route;
use super::warned;

const CLIENT: &str = "[clients.sync]\nsecret = \"Xq2v8mK4tR9wZ1bN6cL3pS7dF5gH0jYa\"\n\
                      grants = [\"client_credentials\"]\n";

#[test]
fn an_audience_is_an_absolute_uri_in_its_one_form() {
    for audience in [
        "https://api.example.com",
        "https://api.example.com/v1/",
        "urn:example:api",
    ] {
        let loaded = good_route(&format!("audience = \"{audience}\""));
        let read = loaded.config.routes[0].audience.as_ref();
        assert_eq!(read.map(|it| it.as_str()), Some(audience));
    }
    assert_eq!(good_route("").config.routes[0].audience, None);
    for (audience, why) in [
        ("", "absolute URI without fragment"),
        ("api.example.com", "absolute URI without fragment"),
        ("https://api.example.com#x", "absolute URI without fragment"),
        (
            "https://api.example.com/\\u0022",
            "absolute URI without fragment",
        ),
        ("https://API.example.com", "normal form"),
        ("https://api.example.com/", "without the slash at its end"),
    ] {
        bad_route(&format!("audience = \"{audience}\""), &[("9:12", why)]);
    }
    bad_route(
        "audience = [\"https://a.example\"]",
        &[("9:12", "must be a string")],
    );
}

#[test]
fn an_audience_is_inherited_and_odd_where_no_token_is_read() {
    let config = good(
        r#"
        [defaults]
        upstream = "echo"
        audience = "https://all.example"
        [routes.a]
        path = "/a"
        [routes.a.paths."/a/open"]
        auth = "none"
        [routes.b]
        path = "/b"
        audience = "https://b.example"
        "#,
    )
    .config;
    let audiences: Vec<_> = config
        .routes
        .iter()
        .map(|it| it.audience.as_ref())
        .collect();
    let audiences: Vec<_> = audiences
        .into_iter()
        .map(|it| it.unwrap().as_str())
        .collect();
    assert_eq!(
        audiences,
        [
            "https://all.example",
            "https://all.example",
            "https://b.example"
        ]
    );
    let route =
        "[routes.a]\npath = \"/a\"\nupstream = \"echo\"\naudience = \"https://a.example\"\n";
    warned(
        &format!("{route}auth = \"none\""),
        &[("6:1", "is public"), ("9:12", "reads nobody's token")],
    );
    warned(
        &format!("{route}authorization = \"forward\""),
        &[("9:12", "reads nobody's token")],
    );
    warned(route, &[]);
}

#[test]
fn a_client_may_ask_for_the_gateway_for_what_is_a_routes_and_for_its_own() {
    let config = good(&format!(
        "{CLIENT}resources = [\"https://elsewhere.example/\"]\n[routes.a]\npath = \"/a\"\n\
         upstream = \"echo\"\naudience = \"https://a.example/v1\""
    ))
    .config;
    let (all, own) = (config.resources(), &config.clients[0].resources);
    let find = |name: &str| {
        let found = all.find(name, own);
        found.map(|it| it.map(|it| it.as_str().to_owned()))
    };
    let some = |text: &str| Ok(Some(text.to_owned()));
    assert_eq!(find("https://localhost:8443"), Ok(None));
    assert_eq!(find("https://localhost:8443/"), Ok(None));
    assert_eq!(find("https://a.example/v1"), some("https://a.example/v1"));
    // What is in the token is what the file has.
    assert_eq!(
        find("https://elsewhere.example"),
        some("https://elsewhere.example/")
    );
    for unknown in [
        "https://localhost",
        "https://a.example",
        "https://a.example/v1/",
        "",
    ] {
        assert_eq!(find(unknown), Err(UnknownResource), "{unknown}");
    }
    assert_eq!(
        all.find("https://elsewhere.example", &[]),
        Err(UnknownResource)
    );
    bad(
        &format!("{CLIENT}resources = [\"elsewhere\", \"urn:a\", \"urn:a\"]"),
        &[("9:14", "absolute URI"), ("9:36", "listed twice")],
    );
}

#[test]
fn no_route_takes_what_is_well_known_of_resources() {
    for path in ["", "/v1"] {
        let path = format!("/.well-known/oauth-protected-resource{path}");
        bad(
            &format!("[routes.a]\nupstream = \"echo\"\npath = \"{path}\""),
            &[("6:1", "belongs to the gateway itself")],
        );
    }
}
