//! The addresses behind a target's name, asked for again and again while the target is in use.
//!
//! Lookups run in the background, one at a time for each name, because the system's resolver blocks;
//! whoever connects takes the last good answer and never waits for a new one. An answer that does not
//! come, or says that there is nothing, changes nothing.

use std::io;
use std::net::IpAddr;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::sync::Notify;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio::time::timeout;

use crate::config::UpstreamTarget;

/// How old an answer may become while it is needed.
const EVERY: Duration = Duration::from_secs(5);
/// How soon after a failure the resolver is asked again.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// After how long a lookup has failed; it is still waited for, so that a resolver that hangs is not
/// asked by more and more threads.
const LOOKUP_MAX: Duration = Duration::from_secs(5);

/// The addresses of one target.
#[derive(Debug)]
pub(super) struct Names {
    host: String,
    port: u16,
    /// Written as an address: there is nothing to look up.
    is_fixed: bool,
    known: watch::Sender<Known>,
    wanted: Notify,
}

#[derive(Debug, Default)]
struct Known {
    /// The last good answer.
    addresses: Arc<[SocketAddr]>,
    /// Whether there ever was an answer, good or bad.
    is_asked: bool,
    is_failing: bool,
}

impl Names {
    pub(super) fn new(target: &UpstreamTarget) -> Self {
        let (host, port) = (target.host().to_owned(), target.port());
        let address = host.parse::<IpAddr>().ok();
        let addresses: Arc<[SocketAddr]> = address
            .map(|address| SocketAddr::new(address, port))
            .into_iter()
            .collect();
        let known = Known {
            addresses,
            is_asked: address.is_some(),
            is_failing: false,
        };
        Self {
            host,
            port,
            is_fixed: address.is_some(),
            known: watch::Sender::new(known),
            wanted: Notify::new(),
        }
    }

    /// Where to connect, in the order in which to try. Only the very first answer is waited for.
    pub(super) async fn addresses(&self) -> Arc<[SocketAddr]> {
        self.want();
        let mut answers = self.known.subscribe();
        // The sender is ours, so that it is never gone.
        let known = answers.wait_for(|known| known.is_asked).await;
        known.map_or_else(|_| Arc::default(), |known| Arc::clone(&known.addresses))
    }

    /// Whether the name still stands for an address. Asking keeps the answer fresh.
    pub(super) fn still_lead_to(&self, address: SocketAddr) -> bool {
        self.want();
        let known = self.known.borrow();
        self.is_fixed || known.addresses.contains(&address)
    }

    fn want(&self) {
        if !self.is_fixed {
            self.wanted.notify_one();
        }
    }

    /// Whether there is nothing to look up.
    pub(super) fn is_fixed(&self) -> bool {
        self.is_fixed
    }

    /// Looks up the name whenever somebody wants it, for as long as it is polled.
    pub(super) async fn follow(&self) {
        let lookup = || async { Ok(lookup_host((&*self.host, self.port)).await?.collect()) };
        self.follow_with(lookup).await;
    }

    async fn follow_with<R>(&self, lookup: impl Fn() -> R)
    where
        R: Future<Output = io::Result<Vec<SocketAddr>>>,
    {
        loop {
            self.wanted.notified().await;
            let mut lookup = pin!(lookup());
            let found = match timeout(LOOKUP_MAX, &mut lookup).await {
                Ok(found) => found,
                Err(late) => {
                    self.note(Err(late.into()));
                    lookup.await
                }
            };
            sleep(if self.note(found) {
                EVERY
            } else {
                AFTER_FAILURE
            })
            .await;
        }
    }

    /// Whether the answer was a good one. What changes is logged, not each answer.
    fn note(&self, found: io::Result<Vec<SocketAddr>>) -> bool {
        let nothing = || io::Error::from(io::ErrorKind::NotFound);
        let found =
            found.and_then(|found| (!found.is_empty()).then_some(found).ok_or_else(nothing));
        let host = &*self.host;
        self.known.send_modify(|known| {
            let was_failing = std::mem::replace(&mut known.is_failing, found.is_err());
            known.is_asked = true;
            match &found {
                Ok(found) => {
                    if was_failing {
                        tracing::info!(host, "the name of an upstream's target is found again");
                    }
                    if *known.addresses != **found {
                        known.addresses = found.as_slice().into();
                    }
                }
                Err(error) if !was_failing => {
                    tracing::warn!(host, %error, "cannot look up the name of an upstream's target");
                }
                Err(_) => {}
            }
        });
        found.is_ok()
    }
}

