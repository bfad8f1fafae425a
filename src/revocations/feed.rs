//! Follows the table of changes, so that what another process changed is felt here.
//!
//! It must never stop while the gateway runs: during an outage it goes on asking, and says so.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::keys::KeyError;
use crate::keys::KeyRing;
use crate::keys::SharedKeys;
use crate::revocations::Revocations;
use crate::store::Change;
use crate::store::Store;

/// Carries changes from the store into memory.
#[derive(Debug)]
pub struct Feed {
    /// Where changes are written down.
    pub store: Store,
    /// Where they are looked up.
    pub revocations: Arc<Revocations>,
    /// Where changed keys are read.
    pub ring: KeyRing,
    /// Where they are used.
    pub keys: SharedKeys,
    /// Decides what is old.
    pub clock: Clock,
}

impl Feed {
    /// Takes in everything that is kept. A gateway must not be ready before: it would admit
    /// sessions that ended while it was not running. Returns the position to [`Feed::follow`] from.
    ///
    /// # Errors
    ///
    /// Where the store is down, or changed keys cannot be read.
    pub async fn load(&self) -> Result<i64, KeyError> {
        self.catch_up(0).await
    }

    /// Follows the changes after a position until `shutdown`. Tells after every look whether the
    /// store was there.
    pub async fn follow(
        self,
        mut position: i64,
        on_availability: impl Fn(bool),
        shutdown: CancellationToken,
    ) {
        let mut poll = tokio::time::interval(POLL_INTERVAL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut available = true;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = poll.tick() => {
                    let looked = self.catch_up(position).await;
                    match &looked {
                        Ok(_) if !available => tracing::info!("the store is back"),
                        Err(error) if available => {
                            tracing::warn!(%error, "cannot follow the store's changes");
                        }
                        Ok(_) | Err(_) => {}
                    }
                    available = looked.is_ok();
                    position = looked.unwrap_or(position);
                    on_availability(available);
                }
            }
        }
    }

    /// On an error nothing is lost: the same changes are read again, and taken in twice.
    async fn catch_up(&self, mut position: i64) -> Result<i64, KeyError> {
        let mut keys_changed = false;
        loop {
            let read = self.store.changes_after(position).await?;
            if read.changes.is_empty() {
                break;
            }
            for (change, at) in read.changes {
                keys_changed |= change == Change::KeysChanged;
                self.revocations.apply(change, at);
            }
            position = read.position;
        }
        if keys_changed {
            let keys = self.ring.reload(self.clock.now()).await?;
            self.keys.store(Arc::new(keys));
        }
        Ok(position)
    }
}

/// How soon a change is felt: the contract promises a second between processes, 250 ms of it here.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use arc_swap::ArcSwap;
    use tempfile::TempDir;
    use tokio::sync::mpsc;
    use tokio::sync::mpsc::UnboundedReceiver;

    use super::*;
    use crate::config::Algorithm;
    use crate::domain::PasswordHash;
    use crate::domain::User;
    use crate::domain::Username;
    use crate::store::NewUser;
    use crate::store::UserChange;
    use crate::vault::Vault;

    async fn feed() -> (Feed, TempDir) {
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let (store, folder) = Store::for_test().await;
        let vault = Arc::new(Vault::for_test());
        let ring = KeyRing::new(store.clone(), vault, Algorithm::Es256);
        let clock = Clock::default();
        let keys = ring.load(clock.now()).await.unwrap();
        let feed = Feed {
            store,
            revocations: Arc::default(),
            ring,
            keys: Arc::new(ArcSwap::from_pointee(keys)),
            clock,
        };
        (feed, folder)
    }

    async fn alice(feed: &Feed) -> User {
        let new = NewUser {
            username: Some(Username::parse("alice").unwrap()),
            email: None,
            name: None,
            roles: Vec::new(),
            password: PasswordHash::new("$argon2id$".to_owned()),
        };
        feed.store.create_user(new, feed.clock.now()).await.unwrap()
    }

    async fn change(store: &Store, user: &User, now: SystemTime) {
        let change = UserChange::default();
        store.change_user(user.id, change, now).await.unwrap();
    }

    /// The first look that begins after now ends with the second report from now on.
    async fn looked(reports: &mut UnboundedReceiver<bool>) -> bool {
        while reports.try_recv().is_ok() {}
        reports.recv().await.unwrap();
        reports.recv().await.unwrap()
    }

    #[tokio::test]
    async fn a_gateway_that_starts_learns_what_it_missed() {
        let (feed, _folder) = feed().await;
        let user = alice(&feed).await;
        change(&feed.store, &user, feed.clock.now()).await;
        assert!(!feed.revocations.is_outdated(user.id, 1));

        let position = feed.load().await.unwrap();
        assert!(feed.revocations.is_outdated(user.id, 1));
        let rest = feed.store.changes_after(position).await.unwrap();
        assert!(rest.changes.is_empty());
    }

    // SECURITY 24
    #[tokio::test]
    async fn what_another_process_changes_is_felt() {
        let (feed, _folder) = feed().await;
        let user = alice(&feed).await;
        let position = feed.load().await.unwrap();
        let (store, ring, clock) = (feed.store.clone(), feed.ring.clone(), feed.clock.clone());
        let (revocations, keys) = (Arc::clone(&feed.revocations), Arc::clone(&feed.keys));
        let (report, mut reports) = mpsc::unbounded_channel();
        let shutdown = CancellationToken::new();
        let following = tokio::spawn(feed.follow(
            position,
            move |available| report.send(available).unwrap(),
            shutdown.clone(),
        ));

        change(&store, &user, clock.now()).await;
        assert!(looked(&mut reports).await);
        assert!(revocations.is_outdated(user.id, 1));

        let before = keys.load().access().kid().to_owned();
        ring.rotate(true, clock.now()).await.unwrap();
        looked(&mut reports).await;
        assert_ne!(keys.load().access().kid(), before);

        store.execute("ALTER TABLE changes RENAME TO gone").await;
        assert!(!looked(&mut reports).await, "an outage is told");
        assert!(revocations.is_outdated(user.id, 1), "and forgets nothing");
        store.execute("ALTER TABLE gone RENAME TO changes").await;
        change(&store, &user, clock.now()).await;
        assert!(looked(&mut reports).await, "and passes");
        assert!(revocations.is_outdated(user.id, 2));

        shutdown.cancel();
        following.await.unwrap();
    }
}
