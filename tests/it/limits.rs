//! Limits: exact, told truthfully, and refusing before anything is spent on a request.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::caller::Caller;
use crate::harness::gateway::Gateway;
use crate::harness::upstream::Upstream;

async fn limited(lines: &str) -> (Gateway, Upstream) {
    let app = Upstream::start().await;
    let gateway = Gateway::start(&lines.replace("UPSTREAM", &app.url()));
    (gateway, app)
}

const FIVE: &str = r#"
    [routes.app]
    path = "/app"
    auth = "none"
    limits = [{ rate = "5 per minute", by = "address" }]
    upstream = "UPSTREAM"
"#;

/// Asks so often from connections of their own, all at once; how many were answered 200 and 429.
async fn storm(callers: impl IntoIterator<Item = Caller>, path: &'static str) -> (usize, usize) {
    let mut asked = JoinSet::new();
    for caller in callers {
        asked.spawn(async move { caller.get(path).await.status });
    }
    let statuses = asked.join_all().await;
    let count = |status| statuses.iter().filter(|it| **it == status).count();
    assert_eq!(count(200) + count(429), statuses.len(), "{statuses:?}");
    (count(200), count(429))
}

// SECURITY 47
#[tokio::test(flavor = "multi_thread")]
async fn five_per_minute_is_five_however_many_ask_at_once() {
    let (gateway, app) = limited(FIVE).await;
    let connections: Vec<_> = (0..20).map(|_| gateway.anonymous()).collect();
    let callers = connections.iter().cycle().take(200).cloned();
    assert_eq!(storm(callers, "/app").await, (5, 195));
    assert_eq!(app.requests().len(), 5);
}

// SECURITY 47
#[tokio::test(flavor = "multi_thread")]
async fn five_per_minute_is_five_over_the_streams_of_a_few_connections() {
    let (gateway, app) = limited(FIVE).await;
    let connections: Vec<_> = (0..4).map(|_| gateway.anonymous_http2()).collect();
    let callers = connections.iter().cycle().take(200).cloned();
    assert_eq!(storm(callers, "/app").await, (5, 195));
    assert_eq!(app.requests().len(), 5);
}

// SECURITY 47
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_gives_nothing_back_and_takes_nothing_away() {
    let (gateway, app) = limited(FIVE).await;
    let caller = gateway.anonymous();
    for _ in 0..3 {
        caller.get("/app").await.expect(200);
    }
    gateway.clock().advance(Duration::from_secs(24 * 60 * 60));
    for _ in 0..2 {
        caller.get("/app").await.expect(200);
    }
    gateway.clock().set_back(Duration::from_secs(48 * 60 * 60));
    let refused = caller.get("/app").await;
    let wait: u32 = refused.header("retry-after").parse().unwrap();
    assert!((1..=12).contains(&wait), "{wait}");
    refused.expect_problem(429, "limited");
    assert_eq!(app.requests().len(), 5);
}

// SECURITY 47
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_when_to_come_back() {
    let (gateway, app) = limited(FIVE).await;
    let caller = gateway.anonymous();
    for left in (0..5).rev() {
        let answer = caller.get("/app").await.expect(200);
        app.only();
        let policy = answer.header("ratelimit-policy");
        assert!(policy.contains("\"app/address\";q=5;w=60"), "{policy}");
        let state = answer.header("ratelimit");
        assert!(
            state.starts_with(&format!("\"app/address\";r={left};t=")),
            "{state}"
        );
    }
    let refused = caller.get("/app").await.expect_problem(429, "limited");
    let wait: u32 = refused.header("retry-after").parse().unwrap();
    assert!((1..=12).contains(&wait), "{wait}");
    assert_eq!(
        refused.header("ratelimit-policy"),
        "\"app/address\";q=5;w=60"
    );
    assert_eq!(
        refused.header("ratelimit"),
        format!("\"app/address\";r=0;t={wait}")
    );
    app.assert_untouched();
}

// SECURITY 47
#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_as_told_is_admitted() {
    let (gateway, app) = limited(&FIVE.replace("5 per minute", "1 per second")).await;
    let caller = gateway.anonymous();
    caller.get("/app").await.expect(200);
    let refused = loop {
        let answer = caller.get("/app").await;
        if answer.status == 429 {
            break answer;
        }
    };
    assert_eq!(refused.header("retry-after"), "1");
    let before = app.requests().len();
    // Waiting is what is tested here: longer would be as good.
    tokio::time::sleep(Duration::from_secs(1)).await;
    caller.get("/app").await.expect(200);
    assert_eq!(app.requests().len(), before + 1);
}

