//! Apps behind the gateway that remember what reached them.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::HeaderMap;
use http::Request;
use http::Response;
use http_body_util::BodyExt as _;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use crate::harness::in_time;
use crate::harness::raw::Raw;

/// An HTTP/1.1 server that records every request.
#[derive(Clone)]
pub(crate) struct Upstream {
    address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    begun: AtomicUsize,
    requests: Mutex<Vec<Recorded>>,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Upstream {
    /// Answers everything with 200 and `ok`.
    pub(crate) async fn start() -> Self {
        Self::answering(|_| Response::new(Full::from("ok"))).await
    }

    /// Answers as told.
    pub(crate) async fn answering(
        answer: impl Fn(&Recorded) -> Response<Full<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let upstream = Self {
            address,
            seen: Arc::clone(&seen),
        };
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                seen.connections.fetch_add(1, Ordering::SeqCst);
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                let service = service_fn(move |request| {
                    let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                    async move {
                        let recorded = seen.record(request).await;
                        let response = recorded.map_or_else(
                            || Response::new(Full::default()),
                            |recorded| answer(&recorded),
                        );
                        Ok::<_, Infallible>(response)
                    }
                });
                let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(served);
            }
        });
        upstream
    }

    /// For `upstream = "..."`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request that has arrived whole.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// The one request that has arrived; it is forgotten.
    #[track_caller]
    pub(crate) fn only(&self) -> Recorded {
        let mut requests = std::mem::take(&mut *self.seen.requests.lock().unwrap());
        self.seen.begun.store(0, Ordering::SeqCst);
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }

    /// How many connections were opened.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Insists that no request has arrived since the last [`Upstream::only`], not even its header.
    #[track_caller]
    pub(crate) fn assert_untouched(&self) {
        let begun = self.seen.begun.load(Ordering::SeqCst);
        assert_eq!(begun, 0, "something arrived: {:?}", self.requests());
    }
}

impl Seen {
    /// `None` where the body broke off.
    async fn record(&self, request: Request<Incoming>) -> Option<Recorded> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let (parts, body) = request.into_parts();
        let body = body.collect().await.ok()?;
        let trailers = body.trailers().cloned();
        let recorded = Recorded {
            method: parts.method.to_string(),
            target: parts.uri.to_string(),
            headers: parts.headers,
            body: body.to_bytes(),
            trailers,
        };
        self.requests.lock().unwrap().push(recorded.clone());
        Some(recorded)
    }
}

impl Recorded {
    /// A header that is there once; empty where it is not there.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let mut values = self.headers.get_all(name).iter();
        let value = values.next().map(|value| value.to_str().unwrap());
        assert_eq!(values.next(), None, "{name} is there twice");
        value.unwrap_or_default()
    }
}

/// An app that the test itself plays, byte by byte.
pub(crate) struct RawUpstream {
    listener: TcpListener,
}

impl RawUpstream {
    /// Listens.
    pub(crate) async fn start() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    /// For `upstream = "..."`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.listener.local_addr().unwrap())
    }

    /// The next connection.
    pub(crate) async fn accept(&self) -> Raw {
        let accepted = in_time("a connection to the upstream", self.listener.accept()).await;
        Raw::new(accepted.unwrap().0)
    }
}
