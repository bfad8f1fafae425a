//! Debian's nginx as an app: two of them, killed and started again while requests are under way.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use reqwest::Method;

use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::eventually;
use crate::harness::gateway::Folder;
use crate::harness::gateway::Gateway;
use crate::harness::goes_without;
use crate::harness::nginx::Nginx;

/// One that says its name.
async fn named(name: &str) -> Nginx {
    let server = format!("location / {{ return 200 \"{name}\"; }}");
    Nginx::start(&Folder::new(), "", &server).await
}

/// Callers that ask without pause, and what they were answered.
#[derive(Clone, Default)]
struct Load {
    answers: Arc<Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
}

impl Load {
    async fn put_on(self, caller: Caller) {
        let methods = [Method::GET, Method::HEAD, Method::OPTIONS, Method::DELETE];
        for method in methods.iter().cycle() {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            let answer = Answer::of(caller.request(method.clone(), "/app")).await;
            let text = match answer.status {
                200 => answer.text().to_owned(),
                // nginx answers so where nothing but `return` is configured.
                405 => String::new(),
                _ => format!("{method}: {answer:?}"),
            };
            self.answers.lock().unwrap().push(text);
        }
    }

    /// Waits until this many answers more have come from an app.
    async fn until_answered_by(&self, name: &str, more: usize) {
        let from = self.answers.lock().unwrap().len();
        eventually("answers", async || {
            let answers = self.answers.lock().unwrap();
            let count = answers[from..]
                .iter()
                .filter(|answer| *answer == name)
                .count();
            (count >= more).then_some(())
        })
        .await;
    }
}

// SECURITY 53
#[tokio::test(flavor = "multi_thread")]
async fn nginx_may_be_killed_and_started_again_and_no_idempotent_request_fails() {
    if !Nginx::is_there() {
        return goes_without("nginx");
    }
    let (mut one, mut other) = (named("one").await, named("other").await);
    let gateway = Gateway::start(&format!(
        r#"
        limits.per_address = "off"
        [upstreams.app]
        targets = ["http://{}", "http://{}"]
        health = {{ path = "/", interval = "100ms" }}
        ejection.time = "200ms"
        slow_start = "1s"
        [routes.app]
        path = "/app"
        auth = "none"
        upstream = "app"
        "#,
        one.address(),
        other.address()
    ));
    let load = Load::default();
    let over_both = [Gateway::anonymous, Gateway::anonymous_http2];
    let callers = (0..4).flat_map(|_| over_both.map(|caller| caller(&gateway)));
    let callers: Vec<_> = callers
        .map(|caller| tokio::spawn(load.clone().put_on(caller)))
        .collect();
    for _ in 0..2 {
        for (down, up) in [(&mut one, "other"), (&mut other, "one")] {
            let name = if up == "one" { "other" } else { "one" };
            load.until_answered_by(name, 50).await;
            load.until_answered_by(up, 50).await;
            down.kill();
            load.until_answered_by(up, 200).await;
            down.run().await;
        }
    }
    load.until_answered_by("other", 50).await;
    load.is_over.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    let answers = load.answers.lock().unwrap();
    let failed: Vec<_> = answers
        .iter()
        .filter(|answer| !["", "one", "other"].contains(&&***answer))
        .collect();
    assert!(
        failed.is_empty(),
        "{} of {}: {failed:#?}",
        failed.len(),
        answers.len()
    );
}