// SECURITY 47
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_address_counts_as_the_real_one() {
    let (gateway, app) = limited(FIVE).await;
    let caller = gateway.anonymous();
    let mut admitted = 0;
    for number in 0..10 {
        let forged = format!("198.51.100.{number}");
        let headers = [
            ("x-forwarded-for", &*forged),
            ("x-real-ip", &*forged),
            ("forwarded", &*format!("for={forged}")),
        ];
        admitted += usize::from(caller.get_with("/app", &headers).await.status == 200);
    }
    assert_eq!(admitted, 5);
    assert_eq!(app.requests().len(), 5);
}

// SECURITY 47
#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_proxy_brings_callers_with_counts_of_their_own() {
    let trusting = format!("[gateway]\ntrusted_proxies = ['127.0.0.1']\n{FIVE}");
    let (gateway, app) = limited(&trusting).await;
    let caller = gateway.anonymous();
    for address in ["198.51.100.1", "198.51.100.2"] {
        for _ in 0..5 {
            caller
                .get_with("/app", &[("x-forwarded-for", address)])
                .await
                .expect(200);
        }
        let refused = caller
            .get_with("/app", &[("x-forwarded-for", address)])
            .await;
        refused.expect_problem(429, "limited");
    }
    assert_eq!(app.requests().len(), 10);
}

// SECURITY 48
#[tokio::test(flavor = "multi_thread")]
async fn the_addresses_of_one_network_share_one_count() {
    let trusting =
        format!("[gateway]\ntrusted_proxies = ['127.0.0.1']\n[limits]\nipv6_prefix = 56\n{FIVE}");
    let (gateway, app) = limited(&trusting).await;
    let caller = gateway.anonymous();
    let ask = async |address: &str| {
        caller
            .get_with("/app", &[("x-forwarded-for", address)])
            .await
    };
    for number in 0..5 {
        ask(&format!("2001:db8:0:{number}::{number}"))
            .await
            .expect(200);
    }
    for same in ["2001:db8::99", "2001:db8:0:ff::1", "[2001:db8:0:7::1]:443"] {
        ask(same).await.expect_problem(429, "limited");
    }
    assert_eq!(app.requests().len(), 5);
    for other in ["2001:db8:0:100::1", "::ffff:192.0.2.1"] {
        ask(other).await.expect(200);
    }
}

// SECURITY 48
#[tokio::test(flavor = "multi_thread")]
async fn whoever_floods_the_table_resets_nobodys_count() {
    let trusting =
        format!("[gateway]\ntrusted_proxies = ['127.0.0.1']\n[limits]\nkeys_max = 1000\n{FIVE}");
    let (gateway, _app) = limited(&trusting).await;
    let caller = gateway.anonymous_http2();
    let ask = async |address: &str| {
        caller
            .get_with("/app", &[("x-forwarded-for", address)])
            .await
    };
    for _ in 0..5 {
        ask("192.0.2.1").await.expect(200);
    }
    ask("192.0.2.1").await.expect_problem(429, "limited");
    let mut refused = 0;
    for number in 0..3000_u32 {
        let address = std::net::Ipv4Addr::from(0xC612_0000 + number);
        refused += usize::from(ask(&address.to_string()).await.status == 429);
    }
    assert!(
        refused > 1000,
        "what finds no room shares one count: {refused}"
    );
    ask("192.0.2.1").await.expect_problem(429, "limited");
}

