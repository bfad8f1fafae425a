//! One checked route: what it answers for, whom it admits, and where it leads.

use std::fmt;
use std::sync::Arc;

use http::HeaderName;
use http::HeaderValue;
use http::Method;
use ipnet::IpNet;

use crate::config::IdentityHeaders;
use crate::config::Position;
use crate::config::Rate;
use crate::domain::ClientId;
use crate::domain::Fingerprint;
use crate::domain::Handle;
use crate::domain::Resource;
use crate::domain::Role;
use crate::domain::Scopes;

/// One path of one of `[routes.NAME]`, with everything it inherits.
#[derive(Clone, Debug)]
pub struct Route {
    /// The route's name: `aud` of its assertions, the label in logs and metrics.
    pub name: Arc<str>,
    /// `host`: empty means any.
    pub hosts: Vec<HostPattern>,
    /// `path`: at least one, each `/` or segments without a trailing slash, decoded.
    pub paths: Vec<PathPrefix>,
    /// `methods`: `None` means any; GET has brought HEAD.
    pub methods: Option<Vec<Method>>,
    /// `upstream`
    pub target: Target,
    /// `auth`
    pub auth: Auth,
    /// `scopes`: all of them.
    pub scopes: Scopes,
    /// `roles`: one of them; empty asks for none.
    pub roles: Vec<Role>,
    /// `users`: one of them; empty asks for none.
    pub users: Vec<Handle>,
    /// `clients`
    pub clients: Clients,
    /// `issuers`: the names of those whose tokens are admitted beside our own.
    pub issuers: Vec<Arc<str>>,
    /// `audience`: the resource that it belongs to. Tokens for that are admitted beside those for the
    /// gateway, and on no route of another.
    pub audience: Option<Resource>,
    /// `addresses`: the networks that are admitted; empty admits them all.
    pub addresses: Vec<IpNet>,
    /// `client_certificates`
    pub client_certificates: ClientCertificates,
    /// `forward_client_certificate`: the app is told in `Client-Cert`.
    pub forward_client_certificate: bool,
    /// `limits` and `limit`.
    pub limits: Vec<RouteLimit>,
    /// `cors`
    pub cors: Option<Cors>,
    /// The names of this route's identity headers. Most routes share them.
    pub identity: Arc<IdentityHeaders>,
    /// `rewrite`, and `strip_prefix`, which is a rewrite to `/`.
    pub rewrite: Option<Rewrite>,
    /// `host_header = "upstream"`: `Host` is the upstream's own name, not the one the client asked for.
    pub host_of_upstream: bool,
    /// `request_headers`
    pub request_headers: HeaderChanges,
    /// `response_headers`
    pub response_headers: HeaderChanges,
    /// `authorization = "forward"`: the header is the app's own.
    pub forward_authorization: bool,
    /// `on_unauthenticated`
    pub on_unauthenticated: OnUnauthenticated,
    /// `path_allow`
    pub path_allow: PathOddities,
    /// `allow_headers`, lower case: no alias of any identity header.
    pub allow_headers: Vec<HeaderName>,
    /// `max_body`, in bytes. 10 MiB.
    pub body_bytes_max: u64,
    /// Where it stands in the file.
    pub position: Position,
}

impl Route {
    /// The name of the `[routes.NAME]` it belongs to: a sub-path's own name has its path behind it.
    pub fn family(&self) -> &str {
        self.name.split(' ').next().unwrap_or_default()
    }
}

/// Where a route's requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `"echo"`: answered with the request the app would get; of a body at most 64 KiB.
    Echo,
    /// An index into [`Config::upstreams`].
    Upstream(usize),
    /// Nowhere: the route is only for those who ask `verify` about it.
    Verify,
}

/// Under which paths the app knows what the gateway's clients ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    /// The beginnings that are taken away. Of an inherited one they are those of `[routes.NAME]`: a
    /// sub-path takes away what its route does, never more, or its requests would reach the app under
    /// names that the route guards.
    pub from: Vec<PathPrefix>,
    /// What stands in their place.
    pub to: PathPrefix,
}

/// `request_headers` or `response_headers`: values that are the same for every request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HeaderChanges {
    /// `set`: in place of whatever was there. One that is a secret is marked as sensitive.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// `remove`
    pub remove: Vec<HeaderName>,
}

impl HeaderChanges {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.remove.is_empty()
    }

    /// Every name that is set or removed.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> + Clone {
        self.set.iter().map(|(name, _)| name).chain(&self.remove)
    }
}

/// What a route asks of its callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// Credentials are neither read nor judged.
    None,
    /// A caller without credential is anonymous; a bad one is still refused.
    Optional,
    /// No credential, no entry.
    Required,
}

/// What a route answers where a caller is required and nobody said who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnauthenticated {
    /// `"auto"`: a browser that goes to a page is sent to sign in, everything else gets 401.
    Auto,
    /// `"redirect"`: every GET is sent to sign in.
    Redirect,
    /// `"401"`
    Refuse,
}

/// Which OAuth clients a route admits without a scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Clients {
    /// None.
    #[default]
    None,
    /// These.
    Listed(Vec<ClientId>),
    /// `"*"`
    Any,
}

impl Clients {
    /// Whether this one is among them.
    pub fn admit(&self, client: &ClientId) -> bool {
        match self {
            Self::None => false,
            Self::Listed(clients) => clients.contains(client),
            Self::Any => true,
        }
    }
}

/// Which client certificates a route admits, beside all else that it asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// None is asked for.
    #[default]
    NotAsked,
    /// These.
    Listed(Vec<Fingerprint>),
    /// `"any"` that some listener's `client_ca` has signed.
    Any,
}

/// A host that a route answers for; names are lower case, without port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This very name.
    Exact(String),
    /// `*.example.com`, kept as `example.com`: one or more labels before it.
    Wildcard(String),
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
        }
    }
}

/// A path a route answers for: whole percent-decoded segments; none means `/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathPrefix(pub Vec<String>);

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("/");
        }
        self.0
            .iter()
            .try_for_each(|segment| write!(f, "/{segment}"))
    }
}

/// Spellings of a path that are refused unless a route allows them (SECURITY 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathOddities {
    /// `encoded_slash`: `%2f`, `%5c` or a backslash.
    pub encoded_slash: bool,
    /// `semicolon`: `;`, plain or as `%3b`.
    pub semicolon: bool,
    /// `double_slash`: an empty segment.
    pub double_slash: bool,
    /// `double_encoding`: a `%25` that is followed by two hexadecimal digits.
    pub double_encoding: bool,
    /// `case`: letters in such a case that an app which does not tell case apart would take the path
    /// for another route's. Only a route's permission; whether a path needs it depends on all routes.
    pub case: bool,
}

/// One of a route's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteLimit {
    /// How many per time.
    pub rate: Rate,
    /// Counted by what.
    pub by: LimitBy,
}

/// Counted by what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LimitBy {
    /// `"user"`: the `sub`; an anonymous caller is counted by address.
    User,
    /// `"client"`: the OAuth client; an anonymous caller is counted by address.
    Client,
    /// `"address"`: the source, IPv6 by `limits.ipv6_prefix`.
    Address,
    /// `"route"`: everybody together.
    Route,
}

impl fmt::Display for LimitBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User => "user",
            Self::Client => "client",
            Self::Address => "address",
            Self::Route => "route",
        })
    }
}

/// `cors` of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// `origins`: exact, or `"*"` alone without credentials.
    pub origins: Vec<String>,
    /// `credentials`
    pub credentials: bool,
}
