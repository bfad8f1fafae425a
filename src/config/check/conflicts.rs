//! What is only wrong, or odd, when several tables are looked at together.

use std::collections::HashMap;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderName;

use crate::config::Auth;
use crate::config::ClientCertificates;
use crate::config::Clients;
use crate::config::Config;
use crate::config::HostPattern;
use crate::config::ListenerKind;
use crate::config::PathPrefix;
use crate::config::Provider;
use crate::config::Registration;
use crate::config::Route;
use crate::config::Target;
use crate::config::check::identity;
use crate::config::check::same_app;
use crate::config::patterns;
use crate::config::reader::Report;
use crate::config::values;
use crate::domain::Handle;
use crate::domain::PROTECTED_RESOURCE;

/// Where the files of pages are if the gateway has no prefix.
pub const ROOT_ASSETS: &str = "/portcullis-assets";

/// The gateway's own endpoints under its prefix.
pub const OWN_ENDPOINTS: [&str; 29] = [
    "register",
    "login",
    "refresh",
    "logout",
    "signed-out",
    "me",
    "account",
    "password",
    "sessions",
    "sessions/{id}",
    "tokens",
    "tokens/{id}",
    "session/accept",
    "provider/{id}",
    "provider/{id}/callback",
    "provider/{id}/link",
    "provider/{id}/disconnect",
    "connections/{client}",
    "oauth/authorize",
    "oauth/consent",
    "oauth/device_authorization",
    "oauth/device",
    "oauth/token",
    "oauth/revoke",
    "oauth/introspect",
    "verify",
    "oauth/userinfo",
    "oauth/logout",
    "oauth/logout/confirm",
];

/// The gateway's own documents, at the root whatever the prefix.
pub const WELL_KNOWN: [&str; 4] = [
    "/.well-known/jwks.json",
    "/.well-known/openid-configuration",
    "/.well-known/oauth-authorization-server",
    // And whatever is below it: paths of resources.
    PROTECTED_RESOURCE,
];

pub(super) fn find(config: &Config, report: &Report<'_>) {
    shared_addresses(config, report);
    circles(config, report);
    ties(config, report);
    shadowed_routes(config, report);
    claimed_headers(config, report);
    same_app::find(config, report);
    odd_listeners(config, report);
    odd_routes(config, report);
    issuers(config, report);
}

/// An issuer is chosen by its `iss`, and a route names it.
fn issuers(config: &Config, report: &Report<'_>) {
    let mut seen = HashSet::from([config.gateway.issuer()]);
    for issuer in &config.issuers {
        if !seen.insert(&issuer.url) {
            let message = format!(
                "[issuers.{}]: {} is the issuer of the gateway itself or of another table",
                issuer.name, issuer.url
            );
            report.problem_at(issuer.position, message);
        }
        let admits = |route: &Route| route.issuers.contains(&issuer.name);
        if !config.routes.iter().any(admits) {
            let message = format!(
                "[issuers.{0}]: no route admits its tokens; write issuers = [\"{0}\"] in a route or in [defaults]",
                issuer.name
            );
            report.warning_at(issuer.position, message);
        }
    }
    for route in &config.routes {
        let is_known = |name: &&Arc<str>| config.issuers.iter().any(|issuer| issuer.name == **name);
        for name in route.issuers.iter().filter(|name| !is_known(name)) {
            let message = format!("route `{}`: there is no [issuers.{name}]", route.name);
            report.problem_at(route.position, message);
        }
    }
}

fn shared_addresses(config: &Config, report: &Report<'_>) {
    let mut seen: HashSet<_> = config.admin.iter().map(|admin| admin.address).collect();
    for listener in &config.listeners {
        let address = listener.address;
        if address.port() != 0 && !seen.insert(address) {
            report.problem_at(listener.position, format!("{address} is listened on twice"));
        }
    }
}

/// A gateway that forwards to itself would meet the same request again, and again; and one that
/// forwards to its admin listener would show everybody what is for operators.
fn circles(config: &Config, report: &Report<'_>) {
    let public = &config.gateway.public_url;
    let listening: Vec<_> = config
        .listeners
        .iter()
        .map(|listener| listener.address)
        .chain(config.admin.map(|admin| admin.address))
        .collect();
    let upstreams = config.upstreams.iter();
    for target in upstreams.flat_map(|upstream| &upstream.targets) {
        let (host, port) = (target.authority.host(), target.port());
        let is_public = public.host_str() == Some(host);
        let is_own = listening
            .iter()
            .filter(|own| own.port() == port)
            .any(|own| is_public || reaches(host, own.ip()));
        if is_own || (is_public && public.port_or_known_default() == Some(port)) {
            report.problem_at(
                target.position,
                format!(
                    "{}: the gateway itself listens there; name the app that is behind it",
                    target.authority
                ),
            );
        }
    }
}

