//! The path of a request, in the order in which things happen.
//!
//! To judge the gateway's security, read [`Gate::handle`], [`Gate::decide`] and the constructors
//! of `Inbound`, `Identity` and `Permit`: nothing else can reach an upstream. Nothing here may
//! wait for the database, and no decision may hide in a layer.

pub mod answer;
pub mod arrival;
pub mod certificate;
mod cookie;
pub mod cors;
pub mod described;
pub mod door;
pub mod endpoint;
mod forward;
pub mod grpc;
pub mod headers;
pub mod host;
pub mod hsts;
pub mod inbound;
pub mod limit;
mod navigation;
mod panic;
pub mod path;
mod people;
mod personal;
pub mod reject;
pub mod request_id;
pub mod resource;
pub mod route;
pub mod sign_in;
mod site;
pub mod source;
pub mod streams;
pub mod strip;
pub mod tunnel;
mod vouch;
pub mod websocket;

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::HeaderValue;
use http::Response;
use http::StatusCode;
use http::header;
use http::uri::PathAndQuery;

use crate::authenticate::Authenticator;
use crate::authenticate::Caller;
use crate::authenticate::Identity;
use crate::authenticate::OpaqueSessions;
use crate::authenticate::ShownToken;
use crate::authenticate::Unauthenticated;
use crate::config::Auth;
use crate::config::Target;
use crate::gate::answer::AnswerBody;
use crate::gate::answer::Record;
use crate::gate::answer::Scribe;
use crate::gate::answer::Trail;
use crate::gate::arrival::Arrival;
use crate::gate::cookie::clear_cookie;
use crate::gate::cookie::keep_private;
use crate::gate::cors::CorsPolicy;
use crate::gate::described::Callers;
use crate::gate::door::Door;
use crate::gate::endpoint::Endpoint;
use crate::gate::endpoint::OwnPaths;
use crate::gate::headers::Headers;
use crate::gate::headers::REQUEST_ID;
use crate::gate::hsts::Hsts;
use crate::gate::inbound::Inbound;
use crate::gate::inbound::Malformed;
use crate::gate::inbound::Unclean;
use crate::gate::limit::Limits;
use crate::gate::limit::Spent;
use crate::gate::panic::contained;
use crate::gate::reject::Refused;
use crate::gate::reject::Rejection;
use crate::gate::request_id::RequestIds;
use crate::gate::resource::DescribedResource;
use crate::gate::route::Permit;
use crate::gate::route::Route;
use crate::gate::route::Routes;
use crate::gate::sign_in::SignInPage;
use crate::gate::source::Connection;
use crate::gate::source::Source;
use crate::gate::streams::Streams;
use crate::gate::strip::Trust;
use crate::gate::websocket::NoHandshake;
use crate::limiter::RATE_LIMIT;
use crate::limiter::RATE_LIMIT_POLICY;
use crate::page::Look;
use crate::telemetry::access::Decision;
use crate::telemetry::metrics::Metrics;
use crate::token::cookie::SESSION_COOKIE;
use crate::upstream::Party;
use crate::upstream::Upstream;
use crate::upstream::UpstreamError;

/// The gate as one core sees it: what is shared is read-only or counts in atomics, the rest is
/// this core's own.
#[derive(Debug)]
pub struct Gate {
    /// Whom to believe, and what nobody may send.
    pub trust: Arc<Trust>,
    /// Names requests.
    pub request_ids: RequestIds,
    /// The limits that are not a route's own.
    pub limits: Limits,
    /// Where our own endpoints are.
    pub own_paths: OwnPaths,
    /// Who may ask about requests of others.
    pub callers: Option<Callers>,
    /// Which origins may call our own endpoints.
    pub own_cors: Option<Arc<CorsPolicy>>,
    /// Whether browsers are told to come back over https only.
    pub hsts: Hsts,
    /// The routes.
    pub routes: Arc<Routes>,
    /// Credentials.
    pub authenticator: Authenticator,
    /// Sessions of browsers and of personal tokens.
    pub sessions: Arc<OpaqueSessions>,
    /// What apps are told.
    pub headers: Headers,
    /// By index of the configuration.
    pub upstreams: Vec<Upstream>,
    /// To our own endpoints.
    pub door: Door,
    /// How a refusal looks to a person.
    pub look: Arc<Look>,
    /// Where browsers go to sign in.
    pub sign_in: Arc<SignInPage>,
    /// Between two pieces of a request's body.
    pub body_timeout: Duration,
    /// What is under way, to end with its session.
    pub streams: Rc<Streams>,
    /// The log.
    pub scribe: Rc<Scribe>,
    /// Counters that belong to no route.
    pub metrics: Arc<Metrics>,
}

