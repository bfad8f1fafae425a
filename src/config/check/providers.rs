//! `[providers.NAME]`.

use std::sync::Arc;

use secrecy::SecretString;

use crate::config::Provider;
use crate::config::brand;
use crate::config::check::issuers;
use crate::config::check::routes;
use crate::config::reader::Table;
use crate::config::reader::Value;
use crate::domain::EmailAddress;
use crate::domain::Malformed;
use crate::domain::Role;

pub(super) fn providers(root: &Table<'_>) -> Vec<Provider> {
    let mut providers: Vec<Provider> = Vec::new();
    for value in root.entries("providers") {
        let Some(provider) = provider(value) else {
            continue;
        };
        // People are known by issuer and subject: whose of the two rules would hold for them?
        if let Some(other) = providers.iter().find(|other| other.url == provider.url) {
            value.problem(format!(
                "[providers.{}] has the same `issuer`; one table for each",
                other.name
            ));
        }
        providers.push(provider);
    }
    providers
}

fn provider(value: Value<'_>) -> Option<Provider> {
    if let Err(error) = routes::name(value.name()) {
        value.problem(error);
    }
    value.table(|table| {
        let url = table
            .required("issuer", "\"https://login.example.com\"")
            .and_then(|value| value.parse(issuers::secure_url));
        let client_id = table
            .required("client_id", "\"portcullis\"")
            .and_then(|value| value.parse(client_id));
        let secret = table
            .required("client_secret", "\"${file:secrets/provider}\"")
            .and_then(secret);
        let label = table.get("name").and_then(|value| value.parse(brand::name));
        let (roles_claim, roles) = roles(table);
        Some(Provider {
            name: Arc::from(value.name()),
            label: label.unwrap_or_else(|| value.name().to_owned()),
            scopes: scopes(table),
            create_accounts: table.boolean("create_accounts", false),
            allow_domains: domains(table),
            roles_claim,
            roles,
            algorithms: issuers::algorithms(table),
            trust: issuers::trust(table),
            position: value.position(),
            url: url?.into(),
            client_id: client_id?,
            client_secret: secret?,
        })
    })?
}

/// RFC 6749 appendix A.1.
fn client_id(text: &str) -> Result<String, Malformed> {
    let visible = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if text.is_empty() || text.len() > 255 || !visible {
        return Err(Malformed("it must be the client id that the provider gave"));
    }
    Ok(text.to_owned())
}

/// The provider chose it, so that it is not judged here.
fn secret(value: Value<'_>) -> Option<SecretString> {
    let text = value.text()?;
    if text.known && text.value.is_empty() {
        value.problem("it is empty; write the secret that the provider gave");
    }
    Some(SecretString::from(text.value))
}

fn scopes(table: &Table<'_>) -> Vec<String> {
    // RFC 6749 §3.3: not the alphabet of our own scopes.
    let scope = |text: &str| {
        let legal = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
        if text.is_empty() || !text.bytes().all(legal) {
            return Err(Malformed("a scope is a word without blanks"));
        }
        Ok(text.to_owned())
    };
    let listed = table.distinct("scopes", scope);
    let Some(value) = table.get("scopes") else {
        return ["openid", "profile", "email"].map(str::to_owned).to_vec();
    };
    if !listed.iter().any(|scope| scope == "openid") {
        value.problem("\"openid\" must be among them, or the provider says nothing of who it is");
    }
    listed
}

fn domains(table: &Table<'_>) -> Vec<String> {
    const WRONG: Malformed = Malformed("it must be a domain, such as \"example.com\"");
    let domain = |text: &str| {
        EmailAddress::parse(&format!("a@{text}")).map_err(|_| WRONG)?;
        Ok::<_, Malformed>(text.to_ascii_lowercase())
    };
    let listed = table.distinct("allow_domains", domain);
    if let Some(value) = table.get("allow_domains")
        && value.one_or_more().is_empty()
    {
        value
            .problem("nobody could sign in; leave it out to let everybody whom the provider knows");
    }
    listed
}

/// Which words give which roles must be said: a provider's `admin` is not ours.
fn roles(table: &Table<'_>) -> (Vec<String>, Vec<(String, Vec<Role>)>) {
    let claim = table.get("roles_claim");
    let claim_path = claim.and_then(|value| value.parse(issuers::claim_path));
    let mapped = table.entries("roles").into_iter().map(|value| {
        let given = value.one_or_more().into_iter();
        let given = given.filter_map(|value| value.parse(Role::parse)).collect();
        (value.name().to_owned(), given)
    });
    let mapped: Vec<(String, Vec<Role>)> = mapped.collect();
    match (claim, table.get("roles")) {
        (Some(claim), None) => claim.problem(
            "say which of its words give which roles: roles = { \"grafana-admins\" = \"admin\" }",
        ),
        (None, Some(roles)) => {
            roles.problem("say where the provider has these words: roles_claim = \"groups\"");
        }
        _ => {}
    }
    (claim_path.unwrap_or_default(), mapped)
}
