//! How often codes of devices are tried and issued.

use crate::device::Device;
use crate::device::PAGE;
use crate::device::TV;
use crate::device::ask;
use crate::device::expect_error;
use crate::device::started;
use crate::device::wait;
use crate::harness::caller::Answer;
use crate::harness::person::Person;

/// Tries until a limit is spent and will be for a while, however slow the machine: how many went through.
async fn until_spent(tries: impl AsyncFn() -> Answer) -> usize {
    for done in 0..1000 {
        let answer = tries().await;
        let wait = answer.header("retry-after").parse::<u64>();
        if answer.status == 429 && wait.unwrap() >= 3 {
            let state = answer.header("ratelimit");
            assert!(state.contains(";r=0;t="), "{state}");
            assert_ne!(answer.header("ratelimit-policy"), "");
            return done;
        }
    }
    panic!("no limit is ever spent");
}

/// RFC 8628 §5.1.
#[tokio::test(flavor = "multi_thread")]
async fn codes_cannot_be_guessed() {
    let (gateway, _app) = started().await;
    let caller = gateway.anonymous();
    let device = Device::tv(&gateway).await;
    let type_in = async |person: &Person, code: &str| {
        let page = person.open(PAGE).await.expect(200);
        person
            .submit(&page.form(PAGE), &[("user_code", code)])
            .await
    };
    let mut guessers = Vec::new();
    for name in ["alice", "bob", "carol", "dave"] {
        guessers.push(Person::signed_in(caller.clone(), name).await);
    }
    for person in &guessers[..3] {
        for _ in 0..20 {
            let missed = type_in(person, "BBBB-BBBB").await.expect(404);
            assert!(missed.text().contains("There is no such code"));
        }
        until_spent(async || type_in(person, "BBBB-BBBB").await).await;
        // A right one is not looked at any more.
        let refused = type_in(person, &device.shows).await.expect(429);
        assert!(
            refused.text().contains("Too many codes"),
            "{}",
            refused.text()
        );
        assert!(!refused.text().contains("Living Room TV"));
    }
    // All of an address are counted together: Dave has far fewer.
    let dave = &guessers[3];
    let left = until_spent(async || type_in(dave, "BBBB-BBBB").await).await;
    assert!(left < 20, "{left}");
    expect_error(&device.polls().await, 400, "authorization_pending");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_gets_only_so_many_codes() {
    let (gateway, _app) = started().await;
    let caller = gateway.anonymous();
    for _ in 0..60 {
        Device::of(&caller, "tv", &[]).await;
    }
    let asks = async || ask(&caller, "device_authorization", &[TV]).await;
    until_spent(asks).await;
    let refused = asks().await;
    expect_error(&refused, 429, "slow_down");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_never_waits_is_made_to_wait_a_minute_and_no_longer() {
    let (gateway, _app) = started().await;
    let device = Device::tv(&gateway).await;
    expect_error(&device.polls().await, 400, "authorization_pending");
    // From five seconds to sixty, by five each, and then no further.
    for _ in 0..20 {
        expect_error(&device.polls().await, 400, "slow_down");
    }
    wait(&gateway, 58);
    expect_error(&device.polls().await, 400, "slow_down");
    wait(&gateway, 3);
    expect_error(&device.polls().await, 400, "authorization_pending");
}
