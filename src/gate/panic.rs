//! A panic of ours is contained to the request that met it (SECURITY 55).

use std::any::Any;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::pin::Pin;
use std::task::Poll;

/// Runs a future and turns its panic into a value. What the future shared with others is made of
/// whole operations (counters, pools that forget what they lend), so it is safe to go on.
///
/// It takes a pinned future, because one that is passed by value is kept twice.
pub(super) fn contained<T>(
    mut future: Pin<&mut impl Future<Output = T>>,
) -> impl Future<Output = Result<T, Box<dyn Any + Send>>> {
    poll_fn(move |context| {
        let poll = AssertUnwindSafe(|| future.as_mut().poll(context));
        match catch_unwind(poll) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    // SECURITY 55
    #[tokio::test]
    async fn a_panic_becomes_a_value() {
        assert_eq!(contained(pin!(async { 7 })).await.ok(), Some(7));
        let broken = pin!(async {
            tokio::task::yield_now().await;
            panic!("on purpose")
        });
        let outcome: Result<(), _> = contained(broken).await;
        assert!(outcome.is_err());
    }
}
