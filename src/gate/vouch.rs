//! Forward-auth: what the gateway would say to a request that a proxy holds back (`verify`).
//!
//! The request that is described goes through the very steps of one that came here: checked and
//! stripped, its source and its caller counted, and the same [`Gate::permit`]. What cannot be done
//! for it, because the proxy forwards what its client sent, is refused instead: no header that
//! says who is calling may be there in any spelling, so that none survives whatever the proxy
//! does with the answer (SECURITY 13).

use std::pin::pin;
use std::sync::Arc;

use http::HeaderMap;
use http::HeaderName;
use http::HeaderValue;
use http::Method;
use http::Response;
use http::StatusCode;
use http::header;
use http::request::Parts;

use crate::authenticate::Unauthenticated;
use crate::config::METHOD_OVERRIDES;
use crate::config::folds_alike;
use crate::gate::Gate;
use crate::gate::Reader;
use crate::gate::answer::AnswerBody;
use crate::gate::answer::Record;
use crate::gate::answer::Trail;
use crate::gate::described::Callers;
use crate::gate::described::Manner;
use crate::gate::described::REASON;
use crate::gate::inbound::Inbound;
use crate::gate::inbound::Unclean;
use crate::gate::limit::Spent;
use crate::gate::panic::contained;
use crate::gate::reject::Refused;
use crate::gate::reject::Rejection;
use crate::gate::route::Permit;
use crate::gate::route::Route;
use crate::gate::route::Unrouted;
use crate::gate::source::Connection;
use crate::gate::source::Source;
use crate::telemetry::access::Decision;

impl Gate {
    /// Answers a caller of `verify`: 200 with what the app would be told about who is calling, or the
    /// refusal that the client would get here.
    pub(super) async fn vouch(
        &self,
        callers: &Callers,
        manner: Manner,
        connection: &Connection,
        parts: Parts,
    ) -> Response<AnswerBody> {
        let asked_by = parts.method.clone();
        let unclean = self.asked(connection, &parts);
        let is_identity = |name: &&HeaderName| self.trust.is_identity(name);
        let brought = parts.headers.keys().find(is_identity).cloned();
        let described = match callers.describe(manner, parts) {
            Ok(described) => described,
            // The caller itself is not counted: it asks for everybody.
            Err(undescribed) => {
                return self.decline(manner, self.unread(unclean), &undescribed.into(), None);
            }
        };
        let (from, request) = (described.connection, described.request);
        let inbound = match Inbound::new(&from, request, &self.trust, &self.request_ids) {
            Ok(inbound) => inbound,
            Err((malformed, unclean)) => {
                let rejection = self.unreadable(malformed, &unclean);
                let unclean = Unclean {
                    is_head: asked_by == Method::HEAD,
                    is_call: false,
                    ..*unclean
                };
                return self.decline(manner, self.unread(unclean), &rejection, None);
            }
        };
        self.count_dropped(&inbound);
        let mut record = Box::new(Record::of_described(&self.scribe, &inbound, &asked_by));
        let judged = {
            let judging = pin!(self.judge(&inbound, brought, &mut record.trail));
            contained(judging).await
        };
        let judged = judged.unwrap_or_else(|_| {
            self.metrics.panicked();
            Err(Rejection::Panicked)
        });
        match judged {
            Ok(permit) => {
                let decision = Decision {
                    verdict: "vouch",
                    reason: "",
                };
                let response = self.vouched(manner, &permit, &inbound);
                self.conclude(record, decision, response, None)
            }
            Err(rejection) => {
                // Most callers relay it, so it says what it would say to the client itself.
                record.trail.hsts = self.hsts.applies_to(&inbound);
                let reader = self.reader(&inbound);
                self.decline(manner, record, &rejection, reader)
            }
        }
    }

    /// The steps of every request, up to where it would be forwarded.
    async fn judge(
        &self,
        inbound: &Inbound<()>,
        brought: Option<HeaderName>,
        trail: &mut Trail,
    ) -> Result<Permit, Rejection> {
        let mut spent = Spent::default();
        self.limits.admit_source(inbound.source(), &mut spent)?;
        let (path, method) = (inbound.path(), inbound.method());
        // They win on every host, and no app is to be given a password that is meant for them.
        if self.own_paths.find(path, method).is_some() {
            return Err(Unrouted::OwnEndpoint.into());
        }
        let route = self.routes.find(inbound.host(), path, method)?;
        trail.route = Some(Arc::clone(route));
        let brought = brought.or_else(|| method_override(route, inbound));
        if let Some(header) = brought {
            return Err(Rejection::Brought(header));
        }
        self.permit(route, inbound, trail, &mut spent).await
    }