#[cfg(test)]
impl Names {
    /// As if a lookup had found these.
    pub(super) fn have_found(&self, addresses: &[SocketAddr]) {
        self.note(Ok(addresses.to_vec()));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::cell::RefCell;

    use http::uri::Authority;
    use tokio::time::Instant;

    use crate::config::Position;
    use crate::config::UpstreamScheme;

    use super::*;

    fn names(authority: &'static str) -> Names {
        Names::new(&UpstreamTarget {
            scheme: UpstreamScheme::Http,
            authority: Authority::from_static(authority),
            position: Position { line: 1, column: 1 },
        })
    }

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// Runs `test` beside a resolver that answers what `answers` holds.
    async fn beside<T>(
        names: &Names,
        answers: &RefCell<io::Result<Vec<SocketAddr>>>,
        test: impl Future<Output = T>,
    ) -> T {
        let lookup = async || match &*answers.borrow() {
            Ok(found) => Ok(found.clone()),
            Err(error) => Err(error.kind().into()),
        };
        tokio::select! {
            () = names.follow_with(lookup) => unreachable!("it goes on for ever"),
            outcome = test => outcome,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_moves_is_followed_within_seconds() {
        let names = names("app.internal:80");
        let (old, new) = (address("10.0.0.1:80"), address("[2001:db8::1]:80"));
        let answers = RefCell::new(Ok(vec![old]));
        beside(&names, &answers, async {
            assert_eq!(*names.addresses().await, [old]);
            *answers.borrow_mut() = Ok(vec![new, old]);
            let moved = Instant::now();
            while *names.addresses().await != [new, old] {
                sleep(Duration::from_millis(100)).await;
            }
            assert!(moved.elapsed() <= EVERY + Duration::from_millis(100));
            *answers.borrow_mut() = Ok(vec![new]);
            while names.still_lead_to(old) {
                sleep(Duration::from_millis(100)).await;
            }
            assert!(names.still_lead_to(new));
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_good_answer_serves_while_the_resolver_fails() {
        let names = names("app.internal");
        let answers = RefCell::new(Err(io::ErrorKind::NotFound.into()));
        beside(&names, &answers, async {
            // Nobody waits for a name that is not there.
            assert_eq!(*names.addresses().await, []);
            *answers.borrow_mut() = Ok(vec![address("10.0.0.1:80")]);
            while names.addresses().await.is_empty() {
                sleep(Duration::from_millis(100)).await;
            }
            for failure in [Err(io::ErrorKind::TimedOut.into()), Ok(Vec::new())] {
                *answers.borrow_mut() = failure;
                for _ in 0..60 {
                    assert_eq!(*names.addresses().await, [address("10.0.0.1:80")]);
                    sleep(Duration::from_secs(1)).await;
                }
            }
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_resolver_that_hangs_is_asked_once_and_delays_nobody() {
        let names = names("app.internal");
        let asked = Cell::new(0);
        let lookup = async || {
            asked.set(asked.get() + 1);
            std::future::pending().await
        };
        tokio::select! {
            () = names.follow_with(lookup) => unreachable!("it goes on for ever"),
            () = async {
                let begun = Instant::now();
                for _ in 0..100 {
                    assert_eq!(*names.addresses().await, []);
                }
                assert_eq!(begun.elapsed(), LOOKUP_MAX);
                sleep(Duration::from_secs(3600)).await;
                names.addresses().await;
            } => {}
        }
        assert_eq!(asked.get(), 1);
    }

    #[tokio::test]
    async fn an_address_needs_nobody_to_ask() {
        for (written, meant) in [("[::1]:5000", "[::1]:5000"), ("127.0.0.1", "127.0.0.1:80")] {
            let names = names(written);
            assert_eq!(*names.addresses().await, [address(meant)]);
            assert!(names.still_lead_to(address(meant)));
        }
    }
}
