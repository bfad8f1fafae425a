//! `[upstreams.NAME]`, and the upstreams that routes name by their URL alone.

use std::collections::HashMap;
use std::time::Duration;

use http::HeaderValue;
use http::StatusCode;
use http::uri::Authority;
use http::uri::PathAndQuery;

use crate::config::Balance;
use crate::config::CertificateFiles;
use crate::config::Ejection;
use crate::config::Health;
use crate::config::Retries;
use crate::config::Target;
use crate::config::Upstream;
use crate::config::UpstreamScheme;
use crate::config::UpstreamTarget;
use crate::config::UpstreamTls;
use crate::config::UpstreamTrust;
use crate::config::check::routes;
use crate::config::reader::Table;
use crate::config::reader::Value;
use crate::config::reader::meant;
use crate::config::secrets;
use crate::config::values;
use crate::domain::Malformed;

/// Every upstream so far.
pub(super) struct Upstreams {
    list: Vec<Upstream>,
    /// By name: there may be one for each of ten thousand routes.
    indices: HashMap<String, usize>,
    /// Whether there may be routes that only those who ask `verify` need.
    may_be_left_out: bool,
}

impl Upstreams {
    pub(super) fn read(root: &Table<'_>) -> Self {
        let upstream = |value: Value<'_>| {
            if value.name() == "echo" {
                value.problem("this name is taken by the built-in echo; choose another");
            } else if let Err(error) = routes::name(value.name()) {
                value.problem(error);
            }
            value.table(|table| upstream(value.name(), table))
        };
        let list: Vec<_> = root
            .entries("upstreams")
            .into_iter()
            .filter_map(upstream)
            .collect();
        let names = list.iter().map(|upstream| upstream.name.clone());
        Self {
            indices: names.zip(0..).collect(),
            list,
            may_be_left_out: root.get("verify").is_some(),
        }
    }

    /// Where a route's requests go.
    pub(super) fn target_of(&mut self, table: &Table<'_>) -> Target {
        let value = table.get("upstream");
        let target = value.and_then(|value| self.target(value));
        target.unwrap_or(Target::Verify)
    }

    /// Every route has one, but for those that only `verify` is asked about.
    pub(super) fn require(&self, table: &Table<'_>) {
        if !self.may_be_left_out {
            table.required("upstream", "\"http://127.0.0.1:5000\"");
        }
    }

    /// What a route's `upstream` means.
    fn target(&mut self, value: Value<'_>) -> Option<Target> {
        let text = value.text()?;
        if !text.known {
            return Some(self.add(text.written, target(value)));
        }
        if text.value == "echo" {
            return Some(Target::Echo);
        }
        if let Some(index) = self.indices.get(&text.value) {
            return Some(Target::Upstream(*index));
        }
        if text.value.contains("://") {
            return Some(self.add(&text.value, target(value)));
        }
        let names = self.list.iter().map(|upstream| upstream.name.as_str());
        let advice = meant(names.chain(["echo"]), &text.value).map_or_else(
            || {
                "write a name from there, a URL such as \"http://127.0.0.1:5000\", or \"echo\""
                    .to_owned()
            },
            |near| format!("did you mean {near:?}?"),
        );
        let shown = secrets::shown(text.written);
        value.problem(format!("there is no [upstreams.{shown}]; {advice}"));
        None
    }

    pub(super) fn into_list(self) -> Vec<Upstream> {
        self.list
    }

    fn add(&mut self, name: &str, target: UpstreamTarget) -> Target {
        let index = self.list.len();
        self.indices.entry(name.to_owned()).or_insert(index);
        self.list.push(Upstream {
            name: name.to_owned(),
            tls: speaks_tls(&target).then_some(UpstreamTls::unsaid(target.position)),
            targets: vec![target],
            balance: Balance::P2c,
            health: None,
            ejection: Some(EJECTION),
            slow_start: SLOW_START,
            retries: Some(RETRIES),
            connect_timeout: CONNECT_TIMEOUT,
            response_timeout: RESPONSE_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            stream_idle_timeout: STREAM_IDLE_TIMEOUT,
            keep_alive_timeout: KEEP_ALIVE_TIMEOUT,
            connections: CONNECTIONS,
            queue: CONNECTIONS,
        });
        Target::Upstream(index)
    }
}

