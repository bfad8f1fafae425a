//! The parts of the path, put together once, and handed out to each core.

use std::collections::HashMap;
use std::iter::repeat;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use tokio::runtime::Handle;

use crate::account::Accounts;
use crate::account::pace::Pace;
use crate::authenticate::Authenticator;
use crate::authenticate::Judge;
use crate::authenticate::OpaqueSessions;
use crate::clock::Clock;
use crate::config;
use crate::config::Config;
use crate::config::LimitBy;
use crate::config::OwnHosts;
use crate::config::Rate;
use crate::config::RouteLimit;
use crate::domain::Resource;
use crate::endpoints;
use crate::gate::Gate;
use crate::gate::answer::Scribe;
use crate::gate::cors::CorsPolicy;
use crate::gate::described::Callers;
use crate::gate::door::Door;
use crate::gate::endpoint::OwnPaths;
use crate::gate::headers::Headers;
use crate::gate::hsts::Hsts;
use crate::gate::limit::Limits;
use crate::gate::limit::Quota;
use crate::gate::request_id::RequestIds;
use crate::gate::resource::DescribedResource;
use crate::gate::route::Policies;
use crate::gate::route::Route;
use crate::gate::route::RouteParts;
use crate::gate::route::Routes;
use crate::gate::sign_in::SignInPage;
use crate::gate::streams::Streams;
use crate::gate::strip::Trust;
use crate::issuers::Issuers;
use crate::keys::SharedKeys;
use crate::limiter::Policy;
use crate::oauth::OAuth;
use crate::oauth::guesses::Guesses;
use crate::page::Look;
use crate::password::Hasher;
use crate::portal::Portal;
use crate::providers::Providers;
use crate::revocations::Revocations;
use crate::store::Store;
use crate::telemetry::access::AccessLog;
use crate::telemetry::metrics::Metrics;
use crate::token::issue::AccessTokens;
use crate::token::verify::Verifier;
use crate::upstream::Upstream;
use crate::upstream::standing::Standing;
use crate::upstream::tls::Tls;
use crate::vault::Vault;

/// Everything that all cores share.
#[derive(Debug)]
pub(super) struct Assembly {
    pub(super) config: Arc<Config>,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) log: AccessLog,
    pub(super) vault: Arc<Vault>,
    pub(super) keys: SharedKeys,
    pub(super) revocations: Arc<Revocations>,
    pub(super) store: Store,
    pub(super) issuers: Arc<Issuers>,
    pub(super) providers: Arc<Providers>,
    pub(super) hasher: Hasher,
    /// By index of the configuration; none where nothing is sent.
    pub(super) upstream_tls: Vec<Option<Tls>>,
    pub(super) look: Look,
}

/// Makes the gate of a core, on that core. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Gates {
    config: Arc<Config>,
    clock: Clock,
    metrics: Arc<Metrics>,
    log: AccessLog,
    keys: SharedKeys,
    judge: Judge,
    sessions: Arc<OpaqueSessions>,
    trust: Arc<Trust>,
    limits: Limits,
    quotas: Vec<Quota>,
    guesses: Arc<Guesses>,
    pace: Arc<Pace>,
    routes: Arc<Routes>,
    own_cors: Option<Arc<CorsPolicy>>,
    hsts: Hsts,
    upstreams: Vec<Arc<Standing>>,
    door: Door,
    look: Arc<Look>,
    sign_in: Arc<SignInPage>,
}

