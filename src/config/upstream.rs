//! One checked upstream: where its targets are, how they are chosen, and how long anybody waits for them.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::CertificateFiles;
use crate::config::Position;
/// One of `[upstreams.NAME]`.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its name; for a URL written in a route, that URL.
    pub name: String,
    /// `targets`: from one to [`Upstream::TARGETS_MAX`], none of them twice.
    pub targets: Vec<UpstreamTarget>,
    /// `tls`, where a target is https.
    pub tls: Option<UpstreamTls>,
    /// `balance`
    pub balance: Balance,
    /// `health`: whether targets are asked how they are. Not at all.
    pub health: Option<Health>,
    /// `ejection`: when a target that fails requests is left alone for a while. `None` is `"off"`.
    pub ejection: Option<Ejection>,
    /// `slow_start`: how long a target that comes back gets less than its share. 10 s.
    pub slow_start: Duration,
    /// `retries`: how many requests may be sent a second time. `None` is `"off"`.
    pub retries: Option<Retries>,
    /// `timeouts.connect`: for all attempts of one request together. 3 s.
    pub connect_timeout: Duration,
    /// `timeouts.response`: until the response's header is there. 60 s.
    pub response_timeout: Duration,
    /// `timeouts.idle`: between two pieces of the response. 60 s.
    pub idle_timeout: Duration,
    /// `timeouts.stream_idle`: between two pieces of a stream of events, and how long neither end of a
    /// WebSocket may say anything: 1 h.
    pub stream_idle_timeout: Duration,
    /// `timeouts.keep_alive`: how long a connection that nobody uses is kept. 4 s: shorter than what
    /// servers commonly allow (Node, uvicorn and Apache 5 s), because a request that meets a
    /// connection just being closed is lost, unless it may be sent again.
    pub keep_alive_timeout: Duration,
    /// `connections`: how many at once from each core; more requests wait. 256.
    pub connections: usize,
    /// `queue`: how many requests of each core may wait. As many as `connections`.
    pub queue: usize,
}

impl Upstream {
    /// More are no longer one app.
    pub const TARGETS_MAX: usize = 64;
}

/// Which target gets the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// Of two chosen at random, the one with fewer requests under way.
    P2c,
    /// One after the other.
    RoundRobin,
    /// Always the same one for one user, and for one address where the caller is nobody.
    HashUser,
    /// Always the same one for one address; IPv6 by `limits.ipv6_prefix`.
    HashAddress,
}

/// `health`: how targets are asked how they are.
#[derive(Clone, Debug)]
pub struct Health {
    /// `path`: what is asked for, by GET.
    pub path: http::uri::PathAndQuery,
    /// `host`: the `Host` it is asked with; the target's own when left out.
    pub host: Option<http::HeaderValue>,
    /// `interval`: between two checks. 5 s.
    pub interval: Duration,
    /// `timeout`: of one check, from connecting to the answer's header. 2 s.
    pub timeout: Duration,
    /// `status`: which answers are good. Those from 200 to 299 where it is empty.
    pub statuses: Vec<http::StatusCode>,
    /// `healthy`: after how many good answers in a row a target that was down is used again. 2.
    pub healthy: u32,
    /// `unhealthy`: after how many bad ones it is down. 3.
    pub unhealthy: u32,
}

/// `ejection`: when a target that fails requests is left alone for a while.
#[derive(Clone, Debug)]
pub struct Ejection {
    /// `failures`: after how many in a row. 5.
    pub failures: u32,
    /// `time`: for how long at first; twice as long each time it happens again. 10 s.
    pub time: Duration,
    /// `statuses`: answers that count as failures, beside having none. None of them.
    pub statuses: Vec<http::StatusCode>,
}

/// `retries`: how many requests may be sent a second time, because the first time there was no byte
/// of an answer and nothing can have happened twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// `percent` of all requests. 20.
    pub percent: u32,
    /// `per_second`: and so many more. 10.
    pub per_second: u32,
}

/// One of an upstream's `targets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTarget {
    /// What is spoken with it.
    pub scheme: UpstreamScheme,
    /// Host and port to connect to, as in a `Host` header.
    pub authority: http::uri::Authority,
    /// Where it stands in the file; for a URL written in a route, the route's `upstream`.
    pub position: Position,
}

/// What is spoken with a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamScheme {
    /// `http://`: HTTP/1.1 without TLS.
    Http,
    /// `https://`: HTTP/2 or HTTP/1.1, whichever the target chooses (ALPN).
    Https,
    /// `h2c://`: HTTP/2 without TLS, known beforehand (RFC 9113 §3.3).
    H2c,
}

/// `tls` of an upstream.
#[derive(Clone, Debug)]
pub struct UpstreamTls {
    /// `ca`: whose certificates are believed.
    pub trust: UpstreamTrust,
    /// `server_name`: the name that the certificate is for; the target's host when left out.
    pub server_name: Option<String>,
    /// `cert` and `key`: what the gateway shows where it is asked who it is.
    pub client: Option<CertificateFiles>,
    /// Where it stands in the file.
    pub position: Position,
}

impl UpstreamTls {
    /// Where nothing is said.
    pub(super) fn unsaid(position: Position) -> Self {
        Self {
            trust: UpstreamTrust::System,
            server_name: None,
            client: None,
            position,
        }
    }
}

/// Whose certificates are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UpstreamTrust {
    /// `"system"`: whom the machine trusts.
    System,
    /// The authorities of a PEM file.
    File {
        /// The file.
        path: PathBuf,
        /// Where it stands.
        position: Position,
    },
    /// `insecure_skip_verify`: everybody's.
    Nobody,
}

impl UpstreamScheme {
    /// The port that a URL without one means.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http | Self::H2c => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for UpstreamTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            scheme, authority, ..
        } = self;
        let scheme = match scheme {
            UpstreamScheme::Http => "http",
            UpstreamScheme::Https => "https",
            UpstreamScheme::H2c => "h2c",
        };
        write!(f, "{scheme}://{authority}")
    }
}

impl UpstreamTarget {
    /// The host to connect to: a name, or an address without brackets.
    pub fn host(&self) -> &str {
        self.authority.host().trim_matches(['[', ']'])
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        let written = self.authority.port_u16();
        written.unwrap_or_else(|| self.scheme.default_port())
    }
}
