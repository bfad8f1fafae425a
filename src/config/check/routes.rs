//! `[defaults]`, `[routes.NAME]` and `[routes.NAME.paths."/path"]`, each made whole.

use std::sync::Arc;

use http::HeaderName;
use http::Method;
use ipnet::IpNet;

use crate::config::Auth;
use crate::config::ClientCertificates;
use crate::config::Clients;
use crate::config::Cors;
use crate::config::IdentityHeaders;
use crate::config::LimitBy;
use crate::config::OnUnauthenticated;
use crate::config::PathOddities;
use crate::config::PathPrefix;
use crate::config::Rewrite;
use crate::config::Route;
use crate::config::RouteLimit;
use crate::config::check::headers;
use crate::config::check::headers::Side;
use crate::config::check::identity;
use crate::config::check::upstreams::Upstreams;
use crate::config::patterns;
use crate::config::reader::Table;
use crate::config::reader::Value;
use crate::config::values;
use crate::domain::ClientId;
use crate::domain::Fingerprint;
use crate::domain::Handle;
use crate::domain::Malformed;
use crate::domain::Resource;
use crate::domain::Role;
use crate::domain::Scope;
use crate::domain::Scopes;

/// Every route and sub-path in the file's order.
pub(super) fn routes(
    root: &Table<'_>,
    upstreams: &mut Upstreams,
    headers: &Arc<IdentityHeaders>,
) -> Vec<Route> {
    root.table("defaults", |defaults| {
        // Read once for itself: what is wrong there is wrong even if every route says otherwise.
        let paths = defaults.distinct("path", patterns::path);
        route(defaults, "defaults", (paths, &[]), upstreams, headers);

        let values = root.entries("routes").into_iter();
        values
            .flat_map(|value| route_and_paths(value, defaults, upstreams, headers))
            .collect()
    })
}

/// The name of a route or upstream: a label in logs and metrics, and part of tokens.
pub(super) fn name(text: &str) -> Result<(), Malformed> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(legal) {
        Ok(())
    } else {
        Err(Malformed(
            "a name has 1 to 64 ASCII letters, digits, '-', '_' or '.'",
        ))
    }
}

fn route_and_paths<'a>(
    value: Value<'a>,
    defaults: &Table<'a>,
    upstreams: &mut Upstreams,
    headers: &Arc<IdentityHeaders>,
) -> Vec<Route> {
    if let Err(error) = name(value.name()) {
        value.problem(error);
    }
    let routes = value.table_over(defaults, |table| {
        table.required("path", "\"/notes\"");
        upstreams.require(table);
        let paths = table.distinct("path", patterns::path);
        let family = paths.clone();
        let whole = route(table, value.name(), (paths, &family), upstreams, headers);

        let mut routes = Vec::new();
        for sub in table.entries("paths") {
            let path = match patterns::path(sub.name()) {
                Ok(path) => path,
                Err(error) => {
                    sub.problem(error);
                    continue;
                }
            };
            if !whole.paths.iter().any(|above| path.0.starts_with(&above.0)) {
                sub.warning(format!(
                    "it does not lie below a path of route `{}`",
                    whole.name
                ));
            }
            let label = format!("{} {}", value.name(), sub.name());
            let part =
                |table: &Table<'a>| route(table, &label, (vec![path], &family), upstreams, headers);
            routes.extend(sub.table_over(table, part));
        }
        routes.insert(0, whole);
        routes
    });
    routes.unwrap_or_default()
}

