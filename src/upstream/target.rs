//! One target of an upstream, as one core sees it: its idle connections, the requests under way to it,
//! and what a request's outcome says of it.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use rustix::io::Errno;
use tokio::time::timeout;

use crate::upstream::balance::Candidate;
use crate::upstream::connection::Connection;
use crate::upstream::connection::Http1;
use crate::upstream::connection::Wanted;
use crate::upstream::connection::Way;
use crate::upstream::http2::Sessions;
use crate::upstream::standing::Standing;
use crate::upstream::tls::Tls;

/// One of an upstream's targets.
#[derive(Debug)]
pub(super) struct Target {
    standing: Arc<Standing>,
    index: usize,
    tls: Option<Tls>,
    idle: RefCell<VecDeque<Idle>>,
    sessions: Sessions,
    in_flight: Cell<usize>,
    reachable: Cell<bool>,
}

#[derive(Debug)]
struct Idle {
    connection: Box<Http1>,
    since: Instant,
}

impl Target {
    /// Without connections.
    pub(super) fn new(standing: &Arc<Standing>, index: usize) -> Self {
        Self {
            standing: Arc::clone(standing),
            index,
            tls: standing.tls().map(Tls::of_core),
            idle: RefCell::default(),
            sessions: Sessions::default(),
            in_flight: Cell::new(0),
            reachable: Cell::new(true),
        }
    }

    /// Which of the upstream's targets it is.
    pub(super) fn index(&self) -> usize {
        self.index
    }

    /// What the choice of a target goes by.
    pub(super) fn candidate(&self) -> Candidate {
        Candidate {
            weight: self.standing.weight(self.index),
            in_flight: self.in_flight.get(),
        }
    }

    /// The connection that was used last: its buffers are warm, and the others may grow old.
    pub(super) fn take_idle(&self) -> Option<Connection> {
        if let Some(stream) = self.sessions.stream() {
            return Some(Connection::Http2(stream));
        }
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle {
            mut connection,
            since,
        }) = idle.pop_back()
        {
            connection.idled_for = since.elapsed();
            if connection.is_ready() && connection.idled_for < self.keep_alive() {
                return Some(Connection::Http1(connection));
            }
        }
        None
    }

    /// Keeps a connection for the next request.
    pub(super) fn keep(&self, connection: Connection) {
        let Connection::Http1(connection) = connection else {
            // The next one finds it where this one did.
            return;
        };
        self.idle.borrow_mut().push_back(Idle {
            connection,
            since: Instant::now(),
        });
    }

    /// Closes connections that have been idle for too long, and those to an address that the target's
    /// name no longer stands for.
    pub(super) fn sweep(&self) {
        let names = self.standing.names(self.index);
        let leads_there = |address| names.is_some_and(|names| names.still_lead_to(address));
        self.idle.borrow_mut().retain(|idle| {
            idle.since.elapsed() < self.keep_alive()
                && !idle.connection.is_closed()
                && leads_there(idle.connection.address())
        });
        self.sessions.sweep(leads_there);
    }

    fn keep_alive(&self) -> Duration {
        self.standing.config().keep_alive_timeout
    }

    /// A new connection, or a place on one that was opened meanwhile. What comes of it is noted.
    pub(super) async fn connect(
        &self,
        wanted: Wanted,
        patience: Duration,
    ) -> io::Result<Connection> {
        let opened = timeout(patience, self.open(wanted, patience)).await;
        let opened = opened.unwrap_or_else(|late| Err(late.into()));
        self.note_reached(opened.as_ref());
        if opened.as_ref().is_err_and(|error| !is_our_own(error)) {
            self.standing.unreachable(self.index);
        }
        opened
    }

    async fn open(&self, wanted: Wanted, patience: Duration) -> io::Result<Connection> {
        let config = self.standing.config();
        let (target, names) = (
            config.targets.get(self.index),
            self.standing.names(self.index),
        );
        let (Some(target), Some(names)) = (target, names) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let addresses = names.addresses().await;
        let way = Way {
            target,
            tls: self.tls.as_ref(),
            addresses: &addresses,
            patience,
            name: &config.name,
        };
        Connection::open(&way, wanted, &self.sessions).await
    }

    /// Logs when a target is lost and when it is back, not each request that meets it.
    fn note_reached(&self, opened: Result<&Connection, &io::Error>) {
        let was_reachable = self.reachable.replace(opened.is_ok());
        if was_reachable == opened.is_ok() {
            return;
        }
        let (name, target) = self.standing.shown(self.index);
        match opened {
            Ok(_) => tracing::info!(
                upstream.name = name, upstream.target = %target,
                "the upstream can be reached again"
            ),
            Err(error) => tracing::warn!(
                upstream.name = name, upstream.target = %target, %error,
                "cannot connect to the upstream"
            ),
        }
    }

    /// It answered a request.
    pub(super) fn succeeded(&self) {
        self.standing.succeeded(self.index);
    }

    /// It failed a request, by its own fault.
    pub(super) fn failed(&self) {
        self.standing.failed(self.index);
    }
}

/// Whether it is we who have no descriptor or no port left: that says nothing of the target.
fn is_our_own(error: &io::Error) -> bool {
    let errors = [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL];
    let number = error.raw_os_error();
    errors.iter().any(|own| Some(own.raw_os_error()) == number)
}

/// A target that has a request under way, for as long as it has.
#[derive(Debug)]
pub(super) struct InUse(Rc<Target>);

impl InUse {
    pub(super) fn new(target: &Rc<Target>) -> Self {
        target.in_flight.set(target.in_flight.get() + 1);
        Self(Rc::clone(target))
    }
}

impl Deref for InUse {
    type Target = Target;

    fn deref(&self) -> &Target {
        &self.0
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.in_flight.set(self.0.in_flight.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::task::LocalSet;

    use crate::telemetry::metrics::Metrics;
    use crate::upstream::standing::tests::standing_of;

    use super::*;

    #[tokio::test]
    async fn a_connection_to_where_the_name_no_longer_leads_is_let_go() {
        let app = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = app.local_addr().unwrap();
        let authority = format!("app.internal:{}", here.port());
        let standing = standing_of([authority].into_iter(), &Metrics::new());
        let names = standing.names(0).unwrap();
        names.have_found(&[here]);
        let target = Target::new(&standing, 0);
        let test = async {
            let patience = Duration::from_secs(20);
            for _ in 0..2 {
                target.keep(target.connect(Wanted::Any, patience).await.unwrap());
            }
            target.sweep();
            assert_eq!(target.idle.borrow().len(), 2);
            names.have_found(&["127.0.0.2:80".parse().unwrap(), here]);
            target.sweep();
            assert_eq!(target.idle.borrow().len(), 2);
            names.have_found(&["127.0.0.2:80".parse().unwrap()]);
            target.sweep();
            assert_eq!(target.idle.borrow().len(), 0);
        };
        LocalSet::new().run_until(test).await;
    }
}