// SECURITY 47
#[tokio::test(flavor = "multi_thread")]
async fn spellings_of_a_path_share_one_count() {
    let (gateway, app) = limited(FIVE).await;
    let caller = gateway.anonymous();
    for path in ["/app", "/app/", "/%61pp", "/app?x=1", "/app/deeper"] {
        caller.get(path).await.expect(200);
    }
    for path in ["/app", "/ap%70/", "/app?x=2", "/app/elsewhere"] {
        caller.get(path).await.expect_problem(429, "limited");
    }
    assert_eq!(app.requests().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn per_address_counts_everything_before_any_credential() {
    let (gateway, app) = limited(
        r#"
        [limits]
        per_address = "4 per hour"
        [routes.app]
        path = "/app"
        upstream = "UPSTREAM"
        "#,
    )
    .await;
    let caller = gateway.anonymous();
    caller.get("/auth/me").await.expect(401);
    caller.get("/nowhere").await.expect(404);
    caller.get("/app").await.expect(401);
    caller.get("/app/%2f").await.expect(400);
    for path in ["/auth/me", "/nowhere", "/app", "/.well-known/jwks.json"] {
        let refused = caller.with_token("garbage").get(path).await;
        assert_ne!(refused.header("retry-after"), "");
        refused.expect_problem(429, "limited");
    }
    app.assert_untouched();
}

#[tokio::test(flavor = "multi_thread")]
async fn exempt_networks_are_not_counted_by_address() {
    let (gateway, app) = limited(
        r#"
        [limits]
        per_address = "1 per hour"
        exempt = ["127.0.0.0/8"]
        [routes.app]
        path = "/app"
        auth = "none"
        upstream = "UPSTREAM"
        "#,
    )
    .await;
    for _ in 0..5 {
        gateway.anonymous().get("/app").await.expect(200);
        app.only();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_have_counts_of_their_own() {
    let (gateway, app) = limited(
        r#"
        [limits]
        per_user = "3 per hour"
        [routes.app]
        path = "/app"
        upstream = "UPSTREAM"
        [routes.other]
        path = "/other"
        limit = "1 per hour"
        upstream = "UPSTREAM"
        "#,
    )
    .await;
    let alice = gateway.signed_in("alice").await;
    let bob = gateway.signed_in("bob").await;
    // Another session of the same user is the same user.
    let also_alice = gateway.signed_in("alice").await;

    alice.get("/other").await.expect(200);
    also_alice
        .get("/other")
        .await
        .expect_problem(429, "limited");
    bob.get("/other").await.expect(200);

    // What the narrower limit refused, the wider one did not count.
    alice.get("/app").await.expect(200);
    also_alice.get("/app").await.expect(200);
    alice.get("/app").await.expect_problem(429, "limited");
    bob.get("/app").await.expect(200);
    assert_eq!(app.requests().len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_over_his_own_limit_spends_nothing_of_everybodys() {
    let (gateway, app) = limited(
        r#"
        [routes.app]
        path = "/app"
        limits = [{ rate = "3 per hour", by = "route" }, { rate = "1 per hour", by = "user" }]
        upstream = "UPSTREAM"
        "#,
    )
    .await;
    let mut callers = Vec::new();
    for name in ["alice", "bobby", "carol", "daniel"] {
        callers.push(gateway.signed_in(name).await);
    }
    callers[0].get("/app").await.expect(200);
    for _ in 0..5 {
        let refused = callers[0].get("/app").await.expect_problem(429, "limited");
        assert!(
            refused
                .header("ratelimit-policy")
                .starts_with("\"app/user\"")
        );
    }
    callers[1].get("/app").await.expect(200);
    callers[2].get("/app").await.expect(200);
    let refused = callers[3].get("/app").await.expect_problem(429, "limited");
    assert!(
        refused
            .header("ratelimit-policy")
            .starts_with("\"app/route\"")
    );
    assert_eq!(app.requests().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_who_is_refused_spends_nothing_of_the_route() {
    let (gateway, app) = limited(
        r#"
        [routes.app]
        path = "/app"
        scopes = ["notes:read"]
        limits = [{ rate = "1 per hour", by = "route" }]
        upstream = "UPSTREAM"
        "#,
    )
    .await;
    for _ in 0..3 {
        gateway.anonymous().get("/app").await.expect(401);
        gateway
            .anonymous()
            .with_token("garbage")
            .get("/app")
            .await
            .expect(401);
    }
    app.assert_untouched();
    gateway
        .signed_in("alice")
        .await
        .get("/app")
        .await
        .expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_ins_and_registrations_have_limits_by_address() {
    let gateway = Gateway::start(
        r#"
        [limits]
        login = "2 per hour"
        register = "1 per hour"
        [routes.app]
        path = "/app"
        upstream = "echo"
        "#,
    );
    let caller = gateway.anonymous();
    let alice = json!({ "username": "alice", "password": "x" });
    let bob = json!({ "username": "bob", "password": "x" });
    caller.post("/auth/login", &alice).await.expect(401);
    caller.post("/auth/login", &bob).await.expect(401);
    let refused = caller.post("/auth/login", &alice).await;
    assert_ne!(refused.header("retry-after"), "");
    // How many guesses are left is nobody's business.
    refused.expect_problem(429, "limited");
    let change = json!({ "current_password": "x", "new_password": "y" });
    caller
        .post("/auth/password", &change)
        .await
        .expect_problem(429, "limited");

    caller.post("/auth/register", &alice).await.expect(422);
    caller
        .post("/auth/register", &alice)
        .await
        .expect_problem(429, "limited");
    caller.get("/auth/me").await.expect(401);
}
