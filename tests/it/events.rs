//! Server-sent events and long polling, with clients that show what they have as soon as they have it: an
//! answer is on its way as soon as there is a part of it.

use std::fs;

use serde_json::json;

use crate::harness::caller::Caller;
use crate::harness::curl;
use crate::harness::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::goes_without;
use crate::harness::program::Program;
use crate::harness::raw::Raw;
use crate::harness::upstream::RawUpstream;

/// How events are listened to: with curl over both protocols, and as Python reads them, line by line.
const LISTENERS: [&str; 3] = ["--http1.1", "--http2", "python"];

const HEAD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n";

struct Bench {
    gateway: Gateway,
    app: RawUpstream,
    alice: Caller,
}

impl Bench {
    async fn start() -> Self {
        let app = RawUpstream::start().await;
        let gateway = Gateway::start(&format!(
            "routes.app = {{ path = \"/app\", upstream = \"{}\" }}",
            app.url()
        ));
        fs::write(gateway.folder().path("trusted.pem"), gateway.authority()).unwrap();
        let alice = gateway.signed_in("alice").await;
        Self {
            gateway,
            app,
            alice,
        }
    }

    fn listen(&self, how: &str, caller: Option<&Caller>) -> Program {
        if how == "python" {
            let port = self.gateway.address().port();
            let url = format!("https://localhost:{port}/app");
            let authority = self.gateway.folder().path("trusted.pem");
            let token = caller.map_or("", Caller::token);
            let arguments = [&url, authority.to_str().unwrap(), token];
            return Program::python("events/client.py", &arguments);
        }
        let arguments = ["--no-buffer", "--fail-with-body", how];
        Program::start(&mut curl::command(
            &self.gateway,
            caller,
            "/app",
            &arguments,
        ))
    }

    /// A listener that the app has heard of.
    async fn begun(&self, how: &str, head: &str) -> (Program, Raw) {
        let listener = self.listen(how, Some(&self.alice));
        let mut link = self.app.accept().await;
        let asked = link.head().await;
        assert_eq!(asked.header("x-auth-user"), "alice", "{how}");
        link.send(head).await;
        (listener, link)
    }
}

fn chunk(event: &str) -> String {
    format!("{:x}\r\n{event}\r\n", event.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_is_there_before_the_next_is_sent() {
    if !Program::python_has("ssl") {
        return goes_without("python3");
    }
    let bench = Bench::start().await;
    for how in LISTENERS {
        let head = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n");
        let (mut listener, mut link) = bench.begun(how, &head).await;
        for number in 1..=3 {
            let event = format!("data: {number}");
            link.send(chunk(&format!("{event}\n\n"))).await;
            listener.line(|line| line == event).await;
            let data = listener.lines(|line| line.starts_with("data"));
            assert_eq!(data.len(), number, "{how}: {data:?}");
        }
        // What ends a stream of events is not always a line: even half of one is passed on.
        link.send(chunk(": half")).await;
        if how != "python" {
            eventually("half a line", async || {
                listener.said().ends_with(": half").then_some(())
            })
            .await;
        }
        link.send("0\r\n\r\n").await;
        assert!(listener.ended().await, "{how}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_an_app_that_says_no_length_come_as_well() {
    if !Program::python_has("ssl") {
        return goes_without("python3");
    }
    let bench = Bench::start().await;
    for how in LISTENERS {
        let head = format!("{HEAD}Connection: close\r\n\r\n");
        let (mut listener, mut link) = bench.begun(how, &head).await;
        for event in ["data: 1", "data: 2"] {
            link.send(format!("{event}\n\n")).await;
            listener.line(|line| line == event).await;
        }
        drop(link);
        assert!(listener.ended().await, "{how}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_there_are_no_events_and_nobody_is_asked_for_any() {
    if !Program::python_has("ssl") {
        return goes_without("python3");
    }
    let bench = Bench::start().await;
    for how in LISTENERS {
        for caller in [None, Some(&bench.alice.with_token("x.y.z"))] {
            let mut listener = bench.listen(how, caller);
            assert!(!listener.ended().await, "{how}");
            let said = listener.said();
            assert!(said.contains("\"status\":401"), "{how}: {said}");
        }
    }
    // The first that reaches the app is the first that may.
    let none = "HTTP/1.1 204 No Content\r\n\r\n";
    let _first = bench.begun("--http1.1", none).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_hears_the_end_of_its_session() {
    let bench = Bench::start().await;
    // Not with Python, whose `readline` takes an end that comes too early for any other.
    for how in curl::PROTOCOLS {
        let caller = bench.gateway.signed_in("alice").await;
        let mut listener = bench.listen(how, Some(&caller));
        let mut link = bench.app.accept().await;
        link.head().await;
        link.send(format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n"))
            .await;
        link.send(chunk("data: 1\n\n")).await;
        listener.line(|line| line == "data: 1").await;
        caller.post("/auth/logout", &json!({})).await.expect(204);
        link.assert_closed().await;
        // It cannot take what it has for the whole.
        assert!(!listener.ended().await, "{how}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_is_answered_when_the_app_has_something_to_say() {
    let bench = Bench::start().await;
    for how in curl::PROTOCOLS {
        let mut polling = bench.listen(how, Some(&bench.alice));
        let mut poll = bench.app.accept().await;
        poll.head().await;
        // Meanwhile somebody else says something, over a connection of his own to the app.
        let arguments = [how, "--data-binary", "@-"];
        let (gateway, alice) = (&bench.gateway, Some(&bench.alice));
        let saying = curl::curl(gateway, alice, "/app", &arguments, b"something new");
        let (said, new) = tokio::join!(saying, async {
            let mut link = bench.app.accept().await;
            let new = link.message().await.body;
            link.send("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
                .await;
            new
        });
        assert_eq!(said.answer.status, 204, "{how}");
        assert_eq!(polling.said(), "", "{how}");
        let length = new.len();
        poll.send(format!(
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        ))
        .await;
        poll.send(new).await;
        assert!(polling.ended().await, "{how}");
        assert_eq!(polling.said(), "something new", "{how}");
    }
}
