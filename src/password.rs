//! Passwords: Argon2id on threads of its own, and what makes a password too weak.
//!
//! Hashing is bounded and shed by deadline, at lower priority than the path, so that a login flood
//! can neither take all cores nor all memory (SECURITY 27). An unknown user costs one hash too. A
//! client that goes away is hashed for all the same: its endpoint runs to its end.
//!
//! A password is compared byte for byte as it was typed: never truncated, trimmed or normalised.
//! NIST 800-63B would have Unicode normalised; here that would lock out people whose imported hashes
//! were made without it, and keyboards type composed characters anyway.

mod argon;
mod strength;

use std::io;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

use tokio::sync::oneshot;

use crate::config::Hashing;
use crate::domain::Password;
use crate::domain::PasswordHash;
use crate::password::argon::Argon;
use crate::telemetry::metrics::HashingMetrics;

pub use strength::weakness;

/// The hashing threads, which end with the last of these. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Hasher {
    jobs: SyncSender<Job>,
    metrics: HashingMetrics,
}

/// The queue is full or the deadline passed: 503 with `Retry-After`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are waiting to be hashed")]
pub struct Busy;

/// Whether a password is the right one.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It is.
    Matches {
        /// A new hash, where the old one was not made as they are made today.
        rehash: Option<PasswordHash>,
    },
    /// It is not, or there is no such account.
    Differs,
}

impl Hasher {
    /// Starts the threads, and computes the hash that unknown accounts are compared with.
    ///
    /// # Errors
    ///
    /// The system's, when it has no thread or no memory left for a hash.
    pub fn start(hashing: &Hashing, metrics: HashingMetrics) -> io::Result<Self> {
        let (hasher, jobs) = Self::queue(hashing.queue, metrics);
        spawn(hashing, jobs, &hasher.metrics)?;
        Ok(hasher)
    }

    fn queue(length: usize, metrics: HashingMetrics) -> (Self, Receiver<Job>) {
        let (jobs, waiting) = mpsc::sync_channel(length);
        (Self { jobs, metrics }, waiting)
    }

    /// Hashes a new password.
    ///
    /// # Errors
    ///
    /// [`Busy`] at once when the queue is full, later when the deadline has passed meanwhile.
    pub async fn hash(&self, password: Password) -> Result<PasswordHash, Busy> {
        self.ask(|reply| Work::Hash { password, reply }).await
    }

    /// Compares; `None` is an unknown account and costs the same.
    ///
    /// # Errors
    ///
    /// As [`Hasher::hash`].
    pub async fn verify(
        &self,
        password: Password,
        hash: Option<PasswordHash>,
    ) -> Result<Verdict, Busy> {
        self.ask(|reply| Work::Verify {
            password,
            hash,
            reply,
        })
        .await
    }

    async fn ask<T>(&self, work: impl FnOnce(oneshot::Sender<T>) -> Work) -> Result<T, Busy> {
        let (reply, answer) = oneshot::channel();
        let job = Job {
            work: work(reply),
            queued_at: Instant::now(),
        };
        // Counted before a thread can take it up, so that the gauge is never below zero.
        self.metrics.queued();
        if self.jobs.try_send(job).is_err() {
            self.metrics.taken_up();
            self.metrics.shed();
            return Err(Busy);
        }
        answer.await.map_err(|_| Busy)
    }
}

/// A job that is dropped unanswered tells its asker [`Busy`].
struct Job {
    work: Work,
    queued_at: Instant,
}

enum Work {
    Hash {
        password: Password,
        reply: oneshot::Sender<PasswordHash>,
    },
    Verify {
        password: Password,
        hash: Option<PasswordHash>,
        reply: oneshot::Sender<Verdict>,
    },
}

/// One of the threads.
struct Worker {
    jobs: Arc<Mutex<Receiver<Job>>>,
    argon: Arc<Argon>,
    deadline: Duration,
    metrics: HashingMetrics,
}

fn spawn(
    hashing: &Hashing,
    jobs: Receiver<Job>,
    metrics: &HashingMetrics,
) -> io::Result<Vec<JoinHandle<()>>> {
    let jobs = Arc::new(Mutex::new(jobs));
    let argon = Arc::new(Argon::new(hashing, metrics.clone()).map_err(io::Error::other)?);
    let threads = (0..hashing.threads.max(1)).map(|index| {
        let worker = Worker {
            jobs: Arc::clone(&jobs),
            argon: Arc::clone(&argon),
            deadline: hashing.deadline,
            metrics: metrics.clone(),
        };
        thread::Builder::new()
            .name(format!("password-{index}"))
            .spawn(move || worker.run())
    });
    threads.collect()
}

impl Worker {
    fn run(&self) {
        // On Linux this is the calling thread's own. Where it is refused, hashing is still bounded.
        let _ = rustix::process::setpriority_process(None, NICE);
        while let Some(job) = self.next() {
            self.metrics.taken_up();
            if job.queued_at.elapsed() >= self.deadline {
                self.metrics.shed();
                continue;
            }
            // One password must not take the thread with it: whoever asked for it is told `Busy`.
            let work = AssertUnwindSafe(|| self.work(job.work));
            if catch_unwind(work).is_err() {
                self.metrics.panicked();
                tracing::error!("hashing a password panicked");
            }
        }
    }

