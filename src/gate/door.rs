//! The door between the two worlds: requests for our own endpoints are handed to the ordinary
//! runtime, where slow work lives, and their answers stream back.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::Request;
use http::Response;
use http::header;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

use crate::gate::inbound::Inbound;
use crate::gate::reject::Rejection;
use crate::intake::Origin;
use crate::telemetry::metrics::Metrics;

/// How many requests for our own endpoints may be under way; more are refused with 503.
const UNDER_WAY_MAX: usize = 1024;

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

    /// Hands a request over and waits for the answer's header.
    ///
    /// # Errors
    ///
    /// Where too many are under way, or the endpoint panicked.
    pub async fn pass(&self, inbound: Inbound) -> Result<Response<Body>, Rejection> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| Rejection::Busy)?;
        let request = request(inbound);
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

fn request(mut inbound: Inbound) -> Request<Body> {
    let origin = Origin {
        address: inbound.source().address,
        request_id: inbound.request_id().as_str().to_owned(),
    };
    let method = inbound.method().clone();
    let uri = inbound.path().target().clone().into();
    let authorization = inbound.authorization().cloned();
    let mut headers = inbound.take_headers();
    if let Some(value) = authorization {
        headers.insert(header::AUTHORIZATION, value);
    }
    let mut request = Request::new(Body::new(inbound.into_body()));
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    request.extensions_mut().insert(origin);
    request
}