/// What `explain` shows.
#[derive(Debug)]
pub struct Explained {
    /// The route that was found.
    pub route: Option<Arc<Route>>,
    /// The refusal; or the target and headers that the app would see; or nothing, where the
    /// gateway answers by itself.
    pub outcome: Result<Option<(PathAndQuery, HeaderMap)>, Refused>,
}

/// The other side of a cross-origin request.
struct Reader<'a> {
    cors: &'a CorsPolicy,
    origin: HeaderValue,
}

/// Where a request goes.
enum Destination<'a> {
    Own(Endpoint),
    Upstream(&'a Arc<Route>),
    /// A preflight, answered here: `Access-Control-Allow-Methods`.
    Preflight(HeaderValue),
}

impl Gate {
    /// Answers what arrived, whatever becomes of it.
    pub async fn answer(&self, connection: &Connection, arrival: Arrival) -> Response<AnswerBody> {
        let attending = pin!(self.attend(connection, arrival));
        // A panic in deciding is contained below, where its request is known; this is for the rest.
        contained(attending).await.unwrap_or_else(|_| {
            self.metrics.panicked();
            Rejection::Panicked.problem().into_response("-")
        })
    }

    async fn attend(&self, connection: &Connection, arrival: Arrival) -> Response<AnswerBody> {
        let inbound = match arrival {
            Arrival::Request(inbound) => inbound,
            Arrival::Asks(callers, manner, parts) => {
                return Box::pin(self.vouch(&callers, manner, connection, *parts)).await;
            }
            Arrival::Unreadable(malformed, unclean) => {
                let rejection = self.unreadable(malformed, &unclean);
                let record = Box::new(Record::of_unclean(&self.scribe, *unclean));
                return self.refuse(record, &rejection, None);
            }
            Arrival::Panicked => {
                self.metrics.panicked();
                return Rejection::Panicked.problem().into_response("-");
            }
        };
        self.count_dropped(&inbound);
        let mut record = Box::new(Record::of(&self.scribe, &inbound));
        record.trail.hsts = self.hsts.applies_to(&inbound);
        let reader = self.reader(&inbound);
        let is_extended_connect = inbound.is_extended_connect();
        let mut spent = Spent::default();
        let handled = {
            let handling = pin!(self.handle(inbound, &mut record.trail, &mut spent));
            contained(handling).await
        };
        let handled = handled.unwrap_or_else(|_| {
            self.metrics.panicked();
            Err(Rejection::Panicked)
        });
        match handled {
            Ok(response) if is_extended_connect && seems_open(&response) => {
                let rejection = match record.trail.upstream {
                    Some(_) => Rejection::Upstream(UpstreamError::Invalid),
                    None => Rejection::Malformed(NoHandshake::Unserved.into()),
                };
                self.refuse(record, &rejection, reader)
            }
            Ok(mut response) => {
                if record.trail.own {
                    self.show_to_people(&record, &mut response);
                }
                self.finish(record, &spent, response, reader)
            }
            Err(rejection) => self.refuse(record, &rejection, reader),
        }
    }

    /// What becomes of a request that is none: it is counted as any other.
    fn unreadable(&self, malformed: Malformed, unclean: &Unclean) -> Rejection {
        match self
            .limits
            .admit_source(&unclean.source, &mut Spent::default())
        {
            Ok(()) => Rejection::Malformed(malformed),
            Err(limited) => Rejection::Limited(limited),
        }
    }

