//! `[clients.NAME]`.

use crate::config::check::tests::bad;
use crate::config::check::tests::good;
use crate::domain::Client;
use crate::domain::Consent;
use crate::domain::Grant;

const SECRET: &str = "secret = \"Xq2v8mK4tR9wZ1bN6cL3pS7dF5gH0jYa\"\n";
const GOOD: &str =
    "secret = \"Xq2v8mK4tR9wZ1bN6cL3pS7dF5gH0jYa\"\ngrants = [\"client_credentials\"]\n";
const NATIVE: &str = "public = true\ngrants = [\"authorization_code\"]\n\
                      redirect_uris = [\"http://127.0.0.1/cb\"]\n";

#[track_caller]
fn only(snippet: &str) -> Client {
    let mut clients = good(snippet).config.clients;
    assert_eq!(clients.len(), 1);
    clients.remove(0)
}

#[test]
fn a_client_is_read_and_its_secret_only_as_a_hash() {
    let loaded = good(&format!(
        "[clients.notes-sync]\n{GOOD}scopes = [\"notes:read\"]\n[scopes]\n\"notes:read\" = \"Read\""
    ));
    let [client] = loaded.config.clients.as_slice() else {
        panic!("{:?}", loaded.config.clients);
    };
    assert_eq!(client.id.as_str(), "notes-sync");
    assert_eq!(client.title(), "notes-sync");
    assert_eq!(client.scopes.to_string(), "notes:read");
    assert_eq!(client.grants, [Grant::ClientCredentials]);
    assert!(!client.is_public());
    assert!(!format!("{:?}", loaded.config).contains("Xq2v8mK4"));
}

#[test]
fn a_client_of_people_is_read_as_it_stands() {
    let client = only(&format!(
        "[clients.web]\n{SECRET}name = \"Notes\"\nredirect_uris = [\"https://a.example/cb\"]\n\
         post_logout_redirect_uris = [\"https://a.example/\"]\nconsent = \"skip\"\nroles = [\"staff\"]\n\
         scopes = [\"openid\", \"offline_access\"]\ngrants = [\"authorization_code\", \"refresh_token\"]"
    ));
    assert_eq!(client.title(), "Notes");
    assert_eq!(client.consent, Consent::Skip);
    assert_eq!(client.roles.len(), 1);
    assert!(client.sends_to("https://a.example/cb"));
    assert!(!client.sends_to("https://a.example/cb/"));
    assert!(!client.sends_to("https://a.example:1/cb"));

    let native = only(&format!("[clients.app]\n{NATIVE}"));
    assert!(native.is_public());
    assert_eq!(native.consent, Consent::Ask);
    assert!(native.sends_to("http://127.0.0.1:5000/cb"));
    // An app that keeps a secret runs where it was registered.
    let web = format!("[clients.app]\n{NATIVE}").replace("public = true\n", SECRET);
    assert!(!only(&web).sends_to("http://127.0.0.1:5000/cb"));
}

// SECURITY 59
#[test]
fn a_client_needs_a_name_a_grant_and_a_secret_that_nobody_guesses() {
    bad(
        &format!("[clients.portcullis]\n{GOOD}"),
        &[("6:1", "the gateway's own")],
    );
    bad(
        &format!("[clients.\"a b\"]\n{GOOD}"),
        &[("6:1", "a client id has")],
    );
    bad(
        "[clients.a]\ngrants = [\"client_credentials\"]",
        &[("6:1", "secret")],
    );
    bad(
        "[clients.a]\nsecret = \"your_secret_key_here_your_secret_key\"\ngrants = [\"client_credentials\"]",
        &[("7:10", "from an example")],
    );
    bad(
        &format!("[clients.a]\n{SECRET}public = true\ngrants = [\"client_credentials\"]"),
        &[("7:10", "a public client keeps no secret")],
    );
    let secret = "[clients.a]\nsecret = \"Xq2v8mK4tR9wZ1bN6cL3pS7dF5gH0jYa\"";
    bad(secret, &[("6:1", "grants")]);
    bad(
        &format!("{secret}\ngrants = []"),
        &[("8:10", "could get no token")],
    );
    bad(
        &format!("{secret}\ngrants = [\"password\"]"),
        &[("8:11", "a grant is one of")],
    );
    bad(
        &format!("{secret}\ngrants = [\"client_credentials\", \"client_credentials\"]"),
        &[("8:33", "it is listed twice")],
    );
}

#[test]
fn a_client_holds_what_was_put_into_words() {
    bad(
        &format!("[clients.a]\n{GOOD}scopes = [\"notes:read\"]"),
        &[("9:11", "there is no such scope; write \"notes:read\" = ")],
    );
}

// SECURITY 35
#[test]
fn codes_go_nowhere_that_nobody_meant() {
    let with = |uri: &str| {
        format!(
            "[clients.a]\n{SECRET}grants = [\"authorization_code\"]\nredirect_uris = [\"{uri}\"]"
        )
    };
    for (uri, why) in [
        ("https://*.example.com/cb", "no wildcard"),
        ("https://a.example/#x", "no fragment"),
        ("https://u@a.example/", "no user and password"),
        ("http://a.example/", "write https://"),
        ("notes:/cb", "with a dot"),
        ("https://A.example/", "in lower case"),
    ] {
        bad(&with(uri), &[("9:18", why)]);
    }
}

#[test]
fn a_client_does_not_contradict_itself() {
    #[track_caller]
    fn check(lines: &str, place: &str, why: &str) {
        bad(&format!("[clients.a]\n{lines}"), &[(place, why)]);
    }
    let by_code = "grants = [\"authorization_code\"]\n";
    check(
        "public = true\ngrants = [\"client_credentials\"]",
        "8:10",
        "no credentials of its own",
    );
    check(
        &format!("{SECRET}grants = [\"client_credentials\", \"refresh_token\"]"),
        "8:10",
        "refresh_token renews",
    );
    check(
        &format!("{SECRET}{by_code}"),
        "6:1",
        "`redirect_uris` is missing: authorization_code needs",
    );
    check(
        &format!("{GOOD}redirect_uris = [\"https://a.example/cb\"]"),
        "9:17",
        "nothing is sent there",
    );
    check(
        &format!("{GOOD}post_logout_redirect_uris = [\"https://a.example/\"]"),
        "9:29",
        "nobody signs out",
    );
    check(
        &format!("{GOOD}roles = [\"staff\"]"),
        "9:9",
        "nobody signs in",
    );
    check(
        &format!("{GOOD}scopes = [\"openid\"]"),
        "9:10",
        "are about people",
    );
    check(
        &format!("{NATIVE}scopes = [\"offline_access\"]"),
        "10:10",
        "add refresh_token",
    );
}

#[test]
fn a_native_app_that_asks_nobody_is_worth_a_second_look() {
    let warned = |lines: &str| {
        let warnings = good(&format!("[clients.a]\n{lines}")).warnings;
        warnings.len()
    };
    assert_eq!(warned(NATIVE), 0);
    assert_eq!(warned(&format!("{NATIVE}consent = \"skip\"")), 1);
    let web = NATIVE.replace("http://127.0.0.1/cb", "https://a.example/cb");
    assert_eq!(warned(&format!("{web}consent = \"skip\"")), 0);
}
