//! What the app is told: identity from the [`Permit`], provenance from the source. Set, never added.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;
use std::time::SystemTime;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::header;

use crate::authenticate::Caller;
use crate::authenticate::Identity;
use crate::clock::Clock;
use crate::clock::unix_seconds;
use crate::config::Assertion;
use crate::config::HeaderChanges;
use crate::config::METHOD_OVERRIDES;
use crate::config::folds_alike;
use crate::gate::certificate::CLIENT_CERT;
use crate::gate::inbound::Inbound;
use crate::gate::route::Permit;
use crate::keys::SharedKeys;
use crate::recent::Recent;
use crate::token::issue;
use crate::token::issue::AssertionClaims;

/// An assertion that was signed longer ago is signed anew; it is valid for twice as long.
const ASSERTION_REUSED_FOR: Duration = Duration::from_secs(30);

/// Writes the headers of requests on their way to an app: one for each core.
#[derive(Debug)]
pub struct Headers {
    issuer: Arc<str>,
    mode: Assertion,
    keys: SharedKeys,
    clock: Clock,
    assertions: RefCell<Recent<u128, Signed>>,
}

#[derive(Clone, Debug)]
struct Signed {
    /// Kept so that the identity's address stays its own for as long as the entry lives.
    identity: Identity,
    value: HeaderValue,
    at: SystemTime,
    generation: u64,
}

impl Headers {
    /// Keeps at most `assertions_max` assertions, at some 0.9 KiB each.
    pub fn new(
        issuer: Arc<str>,
        mode: Assertion,
        keys: SharedKeys,
        clock: Clock,
        assertions_max: usize,
    ) -> Self {
        Self {
            issuer,
            mode,
            keys,
            clock,
            assertions: RefCell::new(Recent::new(assertions_max)),
        }
    }

    /// Completes the headers that [`Inbound`] has left, for the app behind `permit`.
    pub fn complete<B>(&self, headers: &mut HeaderMap, permit: &Permit, inbound: &Inbound<B>) {
        // Once, for all that follows.
        headers.reserve(ADDED);
        provenance(headers, permit, inbound);
        let route = permit.route().config();
        if route.methods.is_some() {
            // The method that was authorised is the one the app is to hear.
            remove_alike(headers, &METHOD_OVERRIDES.iter());
        }
        for (name, value) in inbound.unusual_headers() {
            if route.allow_headers.contains(name) {
                headers.append(name, value.clone());
            }
        }
        if let (true, Some(value)) = (route.forward_authorization, inbound.authorization_for_app())
        {
            headers.insert(header::AUTHORIZATION, value.clone());
        }
        if !route.request_headers.is_empty() {
            // What the client sent under another spelling of them, apps could take for them.
            remove_alike(headers, &route.request_headers.names());
            change(headers, &route.request_headers);
        }
        // Whatever came under this name was stripped (RFC 9440 §4).
        if let (true, Some(certificate)) = (route.forward_client_certificate, inbound.certificate())
            && let Some(value) = certificate.header()
        {
            headers.insert(CLIENT_CERT, value.clone());
        }
        self.identify(headers, permit, inbound);
    }

    /// Who is calling: all of it, and nothing where nobody is known.
    pub(super) fn identify<B>(
        &self,
        headers: &mut HeaderMap,
        permit: &Permit,
        inbound: &Inbound<B>,
    ) {
        let Caller::Known(identity) = permit.caller() else {
            return;
        };
        let names = &permit.route().config().identity;
        let told = identity.told();
        let mut tell = |name: &Option<HeaderName>, value: &Option<HeaderValue>| {
            if let (Some(name), Some(value)) = (name, value) {
                headers.insert(name, value.clone());
            }
        };
        tell(&names.user, &told.user);
        tell(&names.user_id, &told.user_id);
        tell(&names.name, &told.name);
        tell(&names.email, &told.email);
        tell(&names.roles, &told.roles);
        tell(&names.scopes, &told.scopes);
        tell(&names.session, &told.session);
        tell(&names.method, &told.method);
        tell(&names.client, &told.client);
        if names.assertion.is_some() {
            tell(&names.assertion, &self.assertion(identity, permit, inbound));
        }
    }

