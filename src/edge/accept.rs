//! The acceptor: takes connections, within a bound, and hands each to the least loaded core.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::ListenerKind;
use crate::edge::core::Cores;

/// How long the acceptor pauses when the process has no file descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// A listener that is bound.
#[derive(Debug)]
pub struct Bound {
    /// The socket.
    pub listener: TcpListener,
    /// What it speaks.
    pub kind: ListenerKind,
    /// Its address, with the port it really has.
    pub address: SocketAddr,
}

/// A connection on its way to a core. The permit goes with it and comes back when it ends.
#[derive(Debug)]
pub struct Accepted {
    /// The socket, belonging to no runtime yet.
    pub stream: std::net::TcpStream,
    /// The other end.
    pub peer: SocketAddr,
    /// What is spoken on it.
    pub kind: ListenerKind,
    /// One of `connections.max`.
    pub permit: OwnedSemaphorePermit,
}

/// Accepts until told to drain.
pub async fn run(bound: Bound, permits: Arc<Semaphore>, cores: Cores, draining: CancellationToken) {
    loop {
        // The permit first: a connection that cannot be served waits in the kernel's queue.
        let permit = tokio::select! {
            () = draining.cancelled() => return,
            permit = Arc::clone(&permits).acquire_owned() => permit,
        };
        let Ok(permit) = permit else {
            return;
        };
        let accepted = tokio::select! {
            () = draining.cancelled() => return,
            accepted = bound.listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => hand_over(&bound, stream, peer, permit, &cores),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; pausing");
                sleep(PAUSE).await;
            }
        }
    }
}

fn hand_over(
    bound: &Bound,
    stream: TcpStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
    cores: &Cores,
) {
    // Without it small answers wait for acknowledgements; failing to set it only costs time.
    let _ = stream.set_nodelay(true);
    // A socket that cannot be moved is one that is already gone.
    if let Ok(stream) = stream.into_std() {
        cores.serve(Accepted {
            stream,
            peer,
            kind: bound.kind,
            permit,
        });
    }
}

/// Errors that `accept` reports for a connection that is gone, and that say nothing of the next.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::ConnectionAborted
            | std::io::ErrorKind::ConnectionReset
            | std::io::ErrorKind::ConnectionRefused
            | std::io::ErrorKind::Interrupted
    )
}
