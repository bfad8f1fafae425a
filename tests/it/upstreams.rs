//! Apps that run more than once: which target is asked, which is left alone, what is sent again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use reqwest::Method;
use tokio::net::TcpListener;
use tokio::net::TcpSocket;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::eventually;
use crate::harness::gateway::Gateway;
use crate::harness::upstream::RawUpstream;
use crate::harness::upstream::Upstream;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// One core, so that what it does is in order, and an open route to these targets.
fn open_route(urls: &[String], keys: &str) -> String {
    format!(
        r#"
        [gateway]
        threads = 1
        [upstreams.app]
        targets = {urls:?}
        {keys}
        [routes.app]
        path = "/app"
        auth = "none"
        upstream = "app"
        "#
    )
}

async fn upstreams(count: usize) -> (Vec<Upstream>, Vec<String>) {
    let mut apps = Vec::new();
    for _ in 0..count {
        apps.push(Upstream::start().await);
    }
    let urls = apps.iter().map(Upstream::url).collect();
    (apps, urls)
}

async fn raw_upstreams(count: usize) -> (Vec<RawUpstream>, Vec<String>) {
    let mut apps = Vec::new();
    for _ in 0..count {
        apps.push(RawUpstream::start().await);
    }
    let urls = apps.iter().map(RawUpstream::url).collect();
    (apps, urls)
}

/// An address at which nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// A request that is under way.
fn ask(gateway: &Gateway, method: Method) -> tokio::task::JoinHandle<Answer> {
    let caller = gateway.anonymous();
    tokio::spawn(async move { Answer::of(caller.request(method, "/app")).await })
}

/// How many requests each app has seen, but for health checks.
fn seen(apps: &[Upstream]) -> Vec<usize> {
    let count = |app: &Upstream| {
        let requests = app.requests();
        requests
            .iter()
            .filter(|seen| seen.target != "/healthz")
            .count()
    };
    apps.iter().map(count).collect()
}

fn retries(gateway: &Gateway, reason: &str) -> f64 {
    gateway.metric(&format!(
        r#"portcullis_upstream_retries_total{{upstream="app",reason="{reason}"}}"#
    ))
}

