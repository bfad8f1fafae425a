//! The checked configuration: everything else is built from it.
//!
//! [`Config::load`] reads the file, collects every problem with its place, and only then makes a
//! [`Config`]; nothing in one needs to be looked at twice. This room must never open a database,
//! bind a port or make a file.

mod brand;
mod check;
mod hosts;
mod issuer;
mod patterns;
mod provider;
mod reader;
mod resources;
mod route;
mod secrets;
mod upstream;
mod values;
mod verify;

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;

use crate::domain::Client;
use crate::domain::ClientId;
use crate::domain::Resource;
use crate::domain::Scope;
use crate::domain::Scopes;

pub use brand::Brand;
pub use brand::Colour;
pub use brand::Logo;
pub use brand::LogoKind;
pub use check::Loaded;
pub use check::OWN_ENDPOINTS;
pub use check::ROOT_ASSETS;
pub use check::WELL_KNOWN;
pub use hosts::OwnHosts;
pub use issuer::ClaimPaths;
pub use issuer::Issuer;
pub use issuer::IssuerAlgorithm;
pub use provider::Provider;
pub use resources::Resources;
pub use resources::UnknownResource;
pub use route::Auth;
pub use route::ClientCertificates;
pub use route::Clients;
pub use route::Cors;
pub use route::HeaderChanges;
pub use route::HostPattern;
pub use route::LimitBy;
pub use route::OnUnauthenticated;
pub use route::PathOddities;
pub use route::PathPrefix;
pub use route::Rewrite;
pub use route::Route;
pub use route::RouteLimit;
pub use route::Target;
pub use upstream::Balance;
pub use upstream::Ejection;
pub use upstream::Health;
pub use upstream::Retries;
pub use upstream::Upstream;
pub use upstream::UpstreamScheme;
pub use upstream::UpstreamTarget;
pub use upstream::UpstreamTls;
pub use upstream::UpstreamTrust;
pub use values::METHOD_OVERRIDES;
pub use values::Rate;
pub use values::fold;
pub use values::folds_alike;
#[cfg(any(test, fuzzing))]
pub(crate) use values::rate;
pub use verify::Verify;

/// The whole file, checked.
#[derive(Debug)]
pub struct Config {
    /// The file it came from.
    pub file: PathBuf,
    /// `[gateway]`
    pub gateway: Gateway,
    /// `[[listeners]]`, at least one.
    pub listeners: Vec<Listener>,
    /// `[[certificates]]`, at least one if any listener speaks TLS.
    pub certificates: Vec<CertificateFiles>,
    /// `[connections]`
    pub connections: Connections,
    /// `[store]`
    pub store: Store,
    /// `[tokens]`
    pub tokens: Tokens,
    /// `[sessions]`
    pub sessions: Sessions,
    /// `[accounts]`
    pub accounts: Accounts,
    /// `[hashing]`
    pub hashing: Hashing,
    /// `[limits]`
    pub limits: Limits,
    /// `[identity]`
    pub identity: Identity,
    /// `[upstreams.NAME]`, and one for each URL that a route names directly.
    pub upstreams: Vec<Upstream>,
    /// `[routes.NAME]` and their `paths`, each made whole: inheritance is already applied.
    pub routes: Vec<Route>,
    /// `[scopes]`: the words of the consent page.
    pub scopes: Vec<(Scope, String)>,
    /// `[clients.NAME]`
    pub clients: Vec<Client>,
    /// `[issuers.NAME]`
    pub issuers: Vec<Issuer>,
    /// `[providers.NAME]`
    pub providers: Vec<Provider>,
    /// `[verify]`; the endpoint is not there without it.
    pub verify: Option<Verify>,
    /// `[brand]`
    pub brand: Brand,
    /// `[admin] listen`; nothing is served without it.
    pub admin: Option<Admin>,
    /// `[log]`
    pub log: Log,
}