    fn assertion<B>(
        &self,
        identity: &Identity,
        permit: &Permit,
        inbound: &Inbound<B>,
    ) -> Option<HeaderValue> {
        match self.mode {
            Assertion::Off => None,
            Assertion::Request => {
                let url = format!(
                    "{}://{}{}",
                    inbound.scheme(),
                    inbound.host().sent().to_str().unwrap_or_default(),
                    inbound.path().as_str()
                );
                let now = self.clock.now();
                self.sign(identity, permit, Some((inbound.method(), &url)), now)
            }
            Assertion::Session => {
                let place = place(identity, permit);
                let now = self.clock.now();
                let generation = self.keys.load().generation();
                if let Some(signed) = self.assertions.borrow().get(&place)
                    && signed.identity.same(identity)
                    && signed.generation == generation
                    && now.duration_since(signed.at).unwrap_or_default() < ASSERTION_REUSED_FOR
                {
                    return Some(signed.value.clone());
                }
                let value = self.sign(identity, permit, None, now)?;
                let signed = Signed {
                    identity: identity.clone(),
                    value: value.clone(),
                    at: now,
                    generation,
                };
                let until = unix_seconds(now + ASSERTION_REUSED_FOR);
                let mut assertions = self.assertions.borrow_mut();
                assertions.insert(place, signed, until, unix_seconds(now));
                Some(value)
            }
        }
    }

    fn sign(
        &self,
        identity: &Identity,
        permit: &Permit,
        request: Option<(&http::Method, &str)>,
        now: SystemTime,
    ) -> Option<HeaderValue> {
        let claims = AssertionClaims {
            route: permit.route().name(),
            caller: identity.claims(),
            request,
        };
        let token = issue::assertion(&self.keys.load(), &self.issuer, &claims, now);
        HeaderValue::try_from(token).ok()
    }
}

/// Of an identity and a route: one number, because the hasher takes its time over every piece.
fn place(identity: &Identity, permit: &Permit) -> u128 {
    let [identity, route] = [identity.address(), permit.route().index()].map(|half| half as u128);
    identity << 64 | route
}

/// What a route sets and removes. Nothing of it is the gateway's own: the file may not name that.
pub(super) fn change(headers: &mut HeaderMap, changes: &HeaderChanges) {
    for name in &changes.remove {
        headers.remove(name);
    }
    for (name, value) in &changes.set {
        headers.insert(name, value.clone());
    }
}

/// Removes whatever an app could take for one of these (SECURITY 13).
fn remove_alike<'a>(
    headers: &mut HeaderMap,
    names: &(impl Iterator<Item = &'a HeaderName> + Clone),
) {
    let is_alike = |header: &&HeaderName| {
        let mut names = names.clone();
        names.any(|name| folds_alike(header.as_str(), name.as_str()))
    };
    let alike: Vec<_> = headers.keys().filter(is_alike).cloned().collect();
    for name in alike {
        headers.remove(name);
    }
}

/// Where the request came from (CONTRACT §5). From a trusted proxy `-Proto`, `-Host` and `-Port`
/// are continued; from anybody else they never got this far.
fn provenance<B>(headers: &mut HeaderMap, permit: &Permit, inbound: &Inbound<B>) {
    let host = permit.route().host();
    let host = host.unwrap_or_else(|| inbound.host().sent());
    headers.insert(header::HOST, host.clone());
    headers.insert(FORWARDED_FOR, inbound.source().forwarded_for());
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(inbound.scheme()));
    headers
        .entry(FORWARDED_HOST)
        .or_insert_with(|| inbound.host().sent().clone());
    let told = headers
        .get(FORWARDED_PORT)
        .and_then(|port| port.to_str().ok());
    let port = told.and_then(|port| port.parse().ok());
    let port = match port.or_else(|| inbound.host().port()) {
        Some(port) => HeaderValue::from(port),
        None if inbound.scheme() == "https" => HeaderValue::from_static("443"),
        None => HeaderValue::from_static("80"),
    };
    headers.insert(FORWARDED_PORT, port);
    if let Some(prefix) = permit.forwarded_prefix(inbound.path()) {
        // Behind what a trusted proxy has taken away before us. A prefix is made of legal path
        // bytes; one that is no header value is not told.
        let outer = headers
            .get(FORWARDED_PREFIX)
            .and_then(|outer| outer.to_str().ok());
        let outer = outer.unwrap_or_default().trim_end_matches('/');
        if let Ok(value) = HeaderValue::try_from(format!("{outer}{prefix}")) {
            headers.insert(FORWARDED_PREFIX, value);
        }
    }
    headers.insert(REQUEST_ID, inbound.request_id().value().clone());
    headers.insert(TRACEPARENT, inbound.request_id().traceparent().clone());
}

/// How many headers are added at most, but for `allow_headers`: those of `provenance` and of identity.
const ADDED: usize = 18;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Of requests and of answers.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
