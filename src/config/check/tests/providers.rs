//! `[providers.NAME]`.

use secrecy::ExposeSecret as _;

use crate::config::check::tests::bad;
use crate::config::check::tests::good;
use crate::config::check::tests::warned;

const CORP: &str = "[providers.corp]\nissuer = \"https://login.corp.example\"\nclient_id = \"gate\"\n\
                    client_secret = \"${env:WEAK}\"\n";

#[test]
fn what_is_left_out_of_a_provider_makes_nobody() {
    let loaded = good(CORP);
    let [provider] = loaded.config.providers.as_slice() else {
        panic!("{:?}", loaded.config.providers);
    };
    assert_eq!((&*provider.name, &*provider.label), ("corp", "corp"));
    // Others chose it: it is not for us to find it weak.
    assert_eq!(provider.client_secret.expose_secret(), "hunter2");
    assert_eq!(provider.scopes, ["openid", "profile", "email"]);
    assert!(!provider.create_accounts && provider.roles.is_empty());
    assert!(!format!("{provider:?}").contains("hunter2"));
}

#[test]
fn a_provider_is_told_whole_or_not_at_all() {
    let with = |more: &str, problems: &[(&str, &str)]| bad(&format!("{CORP}{more}"), problems);
    with("scopes = [\"email\"]", &[("10:10", "\"openid\" must be")]);
    with("roles_claim = \"groups\"", &[("10:15", "which roles")]);
    with("roles = { a = \"admin\" }", &[("10:9", "roles_claim")]);
    with(
        "roles_claim = \"groups\"\nroles = { a = [\"x y\"] }",
        &[("11:16", "\"x y\"")],
    );
    with("allow_domains = []", &[("10:17", "nobody could sign in")]);
    with(
        "allow_domains = [\"@corp.example\"]",
        &[("10:18", "it must be a domain")],
    );
    with(
        "algorithms = [\"HS256\"]",
        &[("10:15", "whoever can check a token could make one")],
    );
    let second = CORP.replace("corp]", "other]");
    bad(
        &format!("{CORP}{second}"),
        &[("10:1", "[providers.corp] has the same `issuer`")],
    );
    bad(
        "[providers.corp]\nissuer = \"http://login.corp.example\"",
        &[
            ("6:1", "`client_id` is missing"),
            ("6:1", "`client_secret` is missing"),
            ("7:10", "https://"),
        ],
    );
}

#[test]
fn a_provider_that_makes_accounts_for_anybody_is_open_registration() {
    let route = "[routes.a]\npath = \"/a\"\nupstream = \"echo\"\n";
    let open = format!("{CORP}create_accounts = true\n{route}");
    warned(&open, &[("11:1", "whoever registers may pass")]);
    let ours = format!("{CORP}create_accounts = true\nallow_domains = [\"corp.example\"]\n{route}");
    warned(&ours, &[]);
    // They may still be called there what somebody else is to be called here.
    let named = format!("{ours}users = [\"boss\"]\n");
    warned(&named, &[("12:1", "whoever registers that name may pass")]);
}