fn route(
    table: &Table<'_>,
    name: &str,
    (paths, family): (Vec<PathPrefix>, &[PathPrefix]),
    upstreams: &mut Upstreams,
    headers: &Arc<IdentityHeaders>,
) -> Route {
    table.later(&["max_age", "amr"]);
    let auth = table.choice(
        "auth",
        &[
            ("required", Some(Auth::Required)),
            ("optional", Some(Auth::Optional)),
            ("none", Some(Auth::None)),
        ],
        Auth::Required,
    );
    let scopes: Scopes = table.list("scopes", Scope::parse).into_iter().collect();
    let roles = table.list("roles", Role::parse);
    let users = table.list("users", Handle::parse);
    let clients = table.get("clients").map(clients).unwrap_or_default();
    let asks = [
        ("scopes", !scopes.is_empty()),
        ("roles", !roles.is_empty()),
        ("users", !users.is_empty()),
        ("clients", clients != Clients::None),
    ];
    if let Some(value) = table.get("users").filter(|_| users.is_empty())
        && auth == Auth::Required
    {
        value.warning("nobody is listed, so it asks for no user in particular");
    }
    for (key, _) in asks
        .into_iter()
        .filter(|(_, asks)| *asks && auth != Auth::Required)
    {
        if let Some(value) = table.get("auth") {
            value.problem(format!(
                "this route has `{key}`, so it must be \"required\"; or write {key} = []"
            ));
        }
    }

    Route {
        name: Arc::from(name),
        hosts: table.distinct("host", patterns::host),
        rewrite: rewrite(table, &paths, family),
        paths,
        methods: methods(table),
        target: upstreams.target_of(table),
        auth,
        scopes,
        roles,
        users,
        clients,
        issuers: issuers(table, auth),
        audience: audience(table, auth),
        addresses: addresses(table),
        client_certificates: table
            .get("client_certificates")
            .map(client_certificates)
            .unwrap_or_default(),
        forward_client_certificate: table.boolean("forward_client_certificate", false),
        limits: limits(table),
        cors: table
            .get("cors")
            .and_then(|value| value.table(cors).flatten()),
        identity: table
            .get("identity")
            .and_then(|value| value.table(|table| identity::renamed(table, headers)))
            .map_or_else(|| Arc::clone(headers), Arc::new),
        host_of_upstream: table.choice(
            "host_header",
            &[("original", Some(false)), ("upstream", Some(true))],
            false,
        ),
        request_headers: headers::changes(table, Side::Request),
        response_headers: headers::changes(table, Side::Response),
        forward_authorization: table.choice(
            "authorization",
            &[("strip", Some(false)), ("forward", Some(true))],
            false,
        ),
        on_unauthenticated: table.choice(
            "on_unauthenticated",
            &[
                ("auto", Some(OnUnauthenticated::Auto)),
                ("redirect", Some(OnUnauthenticated::Redirect)),
                ("401", Some(OnUnauthenticated::Refuse)),
            ],
            OnUnauthenticated::Auto,
        ),
        path_allow: path_allow(table),
        allow_headers: table.list("allow_headers", allowed_header),
        body_bytes_max: table.size("max_body", 0..=1 << 40, 10 << 20),
        position: table.position(),
    }
}

/// Which names there are is known once all tables are read.
fn issuers(table: &Table<'_>, auth: Auth) -> Vec<Arc<str>> {
    let listed = table.distinct("issuers", |text| name(text).map(|()| Arc::from(text)));
    if let Some(value) = table.get("issuers")
        && table.says("issuers")
        && auth == Auth::None
        && !listed.is_empty()
    {
        value.warning("with auth = \"none\" nobody's token is read");
    }
    listed
}

/// One spelling of each, so that two routes of one resource cannot miss each other.
fn audience(table: &Table<'_>, auth: Auth) -> Option<Resource> {
    let value = table.get("audience")?;
    let is_own = table.says("audience");
    let are_tokens_read = auth != Auth::None
        && table.get("authorization").and_then(Value::written) != Some("forward");
    if is_own && !are_tokens_read {
        value.warning("this route reads nobody's token, so that it is asked of none");
    }
    value.parse(|text| match Resource::parse(text) {
        Ok(resource) if !resource.is_bare() => {
            Err(Malformed("write it without the slash at its end"))
        }
        read => read,
    })
}

fn methods(table: &Table<'_>) -> Option<Vec<Method>> {
    let value = table.get("methods")?;
    let mut methods = table.distinct("methods", patterns::method);
    if value.one_or_more().is_empty() {
        value.problem("nothing could be called; leave it out for any method");
    }
    if methods.contains(&Method::GET) && !methods.contains(&Method::HEAD) {
        methods.push(Method::HEAD);
    }
    Some(methods)
}

/// The networks that are admitted. Nothing listed would be nobody; anybody is what is meant more often.
fn addresses(table: &Table<'_>) -> Vec<IpNet> {
    let Some(value) = table.get("addresses") else {
        return Vec::new();
    };
    let listed = value.one_or_more();
    if listed.is_empty() {
        value.problem(
            "nobody could pass; leave it out for any address, or take back what is inherited with \
             [\"0.0.0.0/0\", \"::/0\"]",
        );
    }
    let network = |value: Value<'_>| value.parse(values::network);
    listed.into_iter().filter_map(network).collect()
}

