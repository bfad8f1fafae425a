//! `[identity]`: by which headers apps learn who is calling.

use http::HeaderName;

use crate::config::Assertion;
use crate::config::Identity;
use crate::config::IdentityHeaders;
use crate::config::reader::Table;
use crate::config::values;

/// The table, and the names that routes start from.
pub(super) fn identity(table: &Table<'_>) -> (Identity, IdentityHeaders) {
    let assertion = table.choice(
        "assertion",
        &[
            ("off", Some(Assertion::Off)),
            ("session", Some(Assertion::Session)),
            ("request", Some(Assertion::Request)),
        ],
        Assertion::Session,
    );
    let headers = table.get("headers").and_then(|value| {
        if value.is_table() {
            value.table(|table| renamed(table, &only_the_assertion()))
        } else {
            let preset = value.choice::<fn() -> IdentityHeaders>(&[
                ("portcullis", Some(portcullis)),
                ("oauth2-proxy", Some(oauth2_proxy)),
                ("authelia", Some(authelia)),
            ]);
            preset.map(|names| names())
        }
    });
    let mut headers = headers.unwrap_or_else(portcullis);
    if assertion == Assertion::Off {
        headers.assertion = None;
    }
    (Identity { assertion }, headers)
}

/// The names of `base`, but for those that the table gives. An assertion that is off stays off.
pub(super) fn renamed(table: &Table<'_>, base: &IdentityHeaders) -> IdentityHeaders {
    let mut headers = base.clone();
    for (fact, name) in facts(&mut headers) {
        if let Some(given) = table
            .get(fact)
            .and_then(|value| value.parse(values::identity_header))
        {
            *name = Some(given);
        }
    }
    if base.assertion.is_none() {
        headers.assertion = None;
    }
    let mut names: Vec<_> = headers.names().collect();
    names.sort_by_key(|name| name.as_str());
    for pair in names.windows(2) {
        if let [one, other] = pair
            && one == other
        {
            table.problem(format!("two facts about the caller are both called {one}"));
        }
    }
    headers
}

fn facts(headers: &mut IdentityHeaders) -> [(&'static str, &mut Option<HeaderName>); 10] {
    [
        ("user", &mut headers.user),
        ("user_id", &mut headers.user_id),
        ("name", &mut headers.name),
        ("email", &mut headers.email),
        ("roles", &mut headers.roles),
        ("scopes", &mut headers.scopes),
        ("session", &mut headers.session),
        ("method", &mut headers.method),
        ("client", &mut headers.client),
        ("assertion", &mut headers.assertion),
    ]
}

fn only_the_assertion() -> IdentityHeaders {
    IdentityHeaders {
        assertion: Some(HeaderName::from_static("x-auth-assertion")),
        ..IdentityHeaders::default()
    }
}

/// The preset that no name from outside may ever take, whatever is configured.
pub(super) fn portcullis() -> IdentityHeaders {
    IdentityHeaders {
        user: Some(HeaderName::from_static("x-auth-user")),
        user_id: Some(HeaderName::from_static("x-auth-user-id")),
        name: Some(HeaderName::from_static("x-auth-name")),
        email: Some(HeaderName::from_static("x-auth-email")),
        roles: Some(HeaderName::from_static("x-auth-roles")),
        scopes: Some(HeaderName::from_static("x-auth-scopes")),
        session: Some(HeaderName::from_static("x-auth-session")),
        method: Some(HeaderName::from_static("x-auth-method")),
        client: Some(HeaderName::from_static("x-auth-client")),
        ..only_the_assertion()
    }
}

/// With an OpenID provider, oauth2-proxy's `X-Forwarded-User` is the `sub`, and what people are
/// called goes into `X-Forwarded-Preferred-Username`.
fn oauth2_proxy() -> IdentityHeaders {
    IdentityHeaders {
        user: Some(HeaderName::from_static("x-forwarded-preferred-username")),
        user_id: Some(HeaderName::from_static("x-forwarded-user")),
        email: Some(HeaderName::from_static("x-forwarded-email")),
        roles: Some(HeaderName::from_static("x-forwarded-groups")),
        ..only_the_assertion()
    }
}

fn authelia() -> IdentityHeaders {
    IdentityHeaders {
        user: Some(HeaderName::from_static("remote-user")),
        name: Some(HeaderName::from_static("remote-name")),
        email: Some(HeaderName::from_static("remote-email")),
        roles: Some(HeaderName::from_static("remote-groups")),
        ..only_the_assertion()
    }
}
