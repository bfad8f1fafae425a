//! One connection: TLS if the listener has it, then HTTP/1.1 or HTTP/2, until it ends or drains.

use std::cell::Cell;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderValue;
use http::Request;
use http::Response;
use http::StatusCode;
use http::header;
use http::uri::PathAndQuery;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio::time::timeout;
use tokio::time::timeout_at;
use url::Url;

use crate::body::ClientBody;
use crate::config::ListenerKind;
use crate::edge::accept::Accepted;
use crate::edge::core::CoreConfig;
use crate::edge::frames::Metered;
use crate::edge::frames::Stock;
use crate::edge::patience::Activity;
use crate::edge::patience::Held;
use crate::edge::patience::Patient;
use crate::edge::patience::Streams;
use crate::edge::proxy_protocol;
use crate::edge::proxy_protocol::Proxied;
use crate::edge::tls::Tls;
use crate::edge::tls::TlsStream;
use crate::edge::tunnels::Tunnels;
use crate::gate::Gate;
use crate::gate::answer::AnswerBody;
use crate::gate::grpc;
use crate::gate::host::Host;
use crate::gate::source::Address;
use crate::gate::source::Connection;
use crate::problem::Problem;

/// Serves one connection to its end.
pub(super) async fn serve(accepted: Accepted, gate: Rc<Gate>, config: Rc<CoreConfig>) {
    let Accepted {
        stream,
        peer,
        listener,
        mut place,
    } = accepted;
    let spoken = config.listeners.get(listener);
    let (Some(spoken), Ok(mut stream)) = (spoken, TcpStream::from_std(stream)) else {
        return;
    };
    let is_for_balancers = spoken.kind == ListenerKind::Plain || spoken.proxy_protocol;
    if is_for_balancers && !config.balancers.include(peer.ip()) {
        config.balancers.warn_of_stranger(peer.ip());
        return;
    }
    let deadline = Instant::now() + config.connections.handshake_timeout;
    let mut connection = Connection {
        peer: Address::new(peer.ip()),
        tls: spoken.kind == ListenerKind::Tls,
        certificate: None,
    };
    if spoken.proxy_protocol {
        let proxied = Box::pin(proxied(&mut stream, peer, deadline, &config));
        let Some(proxied) = proxied.await else {
            return;
        };
        connection.peer = match proxied.address {
            Some(address) => Address::new(address),
            None => Address::of_mute_balancer(peer.ip()),
        };
        connection.tls |= proxied.tls;
        if !place.count(connection.peer.ip()) {
            return;
        }
    }
    let stream = Patient::new(stream, config.connections.body_timeout);
    match (spoken.kind, &spoken.tls) {
        // Nothing that is worth waiting for when the gateway drains.
        (ListenerKind::Redirect, _) => {
            let redirect = Box::pin(redirect(stream, &config));
            let _ = config.draining.run_until_cancelled(redirect).await;
        }
        (ListenerKind::Plain, _) => {
            Box::pin(http1_connection(stream, connection, gate, &config)).await;
        }
        (ListenerKind::Tls, Some(tls)) => {
            tls_connection(stream, tls, deadline, connection, gate, &config).await;
        }
        (ListenerKind::Tls, None) => {}
    }
}

/// Whom the connection is for; `None` where its balancer does not say, or not in time.
async fn proxied(
    stream: &mut TcpStream,
    peer: SocketAddr,
    deadline: Instant,
    config: &CoreConfig,
) -> Option<Proxied> {
    let reading = timeout_at(deadline, proxy_protocol::read(stream));
    let read = config.draining.run_until_cancelled(reading).await?;
    let read = read.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    read.inspect_err(|error| config.balancers.warn_of_header(peer.ip(), error))
        .ok()
}

/// Each stage lives on the heap and goes with its end: otherwise every connection would be as large, for as
/// long as it idles, as the largest of them, with a copy of the TLS stream for each hand it passed through.
async fn tls_connection(
    stream: Patient,
    tls: &Tls,
    deadline: Instant,
    mut connection: Connection,
    gate: Rc<Gate>,
    config: &CoreConfig,
) {
    let handshake = Box::pin(handshake(
        stream,
        tls,
        deadline,
        connection.peer.ip(),
        config,
    ));
    let Some(stream) = handshake.await else {
        return;
    };
    connection.certificate = Tls::certificate_of(&stream);
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        Box::pin(http2_connection(stream, connection, gate, config)).await;
    } else {
        Box::pin(http1_connection(stream, connection, gate, config)).await;
    }
}

