//! `[clients.NAME]`.

use crate::config::check::is_weak;
use crate::config::reader::Table;
use crate::config::reader::Value;
use crate::domain::Client;
use crate::domain::ClientId;
use crate::domain::Malformed;
use crate::domain::Resource;
use crate::domain::Scope;
use crate::domain::TokenHash;

pub(super) fn clients(root: &Table<'_>) -> Vec<Client> {
    let clients = root.entries("clients").into_iter();
    clients.filter_map(client).collect()
}

fn client(value: Value<'_>) -> Option<Client> {
    let id = match ClientId::parse(value.name()) {
        Ok(id) if id.is_first_party() => {
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
        table.later(&[
            "name",
            "public",
            "redirect_uris",
            "post_logout_redirect_uris",
            "consent",
            "roles",
        ]);
        grants(table);
        let scopes = table.list("scopes", Scope::parse).into_iter().collect();
        let resources = table.distinct("resources", Resource::parse);
        let secret = table.required("secret", "\"${file:secrets/notes-sync}\"")?;
        Some(Client {
            id: id?,
            secret: hash(secret)?,
            scopes,
            resources,
        })
    })?
}

/// What is granted must be said: a client that may do nothing by itself is written down as one.
fn grants(table: &Table<'_>) {
    const ONE: &str = "[\"client_credentials\"]";
    let known = |text: &str| match text {
        "client_credentials" => Ok(()),
        "authorization_code" | "refresh_token" | "device_code" => Err(Malformed(
            "this version does not have it; it has \"client_credentials\"",
        )),
        _ => Err(Malformed("it must be \"client_credentials\"")),
    };
    if let Some(grants) = table.required("grants", ONE)
        && table.list("grants", known).is_empty()
        && grants.items().is_empty()
    {
        grants.problem(format!("the client could get no token; write {ONE}"));
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
