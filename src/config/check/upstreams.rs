//! `[upstreams.NAME]`, and the upstreams that routes name by their URL alone.

use std::time::Duration;

use http::uri::Authority;

use crate::config::CertificateFiles;
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
pub(super) struct Upstreams(Vec<Upstream>);

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
        Self(
            root.entries("upstreams")
                .into_iter()
                .filter_map(upstream)
                .collect(),
        )
    }

    /// What a route's `upstream` means.
    pub(super) fn target(&mut self, value: Value<'_>) -> Option<Target> {
        let text = value.text()?;
        if !text.known {
            return Some(self.add(text.written, target(value)));
        }
        if text.value == "echo" {
            return Some(Target::Echo);
        }
        if let Some(index) = self
            .0
            .iter()
            .position(|upstream| upstream.name == text.value)
        {
            return Some(Target::Upstream(index));
        }
        if text.value.contains("://") {
            return Some(self.add(&text.value, target(value)));
        }
        let names = self.0.iter().map(|upstream| upstream.name.as_str());
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
        self.0
    }

    fn add(&mut self, name: &str, target: UpstreamTarget) -> Target {
        self.0.push(Upstream {
            name: name.to_owned(),
            tls: speaks_tls(&target).then_some(UpstreamTls::unsaid(target.position)),
            targets: vec![target],
            connect_timeout: CONNECT_TIMEOUT,
            response_timeout: RESPONSE_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            stream_idle_timeout: STREAM_IDLE_TIMEOUT,
            connections: CONNECTIONS,
        });
        Target::Upstream(self.0.len() - 1)
    }
}

fn upstream(name: &str, table: &Table<'_>) -> Upstream {
    table.later(&["balance", "health"]);
    let targets = table.required("targets", "[\"http://127.0.0.1:5000\"]");
    let only = targets.and_then(|value| match value.one_or_more().as_slice() {
        [only] => Some(*only),
        [] => {
            value.problem("an upstream needs a target, such as [\"http://127.0.0.1:5000\"]");
            None
        }
        [_, more, ..] => {
            more.problem("this version does not have more than one target per upstream");
            None
        }
    });
    let targets: Vec<_> = only.map(target).into_iter().collect();
    let tls = tls(table, &targets);
    let seconds = Duration::from_secs;
    let connect = Duration::from_millis(10)..=seconds(60);
    let long = Duration::from_millis(100)..=Duration::from_hours(24);
    let [connect, response, idle, stream_idle] = table.table("timeouts", |table| {
        [
            table.duration("connect", connect, CONNECT_TIMEOUT),
            table.duration("response", long.clone(), RESPONSE_TIMEOUT),
            table.duration("idle", long.clone(), IDLE_TIMEOUT),
            table.duration("stream_idle", long, STREAM_IDLE_TIMEOUT),
        ]
    });
    Upstream {
        name: name.to_owned(),
        targets,
        tls,
        connect_timeout: connect,
        response_timeout: response,
        idle_timeout: idle,
        stream_idle_timeout: stream_idle,
        connections: table.integer("connections", 1..=65_535, CONNECTIONS),
    }
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