async fn handshake(
    stream: Patient,
    tls: &Tls,
    deadline: Instant,
    client: IpAddr,
    config: &CoreConfig,
) -> Option<Box<TlsStream<Patient>>> {
    let handshake = timeout_at(deadline, tls.accept(stream));
    // A gateway that drains takes no newcomers.
    match config.draining.run_until_cancelled(handshake).await? {
        Ok(Ok(stream)) => {
            config.metrics.handshake("ok");
            Some(stream)
        }
        Ok(Err(error)) => {
            config.metrics.handshake("failed");
            tracing::debug!(%client, %error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            config.metrics.handshake("timeout");
            None
        }
    }
}

async fn http1_connection(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    connection: Connection,
    gate: Rc<Gate>,
    config: &CoreConfig,
) {
    let client = connection.peer.ip();
    let connection = Rc::new(connection);
    let tunnel = Rc::new(Cell::new(None));
    let service = service_fn({
        let (connection, tunnel) = (Rc::clone(&connection), Rc::clone(&tunnel));
        move |request: Request<Incoming>| {
            let (gate, tunnel) = (Rc::clone(&gate), Rc::clone(&tunnel));
            let connection = Rc::clone(&connection);
            let arrival = gate.receive(&connection, request.map(ClientBody::Own));
            async move {
                let mut response = gate.answer(&connection, arrival).await;
                if let Some(begun) = response.body_mut().take_tunnel() {
                    tunnel.set(Some(begun));
                }
                Ok::<_, Infallible>(response)
            }
        }
    });
    // In a block of its own: what has not become a tunnel by its end never will.
    let ended = {
        // In one piece: a name for each step would keep a copy of it.
        let mut served = pin!(
            http1_builder(config)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
        );
        tokio::select! {
            ended = &mut served => ended,
            () = config.draining.cancelled() => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        }
    };
    note_end(ended, client);
    // It keeps the connection's place for as long as it is open.
    if let Some(tunnel) = tunnel.take() {
        Box::pin(tunnel.run(&config.draining, || {})).await;
    }
}

async fn http2_connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    connection: Connection,
    gate: Rc<Gate>,
    config: &CoreConfig,
) {
    let client = connection.peer.ip();
    let connection = Rc::new(connection);
    let stock = Rc::new(Stock::new(config.connections.control_frames));
    let stream = Metered::new(stream, Rc::clone(&stock));
    let activity = Rc::new(Activity::new(Rc::clone(&stock)));
    let tunnels = Rc::new(Tunnels::new(config));
    let service = service_fn({
        let (connection, activity) = (Rc::clone(&connection), Rc::clone(&activity));
        let tunnels = Rc::clone(&tunnels);
        move |request: Request<Incoming>| {
            let (gate, under_way) = (Rc::clone(&gate), activity.begin());
            let (connection, tunnels) = (Rc::clone(&connection), Rc::clone(&tunnels));
            let (parts, body) = request.into_parts();
            let (body, leftover) = ClientBody::shared(body);
            let request = Request::from_parts(parts, body);
            let arrival = gate.receive(&connection, request);
            async move {
                let mut response = gate.answer(&connection, arrival).await;
                if let Some(begun) = response.body_mut().take_tunnel() {
                    tunnels.begin(*begun, under_way.lasting());
                }
                let ends_at_once = grpc::is_only_trailers(response.headers());
                let leftover = leftover.filter(|_| !ends_at_once);
                Ok::<_, Infallible>(response.map(|body| Held::new(body, leftover, under_way)))
            }
        }
    });
    let limits = &config.connections;
    // Header lists are counted uncompressed, 32 bytes a field more than HTTP/1.1 counts
    // (RFC 9113 §6.5.2).
    let header_list_bytes = limits.header_bytes + 32 * limits.headers;
    let streams = Streams::new(&activity, limits.body_timeout, Arc::clone(&config.metrics));
    let served = http2::Builder::new(streams)
        .timer(TokioTimer::new())
        .max_header_list_size(u32::try_from(header_list_bytes).unwrap_or(u32::MAX))
        .max_concurrent_streams(limits.streams)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(100)
        .max_send_buf_size(256 * 1024)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(4 * STREAM_WINDOW_BYTES)
        .enable_connect_protocol()
        .keep_alive_interval(limits.header_timeout)
        .keep_alive_timeout(limits.header_timeout)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = config.draining.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
        () = activity.idle(limits.header_timeout) => {
            // GOAWAY, and time to say goodbye; one that never spoke HTTP/2 is simply left.
            served.as_mut().graceful_shutdown();
            timeout(limits.header_timeout, served).await.unwrap_or(Ok(()))
        }
    };
    if stock.is_overdrawn() {
        config.metrics.flooded();
    }
    note_end(ended, client);
    // Their client is gone, and so are they in a moment: until then the connection keeps its place.
    tunnels.ended().await;
}

/// What a client may send on one stream before the app takes it: few enough that one that is not read
/// leaves room in the connection's window for others.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;

fn http1_builder(config: &CoreConfig) -> http1::Builder {
    let limits = &config.connections;
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_header_size(limits.header_bytes)
        .max_buf_size(limits.header_bytes.max(64 * 1024));
    // hyper's own 100 lives on the stack; another number costs an allocation a request.
    if limits.headers != 100 {
        builder.max_headers(limits.headers);
    }
    builder
}

fn note_end(ended: hyper::Result<()>, client: IpAddr) {
    if let Err(error) = ended {
        tracing::debug!(%client, %error, "a connection ended badly");
    }
}

/// Plain HTTP that only sends people to `https` (SECURITY 57): 308 keeps method and body.
async fn redirect(stream: Patient, config: &CoreConfig) {
    let service = service_fn(|request: Request<Incoming>| {
        let response = redirection(&request, &config.public_url);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1_builder(config)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // How such a connection ends is of no interest to anybody.
    let _ = served.await;
}

/// To the same host, on the port of `public_url`.
fn redirection(request: &Request<Incoming>, public_url: &Url) -> Response<AnswerBody> {
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", PathAndQuery::as_str);
    let host = request.headers().get(header::HOST).and_then(Host::parse);
    let location = host.filter(|_| target.starts_with('/')).and_then(|host| {
        let port = public_url
            .port()
            .map_or_else(String::new, |port| format!(":{port}"));
        HeaderValue::try_from(format!("https://{}{port}{target}", host.name())).ok()
    });
    match location {
        Some(location) => {
            let mut response = Response::new(AnswerBody::empty());
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            response.headers_mut().insert(header::LOCATION, location);
            response
        }
        None => {
            let detail = "Only a path of one valid Host can be sent on to https.";
            Problem::new(StatusCode::BAD_REQUEST, "host_refused", detail).into_response("-")
        }
    }
}