impl Assembly {
    /// Builds what is built once. `runtime` is where our own endpoints run.
    pub(super) fn gates(self, runtime: Handle) -> Gates {
        let config = &self.config;
        let issuer = config.gateway.issuer();
        let judge = Judge::new(
            Verifier::new(issuer),
            Arc::clone(&self.keys),
            self.revocations.clone(),
            self.issuers,
            self.clock.clone(),
        );
        let sessions = Arc::new(OpaqueSessions::new(
            &self.vault,
            judge.clone(),
            self.store.clone(),
            config.sessions,
            config.accounts.login_scopes.clone(),
            config.tokens.cache_max,
        ));
        let mut quotas = Quotas::new(config, &self.metrics);
        let limits = quotas.general(config);
        let routes = routes(config, &limits, &mut quotas);
        let quotas = quotas.made;
        let pace = Arc::new(Pace::new(&config.limits));
        let hosts = Arc::new(OwnHosts::new(config));
        let accounts = Arc::new(Accounts {
            rules: config.accounts.clone(),
            admits_bare_tokens: config.admits_bare_tokens(),
            hosts: Arc::clone(&hosts),
            tokens: config.tokens,
            access: AccessTokens::new(issuer, config.tokens.access_ttl),
            store: self.store,
            vault: self.vault,
            keys: Arc::clone(&self.keys),
            judge: judge.clone(),
            sessions: Arc::clone(&sessions),
            revocations: self.revocations,
            pace: Arc::clone(&pace),
            hasher: self.hasher,
            clock: self.clock.clone(),
            metrics: Arc::clone(&self.metrics),
        });
        let look = Arc::new(self.look);
        let portal = Portal::new(
            Arc::clone(&accounts),
            Arc::clone(&look),
            self.providers,
            config,
            Arc::clone(&hosts),
        );
        let portal = Arc::new(portal);
        let oauth = OAuth::new(Arc::clone(&accounts), Arc::clone(&portal), config);
        let oauth = Arc::new(oauth);
        let router = endpoints::router(&config.gateway, &accounts, &oauth, &portal);
        let origins = &config.gateway.cors_origins;
        Gates {
            door: Door::new(runtime, router, Arc::clone(&self.metrics)),
            look,
            sign_in: Arc::new(SignInPage::new(&config.gateway, Arc::clone(&hosts))),
            trust: Arc::new(Trust::new(config)),
            own_cors: (!origins.is_empty()).then(|| {
                Arc::new(CorsPolicy::new(&config::Cors {
                    origins: origins.clone(),
                    credentials: false,
                }))
            }),
            hsts: Hsts::new(config),
            upstreams: config
                .upstreams
                .iter()
                .zip(self.upstream_tls.into_iter().chain(repeat(None)))
                .map(|(upstream, tls)| Standing::new(upstream.clone(), tls, &self.metrics))
                .collect(),
            limits,
            quotas,
            guesses: Arc::clone(oauth.guesses()),
            pace,
            routes: Arc::new(routes),
            judge,
            sessions,
            clock: self.clock,
            metrics: self.metrics,
            log: self.log,
            keys: self.keys,
            config: self.config,
        }
    }
}

impl Gates {
    /// How often codes of devices are tried, to be swept as well.
    pub(super) fn guesses(&self) -> &Arc<Guesses> {
        &self.guesses
    }

    /// How fast users have things made, to be swept too.
    pub(super) fn pace(&self) -> &Arc<Pace> {
        &self.pace
    }

    /// All quotas, to be swept now and then.
    pub(super) fn quotas(&self) -> Vec<Quota> {
        self.quotas.clone()
    }

    /// Browser sessions, to be taken down as seen now and then.
    pub(super) fn sessions(&self) -> &Arc<OpaqueSessions> {
        &self.sessions
    }

    /// How upstreams stand, to be followed in the background.
    pub(super) fn upstreams(&self) -> &[Arc<Standing>] {
        &self.upstreams
    }

    /// The gate of the calling core.
    pub(super) fn gate(&self) -> Gate {
        let config = &self.config;
        Gate {
            trust: Arc::clone(&self.trust),
            request_ids: RequestIds::default(),
            limits: self.limits.clone(),
            own_paths: OwnPaths::new(&config.gateway.prefix),
            callers: Callers::new(config),
            own_cors: self.own_cors.clone(),
            hsts: self.hsts.clone(),
            routes: Arc::clone(&self.routes),
            authenticator: Authenticator::new(self.judge.clone(), config.tokens.cache_max),
            sessions: Arc::clone(&self.sessions),
            headers: Headers::new(
                config.gateway.issuer().into(),
                config.identity.assertion,
                Arc::clone(&self.keys),
                self.clock.clone(),
                config.tokens.cache_max,
            ),
            upstreams: self.upstreams.iter().cloned().map(Upstream::new).collect(),
            door: self.door.clone(),
            look: Arc::clone(&self.look),
            sign_in: Arc::clone(&self.sign_in),
            body_timeout: config.connections.body_timeout,
            streams: Rc::new(Streams::new(self.judge.clone())),
            scribe: Rc::new(Scribe {
                log: self.log.local(),
                clock: self.clock.clone(),
                own: self.metrics.route("(own)"),
                unrouted: self.metrics.route("(none)"),
            }),
            metrics: Arc::clone(&self.metrics),
        }
    }
}

/// Makes quotas, and remembers them: what a route and its sub-paths inherit is counted together.
struct Quotas<'a> {
    keys_max: usize,
    metrics: &'a Metrics,
    made: Vec<Quota>,
    of_routes: HashMap<String, Vec<(RouteLimit, Quota)>>,
}

impl<'a> Quotas<'a> {
    fn new(config: &Config, metrics: &'a Metrics) -> Self {
        Self {
            keys_max: config.limits.keys_max,
            metrics,
            made: Vec::new(),
            of_routes: HashMap::new(),
        }
    }

