//! `[upstreams.NAME]`, and the upstreams that routes name by their URL alone.

use std::time::Duration;

use http::uri::Authority;

use crate::config::Target;
use crate::config::Upstream;
use crate::config::UpstreamScheme;
use crate::config::UpstreamTarget;
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
    table.later(&["balance", "health", "tls"]);
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
        targets: only.map(target).into_iter().collect(),
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
    const WRONG: Malformed =
        Malformed("it must be http://, host and port alone, such as \"http://127.0.0.1:5000\"");
    if url.starts_with("https://") || url.starts_with("h2c://") {
        return Err(Malformed(
            "this version does not have https and h2c upstreams; write http://",
        ));
    }
    let origin = values::origin(url).map_err(|_| WRONG)?;
    let authority = origin.strip_prefix("http://").ok_or(WRONG)?;
    let authority = authority.parse().map_err(|_| WRONG)?;
    Ok((UpstreamScheme::Http, authority))
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
const STREAM_IDLE_TIMEOUT: Duration = Duration::from_hours(1);
const CONNECTIONS: usize = 256;
