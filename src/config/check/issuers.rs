//! `[issuers.NAME]`.

use std::sync::Arc;
use std::time::Duration;

use url::Host;
use url::Url;

use crate::config::ClaimPaths;
use crate::config::Issuer;
use crate::config::IssuerAlgorithm;
use crate::config::Route;
use crate::config::UpstreamTrust;
use crate::config::check::routes;
use crate::config::reader::Table;
use crate::config::reader::Value;
use crate::domain::Malformed;
use crate::domain::Resource;

pub(super) fn issuers(root: &Table<'_>, routes: &[Route]) -> Vec<Issuer> {
    let issuers = root.entries("issuers").into_iter();
    issuers.filter_map(|value| issuer(value, routes)).collect()
}

fn issuer(value: Value<'_>, routes: &[Route]) -> Option<Issuer> {
    if let Err(error) = routes::name(value.name()) {
        value.problem(error);
    } else if value.name() == "client" {
        // `client:ID` is how a machine of our own is written.
        value.problem("this name is the gateway's own; choose another");
    }
    value.table(|table| {
        let minutes = Duration::from_mins;
        let hours = Duration::from_hours;
        let url = table
            .required("issuer", "\"https://login.example.com\"")
            .and_then(|value| value.parse(secure_url));
        if let Some(audiences) = table.required("audiences", "[\"https://api.example.com\"]")
            && audiences.one_or_more().is_empty()
        {
            audiences.problem(
                "a token that was made for somebody else must not pass here; list what is expected",
            );
        }
        let ca = table.get("ca").filter(|ca| ca.written() != Some("system"));
        let audiences = table.distinct("audiences", audience);
        let is_listed = |it: &&Resource| audiences.iter().any(|listed| listed == it.as_str());
        let of_routes = routes.iter().filter_map(|route| route.audience.as_ref());
        Some(Issuer {
            name: Arc::from(value.name()),
            resources: of_routes.filter(is_listed).cloned().collect(),
            audiences,
            algorithms: algorithms(table),
            types: types(table),
            jwks_url: table
                .get("jwks_url")
                .and_then(|value| value.parse(keys_url)),
            trust: ca
                .and_then(|ca| {
                    let (path, position) = (ca.path()?, ca.position());
                    Some(UpstreamTrust::File { path, position })
                })
                .unwrap_or(UpstreamTrust::System),
            claims: table.table("claims", claims),
            refresh: table.duration("refresh", minutes(1)..=hours(24), minutes(10)),
            max_stale: table.duration("max_stale", minutes(5)..=hours(24 * 7), hours(24)),
            position: value.position(),
            url: url?.into(),
        })
    })?
}

/// Kept as it is written: `iss` is compared to the letter (RFC 8414 §3.3).
fn secure_url(text: &str) -> Result<String, Malformed> {
    const WRONG: Malformed = Malformed(
        "it must be an https:// URL without query and fragment; only on loopback may it be http://",
    );
    let url = Url::parse(text).map_err(|_| WRONG)?;
    let is_loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let is_secure = url.scheme() == "https" || (url.scheme() == "http" && is_loopback);
    let is_plain =
        text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.contains(['?', '#', '\\', '@']);
    if is_secure && is_plain {
        Ok(text.to_owned())
    } else {
        Err(WRONG)
    }
}

/// Where keys are, which may have a query.
fn keys_url(text: &str) -> Result<Url, Malformed> {
    const WRONG: Malformed = Malformed(
        "it must be an https:// URL without fragment; only on loopback may it be http://",
    );
    let (address, query) = text.split_once('?').unwrap_or((text, ""));
    let is_plain = query.bytes().all(|byte| byte.is_ascii_graphic()) && !query.contains('#');
    secure_url(address).map_err(|_| WRONG)?;
    let url = Url::parse(text).map_err(|_| WRONG)?;
    is_plain.then_some(url).ok_or(WRONG)
}

fn audience(text: &str) -> Result<String, Malformed> {
    if text.is_empty() {
        return Err(Malformed("an audience is not empty"));
    }
    Ok(text.to_owned())
}

fn algorithms(table: &Table<'_>) -> Vec<IssuerAlgorithm> {
    const WRONG: Malformed = Malformed(
        "it must be one of \"ES256\", \"ES384\", \"EdDSA\", \"RS256\", \"RS384\", \"RS512\", \
         \"PS256\", \"PS384\", \"PS512\": with any other, whoever can check a token could make one",
    );
    let named = |text: &str| {
        let mut names = IssuerAlgorithm::NAMES.into_iter();
        names
            .find_map(|(name, algorithm)| (name == text).then_some(algorithm))
            .ok_or(WRONG)
    };
    let listed = table.distinct("algorithms", named);
    match table.get("algorithms") {
        None => vec![IssuerAlgorithm::Es256, IssuerAlgorithm::Rs256],
        Some(value) => {
            if value.one_or_more().is_empty() {
                value.problem("nothing could be believed; leave it out for [\"ES256\", \"RS256\"]");
            }
            listed
        }
    }
}

fn types(table: &Table<'_>) -> Vec<String> {
    const WRONG: Malformed = Malformed("it must be a media type, such as \"at+jwt\" or \"JWT\"");
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"+-./".contains(&byte);
    let kind = |text: &str| {
        let text = text.to_ascii_lowercase();
        let short = text.strip_prefix("application/").unwrap_or(&text);
        if short.is_empty() || !short.bytes().all(legal) {
            return Err(WRONG);
        }
        Ok(short.to_owned())
    };
    let listed = table.distinct("typ", kind);
    let Some(value) = table.get("typ") else {
        return vec!["at+jwt".to_owned()];
    };
    if value.one_or_more().is_empty() {
        value.problem("nothing could be believed; leave it out for \"at+jwt\"");
    }
    if listed.iter().any(|listed| listed == "jwt") {
        value.warning(
            "ID tokens call themselves JWT as well: `audiences` must hold nothing that this issuer \
             makes ID tokens for",
        );
    }
    listed
}

fn claims(table: &Table<'_>) -> ClaimPaths {
    let path = |key, default: &[&str]| {
        let default = || default.iter().map(|&name| name.to_owned()).collect();
        table
            .get(key)
            .and_then(|value| value.parse(claim_path))
            .unwrap_or_else(default)
    };
    ClaimPaths {
        user: path("user", &["preferred_username"]),
        name: path("name", &["name"]),
        email: path("email", &["email"]),
        roles: path("roles", &[]),
        scopes: path("scopes", &["scope"]),
    }
}

fn claim_path(text: &str) -> Result<Vec<String>, Malformed> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    // Some issuers name claims of their own by URLs, as RFC 7519 §4.2 has it: one name, with its dots.
    let names: Vec<_> = if text.contains("://") {
        vec![text.to_owned()]
    } else {
        text.split('.').map(str::to_owned).collect()
    };
    if names.iter().any(String::is_empty) || names.len() > 8 {
        return Err(Malformed(
            "it must be a claim's name, or names with dots between them from the outside in, such \
             as \"realm_access.roles\"; \"\" for none",
        ));
    }
    Ok(names)
}
