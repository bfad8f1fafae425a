//! Host, path and method to a route; a route and a caller to a [`Permit`].
//!
//! First the host (exact, wildcard, any), then the longest path; methods choose only among routes
//! of the same host and path. Nothing ever falls through to a shorter path or a wider host.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderValue;
use http::Method;
use http::uri::PathAndQuery;

use crate::authenticate::Caller;
use crate::config;
use crate::config::Auth;
use crate::config::ClientCertificates;
use crate::config::HostPattern;
use crate::config::LimitBy;
use crate::config::PathOddities;
use crate::config::PathPrefix;
use crate::config::Target;
use crate::domain::EmailAddress;
use crate::domain::Handle;
use crate::domain::Role;
use crate::domain::Subject;
use crate::gate::certificate::ClientCertificate;
use crate::gate::cors::CorsPolicy;
use crate::gate::host::Host;
use crate::gate::limit::Quota;
use crate::gate::path::PathRefusal;
use crate::gate::path::RequestPath;
use crate::gate::path::encoded;
use crate::gate::path::fold_case;
use crate::gate::resource::DescribedResource;
use crate::gate::source::Address;
use crate::telemetry::metrics::RouteMetrics;
use crate::token::verify::Claims;

/// One route, with everything prepared that a request would otherwise build.
#[derive(Debug)]
pub struct Route {
    config: config::Route,
    index: usize,
    limits: Vec<(LimitBy, Quota)>,
    cors: Option<CorsPolicy>,
    policies: Policies,
    metrics: RouteMetrics,
    /// What a rewrite puts in front; nothing for `/`.
    rewritten: String,
    host: Option<HeaderValue>,
    resource: Option<Arc<DescribedResource>>,
}

/// What a route is built with beside its configuration.
#[derive(Debug)]
pub struct RouteParts {
    /// Its limits, in the order in which they are asked.
    pub limits: Vec<(LimitBy, Quota)>,
    /// `RateLimit-Policy` of its answers.
    pub policies: Policies,
    /// Its metrics.
    pub metrics: RouteMetrics,
    /// `Host` for its app, where that is not the client's.
    pub host: Option<HeaderValue>,
    /// The resource that its refusals name, if that has metadata.
    pub resource: Option<Arc<DescribedResource>>,
}

/// `RateLimit-Policy` values, ready to send.
#[derive(Clone, Debug, Default)]
pub struct Policies {
    /// For callers who are counted by address only.
    pub anonymous: Option<HeaderValue>,
    /// For callers who are known.
    pub known: Option<HeaderValue>,
}

/// Leave for one caller to pass one route. Only [`Route::authorize`] makes one, and forwarding
/// takes nothing else.
#[derive(Debug)]
pub struct Permit {
    route: Arc<Route>,
    caller: Caller,
}

/// Why a known caller may not pass, or an unknown one must say who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forbidden {
    /// The route asks for a caller, and there is none.
    Anonymous,
    /// The token lacks scopes; these are the ones the route asks for (RFC 6750 §3.1).
    Scopes(String),
    /// The user has none of the roles.
    Roles,
    /// The user is none of those that are listed.
    User,
    /// The request comes from none of the networks that are listed.
    Address,
    /// The caller's token is for another resource.
    Audience,
    /// The caller's token is of an issuer that the route does not admit.
    Issuer,
    /// The connection has no certificate that the route admits.
    Certificate,
    /// A delegated token, and the route is for sessions of the gateway's own.
    Delegated,
}

impl Route {
    /// Makes a route.
    pub fn new(config: config::Route, index: usize, parts: RouteParts) -> Self {
        Self {
            cors: config.cors.as_ref().map(CorsPolicy::new),
            rewritten: config
                .rewrite
                .iter()
                .flat_map(|rewrite| &rewrite.to.0)
                .map(|segment| format!("/{}", encoded(segment)))
                .collect(),
            config,
            index,
            limits: parts.limits,
            policies: parts.policies,
            metrics: parts.metrics,
            host: parts.host,
            resource: parts.resource,
        }
    }

    /// Whether requests from this address are admitted: asked before a credential is read, so that
    /// outsiders learn nothing about theirs.
    ///
    /// # Errors
    ///
    /// Where they are not.
    pub fn admit(&self, source: &Address) -> Result<(), Forbidden> {
        let networks = &self.config.addresses;
        if networks.is_empty() || source.is_in(networks) {
            Ok(())
        } else {
            Err(Forbidden::Address)
        }
    }

