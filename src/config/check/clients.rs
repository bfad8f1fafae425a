//! `[clients.NAME]`.

use std::fmt::Display;

use crate::config::check::is_weak;
use crate::config::reader::Table;
use crate::config::reader::Value;
use crate::domain::Client;
use crate::domain::ClientId;
use crate::domain::Consent;
use crate::domain::DisplayName;
use crate::domain::Grant;
use crate::domain::RedirectUri;
use crate::domain::Resource;
use crate::domain::Role;
use crate::domain::Scope;
use crate::domain::Scopes;
use crate::domain::TokenHash;

/// `declared` is what `[scopes]` has.
pub(super) fn clients(root: &Table<'_>, declared: &[(Scope, String)]) -> Vec<Client> {
    let clients = root.entries("clients").into_iter();
    clients
        .filter_map(|value| client(value, declared))
        .collect()
}

fn client(value: Value<'_>, declared: &[(Scope, String)]) -> Option<Client> {
    let id = match ClientId::parse(value.name()) {
        Ok(id) if id.is_reserved() => {
            value.problem("this name is the gateway's own; choose another");
            None
        }
        Ok(id) => Some(id),
        Err(error) => {
            value.problem(error);
            None
        }
    };
    value.table(|table| {
        let name = table
            .get("name")
            .and_then(|name| name.parse(DisplayName::parse));
        table.required("grants", "[\"authorization_code\", \"refresh_token\"]");
        let grants = table.distinct("grants", Grant::parse);
        let client = Client {
            name,
            redirect_uris: table.distinct("redirect_uris", RedirectUri::parse),
            post_logout_redirect_uris: table
                .distinct("post_logout_redirect_uris", RedirectUri::parse),
            scopes: scopes(table, declared),
            grants,
            consent: table.choice(
                "consent",
                &[("ask", Some(Consent::Ask)), ("skip", Some(Consent::Skip))],
                Consent::Ask,
            ),
            roles: table.distinct("roles", Role::parse),
            resources: table.distinct("resources", Resource::parse),
            secret: secret(table)?,
            id: id?,
        };
        // What is none was told already, and what is missing without it is no second mistake.
        let written = |key| table.get(key).map_or(0, |value| value.one_or_more().len());
        let is_whole = table.get("grants").is_some()
            && written("grants") == client.grants.len()
            && written("redirect_uris") == client.redirect_uris.len();
        for (key, why) in client.conflicts().into_iter().filter(|_| is_whole) {
            tell(table, key, why);
        }
        warn_of_risks(table, &client);
        Some(client)
    })?
}

/// At the key, or at the table where the key is not there.
fn tell(table: &Table<'_>, key: &'static str, why: impl Display) {
    match table.get(key) {
        Some(value) => value.problem(why),
        None => table.problem(format!("`{key}` is missing: {why}")),
    }
}

/// What a client may hold has been put into words for people.
fn scopes(table: &Table<'_>, declared: &[(Scope, String)]) -> Scopes {
    let known = |text: &str| {
        let scope = Scope::parse(text).map_err(|error| error.to_string())?;
        let is_declared = declared.iter().any(|(other, _)| *other == scope);
        if scope.is_of_people() || is_declared {
            Ok(scope)
        } else {
            Err(format!(
                "there is no such scope; write \"{scope}\" = \"what it allows, in words\" in [scopes]"
            ))
        }
    };
    table.distinct("scopes", known).into_iter().collect()
}

/// The hash of its secret; `Some(None)` of a public client.
fn secret(table: &Table<'_>) -> Option<Option<TokenHash>> {
    let secret = table.get("secret");
    match (secret, table.boolean("public", false)) {
        (Some(secret), false) => Some(Some(hash(secret)?)),
        (None, true) => Some(None),
        (Some(secret), true) => {
            secret.problem("a public client keeps no secret: leave it out, or leave out `public`");
            None
        }
        (None, false) => {
            table.problem(
                "`secret` is missing; write secret = \"${file:secrets/notes-web}\", or public = true for \
                 an app that can keep none",
            );
            None
        }
    }
}

/// A secret that can be guessed would make the fast hash a mistake (SECURITY 59).
fn hash(value: Value<'_>) -> Option<TokenHash> {
    let text = value.text()?;
    if text.known && is_weak(&text.value) {
        value.problem(
            "this secret is short, simple or from an example; \
             write 32 random bytes: openssl rand -hex 32",
        );
    }
    Some(Client::hash(&text.value))
}

fn warn_of_risks(table: &Table<'_>, client: &Client) {
    if let Some((key, why)) = client.risk()
        && let Some(value) = table.get(key)
    {
        value.warning(why);
    }
}