    async fn handle(
        &self,
        mut inbound: Box<Inbound>,
        trail: &mut Trail,
        spent: &mut Spent,
    ) -> Result<Response<AnswerBody>, Rejection> {
        self.limits.admit_source(inbound.source(), spent)?;

        match self.destination(&inbound, trail)? {
            Destination::Own(endpoint) => {
                self.limits.admit_own(endpoint, inbound.source())?;
                // Boxed, like everything slow, so that the future of the fast path stays small.
                let session = self.named_by_cookie(&inbound, trail);
                let passing = self.door.pass(inbound, session, self.body_timeout);
                let answer = Box::pin(passing).await?;
                Ok(answer.map(AnswerBody::own))
            }
            Destination::Preflight(methods) => {
                trail.preflight = true;
                Ok(preflight(&methods, &inbound))
            }
            Destination::Upstream(route) => {
                route.leads_somewhere()?;
                let permit = self.permit(route, &inbound, trail, spent).await?;
                let party = self.party(&permit, inbound.source());
                let websocket = inbound.take_websocket();
                let request = self.outbound(&permit, inbound)?;
                // Boxed: hyper keeps room for a whole future in every connection, and moves it twice
                // before it is first polled.
                match websocket {
                    Some(websocket) => {
                        let opened = self.open_tunnel(&permit, party, request, websocket, trail);
                        Box::pin(opened).await
                    }
                    None => Box::pin(self.forward(&permit, party, request, trail)).await,
                }
            }
        }
    }

    /// Leave to pass a route, once what the caller may spend there is spent.
    async fn permit<B>(
        &self,
        route: &Arc<Route>,
        inbound: &Inbound<B>,
        trail: &mut Trail,
        spent: &mut Spent,
    ) -> Result<Permit, Rejection> {
        let known = match self.sessions.shown_by(credential(route, inbound)) {
            ShownToken::Other if !inbound.own_cookies().has(SESSION_COOKIE) => None,
            ShownToken::Other => Box::pin(self.known_by_cookie(route, inbound, trail)).await?,
            shown => Box::pin(self.known_by_token(shown, route, inbound)).await?,
        };
        let decided = match self.decide(route, inbound, known.clone()) {
            Err(Rejection::Unauthenticated(Unauthenticated::KeysWanted(place))) => {
                Box::pin(self.authenticator.keys_asked(place)).await;
                self.decide(route, inbound, known)
            }
            decided => decided,
        };
        let permit =
            decided.map_err(|rejection| self.sign_in.instead_of(rejection, route, inbound))?;
        if let Caller::Known(identity) = permit.caller() {
            trail.identity = Some(identity.clone());
        }
        self.limits.admit_caller(&permit, inbound.source(), spent)?;
        Ok(permit)
    }

    /// On whose behalf an app is asked.
    fn party(&self, permit: &Permit, source: &Source) -> Party {
        let upstream = match permit.target() {
            Target::Echo | Target::Verify => None,
            Target::Upstream(index) => self.upstreams.get(*index),
        };
        let hashed = upstream.and_then(Upstream::hashes);
        Party {
            holder: self.limits.holder(source),
            hashed: hashed.map(|by| self.limits.key(by, permit.caller(), source)),
        }
    }

    /// What is done several times a second, whatever else goes on.
    pub fn tick(&self) {
        self.scribe.log.flush();
        self.streams.end_the_dead();
    }

    /// The one decision, shared by forwarding and `explain`. It spends nothing. `known` is who a cookie or a
    /// personal token says is calling.
    fn decide<B>(
        &self,
        route: &Arc<Route>,
        inbound: &Inbound<B>,
        known: Option<Identity>,
    ) -> Result<Permit, Rejection> {
        route.admit(&inbound.source().address)?;
        let credential = credential(route, inbound);
        let issuers = &route.config().issuers;
        let caller = match (route.config().auth, known) {
            (Auth::None, _) => Caller::Anonymous,
            (Auth::Optional | Auth::Required, Some(identity)) => Caller::Known(identity),
            (Auth::Optional, None) => self.authenticator.recognise(credential, issuers)?,
            (Auth::Required, None) => {
                Caller::Known(self.authenticator.identify(credential, issuers)?)
            }
        };
        Ok(route.authorize(caller, inbound.certificate())?)
    }