    /// Decides whether `caller` may pass. Roles say what a user may do, scopes what a token may
    /// do; a delegated token opens only what names its scopes or its client.
    ///
    /// # Errors
    ///
    /// Where it may not.
    pub fn authorize(
        self: &Arc<Self>,
        caller: Caller,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Permit, Forbidden> {
        let identity = match (&caller, self.config.auth) {
            (_, Auth::None) | (Caller::Anonymous, Auth::Optional) => None,
            (Caller::Anonymous, Auth::Required) => return Err(Forbidden::Anonymous),
            (Caller::Known(identity), Auth::Optional | Auth::Required) => Some(identity),
        };
        if let Some(claims) = identity.map(|identity| identity.claims()) {
            // Before all else: such a token says nothing about this route (RFC 9700 §4.10.2).
            if !claims.audience.admits(self.config.audience.as_ref()) {
                return Err(Forbidden::Audience);
            }
            if let Subject::Outside(caller) = &claims.subject
                && !self.config.issuers.contains(caller.issuer())
            {
                return Err(Forbidden::Issuer);
            }
            let listed = self.config.clients.admit(&claims.client);
            let delegated = !claims.client.is_first_party();
            let by_client = delegated && listed;
            if !by_client && !self.config.scopes.is_subset_of(&claims.scopes) {
                return Err(Forbidden::Scopes(self.config.scopes.to_string()));
            }
            if delegated && !listed && self.config.scopes.is_empty() {
                return Err(Forbidden::Delegated);
            }
            let has_role = |role: &Role| claims.roles.contains(role);
            if !self.config.roles.is_empty() && !self.config.roles.iter().any(has_role) {
                return Err(Forbidden::Roles);
            }
            let is_user = |user: &Handle| is(claims, user);
            if !self.config.users.is_empty() && !self.config.users.iter().any(is_user) {
                return Err(Forbidden::User);
            }
        }
        let is_certified = match &self.config.client_certificates {
            ClientCertificates::NotAsked => true,
            ClientCertificates::Any => certificate.is_some(),
            ClientCertificates::Listed(listed) => {
                certificate.is_some_and(|shown| listed.contains(&shown.fingerprint()))
            }
        };
        if !is_certified {
            return Err(Forbidden::Certificate);
        }
        Ok(Permit {
            route: Arc::clone(self),
            caller,
        })
    }

    /// Whether it has an app. One without is for those who ask `verify`.
    ///
    /// # Errors
    ///
    /// Where it has none.
    pub fn leads_somewhere(&self) -> Result<(), Unrouted> {
        match self.config.target {
            Target::Verify => Err(Unrouted::VerifyOnly),
            Target::Echo | Target::Upstream(_) => Ok(()),
        }
    }

    /// Its configuration.
    pub fn config(&self) -> &config::Route {
        &self.config
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.config.name
    }

    /// Its place among the routes.
    pub fn index(&self) -> usize {
        self.index
    }

    /// Its limits, in the order in which they are asked.
    pub fn limits(&self) -> &[(LimitBy, Quota)] {
        &self.limits
    }

    /// `Host` for its app, where that is not the client's.
    pub fn host(&self) -> Option<&HeaderValue> {
        self.host.as_ref()
    }

    /// The resource that its refusals name, if that has metadata.
    pub fn resource(&self) -> Option<&DescribedResource> {
        self.resource.as_deref()
    }

    /// Which origins may read its answers.
    pub fn cors(&self) -> Option<&CorsPolicy> {
        self.cors.as_ref()
    }

    /// `RateLimit-Policy` of its answers.
    pub fn policies(&self) -> &Policies {
        &self.policies
    }

    /// Its metrics.
    pub fn metrics(&self) -> &RouteMetrics {
        &self.metrics
    }

    fn serves(&self, method: &Method) -> bool {
        self.config
            .methods
            .as_ref()
            .is_none_or(|methods| methods.contains(method))
    }
}

impl Permit {
    /// The route.
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// The caller.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// As much of the path, as sent, as a rewrite takes away.
    fn replaced<'a>(&self, path: &'a RequestPath) -> Option<&'a str> {
        let rewrite = self.route.config.rewrite.as_ref()?;
        let covers = |prefix: &&PathPrefix| {
            let mut sent = path.segments();
            let mut own = prefix.0.iter();
            own.all(|own| sent.next().is_some_and(|sent| sent == own.as_str()))
        };
        let covering = rewrite.from.iter().filter(covers);
        let longest = covering.map(|prefix| prefix.0.len()).max()?;
        Some(path.first_segments(longest))
    }

    /// What an app must put before its own paths to have them as they are outside: told where there is
    /// such a thing, which is where what was taken away ends with what was put in its place.
    pub fn forwarded_prefix<'a>(&self, path: &'a RequestPath) -> Option<&'a str> {
        let prefix = self.replaced(path)?.strip_suffix(&*self.route.rewritten)?;
        Some(prefix).filter(|prefix| !prefix.is_empty())
    }

    /// The path and query for the app: those that were authorised, byte for byte, but for a beginning
    /// of whole segments that the route replaces.
    ///
    /// # Errors
    ///
    /// Where what is left could be read in more ways than what was sent: `//host` and `/\host` are no paths to many.
    pub fn target_for_app(&self, path: &RequestPath) -> Result<PathAndQuery, Unrouted> {
        let Some(replaced) = self.replaced(path) else {
            return Ok(path.target().clone());
        };
        let rest = path.target().as_str().get(replaced.len()..);
        let rest = rest.unwrap_or_default();
        let put = &self.route.rewritten;
        let slash = if put.is_empty() && !rest.starts_with('/') {
            "/"
        } else {
            ""
        };
        let target = PathAndQuery::try_from(format!("{put}{slash}{rest}"));
        let target = target.map_err(|_| Unrouted::Ambiguous)?;
        let checked = RequestPath::check(target).map_err(Unrouted::Path)?;
        let is_odder = first_refused(checked.oddities(), path.oddities()).is_some();
        // A backslash is a slash to whoever reads links as browsers do (WHATWG URL).
        let begins_oddly = |path: &RequestPath| {
            path.as_str()
                .get(1..)
                .is_some_and(|rest| rest.starts_with(['/', '\\']))
        };
        if is_odder || (begins_oddly(&checked) && !begins_oddly(path)) {
            return Err(Unrouted::Ambiguous);
        }
        Ok(checked.target().clone())
    }

    /// Where the request goes.
    pub fn target(&self) -> &Target {
        &self.route.config.target
    }
}

