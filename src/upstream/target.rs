//! One target of an upstream, as one core sees it: its idle connections, and whether it can be reached.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use tokio::time::timeout;

use crate::config;
use crate::config::UpstreamTarget;
use crate::upstream::UpstreamError;
use crate::upstream::connection::Connection;
use crate::upstream::http2::Sessions;
use crate::upstream::tls::Tls;

/// How long an idle connection is kept: shorter than what servers commonly allow (Node, uvicorn and
/// Apache 5 s), because a request that meets a connection just being closed is lost.
const IDLE_MAX: Duration = Duration::from_secs(4);

/// One of an upstream's targets.
#[derive(Debug)]
pub(super) struct Target {
    upstream: Arc<config::Upstream>,
    config: UpstreamTarget,
    tls: Option<Tls>,
    idle: RefCell<VecDeque<Idle>>,
    sessions: Sessions,
    reachable: Cell<bool>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Target {
    /// Without connections.
    pub(super) fn new(
        upstream: &Arc<config::Upstream>,
        config: &UpstreamTarget,
        tls: Option<Tls>,
    ) -> Self {
        Self {
            upstream: Arc::clone(upstream),
            config: config.clone(),
            tls,
            idle: RefCell::default(),
            sessions: Sessions::default(),
            reachable: Cell::new(true),
        }
    }

    /// The connection that was used last: its buffers are warm, and the others may grow old.
    pub(super) fn take_idle(&self) -> Option<Connection> {
        if let Some(stream) = self.sessions.stream() {
            return Some(Connection::Http2(stream));
        }
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { connection, since }) = idle.pop_back() {
            if connection.is_ready() && since.elapsed() < IDLE_MAX {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection for the next request.
    pub(super) fn keep(&self, connection: Connection) {
        if connection.is_shared() {
            return;
        }
        self.idle.borrow_mut().push_back(Idle {
            connection,
            since: Instant::now(),
        });
    }

    /// Closes connections that have been idle for too long.
    pub(super) fn sweep(&self) {
        self.idle
            .borrow_mut()
            .retain(|idle| idle.since.elapsed() < IDLE_MAX && !idle.connection.is_closed());
        self.sessions.sweep();
    }

    /// A new connection, or a place on one that was opened meanwhile.
    pub(super) async fn connect(&self) -> Result<Connection, UpstreamError> {
        let (tls, name) = (self.tls.as_ref(), &self.upstream.name);
        let opening = Connection::open(&self.config, tls, &self.sessions, name);
        let opened = timeout(self.upstream.connect_timeout, opening).await;
        self.note_reached(opened.unwrap_or_else(|late| Err(late.into())))
    }

    /// A new connection that speaks HTTP/1.1, for what HTTP/2 does not carry.
    pub(super) async fn connect_http1(&self) -> Result<Connection, UpstreamError> {
        let (tls, name) = (self.tls.as_ref(), &self.upstream.name);
        let opening = Connection::open_http1(&self.config, tls, name);
        let opened = timeout(self.upstream.connect_timeout, opening).await;
        self.note_reached(opened.unwrap_or_else(|late| Err(late.into())))
    }

    /// Logs when an upstream is lost and when it is back, not each request that meets it.
    fn note_reached(&self, opened: io::Result<Connection>) -> Result<Connection, UpstreamError> {
        let name = &self.upstream.name;
        let was_reachable = self.reachable.replace(opened.is_ok());
        match &opened {
            Ok(_) if !was_reachable => {
                tracing::info!(upstream.name = %name, "the upstream can be reached again");
            }
            Err(error) if was_reachable => {
                tracing::warn!(upstream.name = %name, %error, "cannot connect to the upstream");
            }
            Ok(_) | Err(_) => {}
        }
        opened.map_err(|_| UpstreamError::Unreachable)
    }
}
