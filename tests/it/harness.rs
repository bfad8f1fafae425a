//! What tests stand on: the real gateway, upstreams that remember, callers, the built binary.
//!
//! It must never wait by sleeping a fixed time: what happens elsewhere is polled for, with a
//! deadline that only a failing test reaches.

pub(crate) mod app;
pub(crate) mod binary;
pub(crate) mod browser;
pub(crate) mod caddy;
pub(crate) mod caller;
pub(crate) mod curl;
pub(crate) mod forge;
pub(crate) mod gateway;
pub(crate) mod http2;
pub(crate) mod http2_upstream;
pub(crate) mod nginx;
pub(crate) mod person;
pub(crate) mod program;
pub(crate) mod raw;
pub(crate) mod tab;
pub(crate) mod upstream;

use std::sync::Once;
use std::time::Duration;
use std::time::Instant;

/// Nothing that works takes so long, however busy the machine is.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Asks until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits for something that must happen.
pub(crate) async fn in_time<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(output) => output,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

/// Says aloud that a test goes without what it needs. In CI that is an error.
#[track_caller]
#[expect(clippy::print_stderr, reason = "it is to be heard")]
pub(crate) fn goes_without(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "no {what}: see tests/run");
    eprintln!("SKIPPED: no {what}; tests/run installs it");
}

/// Both libraries want to be told which cryptography to use before they are first asked.
pub(crate) fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    });
}