    fn quota(&mut self, name: &str, rate: Rate) -> Quota {
        let policy = Policy::new(name, rate, self.keys_max);
        let quota = Quota::new(policy, rate, self.metrics.limit(name));
        self.made.push(quota.clone());
        quota
    }

    fn general(&mut self, config: &Config) -> Limits {
        let mut named = |name, rate: Option<Rate>| rate.map(|rate| self.quota(name, rate));
        Limits {
            per_address: named("per_address", config.limits.per_address),
            per_user: named("per_user", config.limits.per_user),
            register: named("register", config.limits.register),
            login: named("login", config.limits.login),
            exempt: config.limits.exempt.clone().into(),
            ipv6_prefix: config.limits.ipv6_prefix,
        }
    }

    /// In the order in which they are asked: the narrowest first.
    fn of_route(&mut self, route: &config::Route) -> Vec<(LimitBy, Quota)> {
        let mut quotas: Vec<_> = route
            .limits
            .iter()
            .map(|limit| (limit.by, self.shared(route.family(), *limit)))
            .collect();
        quotas.sort_by_key(|(by, _)| *by);
        quotas
    }

    fn shared(&mut self, family: &str, limit: RouteLimit) -> Quota {
        let made = self.of_routes.get(family).map_or(&[][..], Vec::as_slice);
        if let Some((_, quota)) = made.iter().find(|(other, _)| *other == limit) {
            return quota.clone();
        }
        // Two of a kind need two names: `notes/user`, `notes/user-2`.
        let name = match made
            .iter()
            .filter(|(other, _)| other.by == limit.by)
            .count()
        {
            0 => format!("{family}/{}", limit.by),
            others => format!("{family}/{}-{}", limit.by, others + 1),
        };
        let quota = self.quota(&name, limit.rate);
        let made = self.of_routes.entry(family.to_owned()).or_default();
        made.push((limit, quota.clone()));
        quota
    }
}

fn routes(config: &Config, limits: &Limits, quotas: &mut Quotas<'_>) -> Routes {
    let mut values = HashMap::new();
    let mut described = HashMap::new();
    Routes::new(config.routes.iter().enumerate().map(|(index, route)| {
        let own = quotas.of_route(route);
        let parts = RouteParts {
            policies: policies(limits, &own, &mut values),
            limits: own,
            metrics: quotas.metrics.route(&route.name),
            host: host(config, route),
            resource: resource(config, route, &mut described),
        };
        Arc::new(Route::new(route.clone(), index, parts))
    }))
}

/// With `host_header = "upstream"` the name of the first target: all of them are the same app, and a
/// request that is sent again to another must not become another request.
fn host(config: &Config, route: &config::Route) -> Option<HeaderValue> {
    let config::Target::Upstream(index) = route.target else {
        return None;
    };
    let target = config.upstreams.get(index)?.targets.first()?;
    let host = HeaderValue::try_from(target.authority.as_str()).ok()?;
    route.host_of_upstream.then_some(host)
}

/// The resource that a route belongs to: its `audience`, or the gateway. Many routes share it.
fn resource(
    config: &Config,
    route: &config::Route,
    described: &mut HashMap<Resource, Option<Arc<DescribedResource>>>,
) -> Option<Arc<DescribedResource>> {
    let resource = route.audience.clone();
    let resource = resource.unwrap_or_else(|| config.gateway.resource());
    let described = described.entry(resource).or_insert_with_key(|resource| {
        let described = DescribedResource::of(resource)?;
        Some(Arc::new(described))
    });
    described.clone()
}

/// `RateLimit-Policy` of a route's answers, for callers counted by address only and for known ones.
/// Routes that say the same share it: ten thousand of the same would not stay in the processor's cache.
fn policies(
    limits: &Limits,
    own: &[(LimitBy, Quota)],
    values: &mut HashMap<String, HeaderValue>,
) -> Policies {
    let own = own.iter().map(|(_, quota)| quota);
    let anonymous: Vec<&str> = limits
        .per_address
        .iter()
        .chain(own)
        .map(Quota::item)
        .collect();
    let mut known = anonymous.clone();
    known.extend(limits.per_user.iter().map(Quota::item));
    let mut value = |items: Vec<&str>| {
        if items.is_empty() {
            return None;
        }
        let text = items.join(", ");
        if let Some(value) = values.get(&text) {
            return Some(value.clone());
        }
        let value = HeaderValue::try_from(&text).ok()?;
        values.insert(text, value.clone());
        Some(value)
    };
    Policies {
        anonymous: value(anonymous),
        known: value(known),
    }
}