impl Config {
    /// Reads and checks a file with its secrets.
    ///
    /// # Errors
    ///
    /// Every [`Problem`] of the file at once.
    pub fn load(file: &Path) -> Result<Self, Problems> {
        check::load(file, Secrets::Read).map(|loaded| loaded.config)
    }

    /// As [`Config::load`], for `portcullis check`: with the warnings, and if asked without secrets.
    ///
    /// # Errors
    ///
    /// Every [`Problem`] of the file at once.
    pub fn check(file: &Path, secrets: Secrets) -> Result<Loaded, Problems> {
        check::load(file, secrets)
    }

    /// As [`Config::check`] without secrets, of a text that is in no file.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn of_text(text: &str) -> Result<Loaded, Problems> {
        check::text(Path::new("gateway.toml"), text, Secrets::Offline, &|_| None)
    }

    /// Whether some route admits personal tokens that hold no scope.
    pub fn admits_bare_tokens(&self) -> bool {
        let personal = ClientId::personal();
        let mut routes = self.routes.iter();
        routes.any(|route| route.clients.admit(&personal))
    }

    /// Something that turned out only when it was to be used, at its place in the file.
    pub fn problem(&self, position: Position, message: impl Into<String>) -> Problems {
        let message = message.into();
        Problems {
            file: self.file.clone(),
            problems: vec![Problem { position, message }],
        }
    }
}

/// Whether `${...}` is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// References are read, and one that cannot be read is a problem.
    Read,
    /// `check --offline`: references are only checked for their form, and files that the
    /// configuration names need not be there.
    Offline,
}

/// A line and column of the file, both from 1; columns count characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// Something wrong with the file, or worth a warning: where, what, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where it stands.
    pub position: Position,
    /// What is wrong and what would be right, in one sentence or two.
    pub message: String,
}

/// All that is wrong with a file, in the file's order.
#[derive(Debug)]
pub struct Problems {
    /// The file.
    pub file: PathBuf,
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            let Position { line, column } = problem.position;
            let file = self.file.display();
            write!(f, "{file}:{line}:{column}: {}", problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// `[gateway]`
#[derive(Debug)]
pub struct Gateway {
    /// `public_url`: an origin without path, query or trailing slash; the issuer of tokens.
    pub public_url: Url,
    /// `prefix`: empty, or `/` and segments without a trailing slash.
    pub prefix: String,
    /// `trusted_proxies`
    pub trusted_proxies: Vec<IpNet>,
    /// `cors_origins`: who may call the own endpoints from another origin.
    pub cors_origins: Vec<String>,
    /// `hsts`: how long browsers keep to https once they have been here; zero takes it back, and `None`
    /// (`"off"`) says nothing. 365 days.
    pub hsts: Option<Duration>,
    /// `threads`: how many cores carry requests; when left out, all of them.
    pub threads: usize,
}

impl Gateway {
    /// The issuer: `public_url` as an origin, without the trailing slash that [`Url`] writes.
    pub fn issuer(&self) -> &str {
        self.public_url.as_str().trim_end_matches('/')
    }

    /// The gateway as a resource: `aud` of tokens for whatever is behind it.
    pub fn resource(&self) -> Resource {
        Resource::of_origin(&self.public_url)
    }

    /// The folder of the files that pages need: below the prefix; at the root under a name that no app's
    /// own would be.
    pub fn assets(&self) -> String {
        if self.prefix.is_empty() {
            ROOT_ASSETS.to_owned()
        } else {
            format!("{}/assets", self.prefix)
        }
    }
}

/// One of `[[listeners]]`.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// What it speaks.
    pub kind: ListenerKind,
    /// `proxy_protocol`: every connection says first whom it is for. False.
    pub proxy_protocol: bool,
    /// `client_certificate`, unless that is `"off"`.
    pub client_certificate: Option<CertificateRequest>,
    /// Where it stands in the file.
    pub position: Position,
}

/// What a listener asks of its clients' certificates.
#[derive(Clone, Debug)]
pub struct CertificateRequest {
    /// `"require"`: without one there is no connection. `"request"`: there is.
    pub is_required: bool,
    /// `client_ca`: PEM certificates of whoever may have signed them.
    pub authorities: PathBuf,
    /// Where that stands in the file.
    pub position: Position,
}

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerKind {
    /// HTTPS.
    Tls,
    /// HTTP behind a balancer that ends TLS: only peers on loopback or in `trusted_proxies`.
    Plain,
    /// HTTP that only answers 308 to `https`.
    Redirect,
}

/// `[admin]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admin {
    /// `listen`
    pub address: SocketAddr,
    /// Where it stands in the file.
    pub position: Position,
}