/// All routes, found by host and path.
#[derive(Debug, Default)]
pub struct Routes {
    exact: HashMap<String, Tree>,
    wildcard: HashMap<String, Tree>,
    any: Option<Tree>,
}

/// The routes of one host, by path.
#[derive(Debug, Default)]
struct Tree {
    /// As their paths are spelt: this is what decides.
    spelt: Node,
    /// As an app understands them that does not tell case apart.
    folded: Node,
    /// Whether a path of a route changes by folding, so that every request has to be looked up twice.
    has_cased: bool,
}

#[derive(Debug, Default)]
struct Node {
    children: HashMap<String, Self>,
    routes: Vec<Arc<Route>>,
}

/// Why no route was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unrouted {
    /// No route: default deny.
    NotFound,
    /// Routes for this host and path, none for this method; these are served.
    MethodNotAllowed(String),
    /// The path has a spelling that this key of the route would allow.
    Oddity(&'static str),
    /// A spelling that is allowed, but an app might take it for a path of another route.
    Ambiguous,
    /// What an app would understand is always refused.
    Path(PathRefusal),
    /// The route is only for those who ask `verify` about it.
    VerifyOnly,
    /// An endpoint of our own, which nobody else's answer may stand for.
    OwnEndpoint,
}

impl Routes {
    /// Arranges routes.
    pub fn new(routes: impl IntoIterator<Item = Arc<Route>>) -> Self {
        let mut arranged = Self::default();
        for route in routes {
            for path in &route.config.paths {
                if route.config.hosts.is_empty() {
                    arranged.any.get_or_insert_default().insert(path, &route);
                }
                for host in &route.config.hosts {
                    let tree = match host {
                        HostPattern::Exact(name) => arranged.exact.entry(name.clone()),
                        HostPattern::Wildcard(suffix) => arranged.wildcard.entry(suffix.clone()),
                    };
                    tree.or_default().insert(path, &route);
                }
            }
        }
        arranged
    }

    /// Finds the route of a request. Case decides as it is spelt; but a path that an app which does
    /// not tell case apart would take for another route's (`/ADMIN` beside `/admin`) is refused.
    ///
    /// # Errors
    ///
    /// Where there is none, or the path's spelling leaves room for two readings.
    pub fn find(
        &self,
        host: &Host,
        path: &RequestPath,
        method: &Method,
    ) -> Result<&Arc<Route>, Unrouted> {
        let tree = self.host(host.name()).ok_or(Unrouted::NotFound)?;
        let found = tree.spelt.longest(path.segments());
        let routes = found.ok_or(Unrouted::NotFound)?;
        let route = routes
            .iter()
            .find(|route| route.serves(method))
            .ok_or_else(|| Unrouted::MethodNotAllowed(allowed_methods(routes)))?;
        let (oddities, allowed) = (path.oddities(), route.config.path_allow);
        let same_in_any_case = if oddities != PathOddities::default() {
            if let Some(key) = first_refused(oddities, allowed) {
                return Err(Unrouted::Oddity(key));
            }
            let understood = path.understood().map_err(Unrouted::Path)?;
            if !tree.spelt.leads_to(route, understood.iter()) {
                return Err(Unrouted::Ambiguous);
            }
            let folded = understood.iter().map(|segment| fold_case(segment));
            allowed.case || tree.folded.leads_to(route, folded)
        } else if !tree.folded.children.is_empty() && (tree.has_cased || path.may_have_cased()) {
            let folded = path.segments().map(|segment| fold_case(&segment));
            allowed.case || tree.folded.leads_to(route, folded)
        } else {
            true
        };
        if same_in_any_case {
            Ok(route)
        } else {
            Err(Unrouted::Oddity("case"))
        }
    }

