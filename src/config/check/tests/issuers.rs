//! `[issuers.NAME]`, and the routes that list them.

use crate::config::IssuerAlgorithm;
use crate::config::check::tests::bad;
use crate::config::check::tests::good;

const CORP: &str =
    "[issuers.corp]\nissuer = \"https://login.corp.example/\"\naudiences = [\"notes\"]\n";
const ROUTE: &str = "[routes.r]\npath = \"/r\"\nupstream = \"echo\"\nissuers = [\"corp\"]\n";

// SECURITY 22
#[test]
fn what_is_left_out_of_an_issuer_is_strict() {
    let loaded = good(&format!("{CORP}{ROUTE}"));
    let [issuer] = loaded.config.issuers.as_slice() else {
        panic!("{:?}", loaded.config.issuers);
    };
    assert_eq!(&*issuer.url, "https://login.corp.example/");
    assert_eq!(issuer.types, ["at+jwt"]);
    let both = [IssuerAlgorithm::Es256, IssuerAlgorithm::Rs256];
    assert_eq!(issuer.algorithms, both);
    assert!(issuer.claims.roles.is_empty());
    assert_eq!(loaded.config.routes[0].issuers, ["corp".into()]);
}

// SECURITY 19 and 22
#[test]
fn an_issuer_needs_an_address_an_audience_and_signatures_that_only_it_can_make() {
    let with =
        |more: &str, problems: &[(&str, &str)]| bad(&format!("{CORP}{more}\n{ROUTE}"), problems);
    for algorithm in ["HS256", "none", "es256"] {
        with(
            &format!("algorithms = [\"{algorithm}\"]"),
            &[("9:15", "whoever can check a token could make one")],
        );
    }
    with("algorithms = []", &[("9:14", "nothing could be believed")]);
    with("typ = []", &[("9:7", "nothing could be believed")]);
    with(
        "jwks_url = \"http://login.corp.example/keys\"",
        &[("9:12", "https://")],
    );
    with(
        "claims = { roles = \"a..b\" }",
        &[("9:20", "realm_access.roles")],
    );
    bad(
        &format!("[issuers.corp]\nissuer = \"https://a.example\"\n{ROUTE}"),
        &[("6:1", "`audiences` is missing")],
    );
    bad(
        &format!("[issuers.corp]\naudiences = [\"notes\"]\n{ROUTE}"),
        &[
            ("6:1", "`issuer` is missing"),
            ("8:1", "there is no [issuers.corp]"),
        ],
    );
    bad(
        "[issuers.client]\nissuer = \"https://a.example\"\naudiences = [\"a\"]",
        &[("6:1", "the gateway's own")],
    );
    bad(ROUTE, &[("6:1", "there is no [issuers.corp]")]);
}

#[test]
fn keys_may_be_at_an_address_with_a_query_and_claims_may_be_named_by_addresses() {
    let keys = "https://login.corp.example/keys?p=sign_in";
    let more =
        format!("jwks_url = \"{keys}\"\nclaims = {{ roles = \"https://corp.example/roles\" }}");
    let loaded = good(&format!("{CORP}{more}\n{ROUTE}"));
    let [issuer] = loaded.config.issuers.as_slice() else {
        panic!("{:?}", loaded.config.issuers);
    };
    assert_eq!(issuer.jwks_url.as_ref().map(url::Url::as_str), Some(keys));
    assert_eq!(issuer.claims.roles, ["https://corp.example/roles"]);
    for bad_url in [
        "https://a.example/keys?p#fragment",
        "http://a.example/keys?p=1",
        "https://user@a.example/keys",
        "https://a.example/keys?a b",
    ] {
        bad(
            &format!("{CORP}jwks_url = \"{bad_url}\"\n{ROUTE}"),
            &[("9:12", "https://")],
        );
    }
}