/// One of `[[certificates]]`, the first being the one for unknown names.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// PEM chain, leaf first.
    pub cert: PathBuf,
    /// PEM private key.
    pub key: PathBuf,
    /// Where it stands in the file.
    pub position: Position,
}

/// `[connections]`: what one connection, and all of them, may cost.
#[derive(Clone, Debug)]
pub struct Connections {
    /// `max`: open connections over all listeners; more wait in the kernel's queue. 10000.
    pub max: usize,
    /// `per_address`: how many of them one address may hold, and never more than are left for all
    /// others; trusted proxies and `limits.exempt` are not counted. Half of `max`.
    pub per_address: usize,
    /// `handshake_timeout`: for the TLS handshake. 10 s.
    pub handshake_timeout: Duration,
    /// `header_timeout`: for the whole header block, and for idling between requests. 15 s.
    pub header_timeout: Duration,
    /// `body_timeout`: how long a client may let us wait for its body, or take nothing of its answer. Every
    /// wait counts, and 250 bytes give a second back. 30 s.
    pub body_timeout: Duration,
    /// `header_bytes`: request line and headers together. 32 KiB, 8 KiB to 64 KiB.
    pub header_bytes: usize,
    /// `headers`: how many header lines. 100.
    pub headers: usize,
    /// `streams`: concurrent HTTP/2 streams of one connection. 128.
    pub streams: u32,
    /// `control_frames`: how many HTTP/2 frames that are neither request nor body a connection may send at
    /// once; requests, pieces of bodies and time give some back. 10000.
    pub control_frames: u32,
    /// `drain_timeout`: how long requests may take to finish after SIGTERM. 30 s.
    pub drain_timeout: Duration,
}

/// `[store]`
#[derive(Debug)]
pub struct Store {
    /// `url = "sqlite:PATH"`
    pub sqlite: PathBuf,
    /// Where that stands, or the table.
    pub position: Position,
    /// `key`
    pub key: StoreKey,
    /// Where that stands, or the table.
    pub key_position: Position,
}

/// Where the store's key comes from.
#[derive(Debug)]
pub enum StoreKey {
    /// `"${file:PATH}"`: made, with mode 0600, together with a new SQLite store.
    File(PathBuf),
    /// Any other reference, already read.
    Value(SecretString),
}

/// `[tokens]`
#[derive(Clone, Copy, Debug)]
pub struct Tokens {
    /// `algorithm`
    pub algorithm: Algorithm,
    /// `access_ttl`: 15 min.
    pub access_ttl: Duration,
    /// `refresh_ttl`: from the sign-in on, however often it is refreshed. 30 days.
    pub refresh_ttl: Duration,
    /// `refresh_grace`: 10 s.
    pub refresh_grace: Duration,
    /// `cache_max`: verified tokens, and signed assertions, that each thread remembers. 131,072.
    pub cache_max: usize,
}

/// `[sessions]`: of browsers.
#[derive(Clone, Copy, Debug)]
pub struct Sessions {
    /// `idle`: one that is not seen for so long has ended. 12 h.
    pub idle: Duration,
    /// `max`: from the sign-in on, however often it is seen. 30 days.
    pub max: Duration,
}