/// Whether who connects to `host` arrives at a listener on `own`, as far as the file can tell.
fn reaches(host: &str, own: IpAddr) -> bool {
    let own = own.to_canonical();
    let here = own.is_loopback() || own.is_unspecified();
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => {
            let address = address.to_canonical();
            // `[::]` takes IPv4 as well (RFC 3493 §5.3), but 0.0.0.0 takes no IPv6.
            let takes_it = own.is_ipv6() || address.is_ipv4();
            address == own
                || (address.is_loopback() && own.is_unspecified() && takes_it)
                || (address.is_unspecified() && here)
        }
        Err(_) => here && (host == "localhost" || host.ends_with(".localhost")),
    }
}

/// Two routes that a request could not choose between.
fn ties(config: &Config, report: &Report<'_>) {
    let mut seen: HashMap<(Option<&HostPattern>, &PathPrefix), Vec<&Route>> = HashMap::new();
    for route in &config.routes {
        let hosts: Vec<_> = match route.hosts.as_slice() {
            [] => vec![None],
            hosts => hosts.iter().map(Some).collect(),
        };
        for host in hosts {
            for path in &route.paths {
                let others = seen.entry((host, path)).or_default();
                if let Some(other) = others.iter().find(|other| share_a_method(route, other)) {
                    report.problem_at(
                        route.position,
                        format!(
                            "route `{}` answers for the same host, path ({path}) and method as \
                         route `{}` on line {}",
                            route.name, other.name, other.position.line,
                        ),
                    );
                }
                others.push(route);
            }
        }
    }
}

fn share_a_method(one: &Route, other: &Route) -> bool {
    match (&one.methods, &other.methods) {
        (Some(one), Some(other)) => one.iter().any(|method| other.contains(method)),
        _ => true,
    }
}

/// Own endpoints win on every host, so that no route can take a password for itself.
fn shadowed_routes(config: &Config, report: &Report<'_>) {
    let prefix = &config.gateway.prefix;
    let at_root: Vec<_> = OWN_ENDPOINTS
        .iter()
        .map(|name| format!("/{name}"))
        .collect();
    let exact = WELL_KNOWN.into_iter().chain(
        at_root
            .iter()
            .map(String::as_str)
            .filter(|_| prefix.is_empty()),
    );
    let exact: Vec<_> = exact.filter_map(|path| patterns::path(path).ok()).collect();
    let below = match prefix.as_str() {
        "" => ROOT_ASSETS,
        prefix => prefix,
    };
    let below: Vec<_> = [below, PROTECTED_RESOURCE]
        .into_iter()
        .filter_map(|path| patterns::path(path).ok())
        .collect();
    for route in &config.routes {
        let own = |path: &&PathPrefix| {
            exact.contains(path) || below.iter().any(|own| path.0.starts_with(&own.0))
        };
        for path in route.paths.iter().filter(own) {
            report.problem_at(
                route.position,
                format!(
                    "route `{}` is never reached: {path} belongs to the gateway itself; \
                 choose another path or another `prefix` in [gateway]",
                    route.name,
                ),
            );
        }
    }
}

// SECURITY 13
fn claimed_headers(config: &Config, report: &Report<'_>) {
    let preset = identity::portcullis();
    let identity: HashSet<_> = config
        .routes
        .iter()
        .flat_map(|route| route.identity.names())
        .chain(preset.names())
        .map(|name| values::fold(name.as_str()))
        .collect();
    for route in &config.routes {
        let name = &route.name;
        let problem = |message| report.problem_at(route.position, message);
        let is_identity = |header: &&HeaderName| identity.contains(&values::fold(header.as_str()));
        for header in route.allow_headers.iter().filter(is_identity) {
            problem(format!(
                "route `{name}` lets {header} through `allow_headers`, which apps could take for a \
                 header that says who is calling"
            ));
        }
        for header in route.request_headers.names().filter(is_identity) {
            problem(format!(
                "route `{name}` names {header} in `request_headers`, which says who is calling: the \
                 gateway alone sets it, from a verified credential; `identity` gives it another name"
            ));
        }
        let changed: HashSet<_> = route
            .request_headers
            .names()
            .map(|header| values::fold(header.as_str()))
            .collect();
        let is_changed = |header: &&HeaderName| changed.contains(&values::fold(header.as_str()));
        for header in route.allow_headers.iter().filter(is_changed) {
            problem(format!(
                "route `{name}` lets {header} through `allow_headers`, which apps could take for a \
                 header of its `request_headers`"
            ));
        }
        let is_method = |header: &&HeaderName| {
            let mut names = values::METHOD_OVERRIDES.iter();
            names.any(|other| values::folds_alike(header.as_str(), other.as_str()))
        };
        let set = route.request_headers.set.iter().map(|(header, _)| header);
        let passed = set.chain(&route.allow_headers).filter(is_method);
        for header in passed.filter(|_| route.methods.is_some()) {
            problem(format!(
                "route `{name}` lists `methods`, and gives its app {header}, by which frameworks take a \
                 request for another method than the one that was admitted"
            ));
        }
        if route.forward_authorization && changed.contains("authorization") {
            problem(format!(
                "route `{name}` names authorization in `request_headers` and leaves it to the caller by \
                 `authorization = \"forward\"`; only one of them can be meant"
            ));
        }
    }
}

