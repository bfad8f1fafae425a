//! `/livez`, `/readyz` and `/metrics`, on their own listener. They change nothing.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::Method;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time;

use crate::telemetry::metrics::Metrics;

/// Whether the gateway takes requests: starting, ready, draining; and whether the store answers.
#[derive(Debug, Default)]
pub struct Readiness {
    phase: AtomicU8,
    is_store_down: AtomicBool,
}

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

impl Readiness {
    /// The listeners are bound and the revocations loaded. Says nothing once draining has begun.
    pub fn ready(&self) {
        let _ = self
            .phase
            .compare_exchange(STARTING, READY, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// SIGTERM came.
    pub fn draining(&self) {
        self.phase.store(DRAINING, Ordering::Relaxed);
    }

    /// The store answers, or does not: still ready, and says that it is degraded.
    pub fn store(&self, available: bool) {
        self.is_store_down.store(!available, Ordering::Relaxed);
    }
}

/// Serves on a bound listener until it is dropped, and its connections with it.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>, readiness: Arc<Readiness>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _peer)) => {
                connections.spawn(answer_all(
                    stream,
                    Arc::clone(&metrics),
                    Arc::clone(&readiness),
                ));
            }
            Err(error) => {
                tracing::warn!(%error, "the admin listener cannot accept");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// More wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 64;

/// A connection is for a few requests of a probe or a scraper, which all come soon.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Out of descriptors, accepting fails until some are closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

async fn answer_all(stream: TcpStream, metrics: Arc<Metrics>, readiness: Arc<Readiness>) {
    let service = service_fn(|request: Request<hyper::body::Incoming>| {
        let response = answer(&request, &metrics, &readiness);
        async { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    // Neither a deadline nor a peer that went away is news.
    let _ = time::timeout(CONNECTION_TIMEOUT, connection).await;
}

fn answer<B>(
    request: &Request<B>,
    metrics: &Metrics,
    readiness: &Readiness,
) -> Response<Full<Bytes>> {
    // The server leaves out the body of an answer to HEAD.
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        "/livez" | "/readyz" | "/metrics" if !reads => not_allowed(),
        "/livez" => status(StatusCode::OK, "live", &[]),
        "/readyz" => ready(readiness),
        "/metrics" => response(StatusCode::OK, OPENMETRICS, metrics.encode()),
        _ => problem(StatusCode::NOT_FOUND),
    }
}

fn ready(readiness: &Readiness) -> Response<Full<Bytes>> {
    match readiness.phase.load(Ordering::Relaxed) {
        READY if readiness.is_store_down.load(Ordering::Relaxed) => {
            status(StatusCode::OK, "ready", &["store"])
        }
        READY => status(StatusCode::OK, "ready", &[]),
        STARTING => status(StatusCode::SERVICE_UNAVAILABLE, "starting", &[]),
        _ => status(StatusCode::SERVICE_UNAVAILABLE, "draining", &[]),
    }
}

/// `degraded` names what does not answer, and is left out when everything does.
fn status(code: StatusCode, word: &str, degraded: &[&str]) -> Response<Full<Bytes>> {
    let body = if degraded.is_empty() {
        json!({ "status": word })
    } else {
        json!({ "status": word, "degraded": degraded })
    };
    response(code, "application/json", body.to_string())
}

/// As RFC 9457 §3 has it where the status says it all.
fn problem(code: StatusCode) -> Response<Full<Bytes>> {
    let title = code.canonical_reason();
    let body = json!({ "title": title, "status": code.as_u16() });
    response(code, "application/problem+json", body.to_string())
}

fn not_allowed() -> Response<Full<Bytes>> {
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED);
    let allow = HeaderValue::from_static("GET, HEAD");
    response.headers_mut().insert(header::ALLOW, allow);
    response
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn response(code: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::Value;
    use tokio::io::AsyncReadExt;
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn asked(method: Method, path: &str, readiness: &Readiness) -> (StatusCode, Value) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(())
            .unwrap();
        let response = answer(&request, &Metrics::new(), readiness);
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    #[track_caller]
    fn check(answer: &(StatusCode, Value), status: u16, body: &Value) {
        assert_eq!(answer.0, status);
        assert_eq!(&answer.1, body);
    }

    #[tokio::test]
    async fn readiness_follows_the_life_of_the_gateway() {
        let readiness = Readiness::default();
        let ready = async || asked(Method::GET, "/readyz", &readiness).await;
        let live = async || asked(Method::GET, "/livez", &readiness).await;

        check(&ready().await, 503, &json!({ "status": "starting" }));
        check(&live().await, 200, &json!({ "status": "live" }));
        readiness.ready();
        check(&ready().await, 200, &json!({ "status": "ready" }));
        readiness.store(false);
        check(
            &ready().await,
            200,
            &json!({ "status": "ready", "degraded": ["store"] }),
        );
        readiness.store(true);
        check(&ready().await, 200, &json!({ "status": "ready" }));
        readiness.draining();
        check(&ready().await, 503, &json!({ "status": "draining" }));
        readiness.ready();
        check(&ready().await, 503, &json!({ "status": "draining" }));
        check(&live().await, 200, &json!({ "status": "live" }));
    }

    #[tokio::test]
    async fn nothing_else_is_there_and_nothing_can_be_changed() {
        let readiness = Readiness::default();
        for path in ["/", "/livez/", "/metrics/x", "/LIVEZ"] {
            let answer = asked(Method::GET, path, &readiness).await;
            check(
                &answer,
                404,
                &json!({ "title": "Not Found", "status": 404 }),
            );
        }
        for path in ["/livez", "/readyz", "/metrics"] {
            let answer = asked(Method::POST, path, &readiness).await;
            check(
                &answer,
                405,
                &json!({ "title": "Method Not Allowed", "status": 405 }),
            );
        }
    }

    /// Sends one request on a connection of its own and reads to its end.
    async fn sent(request_line: &str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Metrics::new();
        metrics.panicked();
        let server = tokio::spawn(serve(listener, metrics, Arc::default()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{request_line}\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        server.abort();
        answer
    }

    #[tokio::test]
    async fn metrics_are_openmetrics() {
        let answer = sent("GET /metrics HTTP/1.1").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(
            answer.contains(&format!("content-type: {OPENMETRICS}\r\n")),
            "{answer}"
        );
        assert!(answer.contains("\nportcullis_panics_total 1\n"), "{answer}");
        assert!(answer.ends_with("# EOF\n"), "{answer}");
    }

    #[tokio::test]
    async fn head_has_no_body_and_405_says_what_is_allowed() {
        let answer = sent("HEAD /metrics HTTP/1.1").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");

        let answer = sent("DELETE /metrics HTTP/1.1").await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
        assert!(answer.contains("allow: GET, HEAD\r\n"), "{answer}");
    }
}