/// The signature algorithms of our own keys (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

/// `[accounts]`
#[derive(Clone, Debug)]
pub struct Accounts {
    /// `registration`
    pub registration: Registration,
    /// `password.min_length`, in characters: 12, at least 8.
    pub password_length_min: usize,
    /// `password.reject_common`: true.
    pub password_reject_common: bool,
    /// `reserved_usernames`, folded, beside the built-in list.
    pub reserved_usernames: Vec<String>,
    /// `login_scopes`: what a first-party login may hold.
    pub login_scopes: Scopes,
}

/// Who may make an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registration {
    /// Anybody.
    Open,
    /// Nobody but the administrator.
    Off,
}

/// `[hashing]`: what a password may cost.
#[derive(Clone, Copy, Debug)]
pub struct Hashing {
    /// `memory`: of Argon2id, in KiB. 19 MiB, at least that.
    pub memory_kib: u32,
    /// `iterations`: of Argon2id. 2, at least that.
    pub iterations: u32,
    /// `threads`: how many hashes run at once. Half the cores, at least one.
    pub threads: usize,
    /// `queue`: how many may wait. 64.
    pub queue: usize,
    /// `deadline`: a hash that would start later is refused with 503. 3 s.
    pub deadline: Duration,
}

/// `[limits]`
#[derive(Clone, Debug)]
pub struct Limits {
    /// `per_address`: 6000 per minute.
    pub per_address: Option<Rate>,
    /// `per_user`: 6000 per minute.
    pub per_user: Option<Rate>,
    /// `register`, by address: 60 per hour.
    pub register: Option<Rate>,
    /// `login`, by address, for everything that costs a password hash: 60 per minute.
    pub login: Option<Rate>,
    /// `exempt`: networks that `per_address` does not count.
    pub exempt: Vec<IpNet>,
    /// `ipv6_prefix`: how many bits of an IPv6 address tell callers apart. 64.
    pub ipv6_prefix: u8,
    /// `keys_max`: how many callers one policy remembers. 1000000.
    pub keys_max: usize,
}

/// `[identity]`
#[derive(Clone, Debug)]
pub struct Identity {
    /// `assertion`
    pub assertion: Assertion,
}

/// How often `X-Auth-Assertion` is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assertion {
    /// Not at all.
    Off,
    /// Once per session and route, and again after 30 s.
    Session,
    /// For each request, bound to its method and URL.
    Request,
}

/// The header names by which one route's app learns who is calling. `None`: not told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdentityHeaders {
    /// `user`: the username, or the verified address, or the id. Never for a machine.
    pub user: Option<HeaderName>,
    /// `user_id`: the `sub`.
    pub user_id: Option<HeaderName>,
    /// `name`: what the person is called, percent-encoded outside printable ASCII.
    pub name: Option<HeaderName>,
    /// `email`: the verified address.
    pub email: Option<HeaderName>,
    /// `roles`: separated by commas.
    pub roles: Option<HeaderName>,
    /// `scopes`: separated by blanks.
    pub scopes: Option<HeaderName>,
    /// `session`: the `sid`.
    pub session: Option<HeaderName>,
    /// `method`: how the caller proved it, `pwd` or `client`.
    pub method: Option<HeaderName>,
    /// `client`: the OAuth client, where it is not the gateway itself.
    pub client: Option<HeaderName>,
    /// `assertion`: the signed assertion.
    pub assertion: Option<HeaderName>,
}

impl IdentityHeaders {
    /// Every name that is set.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        [
            &self.user,
            &self.user_id,
            &self.name,
            &self.email,
            &self.roles,
            &self.scopes,
            &self.session,
            &self.method,
            &self.client,
            &self.assertion,
        ]
        .into_iter()
        .flatten()
    }
}

/// `[log]`
#[derive(Clone, Copy, Debug)]
pub struct Log {
    /// `format`
    pub format: LogFormat,
}

/// How a line of the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Human on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}
