//! The door between the two worlds: requests for our own endpoints are handed to the ordinary
//! runtime, where slow work lives, and their answers stream back.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use http::Response;
use http::header;
use http_body_util::BodyExt as _;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tower::ServiceExt as _;

use crate::authenticate::Identity;
use crate::authenticate::OpaqueSessions;
use crate::body::BodyError;
use crate::body::RequestBody;
use crate::domain::SessionId;
use crate::gate::inbound::Inbound;
use crate::gate::reject::Rejection;
use crate::gate::site::site_of;
use crate::intake::Origin;
use crate::telemetry::metrics::Metrics;

/// How many requests for our own endpoints may be under way; more are refused with 503.
const UNDER_WAY_MAX: usize = 1024;

/// The largest body that an endpoint of ours is given.
const BODY_BYTES_MAX: u64 = 16 * 1024;

/// The door. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Door {
    runtime: Handle,
    endpoints: Router,
    places: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl Door {
    /// Leads to `endpoints`, which run on `runtime`.
    pub fn new(runtime: Handle, endpoints: Router, metrics: Arc<Metrics>) -> Self {
        Self {
            runtime,
            endpoints,
            places: Arc::new(Semaphore::new(UNDER_WAY_MAX)),
            metrics,
        }
    }

    /// Reads the request's body, hands it over and waits for the answer's header. The body comes
    /// first: whoever sends it slowly takes nobody's place.
    ///
    /// # Errors
    ///
    /// Where the body is too large, too slow or broken, too many are under way, or the endpoint
    /// panicked.
    pub async fn pass(
        &self,
        inbound: Box<Inbound>,
        session: Option<SessionId>,
        body_timeout: Duration,
    ) -> Result<Response<Body>, Rejection> {
        let request = request(inbound, session, body_timeout).await?;
        self.hand_over(request).await
    }

    /// Has a browser's session read from the store; `None` where it is dead.
    ///
    /// # Errors
    ///
    /// Where the store does not answer, or too much is under way.
    pub async fn recall(
        &self,
        sessions: &Arc<OpaqueSessions>,
        session: SessionId,
    ) -> Result<Option<Identity>, Rejection> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| Rejection::Busy)?;
        let sessions = Arc::clone(sessions);
        let recalled = self.runtime.spawn(async move {
            let recalled = sessions.recall(session).await;
            drop(place);
            recalled
        });
        match recalled.await {
            Ok(Ok(identity)) => Ok(identity),
            Ok(Err(error)) => {
                tracing::error!(%error, "the store does not answer");
                Err(Rejection::StoreUnavailable)
            }
            Err(_) => {
                self.metrics.panicked();
                Err(Rejection::Panicked)
            }
        }
    }

    async fn hand_over(&self, request: Request<Body>) -> Result<Response<Body>, Rejection> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| Rejection::Busy)?;
        let endpoints = self.endpoints.clone();
        let answer = self.runtime.spawn(async move {
            let answer = endpoints.oneshot(request).await;
            drop(place);
            answer
        });
        match answer.await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(never)) => match never {},
            Err(_) => {
                self.metrics.panicked();
                Err(Rejection::Panicked)
            }
        }
    }
}

async fn request(
    mut inbound: Box<Inbound>,
    session: Option<SessionId>,
    body_timeout: Duration,
) -> Result<Request<Body>, BodyError> {
    let origin = Origin {
        address: inbound.source().address.ip(),
        request_id: inbound.request_id().as_str().to_owned(),
        host: inbound.host().name().to_owned(),
        site: site_of(&inbound),
        session,
        cookies: inbound.own_cookies().clone(),
    };
    let method = inbound.method().clone();
    let uri = inbound.path().target().clone().into();
    let authorization = inbound.authorization().cloned();
    let mut headers = inbound.take_headers();
    if let Some(value) = authorization {
        headers.insert(header::AUTHORIZATION, value);
    }
    let body = RequestBody::new(inbound.into_body(), BODY_BYTES_MAX, body_timeout)?;
    let body = timeout(body_timeout, body.collect()).await;
    let body = body.map_err(|_| BodyError::Idle)??.to_bytes();
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    request.extensions_mut().insert(origin);
    Ok(request)
}

#[cfg(test)]
mod tests {
    use axum::routing::get;

    use super::*;

    async fn broken() -> &'static str {
        panic!("on purpose")
    }

    // SECURITY 55
    #[tokio::test]
    async fn a_panic_behind_the_door_is_one_requests_own() {
        let metrics = Metrics::new();
        let endpoints = Router::new()
            .route("/broken", get(broken))
            .route("/whole", get(async || "whole"));
        let door = Door::new(Handle::current(), endpoints, Arc::clone(&metrics));
        let ask = async |path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            door.hand_over(request).await
        };
        let problem = ask("/broken").await.unwrap_err().problem();
        assert_eq!(
            (problem.status.as_u16(), problem.code),
            (500, "internal_error")
        );
        assert!(!problem.detail.contains("on purpose"));
        assert!(metrics.encode().contains("\nportcullis_panics_total 1\n"));

        assert_eq!(ask("/whole").await.unwrap().status(), 200);
        assert_eq!(door.places.available_permits(), UNDER_WAY_MAX);
    }
}
