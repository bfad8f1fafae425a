//! `[clients.NAME]`.

use crate::config::check::tests::bad;
use crate::config::check::tests::good;

const GOOD: &str =
    "secret = \"Xq2v8mK4tR9wZ1bN6cL3pS7dF5gH0jYa\"\ngrants = [\"client_credentials\"]\n";

#[test]
fn a_client_is_read_and_its_secret_only_as_a_hash() {
    let loaded = good(&format!(
        "[clients.notes-sync]\n{GOOD}scopes = [\"notes:read\"]"
    ));
    let [client] = loaded.config.clients.as_slice() else {
        panic!("{:?}", loaded.config.clients);
    };
    assert_eq!(client.id.as_str(), "notes-sync");
    assert_eq!(client.scopes.to_string(), "notes:read");
    assert!(!format!("{:?}", loaded.config).contains("Xq2v8mK4"));
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
    let secret = "[clients.a]\nsecret = \"Xq2v8mK4tR9wZ1bN6cL3pS7dF5gH0jYa\"";
    bad(secret, &[("6:1", "grants")]);
    bad(
        &format!("{secret}\ngrants = []"),
        &[("8:10", "could get no token")],
    );
    bad(
        &format!("{secret}\ngrants = [\"password\"]"),
        &[("8:11", "it must be \"client_credentials\"")],
    );
}