fn upstream(name: &str, table: &Table<'_>) -> Upstream {
    let targets = targets(table);
    let tls = tls(table, &targets);
    let seconds = Duration::from_secs;
    let connect = Duration::from_millis(10)..=seconds(60);
    let long = Duration::from_millis(100)..=Duration::from_hours(24);
    let short = Duration::ZERO..=Duration::from_hours(1);
    let [connect, response, idle, stream_idle, keep_alive] = table.table("timeouts", |table| {
        [
            table.duration("connect", connect, CONNECT_TIMEOUT),
            table.duration("response", long.clone(), RESPONSE_TIMEOUT),
            table.duration("idle", long.clone(), IDLE_TIMEOUT),
            table.duration("stream_idle", long, STREAM_IDLE_TIMEOUT),
            table.duration("keep_alive", short.clone(), KEEP_ALIVE_TIMEOUT),
        ]
    });
    let connections = table.integer("connections", 1..=65_535, CONNECTIONS);
    Upstream {
        name: name.to_owned(),
        targets,
        tls,
        balance: table.choice("balance", &BALANCES, Balance::P2c),
        health: table
            .get("health")
            .and_then(|value| value.table(health).flatten()),
        ejection: table_or_off(table, "ejection", EJECTION, ejection),
        slow_start: table.duration("slow_start", short, SLOW_START),
        retries: table_or_off(table, "retries", RETRIES, retries),
        connect_timeout: connect,
        response_timeout: response,
        idle_timeout: idle,
        stream_idle_timeout: stream_idle,
        keep_alive_timeout: keep_alive,
        connections,
        queue: table.integer("queue", 0..=65_535, connections),
    }
}

fn targets(table: &Table<'_>) -> Vec<UpstreamTarget> {
    let Some(value) = table.required("targets", "[\"http://127.0.0.1:5000\"]") else {
        return Vec::new();
    };
    let mut targets: Vec<UpstreamTarget> = Vec::new();
    for item in value.one_or_more() {
        let target = target(item);
        let is_same = |other: &UpstreamTarget| {
            (other.scheme, &other.authority) == (target.scheme, &target.authority)
        };
        let is_known = item.text().is_some_and(|text| text.known);
        if is_known && targets.iter().any(is_same) {
            item.problem("it is listed twice");
        }
        targets.push(target);
    }
    if targets.is_empty() {
        value.problem("an upstream needs a target, such as [\"http://127.0.0.1:5000\"]");
    }
    if targets.len() > Upstream::TARGETS_MAX {
        let most = Upstream::TARGETS_MAX;
        value.problem(format!("an upstream has at most {most} targets"));
    }
    targets
}

/// A table of known keys that may be switched off by one word.
fn table_or_off<'a, T>(
    table: &Table<'a>,
    key: &'static str,
    default: T,
    read: impl FnOnce(&Table<'a>) -> T,
) -> Option<T> {
    match table.get(key) {
        None => Some(default),
        Some(value) if value.is_table() => value.table(read),
        Some(value) => match value.written() {
            Some("off") => None,
            _ => {
                value.problem("it must be a table, as in { .. }, or \"off\"");
                None
            }
        },
    }
}

fn health(table: &Table<'_>) -> Option<Health> {
    let path = table.required("path", "\"/healthz\"");
    let path = path.and_then(|value| value.parse(path_and_query));
    let host = table.get("host");
    let soon = Duration::from_millis(100);
    Some(Health {
        host: host.and_then(|value| value.parse(host_header)),
        interval: table.duration("interval", soon..=Duration::from_hours(1), HEALTH_INTERVAL),
        timeout: table.duration("timeout", soon..=Duration::from_secs(60), HEALTH_TIMEOUT),
        statuses: statuses(table, "status", 200),
        healthy: table.integer("healthy", 1..=100, 2),
        unhealthy: table.integer("unhealthy", 1..=100, 3),
        path: path?,
    })
}

fn ejection(table: &Table<'_>) -> Ejection {
    let time = Duration::from_millis(100)..=Duration::from_hours(1);
    Ejection {
        failures: table.integer("failures", 1..=1000, EJECTION.failures),
        time: table.duration("time", time, EJECTION.time),
        statuses: statuses(table, "statuses", 500),
    }
}

fn retries(table: &Table<'_>) -> Retries {
    Retries {
        percent: table.integer("percent", 0..=100, RETRIES.percent),
        per_second: table.integer("per_second", 0..=1000, RETRIES.per_second),
    }
}

/// One status or a list of them, none below `least`.
fn statuses(table: &Table<'_>, key: &'static str, least: u16) -> Vec<StatusCode> {
    let items = table.get(key).map(Value::one_or_more).unwrap_or_default();
    let numbers = items
        .into_iter()
        .filter_map(|item| item.integer(least..=599));
    numbers
        .filter_map(|number| StatusCode::from_u16(number).ok())
        .collect()
}

fn path_and_query(text: &str) -> Result<PathAndQuery, Malformed> {
    const WRONG: Malformed = Malformed("it must be a path, such as \"/healthz\"");
    if !text.starts_with('/') || text.contains('#') {
        return Err(WRONG);
    }
    text.parse().map_err(|_| WRONG)
}

fn host_header(text: &str) -> Result<HeaderValue, Malformed> {
    const WRONG: Malformed = Malformed("it must be a host, such as \"app.internal\"");
    let host: Authority = text.parse().map_err(|_| WRONG)?;
    if host.as_str().contains('@') {
        return Err(WRONG);
    }
    HeaderValue::from_str(host.as_str()).map_err(|_| WRONG)
}