    fn vouched(
        &self,
        manner: Manner,
        permit: &Permit,
        inbound: &Inbound<()>,
    ) -> Response<AnswerBody> {
        let mut response = Response::new(AnswerBody::empty());
        let headers = response.headers_mut();
        self.headers.identify(headers, permit, inbound);
        match manner {
            Manner::Original | Manner::Forwarded => say_nothing(headers, permit.route()),
            Manner::Prefixed => have_removed(headers, permit.route()),
        }
        // A session that ends is dead at the next request.
        let no_store = HeaderValue::from_static("no-store");
        headers.insert(header::CACHE_CONTROL, no_store);
        response
    }

    /// A refusal, in a form that the caller understands as one.
    fn decline(
        &self,
        manner: Manner,
        mut record: Box<Record>,
        rejection: &Rejection,
        reader: Option<Reader<'_>>,
    ) -> Response<AnswerBody> {
        let route = record.trail.route.as_deref();
        let refused = |rejection| Refused::new(rejection, route, |it| record.is_for(it));
        let Refused { problem, decision } = refused(rejection);
        let code = problem.code;
        let request_id = record.request_id().as_str();
        // nginx makes a page of its own of every refusal; the others relay what is here.
        let is_shown = manner != Manner::Original && record.is_page();
        let mut response = if is_shown && !problem.status.is_redirection() {
            self.page(problem, request_id)
        } else {
            problem.into_response(request_id)
        };
        if manner == Manner::Original {
            let headers = response.headers_mut();
            headers.insert(REASON, HeaderValue::from_static(code));
            let status = response.status();
            *response.status_mut() = for_nginx(status);
            if status.is_redirection() {
                // RFC 9110 §15.5.2; where to sign in is still said by Location.
                let absent = refused(&Unauthenticated::Absent.into()).problem;
                response.headers_mut().extend(absent.headers);
            }
            // nginx joins lines of one name by commas, and the sign-in replaces a dead cookie anyway.
            if response.headers().contains_key(header::SET_COOKIE) {
                record.trail.dead_cookie = false;
            }
        }
        self.conclude(record, decision, response, reader)
    }

    fn unread(&self, unclean: Unclean) -> Box<Record> {
        Box::new(Record::of_unclean(&self.scribe, unclean))
    }

    /// What is known of a request that asks before it is known about what: it is the caller's own.
    fn asked(&self, connection: &Connection, parts: &Parts) -> Unclean {
        let source = Source::resolve(&connection.peer, &[], &parts.headers);
        Unclean {
            request_id: self.request_ids.name(&source, &parts.headers),
            source,
            method: parts.method.clone(),
            path: parts.uri.path().to_owned(),
            version: parts.version,
            is_head: parts.method == Method::HEAD,
            is_call: false,
            is_page: false,
        }
    }
}

/// A header by which the app could take the request for one of another method than was judged: what is
/// forwarded from here goes without it.
fn method_override(route: &Route, inbound: &Inbound<()>) -> Option<HeaderName> {
    route.config().methods.as_ref()?;
    let unusual = inbound.unusual_headers().iter().map(|(name, _)| name);
    let mut names = inbound.headers().keys().chain(unusual);
    let is_override = |name: &&HeaderName| {
        let mut overrides = METHOD_OVERRIDES.iter();
        overrides.any(|other| folds_alike(name.as_str(), other.as_str()))
    };
    names.find(is_override).cloned()
}

/// What is not to be told is told as nothing: a proxy that copies a header then writes nothing in its
/// place, where some would leave what the client sent or write the name of a variable.
fn say_nothing(headers: &mut HeaderMap, route: &Route) {
    for name in route.config().identity.names() {
        let entry = headers.entry(name);
        entry.or_insert(HeaderValue::from_static(""));
    }
}

/// Envoy shows only the headers that it is told to, so that what is there may not have been seen here;
/// but it removes what it is told to.
fn have_removed(headers: &mut HeaderMap, route: &Route) {
    let config = route.config();
    let identity = config.identity.names();
    let untold = identity.filter(|name| !headers.contains_key(*name));
    let overrides = METHOD_OVERRIDES.iter().filter(|_| config.methods.is_some());
    let own = (!config.forward_authorization).then_some(&header::AUTHORIZATION);
    let names = untold.chain(overrides).chain(own);
    let names: Vec<_> = names.map(HeaderName::as_str).collect();
    if let Ok(names) = HeaderValue::try_from(names.join(",")) {
        headers.insert(HEADERS_TO_REMOVE, names);
    }
}

/// nginx takes every other status than 2xx, 401 and 403 for a failure, and answers 500.
fn for_nginx(status: StatusCode) -> StatusCode {
    match status.as_u16() {
        300..400 => StatusCode::UNAUTHORIZED,
        401 => StatusCode::UNAUTHORIZED,
        400..500 => StatusCode::FORBIDDEN,
        _ => status,
    }
}

/// Of Envoy: headers of the request that it is to leave out.
const HEADERS_TO_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");