fn of_target(gateway: &Gateway, metric: &str, url: &str) -> f64 {
    gateway.metric(&format!(
        r#"portcullis_upstream_{metric}{{upstream="app",target="{url}"}}"#
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn round_robin_asks_one_after_the_other() {
    let (apps, urls) = upstreams(3).await;
    let gateway = Gateway::start(&open_route(&urls, "balance = \"round_robin\""));
    let caller = gateway.anonymous();
    for round in 1..=3 {
        for index in 0..3 {
            caller.get("/app").await.expect(200);
            assert_eq!(seen(&apps)[index], round);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_targets_the_idle_one_is_asked() {
    let (hanging, app) = (RawUpstream::start().await, Upstream::start().await);
    let gateway = Gateway::start(&open_route(&[hanging.url(), app.url()], ""));
    let caller = gateway.anonymous();
    // Sooner or later one request meets the app that hangs.
    let asking = tokio::spawn(async move { while caller.get("/app").await.status == 200 {} });
    let mut link = hanging.accept().await;
    link.head().await;
    let before = app.requests().len();
    let caller = gateway.anonymous();
    for _ in 0..30 {
        caller.get("/app").await.expect(200);
    }
    assert_eq!(app.requests().len(), before + 30);
    asking.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_always_meets_the_same_target() {
    let (apps, urls) = upstreams(4).await;
    let lines = open_route(&urls, "balance = \"hash_user\"").replace("\"none\"", "\"optional\"");
    let gateway = Gateway::start(&lines);
    let mut used = BTreeSet::new();
    for number in 0..8 {
        let user = gateway.signed_in(&format!("user{number}")).await;
        let before = seen(&apps);
        for _ in 0..5 {
            user.get("/app").await.expect(200);
        }
        let after = seen(&apps);
        let changed: Vec<_> = (0..4).filter(|app| after[*app] != before[*app]).collect();
        assert_eq!(changed.len(), 1, "{before:?} {after:?}");
        used.extend(changed);
    }
    assert!(used.len() > 1, "{used:?}");
    // Nobody is known by the address.
    let before = seen(&apps);
    for _ in 0..5 {
        gateway.anonymous().get("/app").await.expect(200);
    }
    let after = seen(&apps);
    assert!((0..4).any(|app| after[app] == before[app] + 5), "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_always_meets_the_same_target_and_a_network_is_one() {
    let (apps, urls) = upstreams(4).await;
    let lines = open_route(&urls, "balance = \"hash_address\"").replace(
        "threads = 1",
        "threads = 2\ntrusted_proxies = [\"127.0.0.1\"]",
    );
    let gateway = Gateway::start(&lines);
    let target_of = async |address: &str| {
        let before = seen(&apps);
        let caller = gateway.anonymous();
        let answer = caller
            .get_with("/app", &[("x-forwarded-for", address)])
            .await;
        answer.expect(200);
        let after = seen(&apps);
        (0..4).find(|app| after[*app] != before[*app]).unwrap()
    };
    let mut used = BTreeSet::new();
    for network in 0..8 {
        let address = format!("2001:db8:0:{network}::1");
        let neighbour = format!("2001:db8:0:{network}:1:2:3:4");
        let target = target_of(&address).await;
        assert_eq!(target_of(&address).await, target);
        assert_eq!(target_of(&neighbour).await, target);
        used.insert(target);
    }
    assert!(used.len() > 1, "{used:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_cannot_be_reached_costs_nobody_a_request() {
    let app = Upstream::start().await;
    let gone = nobody().await;
    let gateway = Gateway::start(&open_route(
        &[gone.clone(), app.url()],
        "balance = \"round_robin\"\nejection = { failures = 2, time = \"1h\" }",
    ));
    let caller = gateway.anonymous();
    // Nothing was sent, so that it makes no difference what is asked for.
    for method in [Method::POST, Method::GET, Method::PATCH, Method::DELETE] {
        let request = caller.request(method, "/app").body("abc");
        Answer::of(request).await.expect(200);
    }
    for _ in 0..10 {
        caller.get("/app").await.expect(200);
    }
    assert_eq!(app.requests().len(), 14);
    // Twice; then it was left alone.
    assert_eq!(of_target(&gateway, "connect_failures_total", &gone), 2.0);
    assert_eq!(of_target(&gateway, "target_ejected", &gone), 1.0);
    assert_eq!(of_target(&gateway, "target_ejected", &app.url()), 0.0);
    assert_eq!(retries(&gateway, "unreachable"), 2.0);
    assert_eq!(retries(&gateway, "closed"), 0.0);
}

// SECURITY 53
#[tokio::test(flavor = "multi_thread")]
async fn however_many_targets_fail_half_of_them_are_still_asked() {
    let mut apps = Vec::new();
    for _ in 0..4 {
        let broken = Response::builder().status(503).body(Full::from("busy"));
        let broken = broken.unwrap();
        apps.push(Upstream::answering(move |_| broken.clone()).await);
    }
    let urls: Vec<_> = apps.iter().map(Upstream::url).collect();
    let gateway = Gateway::start(&open_route(
        &urls,
        "ejection = { failures = 1, time = \"1h\", statuses = [503] }",
    ));
    let caller = gateway.anonymous();
    for _ in 0..40 {
        let answer = caller.get("/app").await;
        assert_eq!((answer.status, &*answer.body), (503, &b"busy"[..]));
    }
    let ejected = urls
        .iter()
        .map(|url| of_target(&gateway, "target_ejected", url));
    assert_eq!(ejected.sum::<f64>(), 2.0);
    // What a status is called elsewhere is no failure here.
    let gateway = Gateway::start(&open_route(&urls, "ejection = { failures = 1 }"));
    for _ in 0..40 {
        assert_eq!(gateway.anonymous().get("/app").await.status, 503);
    }
    let ejected = urls
        .iter()
        .map(|url| of_target(&gateway, "target_ejected", url));
    assert_eq!(ejected.sum::<f64>(), 0.0);
}

// SECURITY 53
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_breaks_off_its_upload_says_nothing_of_the_app() {
    let (apps, urls) = raw_upstreams(2).await;
    let gateway = Gateway::start(&open_route(
        &urls,
        "balance = \"round_robin\"\nejection = { failures = 1, time = \"1h\" }",
    ));
    for app in &apps {
        let mut client = gateway.raw().await;
        client
            .send("POST /app HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nxyz")
            .await;
        let mut link = app.accept().await;
        link.until(b"xyz").await;
        drop(client);
        link.assert_closed().await;
    }
    // One whose framing is broken, which the gateway answers.
    for app in &apps {
        let mut client = gateway.raw().await;
        client
            .send(
                "POST /app HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            )
            .await;
        let _link = app.accept().await;
        assert_eq!(client.message().await.status(), 400);
    }
    for url in &urls {
        assert_eq!(of_target(&gateway, "target_ejected", url), 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_met_silence_is_sent_again_only_where_nothing_can_happen_twice() {
    let (apps, urls) = raw_upstreams(2).await;
    let gateway = Gateway::start(&open_route(
        &urls,
        "balance = \"round_robin\"\nejection = \"off\"",
    ));
    // Without a body and idempotent: it goes to the other target.
    for method in [Method::GET, Method::OPTIONS, Method::DELETE, Method::PUT] {
        let asked = ask(&gateway, method.clone());
        let mut first = apps[0].accept().await;
        first.head().await;
        drop(first);
        let mut second = apps[1].accept().await;
        let again = second.head().await;
        assert_eq!(again.start_line, format!("{method} /app HTTP/1.1"));
        assert_eq!(
            again.header("host"),
            format!("localhost:{}", gateway.address().port())
        );
        assert_ne!(again.header("x-request-id"), "");
        second
            .send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nagain")
            .await;
        let answer = asked.await.unwrap();
        assert_eq!((answer.status, &*answer.body), (200, &b"again"[..]));
    }
    assert_eq!(retries(&gateway, "closed"), 4.0);

    // Not idempotent: who knows what the app did before it closed?
    for method in [Method::POST, Method::PATCH] {
        let asked = ask(&gateway, method);
        apps[0].accept().await.head().await;
        asked.await.unwrap().expect_problem(502, "upstream_invalid");
        // The next connection to the other target is that of the next request.
        let next = ask(&gateway, Method::HEAD);
        let mut link = apps[1].accept().await;
        assert_eq!(link.head().await.start_line, "HEAD /app HTTP/1.1");
        link.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            .await;
        next.await.unwrap().expect(200);
    }

    // Idempotent, but with a body that was sent; and where a byte of an answer was there.
    for (request, answer) in [
        (
            "PUT /app HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc",
            "",
        ),
        ("GET /app HTTP/1.1\r\nHost: localhost\r\n\r\n", "H"),
        (
            "GET /app HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
        ),
    ] {
        let mut client = gateway.raw().await;
        client.send(request).await;
        let mut link = apps[0].accept().await;
        link.message().await;
        link.send(answer).await;
        drop(link);
        let refused = client.message().await.answer();
        refused.expect_problem(502, "upstream_invalid");
        let next = ask(&gateway, Method::GET);
        let mut link = apps[1].accept().await;
        assert_eq!(link.head().await.start_line, "GET /app HTTP/1.1");
        link.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
            .await;
        next.await.unwrap().expect(200);
    }
    assert_eq!(retries(&gateway, "closed"), 4.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_closes_just_when_it_is_used_again_costs_no_request() {
    let app = RawUpstream::start().await;
    let gateway = Gateway::start(&open_route(&[app.url()], ""));
    let first = ask(&gateway, Method::GET);
    let mut old = app.accept().await;
    old.head().await;
    old.send(OK).await;
    first.await.unwrap().expect(200);
    let second = ask(&gateway, Method::GET);
    old.head().await;
    drop(old);
    let mut new = app.accept().await;
    new.head().await;
    new.send(OK).await;
    second.await.unwrap().expect(200);
    // What may have happened does not happen again.
    let third = ask(&gateway, Method::POST);
    assert_eq!(new.head().await.start_line, "POST /app HTTP/1.1");
    drop(new);
    third.await.unwrap().expect_problem(502, "upstream_invalid");
    // And nobody asks the only target again over a new connection: it would fail twice as often.
    let fourth = ask(&gateway, Method::GET);
    let mut link = app.accept().await;
    assert_eq!(link.head().await.start_line, "GET /app HTTP/1.1");
    drop(link);
    fourth
        .await
        .unwrap()
        .expect_problem(502, "upstream_invalid");
    assert_eq!(retries(&gateway, "closed"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_stay_in_their_budget() {
    let app = RawUpstream::start().await;
    for (keys, granted) in [
        ("retries = { percent = 50, per_second = 0 }", 1.0),
        ("retries = \"off\"", 0.0),
    ] {
        let gateway = Gateway::start(&open_route(&[app.url()], keys));
        let first = ask(&gateway, Method::GET);
        let mut link = app.accept().await;
        link.head().await;
        link.send(OK).await;
        first.await.unwrap().expect(200);
        // Two requests pay for one retry, so that the one after these must do without.
        if granted > 0.0 {
            let second = ask(&gateway, Method::GET);
            link.head().await;
            drop(link);
            link = app.accept().await;
            link.head().await;
            link.send(OK).await;
            second.await.unwrap().expect(200);
        }
        let third = ask(&gateway, Method::GET);
        link.head().await;
        drop(link);
        third.await.unwrap().expect_problem(502, "upstream_invalid");
        assert_eq!(retries(&gateway, "closed"), granted);
        assert_eq!(retries(&gateway, "over_budget"), granted);
    }
}

/// An app whose health can be set.
async fn patient() -> (Upstream, Arc<AtomicU16>) {
    let health = Arc::new(AtomicU16::new(200));
    let status = Arc::clone(&health);
    let app = Upstream::answering(move |request| {
        let mut response: Response<Full<Bytes>> = Response::new(Full::from("ok"));
        if request.target == "/healthz" {
            let status = status.load(Ordering::SeqCst);
            *response.status_mut() = status.try_into().unwrap();
        }
        response
    })
    .await;
    (app, health)
}

// SECURITY 53
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_down_gets_nothing_until_it_is_up_again() {
    let ((one, health_of_one), (other, health_of_other)) = (patient().await, patient().await);
    let urls = [one.url(), other.url()];
    let gateway = Gateway::start(&open_route(
        &urls,
        "balance = \"round_robin\"\nslow_start = \"0s\"\n\
         health = { path = \"/healthz\", interval = \"100ms\", host = \"app.internal\", healthy = 1, unhealthy = 2 }",
    ));
    let until_up_is = async |url: &str, value: f64| {
        eventually("a verdict on a target", async || {
            (of_target(&gateway, "target_up", url) == value).then_some(())
        })
        .await;
    };
    let caller = gateway.anonymous();
    let apps = [one, other];
    // Before anybody was judged, everybody is in use.
    for _ in 0..4 {
        caller.get("/app").await.expect(200);
    }
    assert_eq!(seen(&apps), [2, 2]);

    health_of_one.store(503, Ordering::SeqCst);
    until_up_is(&urls[0], 0.0).await;
    for _ in 0..4 {
        caller.get("/app").await.expect(200);
    }
    assert_eq!(seen(&apps), [2, 6]);

    health_of_other.store(404, Ordering::SeqCst);
    until_up_is(&urls[1], 0.0).await;
    let refused = caller.get("/app").await;
    assert_eq!(refused.header("retry-after"), "5");
    refused.expect_problem(503, "upstream_down");
    assert_eq!(seen(&apps), [2, 6]);

    health_of_one.store(204, Ordering::SeqCst);
    until_up_is(&urls[0], 1.0).await;
    for _ in 0..4 {
        caller.get("/app").await.expect(200);
    }
    assert_eq!(seen(&apps), [6, 6]);
    let check = apps[0]
        .requests()
        .into_iter()
        .find(|seen| seen.target == "/healthz")
        .unwrap();
    assert_eq!(
        (&*check.method, check.header("host")),
        ("GET", "app.internal")
    );
    assert_eq!(check.header("user-agent"), "portcullis");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_nobody_can_connect_to_is_found_down_before_a_request_meets_it() {
    let app = Upstream::start().await;
    let gone = nobody().await;
    let gateway = Gateway::start(&open_route(
        &[gone.clone(), app.url()],
        "health = { path = \"/healthz\", interval = \"100ms\", unhealthy = 1 }",
    ));
    eventually("a verdict on a target", async || {
        (of_target(&gateway, "target_up", &gone) == 0.0).then_some(())
    })
    .await;
    for _ in 0..10 {
        gateway.anonymous().get("/app").await.expect(200);
    }
    assert_eq!(retries(&gateway, "unreachable"), 0.0);
}

// SECURITY 53
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_fit_into_the_queue_is_refused_at_once() {
    let app = RawUpstream::start().await;
    for queue in [0, 1] {
        let keys = format!("connections = 1\nqueue = {queue}\ntimeouts = {{ connect = \"60s\" }}");
        let gateway = Gateway::start(&open_route(&[app.url()], &keys));
        let first = ask(&gateway, Method::GET);
        let mut link = app.accept().await;
        link.head().await;
        // One more than may wait, and whoever is refused does not wait for it.
        let mut others: Vec<_> = (0..=queue).map(|_| ask(&gateway, Method::GET)).collect();
        let refused = eventually("a refusal", async || {
            let index = others
                .iter()
                .position(tokio::task::JoinHandle::is_finished)?;
            Some(others.remove(index))
        })
        .await;
        let refused = refused.await.unwrap();
        assert_eq!(refused.header("retry-after"), "1");
        refused.expect_problem(503, "upstream_busy");
        link.send(OK).await;
        first.await.unwrap().expect(200);
        for other in others {
            link.head().await;
            link.send(OK).await;
            other.await.unwrap().expect(200);
        }
    }
}

// SECURITY 53
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_takes_its_request_along() {
    let app = RawUpstream::start().await;
    let gateway = Gateway::start(&open_route(&[app.url()], "connections = 1"));
    let over_both = [Gateway::anonymous, Gateway::anonymous_http2];
    let asked = |caller: Caller| tokio::spawn(async move { caller.get("/app").await });
    for caller in over_both {
        for answer in ["", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"] {
            let waiting = asked(caller(&gateway));
            let mut link = app.accept().await;
            link.head().await;
            link.send(answer).await;
            waiting.abort();
            link.assert_closed().await;
            // Its place is free again: there is one only.
            let next = asked(caller(&gateway));
            let mut link = app.accept().await;
            link.head().await;
            link.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
                .await;
            next.await.unwrap().expect(200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_are_kept_for_as_long_as_the_file_says() {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&open_route(&[app.url()], "timeouts.keep_alive = \"0s\""));
    for _ in 0..3 {
        gateway.anonymous().get("/app").await.expect(200);
    }
    assert_eq!(app.connections(), 3);
    let gateway = Gateway::start(&open_route(&[app.url()], "timeouts.keep_alive = \"1h\""));
    for _ in 0..3 {
        gateway.anonymous().get("/app").await.expect(200);
    }
    assert_eq!(app.connections(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_may_be_a_name() {
    let app = Upstream::start().await;
    // Of the addresses of localhost, the app listens on one only.
    let url = app.url().replace("127.0.0.1", "localhost");
    let gateway = Gateway::start(&open_route(&[url], ""));
    for _ in 0..3 {
        gateway.anonymous().get("/app").await.expect(200);
    }
    let gateway = Gateway::start(&open_route(&["http://no-such-name.invalid".to_owned()], ""));
    let refused = gateway.anonymous().get("/app").await;
    refused.expect_problem(502, "upstream_unreachable");
}

/// An app that does not take connections any more, and does not refuse them either.
async fn swallowing() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    // Nobody accepts: once the queue is full, Linux drops what asks for a connection.
    while let Ok(connected) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await
    {
        queued.push(connected.unwrap());
    }
    (listener, queued)
}

// SECURITY 53
#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_swallows_connections_does_not_take_the_time_of_the_next() {
    let (swallowing, _queued) = swallowing().await;
    let url = format!("http://{}", swallowing.local_addr().unwrap());
    let app = Upstream::start().await;
    let keys = "balance = \"round_robin\"\ntimeouts.connect = \"2s\"\nejection.failures = 1";
    let gateway = Gateway::start(&open_route(&[url.clone(), app.url()], keys));
    for _ in 0..4 {
        gateway.anonymous().get("/app").await.expect(200);
    }
    assert_eq!(of_target(&gateway, "connect_failures_total", &url), 1.0);
    let gateway = Gateway::start(&open_route(&[url], "timeouts.connect = \"200ms\""));
    let refused = gateway.anonymous().get("/app").await;
    refused.expect_problem(502, "upstream_unreachable");
}