/// Keys about what is forwarded, which is not done here.
fn without_effect(route: &Route) -> impl Iterator<Item = &'static str> {
    [
        ("rewrite", route.rewrite.is_some()),
        ("host_header", route.host_of_upstream),
        ("request_headers", !route.request_headers.is_empty()),
        ("response_headers", !route.response_headers.is_empty()),
        ("allow_headers", !route.allow_headers.is_empty()),
        (
            "forward_client_certificate",
            route.forward_client_certificate,
        ),
    ]
    .into_iter()
    .filter_map(|(key, is_given)| is_given.then_some(key))
}

fn odd_listeners(config: &Config, report: &Report<'_>) {
    for listener in &config.listeners {
        let strangers = !listener.address.ip().is_loopback();
        let is_for_balancers = listener.kind == ListenerKind::Plain || listener.proxy_protocol;
        if is_for_balancers && strangers && config.gateway.trusted_proxies.is_empty() {
            let speaks = if listener.proxy_protocol {
                "takes PROXY headers"
            } else {
                "speaks plain HTTP"
            };
            report.warning_at(
                listener.position,
                format!(
                    "{} {speaks} with loopback and `trusted_proxies` only, and there are none; name \
                     the balancer there",
                    listener.address,
                ),
            );
        }
    }
}

fn odd_routes(config: &Config, report: &Report<'_>) {
    let registers = config.accounts.registration == Registration::Open;
    let open = registers || config.providers.iter().any(Provider::is_open);
    // Of those whom a provider knows, one may well choose what they are called there.
    let names_free = registers || config.providers.iter().any(|it| it.create_accounts);
    let mut listeners = config.listeners.iter();
    let asks_for_certificates = listeners.any(|listener| listener.client_certificate.is_some());
    for route in &config.routes {
        let name = &route.name;
        let warn = |message| report.warning_at(route.position, message);
        if route.auth == Auth::None {
            warn(format!(
                "route `{name}` is public: nobody is asked who they are"
            ));
        }
        if route.auth == Auth::Required && route.roles.is_empty() && route.users.is_empty() && open
        {
            warn(format!(
                "route `{name}` asks for no role and registration is open: whoever registers \
                 may pass"
            ));
        }
        let claimable = |user: &&Handle| matches!(user, Handle::Username(_));
        if let Some(user) = route.users.iter().find(claimable).filter(|_| names_free) {
            warn(format!(
                "route `{name}` admits {user} and people get accounts by themselves: if there is no such \
                 account, whoever registers that name may pass; make it first, or list its id"
            ));
        }
        if !route.scopes.is_subset_of(&config.accounts.login_scopes)
            && route.clients == Clients::None
        {
            warn(format!(
                "nobody can pass route `{name}`: `login_scopes` in [accounts] has not all of \
                 its scopes ({})",
                route.scopes,
            ));
        }
        if route.target == Target::Verify {
            for key in without_effect(route) {
                warn(format!(
                    "route `{name}` has no upstream, so its `{key}` changes nothing: whoever asks about a \
                     request forwards it by himself",
                ));
            }
            if route.client_certificates != ClientCertificates::NotAsked {
                warn(format!(
                    "nobody can pass route `{name}`: it asks for a client certificate, and whoever asks \
                     about a request cannot show that of its client"
                ));
            }
        }
        if route.client_certificates != ClientCertificates::NotAsked && !asks_for_certificates {
            warn(format!(
                "nobody can pass route `{name}`: it asks for a client certificate, and no listener \
                 does; write client_certificate and client_ca in [[listeners]]"
            ));
        }
    }
}