    /// What would become of a request, for `portcullis explain`: the same steps, nothing spent,
    /// nothing sent.
    pub fn explain(&self, mut inbound: Box<Inbound<()>>) -> Explained {
        let mut trail = Trail::default();
        let outcome = match self.destination(&inbound, &mut trail) {
            Err(rejection) => Err(rejection),
            Ok(Destination::Own(_) | Destination::Preflight(..)) => Ok(None),
            Ok(Destination::Upstream(route)) => {
                let decided = self.decide(route, &inbound, None);
                let decided =
                    decided.map_err(|error| self.sign_in.instead_of(error, route, &inbound));
                decided.and_then(|permit| {
                    if route.leads_somewhere().is_err() {
                        let mut told = HeaderMap::new();
                        self.headers.identify(&mut told, &permit, &inbound);
                        return Ok(Some((inbound.path().target().clone(), told)));
                    }
                    let target = permit.target_for_app(inbound.path())?;
                    let mut headers = inbound.take_headers();
                    self.headers.complete(&mut headers, &permit, &inbound);
                    Ok(Some((target, headers)))
                })
            }
        };
        let is_for = |resource: &DescribedResource| {
            resource.covers(inbound.host().name(), inbound.path().as_str())
        };
        let refused = |rejection| Refused::new(&rejection, trail.route.as_deref(), is_for);
        Explained {
            outcome: outcome.map_err(refused),
            route: trail.route,
        }
    }

    fn destination<B>(
        &self,
        inbound: &Inbound<B>,
        trail: &mut Trail,
    ) -> Result<Destination<'_>, Rejection> {
        let (host, path) = (inbound.host(), inbound.path());
        let preflight = cors::asked(inbound.method(), inbound.headers());

