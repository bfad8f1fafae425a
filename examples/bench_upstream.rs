//! The upstream of the benchmark: one thread, keep-alive, 100 bytes for every request.
//!
//! At a path that ends in `/headers` it answers with the header lines it was sent, so that the
//! benchmark can see what a proxy really does before it is timed; at `/mebibyte` with so many bytes.

use std::convert::Infallible;
use std::io;
use std::io::Write as _;

use bytes::Bytes;
use http::HeaderMap;
use http::Request;
use http::Response;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::LocalSet;
use tokio::task::spawn_local;

fn main() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    LocalSet::new().block_on(&runtime, serve())
}

async fn serve() -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    writeln!(io::stderr(), "listen http://{}", listener.local_addr()?)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let served =
            http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer));
        // A proxy that ends closes its connections as it likes.
        spawn_local(async move { drop(served.await) });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = if request.uri().path().ends_with("/headers") {
        Bytes::from(lines(request.headers()))
    } else if request.uri().path() == "/mebibyte" {
        Bytes::from_static(&[b'.'; 1024 * 1024])
    } else {
        Bytes::from_static(&[b'.'; 100])
    };
    Ok(Response::new(Full::new(body)))
}

fn lines(headers: &HeaderMap) -> Vec<u8> {
    let mut lines = Vec::new();
    for (name, value) in headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\n"] {
            lines.extend_from_slice(part);
        }
    }
    lines
}