/// Where a URL leads, and how one speaks there. One that is wrong is never called; nor is one whose
/// secrets were not looked up.
fn target(value: Value<'_>) -> UpstreamTarget {
    let unknown = || {
        (
            UpstreamScheme::Http,
            Authority::from_static("unknown.invalid"),
        )
    };
    let (scheme, authority) = value.parse(origin).unwrap_or_else(unknown);
    UpstreamTarget {
        scheme,
        authority,
        position: value.position(),
    }
}

fn origin(url: &str) -> Result<(UpstreamScheme, Authority), Malformed> {
    const WRONG: Malformed = Malformed(
        "it must be http://, https:// or h2c://, host and port alone, such as \"http://127.0.0.1:5000\"",
    );
    let (scheme, rest) = SCHEMES
        .into_iter()
        .find_map(|(scheme, start)| Some((scheme, url.strip_prefix(start)?)))
        .ok_or(WRONG)?;
    let origin = values::origin(&format!("http://{rest}")).map_err(|_| WRONG)?;
    let authority = origin.strip_prefix("http://").ok_or(WRONG)?;
    let authority: Authority = authority.parse().map_err(|_| WRONG)?;
    // Of https it is another port that need not be said, and 80 one that must.
    if scheme == UpstreamScheme::Https && rest.ends_with(":80") {
        let authority = format!("{authority}:80").parse().map_err(|_| WRONG)?;
        return Ok((scheme, authority));
    }
    Ok((scheme, authority))
}

const SCHEMES: [(UpstreamScheme, &str); 3] = [
    (UpstreamScheme::Http, "http://"),
    (UpstreamScheme::Https, "https://"),
    (UpstreamScheme::H2c, "h2c://"),
];

fn speaks_tls(target: &UpstreamTarget) -> bool {
    target.scheme == UpstreamScheme::Https
}

/// What `tls` says, or what is meant where a target speaks TLS and nothing is said.
fn tls(table: &Table<'_>, targets: &[UpstreamTarget]) -> Option<UpstreamTls> {
    let Some(value) = table.get("tls") else {
        let is_needed = targets.iter().any(speaks_tls);
        return is_needed.then_some(UpstreamTls::unsaid(table.position()));
    };
    if !targets.iter().all(speaks_tls) {
        value.problem("it is for targets that begin with https://, and one of these does not");
    }
    value.table(|table| tls_table(value, table))
}

fn tls_table(value: Value<'_>, table: &Table<'_>) -> UpstreamTls {
    let ca = table.get("ca");
    let file = ca.filter(|ca| ca.written() != Some("system"));
    let file = file.and_then(|ca| {
        let path = ca.path()?;
        let position = ca.position();
        Some(UpstreamTrust::File { path, position })
    });
    let mut trust = file.unwrap_or(UpstreamTrust::System);
    if table.boolean("insecure_skip_verify", false) {
        if let Some(ca) = ca {
            ca.problem("with insecure_skip_verify nobody is asked; leave one of them out");
        }
        value.warning(
            "insecure_skip_verify: whoever can come between the gateway and the app reads and \
             changes everything, and is believed; bring the app's authority with ca = \"file.pem\"",
        );
        trust = UpstreamTrust::Nobody;
    }
    let (cert, key) = (table.get("cert"), table.get("key"));
    let client = match (cert, key) {
        (Some(cert), Some(key)) => cert.path().zip(key.path()).map(|(path, key)| {
            let position = cert.position();
            let cert = path;
            CertificateFiles {
                cert,
                key,
                position,
            }
        }),
        (Some(alone), None) => {
            alone.problem("a certificate needs its key; write key = \"app-client.key\"");
            None
        }
        (None, Some(alone)) => {
            alone.problem("a key is for a certificate; write cert = \"app-client.pem\"");
            None
        }
        (None, None) => None,
    };
    UpstreamTls {
        trust,
        server_name: table
            .get("server_name")
            .and_then(|value| value.parse(server_name)),
        client,
        position: value.position(),
    }
}

fn server_name(text: &str) -> Result<String, Malformed> {
    const WRONG: Malformed = Malformed("it must be a host name, such as \"app.internal\"");
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    if !text.bytes().all(legal) {
        return Err(WRONG);
    }
    let is_address = text.parse::<std::net::IpAddr>().is_ok();
    let is_name = url::Host::parse(text).is_ok() && !text.contains(':');
    if is_address || is_name {
        Ok(text.to_owned())
    } else {
        Err(WRONG)
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const STREAM_IDLE_TIMEOUT: Duration = Duration::from_hours(1);
const CONNECTIONS: usize = 256;
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(4);
const SLOW_START: Duration = Duration::from_secs(10);
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
const EJECTION: Ejection = Ejection {
    failures: 5,
    time: Duration::from_secs(10),
    statuses: Vec::new(),
};
const RETRIES: Retries = Retries {
    percent: 20,
    per_second: 10,
};
const BALANCES: [(&str, Option<Balance>); 4] = [
    ("p2c", Some(Balance::P2c)),
    ("round_robin", Some(Balance::RoundRobin)),
    ("hash_user", Some(Balance::HashUser)),
    ("hash_address", Some(Balance::HashAddress)),
];