        if let Some(endpoint) = self.own_paths.find(path, inbound.method()) {
            trail.own = true;
            return match (&self.own_cors, preflight) {
                (Some(cors), Some((origin, _))) if cors.admits(origin) => {
                    let methods = HeaderValue::from_static("GET, POST, DELETE");
                    Ok(Destination::Preflight(methods))
                }
                _ => Ok(Destination::Own(endpoint)),
            };
        }
        // A preflight is for the route of the method that it announces, if that has `cors`;
        // otherwise it is an OPTIONS like any other, and the app's own affair.
        if let Some((origin, wanted)) = preflight
            && let Ok(route) = self.routes.find(host, path, &wanted)
            && let Some(cors) = route.cors()
        {
            trail.route = Some(Arc::clone(route));
            route.leads_somewhere()?;
            route.admit(&inbound.source().address)?;
            if !cors.admits(origin) {
                return Err(Rejection::Origin);
            }
            let methods = HeaderValue::from_str(wanted.as_str());
            let methods = methods.unwrap_or_else(|_| HeaderValue::from_static("GET"));
            return Ok(Destination::Preflight(methods));
        }
        let route = self.routes.find(host, path, inbound.method())?;
        trail.route = Some(Arc::clone(route));
        Ok(Destination::Upstream(route))
    }

    /// Who asks from another origin, and the policy that answers. Known before anything is decided,
    /// so that a refusal can be read as well as an answer; `None`, at no cost, for everybody else.
    fn reader<B>(&self, inbound: &Inbound<B>) -> Option<Reader<'_>> {
        let origin = inbound.headers().get(header::ORIGIN)?.clone();
        let (path, method) = (inbound.path(), inbound.method());
        if self.own_paths.find(path, method).is_some() {
            let cors = self.own_cors.as_deref()?;
            return Some(Reader { cors, origin });
        }
        let wanted = cors::asked(method, inbound.headers()).map(|(_, wanted)| wanted);
        let method = wanted.as_ref().unwrap_or(method);
        let cors = self.routes.cors(inbound.host(), path, method)?;
        Some(Reader { cors, origin })
    }

    fn refuse(
        &self,
        record: Box<Record>,
        rejection: &Rejection,
        reader: Option<Reader<'_>>,
    ) -> Response<AnswerBody> {
        let route = record.trail.route.as_deref();
        let refused = Refused::new(rejection, route, |resource| record.is_for(resource));
        let Refused { problem, decision } = refused;
        let response = if record.is_call() {
            grpc::refusal(rejection, problem)
        } else if let Rejection::SignIn(departure) = rejection {
            departure.response()
        } else if record.is_page() {
            self.page(problem, record.request_id().as_str())
        } else {
            problem.into_response(record.request_id().as_str())
        };
        self.conclude(record, decision, response, reader)
    }

    fn finish(
        &self,
        record: Box<Record>,
        spent: &Spent,
        mut response: Response<AnswerBody>,
        reader: Option<Reader<'_>>,
    ) -> Response<AnswerBody> {
        let trail = &record.trail;
        let verdict = if trail.preflight {
            "preflight"
        } else if trail.own {
            "own"
        } else {
            "allow"
        };
        // Once, for what is added here and to every answer.
        response.headers_mut().reserve(4);
        if let (Some(route), false) = (&trail.route, trail.preflight) {
            let policies = match trail.identity {
                Some(_) => &route.policies().known,
                None => &route.policies().anonymous,
            };
            if let (Some(policies), Some(state)) = (policies, spent.state()) {
                let headers = response.headers_mut();
                headers.insert(RATE_LIMIT_POLICY, policies.clone());
                headers.insert(RATE_LIMIT, state);
            }
        }
        let decision = Decision {
            verdict,
            reason: "",
        };
        self.conclude(record, decision, response, reader)
    }

    /// What every answer carries.
    fn conclude(
        &self,
        mut record: Box<Record>,
        decision: Decision,
        mut response: Response<AnswerBody>,
        reader: Option<Reader<'_>>,
    ) -> Response<AnswerBody> {
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, record.request_id().value().clone());
        if record.trail.hsts {
            self.hsts.apply(headers);
        }
        if record.trail.dead_cookie {
            clear_cookie(headers);
        }
        if record.trail.by_cookie {
            keep_private(headers);
        }
        let own_cors = || self.own_cors.as_deref().filter(|_| record.trail.own);
        let found = || record.trail.route.as_ref().and_then(|route| route.cors());
        match reader {
            Some(Reader { cors, origin }) => cors.apply(Some(&origin), headers),
            None => {
                if let Some(cors) = found().or_else(own_cors) {
                    cors.apply(None, headers);
                }
            }
        }
        // RFC 9110 §9.3.2. hyper keeps content back itself, but only from HTTP/1.1; over HTTP/2 it would
        // make the answer malformed (RFC 9113 §8.1.1).
        if record.is_head()
            && let Some(length) = response.body_mut().take_content()
        {
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        record.conclude(decision, response.status());
        response.map(|body| body.recorded(record, &self.streams))
    }

    fn count_dropped<B>(&self, inbound: &Inbound<B>) {
        let dropped = inbound.dropped();
        for (reason, count) in [
            ("identity_alias", dropped.identity),
            ("forwarding", dropped.forwarding),
            ("name", dropped.unusual),
        ] {
            if count > 0 {
                self.metrics.headers_dropped(reason, count);
            }
        }
    }
}

/// A route that forwards the header as the app's own does not read it as a credential.
fn credential<'a, B>(route: &Route, inbound: &'a Inbound<B>) -> Option<&'a HeaderValue> {
    let forwards = route.config().forward_authorization;
    (!forwards).then(|| inbound.authorization()).flatten()
}

/// Whether a client that sent an extended CONNECT would take an answer for a WebSocket (RFC 8441 §4) that
/// is none: whatever it sent after that would go nowhere.
fn seems_open(response: &Response<AnswerBody>) -> bool {
    response.status().is_success() && !response.body().is_tunnel()
}

fn preflight(methods: &HeaderValue, inbound: &Inbound) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    *response.headers_mut() = CorsPolicy::preflight(methods, inbound.headers());
    response
}
