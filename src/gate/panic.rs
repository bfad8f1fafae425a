//! A panic of ours is contained to the request that met it (SECURITY 55).

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

/// Runs a future and turns its panic into a value. What the future shared with others is made of
/// whole operations (counters, pools that forget what they lend), so it is safe to go on.
pub(super) struct Contained<F> {
    inner: Pin<Box<F>>,
}

impl<F: Future> Contained<F> {
    pub(super) fn new(inner: F) -> Self {
        Self {
            inner: Box::pin(inner),
        }
    }
}

impl<F: Future> Future for Contained<F> {
    type Output = Result<F::Output, Box<dyn Any + Send>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let inner = self.inner.as_mut();
        match catch_unwind(AssertUnwindSafe(|| inner.poll(context))) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // SECURITY 55
    #[tokio::test]
    async fn a_panic_becomes_a_value() {
        assert_eq!(Contained::new(async { 7 }).await.ok(), Some(7));
        let broken = Contained::new(async {
            tokio::task::yield_now().await;
            panic!("on purpose")
        });
        let outcome: Result<(), _> = broken.await;
        assert!(outcome.is_err());
    }
}