/// `strip_prefix` is short for a rewrite to `/`; whichever stands nearer is meant. A sub-path's own
/// `rewrite` is of its own path, an inherited one of its route's.
fn rewrite(table: &Table<'_>, paths: &[PathPrefix], family: &[PathPrefix]) -> Option<Rewrite> {
    let value = table.nearest(&["rewrite", "strip_prefix"])?;
    if value.name() == "strip_prefix" {
        return value.boolean()?.then(|| Rewrite {
            from: family.to_vec(),
            to: PathPrefix(Vec::new()),
        });
    }
    let from = if table.says("rewrite") { paths } else { family };
    Some(Rewrite {
        from: from.to_vec(),
        to: value.parse(patterns::rewritten_path)?,
    })
}

fn clients(value: Value<'_>) -> Clients {
    let values = value.one_or_more();
    let any = |value: &Value<'_>| value.written() == Some("*");
    if values.iter().any(any) {
        if values.len() > 1 {
            value.problem("\"*\" is any client; write it alone");
        }
        return Clients::Any;
    }
    let listed: Vec<_> = values
        .into_iter()
        .filter_map(|value| value.parse(ClientId::parse))
        .collect();
    if listed.is_empty() {
        Clients::None
    } else {
        Clients::Listed(listed)
    }
}

/// None where nothing is listed, so that a route can take back what it inherits.
fn client_certificates(value: Value<'_>) -> ClientCertificates {
    if value.written() == Some("any") {
        return ClientCertificates::Any;
    }
    let listed: Vec<_> = value
        .one_or_more()
        .into_iter()
        .filter_map(|value| value.parse(Fingerprint::parse))
        .collect();
    if listed.is_empty() {
        ClientCertificates::NotAsked
    } else {
        ClientCertificates::Listed(listed)
    }
}

/// `limit` is short for one of `limits`; whichever stands nearer is meant.
fn limits(table: &Table<'_>) -> Vec<RouteLimit> {
    let Some(value) = table.nearest(&["limits", "limit"]) else {
        return Vec::new();
    };
    if value.name() == "limit" {
        let rate = value.parse(values::rate).flatten();
        return rate
            .map(|rate| RouteLimit {
                rate,
                by: LimitBy::User,
            })
            .into_iter()
            .collect();
    }
    let limit = |value: Value<'_>| value.table(limit).flatten();
    value.items().into_iter().filter_map(limit).collect()
}

fn limit(table: &Table<'_>) -> Option<RouteLimit> {
    let by = table.choice(
        "by",
        &[
            ("user", Some(LimitBy::User)),
            ("client", Some(LimitBy::Client)),
            ("address", Some(LimitBy::Address)),
            ("route", Some(LimitBy::Route)),
        ],
        LimitBy::User,
    );
    let rate = table.required("rate", "\"60 per minute\"")?;
    let rate = rate.parse(values::rate)??;
    Some(RouteLimit { rate, by })
}

/// `None` without origins, so that a route can take back what it inherits.
fn cors(table: &Table<'_>) -> Option<Cors> {
    let origins = table.list("origins", |text| match text {
        "*" => Ok(text.to_owned()),
        _ => values::origin(text),
    });
    let credentials = table.boolean("credentials", false);
    if origins.iter().any(|origin| origin == "*") && (credentials || origins.len() > 1) {
        table.problem("the origin \"*\" stands alone and without `credentials`; list the origins");
    }
    (!origins.is_empty()).then_some(Cors {
        origins,
        credentials,
    })
}

fn path_allow(table: &Table<'_>) -> PathOddities {
    const ODDITIES: [&str; 5] = [
        "encoded_slash",
        "semicolon",
        "double_slash",
        "double_encoding",
        "case",
    ];
    const WRONG: Malformed = Malformed(
        "it must be one of `encoded_slash`, `semicolon`, `double_slash`, `double_encoding`, `case`",
    );
    let oddity = |text: &str| {
        ODDITIES
            .into_iter()
            .find(|oddity| *oddity == text)
            .ok_or(WRONG)
    };
    let allowed = table.list("path_allow", oddity);
    PathOddities {
        encoded_slash: allowed.contains(&"encoded_slash"),
        semicolon: allowed.contains(&"semicolon"),
        double_slash: allowed.contains(&"double_slash"),
        double_encoding: allowed.contains(&"double_encoding"),
        case: allowed.contains(&"case"),
    }
}

/// A name that an app could take for one of ours is never let through (SECURITY 13); those that
/// routes give to identity headers are compared once all routes are known.
fn allowed_header(text: &str) -> Result<HeaderName, Malformed> {
    let folded = values::fold(text);
    if folded.starts_with("x-auth-") || values::is_reserved(&folded) {
        return Err(Malformed(
            "apps could take this header for one that the gateway answers for",
        ));
    }
    HeaderName::from_bytes(text.as_bytes())
        .map_err(|_| Malformed("this is no header name (RFC 9110 §5.1)"))
}
