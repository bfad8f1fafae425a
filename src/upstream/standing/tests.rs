//! Who is down, who is left alone, who comes back.

use http::uri::Authority;
use tokio::time::sleep;

use crate::config::Balance;
use crate::config::Position;
use crate::config::UpstreamScheme;
use crate::config::UpstreamTarget;

use super::*;

fn standing(targets: usize, metrics: &Metrics) -> Arc<Standing> {
    let authority = |index| format!("127.0.0.1:{}", 5000 + index);
    standing_of((0..targets).map(authority), metrics)
}

/// With targets of these hosts and ports.
pub(in crate::upstream) fn standing_of(
    authorities: impl Iterator<Item = String>,
    metrics: &Metrics,
) -> Arc<Standing> {
    let target = |authority| UpstreamTarget {
        scheme: UpstreamScheme::Http,
        authority: Authority::try_from(authority).unwrap(),
        position: Position { line: 1, column: 1 },
    };
    let seconds = Duration::from_secs;
    let config = config::Upstream {
        name: "app".to_owned(),
        targets: authorities.map(target).collect(),
        balance: Balance::P2c,
        health: None,
        ejection: Some(Ejection {
            failures: 3,
            time: seconds(10),
            statuses: Vec::new(),
        }),
        slow_start: seconds(5),
        retries: None,
        connect_timeout: seconds(3),
        response_timeout: seconds(60),
        idle_timeout: seconds(60),
        stream_idle_timeout: seconds(3600),
        keep_alive_timeout: seconds(4),
        connections: 256,
        queue: 256,
    };
    Standing::new(config, metrics)
}

/// Runs `test` beside what runs in the background.
async fn beside<T>(targets: usize, test: impl AsyncFnOnce(&Standing) -> T) -> T {
    let standing = standing(targets, &Metrics::new());
    tokio::select! {
        () = standing.keep() => unreachable!("it goes on for ever"),
        outcome = test(&standing) => outcome,
    }
}

fn fail(standing: &Standing, index: usize) {
    (0..3).for_each(|_| standing.failed(index));
}

/// Which targets get anything.
fn in_use(standing: &Standing) -> Vec<usize> {
    let all = 0..standing.targets.len();
    all.filter(|index| standing.weight(*index) > 0).collect()
}

/// How long it takes until all are in use again.
async fn until_all_are_back(standing: &Standing) -> Duration {
    let begun = Instant::now();
    while in_use(standing).len() < standing.targets.len() {
        sleep(Duration::from_millis(100)).await;
    }
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_row_count_and_no_others() {
    beside(2, async |standing| {
        for _ in 0..10 {
            standing.failed(0);
            standing.failed(0);
            standing.succeeded(0);
        }
        assert_eq!(in_use(standing), [0, 1]);
        fail(standing, 0);
        assert_eq!(in_use(standing), [1]);
    })
    .await;
}

// SECURITY 53
#[tokio::test(start_paused = true)]
async fn never_more_than_half_are_left_alone() {
    for (targets, left) in [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3)] {
        beside(targets, async |standing| {
            for _ in 0..10 {
                (0..targets).for_each(|index| fail(standing, index));
                assert_eq!(in_use(standing).len(), left, "of {targets}");
            }
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_target_comes_back_slowly_and_is_left_alone_for_longer_each_time() {
    beside(2, async |standing| {
        for seconds in [10, 20, 40] {
            fail(standing, 0);
            let away = until_all_are_back(standing).await;
            assert!(away.as_secs().abs_diff(seconds) <= 1, "{away:?}");
            assert!(standing.weight(0) <= FULL / 10, "{}", standing.weight(0));
            sleep(Duration::from_millis(2500)).await;
            assert!(standing.weight(0).abs_diff(FULL / 2) < FULL / 10);
            sleep(Duration::from_secs(3)).await;
            assert_eq!(standing.weight(0), FULL);
        }
        // Who was well for long starts afresh.
        sleep(Duration::from_secs(100)).await;
        fail(standing, 0);
        assert!(until_all_are_back(standing).await.as_secs() <= 11);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_target_that_is_down_gets_nothing_even_if_it_is_the_last() {
    beside(2, async |standing| {
        standing.judged(0, false);
        assert_eq!(in_use(standing), [1]);
        // The last one that is up is never left alone.
        fail(standing, 1);
        assert_eq!(in_use(standing), [1]);
        standing.judged(1, false);
        sleep(Duration::from_hours(1)).await;
        assert!(in_use(standing).is_empty());
        standing.judged(0, true);
        assert_eq!(in_use(standing), [0]);
        assert!(standing.weight(0) < FULL / 10);
        sleep(Duration::from_secs(6)).await;
        assert_eq!(standing.weight(0), FULL);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn whoever_is_left_alone_returns_where_too_few_are_up_otherwise() {
    beside(4, async |standing| {
        fail(standing, 0);
        fail(standing, 1);
        assert_eq!(in_use(standing), [2, 3]);
        standing.judged(2, false);
        assert_eq!(in_use(standing).len(), 2);
        standing.judged(3, false);
        assert_eq!(in_use(standing).len(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn metrics_say_how_targets_stand() {
    let metrics = Metrics::new();
    let standing = standing(2, &metrics);
    let has = |line: &str| {
        let text = metrics.encode();
        let line = format!("portcullis_upstream_{line}");
        assert!(text.contains(&line), "{line} is not in\n{text}");
    };
    let labels = r#"{upstream="app",target="http://127.0.0.1:5000"}"#;
    has(&format!("target_up{labels} 1"));
    (0..3).for_each(|_| standing.unreachable(0));
    has(&format!("connect_failures_total{labels} 3"));
    has(&format!("target_ejected{labels} 1"));
    standing.judged(0, false);
    has(&format!("target_up{labels} 0"));
    standing.judged(0, true);
    has(&format!("target_up{labels} 1"));
    has(&format!("target_ejected{labels} 0"));
}