    /// What a route says to other origins, also where the request would be refused: of the route of
    /// this method, or of any route there.
    pub fn cors(&self, host: &Host, path: &RequestPath, method: &Method) -> Option<&CorsPolicy> {
        let routes = self.host(host.name())?.spelt.longest(path.segments())?;
        let route = routes.iter().find(|route| route.serves(method));
        route.or_else(|| routes.first())?.cors()
    }

    fn host(&self, name: &str) -> Option<&Tree> {
        if let Some(tree) = self.exact.get(name) {
            return Some(tree);
        }
        if !self.wildcard.is_empty() {
            let mut rest = name;
            while let Some((_, suffix)) = rest.split_once('.') {
                if let Some(tree) = self.wildcard.get(suffix) {
                    return Some(tree);
                }
                rest = suffix;
            }
        }
        self.any.as_ref()
    }
}

impl Tree {
    fn insert(&mut self, path: &PathPrefix, route: &Arc<Route>) {
        let folded: Vec<_> = path.0.iter().map(|segment| fold_case(segment)).collect();
        self.has_cased |= folded != path.0;
        self.spelt.insert(path.0.iter().cloned(), route);
        self.folded.insert(folded, route);
    }
}

impl Node {
    fn insert(&mut self, segments: impl IntoIterator<Item = String>, route: &Arc<Route>) {
        let mut node = self;
        for segment in segments {
            node = node.children.entry(segment).or_default();
        }
        node.routes.push(Arc::clone(route));
    }

    /// Whether the longest path that these segments begin with is one of the route's.
    fn leads_to(
        &self,
        route: &Arc<Route>,
        segments: impl Iterator<Item = impl AsRef<str>>,
    ) -> bool {
        let routes = self.longest(segments).unwrap_or_default();
        routes.iter().any(|other| Arc::ptr_eq(other, route))
    }

    /// The routes of the longest path that these segments begin with.
    fn longest(&self, segments: impl Iterator<Item = impl AsRef<str>>) -> Option<&[Arc<Route>]> {
        let mut node = self;
        let mut best = (!node.routes.is_empty()).then_some(node.routes.as_slice());
        for segment in segments {
            let Some(child) = node.children.get(segment.as_ref()) else {
                break;
            };
            node = child;
            if !node.routes.is_empty() {
                best = Some(&node.routes);
            }
        }
        best
    }
}

/// Whether a token is this user's: a machine is nobody, and an address counts once it is verified.
fn is(claims: &Claims, user: &Handle) -> bool {
    let Subject::User(id) = claims.subject else {
        return false;
    };
    let same = |claimed: Option<&str>, own: &str| {
        claimed.is_some_and(|claimed| claimed.eq_ignore_ascii_case(own))
    };
    match user {
        Handle::Id(own) => *own == id,
        Handle::Username(own) => same(claims.preferred_username.as_deref(), own.as_str()),
        Handle::Email(own) => same(
            claims.email.as_ref().map(EmailAddress::as_str),
            own.as_str(),
        ),
    }
}

fn first_refused(found: PathOddities, allowed: PathOddities) -> Option<&'static str> {
    [
        ("encoded_slash", found.encoded_slash, allowed.encoded_slash),
        ("semicolon", found.semicolon, allowed.semicolon),
        ("double_slash", found.double_slash, allowed.double_slash),
        (
            "double_encoding",
            found.double_encoding,
            allowed.double_encoding,
        ),
    ]
    .into_iter()
    .find_map(|(key, found, allowed)| (found && !allowed).then_some(key))
}

/// For `Allow` (RFC 9110 §10.2.1).
fn allowed_methods(routes: &[Arc<Route>]) -> String {
    let mut methods: Vec<&str> = routes
        .iter()
        .filter_map(|route| route.config.methods.as_ref())
        .flatten()
        .map(Method::as_str)
        .collect();
    methods.sort_unstable();
    methods.dedup();
    methods.join(", ")
}

#[cfg(test)]
mod tests;