    /// Waits for a job; `None` when no [`Hasher`] is left. The lock is held while waiting: whoever
    /// holds it is the one who takes the next.
    fn next(&self) -> Option<Job> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.recv().ok()
    }

    fn work(&self, work: Work) {
        // An asker who has gone away meanwhile does not take the answer.
        match work {
            Work::Hash { password, reply } => match self.argon.hash(&password) {
                Ok(hash) => _ = reply.send(hash),
                Err(error) => tracing::error!(%error, "a password could not be hashed"),
            },
            Work::Verify {
                password,
                hash,
                reply,
            } => _ = reply.send(self.argon.verify(&password, hash.as_ref())),
        }
    }
}

/// Half of the way to the lowest priority: hashing yields to the path, but is not starved by it.
const NICE: i32 = 10;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::task::Poll;

    use crate::telemetry::metrics::Metrics;

    use super::*;

    const HASHING: Hashing = Hashing {
        memory_kib: 64,
        iterations: 1,
        threads: 2,
        queue: 64,
        deadline: Duration::from_secs(600),
    };

    fn password(text: &str) -> Password {
        Password::new(text.to_owned())
    }

    fn count(metrics: &Metrics, name: &str) -> u64 {
        let text = metrics.encode();
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        value.unwrap().trim().parse().unwrap()
    }

    fn hashes(metrics: &Metrics) -> u64 {
        count(metrics, "portcullis_password_hash_seconds_count")
    }

    fn shed(metrics: &Metrics) -> u64 {
        count(metrics, "portcullis_hashes_shed_total")
    }

    fn waiting(metrics: &Metrics) -> u64 {
        count(metrics, "portcullis_hash_queue_depth")
    }

    async fn is_pending<F: Future>(future: &mut Pin<Box<F>>) -> bool {
        poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
    }

    // SECURITY 28
    #[tokio::test]
    async fn every_byte_of_a_password_counts() {
        let hasher = Hasher::start(&HASHING, Metrics::new().hashing()).unwrap();
        let long = "ü ".repeat(341);
        for (typed, other) in [
            ("a b", "a  b"),
            ("e\u{301}", "é"),
            (&*long, long.trim_end()),
        ] {
            let hash = hasher.hash(password(typed)).await.unwrap();
            let right = hasher.verify(password(typed), Some(hash.clone())).await;
            assert_eq!(right, Ok(Verdict::Matches { rehash: None }), "{typed:?}");
            let wrong = hasher.verify(password(other), Some(hash)).await;
            assert_eq!(wrong, Ok(Verdict::Differs), "{other:?}");
        }
    }

    // SECURITY 30
    #[tokio::test]
    async fn an_unknown_account_costs_what_a_known_one_costs() {
        let metrics = Metrics::new();
        let hasher = Hasher::start(&HASHING, metrics.hashing()).unwrap();
        let known = hasher.hash(password("right")).await.unwrap();
        let before = hashes(&metrics);

        let wrong = hasher.verify(password("wrong"), Some(known.clone())).await;
        assert_eq!(wrong, Ok(Verdict::Differs));
        assert_eq!(hashes(&metrics), before + 1);

        let unknown = hasher.verify(password("right"), None).await;
        assert_eq!(unknown, Ok(Verdict::Differs));
        assert_eq!(hashes(&metrics), before + 2);

        let right = hasher.verify(password("right"), Some(known)).await;
        assert_eq!(right, Ok(Verdict::Matches { rehash: None }));
        assert_eq!(hashes(&metrics), before + 3);
    }

    // SECURITY 27
    #[tokio::test]
    async fn a_full_queue_refuses_at_once() {
        let metrics = Metrics::new();
        let (hasher, _jobs) = Hasher::queue(1, metrics.hashing());
        let mut first = Box::pin(hasher.hash(password("first")));
        assert!(is_pending(&mut first).await);
        assert_eq!(hasher.hash(password("second")).await, Err(Busy));
        assert_eq!((waiting(&metrics), shed(&metrics)), (1, 1));
    }

    // SECURITY 27
    #[tokio::test]
    async fn a_job_past_its_deadline_is_not_hashed() {
        let metrics = Metrics::new();
        let late = Hashing {
            deadline: Duration::ZERO,
            ..HASHING
        };
        let hasher = Hasher::start(&late, metrics.hashing()).unwrap();
        let before = hashes(&metrics);
        assert_eq!(hasher.hash(password("late")).await, Err(Busy));
        assert_eq!(hasher.verify(password("late"), None).await, Err(Busy));
        assert_eq!(hashes(&metrics), before);
        assert_eq!((waiting(&metrics), shed(&metrics)), (0, 2));
    }

    #[tokio::test]
    async fn threads_end_with_the_last_handle() {
        let metrics = Metrics::new();
        let (hasher, jobs) = Hasher::queue(1, metrics.hashing());
        let threads = spawn(&HASHING, jobs, &metrics.hashing()).unwrap();
        assert_eq!(threads.len(), 2);
        let other = hasher.clone();
        drop(hasher);
        assert!(other.hash(password("still here")).await.is_ok());
        drop(other);
        for thread in threads {
            thread.join().unwrap();
        }
    }
}
