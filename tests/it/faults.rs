//! The disk fills up, files go away, the power is cut: nothing that was acknowledged is lost, and
//! nothing needs a restart to work again that did not need one to break.

use std::collections::BTreeMap;
use std::fs;

use serde_json::json;

use crate::harness::binary::Served;
use crate::harness::caller::Answer;
use crate::harness::caller::Caller;
use crate::harness::caller::PASSWORD;
use crate::harness::eventually;
use crate::harness::gateway::Folder;

const ROUTE: &str = r#"
    [routes.app]
    path = "/app"
    upstream = "echo"
"#;

const NEW_PASSWORD: &str = "quartz-lantern-drizzle-48";

fn registration(username: &str) -> serde_json::Value {
    json!({ "username": username, "password": PASSWORD })
}

/// Whatever writes is refused, and says when to try again; requests with a token go on.
async fn assert_only_reading(served: &Served, alice: &Caller, refresh: &str) {
    let changing = json!({ "current_password": PASSWORD, "new_password": NEW_PASSWORD });
    for (path, body) in [
        ("/auth/register", registration("bob")),
        ("/auth/login", registration("alice")),
        ("/auth/refresh", json!({ "refresh_token": refresh })),
        ("/auth/logout", json!({})),
        ("/auth/logout", json!({ "all": true })),
        ("/auth/password", changing),
    ] {
        let answer = alice.post(path, &body).await;
        assert_eq!(answer.header("retry-after"), "5", "{path}: {answer:?}");
        let answer = answer.expect_problem(503, "store_unavailable");
        // Neither a path nor an error of the database is for callers.
        assert!(!answer.text().contains("portcullis.db"), "{answer:?}");
        assert!(!answer.text().contains("database"), "{answer:?}");
    }
    alice.get("/app").await.expect(200);
    assert_eq!(served.ask_admin("/livez").0, 200);
    let (status, metrics) = served.ask_admin("/metrics");
    assert_eq!(status, 200);
    assert!(
        metrics.contains("\nportcullis_panics_total 0\n"),
        "{metrics}"
    );
}

/// Nothing of what was refused has been done.
async fn assert_nothing_was_done(alice: &mut Caller, refresh: &str) {
    alice.get("/app").await.expect(200);
    alice.keep(&alice.try_refresh(refresh).await.expect(200));
    let bob = alice.post("/auth/register", &registration("bob")).await;
    bob.expect(201);
    alice.log_in("alice").await;
}

// SECURITY 50 and 58
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_writing_alone_and_passes_without_a_restart() {
    let folder = Folder::with(ROUTE);
    let served = Served::start(&folder).await;
    let mut alice = served.anonymous();
    alice.register("alice").await;
    alice.log_in("alice").await;
    let refresh = alice.refresh_token().to_owned();

    // Not a byte more, of no file: the store's, and those that the logs are written to.
    served.limit_files(Some(0));
    assert_only_reading(&served, &alice, &refresh).await;
    let dropped = "portcullis_log_lines_dropped_total 0\n";
    eventually("the lines of the log to be counted as lost", async || {
        (!served.ask_admin("/metrics").1.contains(dropped)).then_some(())
    })
    .await;

    served.limit_files(None);
    assert_nothing_was_done(&mut alice, &refresh).await;
    served.kill();
    let served = Served::start(&folder).await;
    for name in ["alice", "bob"] {
        served.anonymous().log_in(name).await;
    }
}

/// The files of a store, each of which holds what was acknowledged.
const FILES: [&str; 3] = [
    "data/portcullis.db",
    "data/portcullis.db-wal",
    "data/portcullis.db-shm",
];

async fn assert_degraded(served: &Served) {
    eventually("the gateway to say that it is degraded", async || {
        let (status, body) = served.ask_admin("/readyz");
        (status == 200 && body.contains("degraded")).then_some(())
    })
    .await;
}

// SECURITY 50
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_into_a_file_that_was_moved_away() {
    let folder = Folder::with(ROUTE);
    let served = Served::start(&folder).await;
    let mut alice = served.anonymous();
    alice.register("alice").await;
    for (index, name) in FILES.into_iter().enumerate() {
        alice.log_in("alice").await;
        let refresh = alice.refresh_token().to_owned();
        let (here, away) = (folder.path(name), folder.path("away"));
        fs::rename(&here, &away).unwrap();
        assert_only_reading(&served, &alice, &refresh).await;
        assert_degraded(&served).await;
        // One that looks the same is another one all the same.
        fs::copy(&away, &here).unwrap();
        assert_only_reading(&served, &alice, &refresh).await;

        fs::rename(&away, &here).unwrap();
        alice.keep(&alice.try_refresh(&refresh).await.expect(200));
        let name = format!("number{index}");
        let made = alice.post("/auth/register", &registration(&name)).await;
        made.expect(201);
    }
    served.kill();
    let served = Served::start(&folder).await;
    for name in ["alice", "number0", "number1", "number2"] {
        served.anonymous().log_in(name).await;
    }
}

// SECURITY 50
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_replaced_is_served_after_a_restart() {
    let folder = Folder::with(ROUTE);
    let served = Served::start(&folder).await;
    served.anonymous().register("alice").await;
    served.signal(rustix::process::Signal::TERM);
    assert!(served.ended().await.success());
    let backup = folder.path("backup");
    fs::copy(folder.path(FILES[0]), &backup).unwrap();

    let served = Served::start(&folder).await;
    let mut alice = served.anonymous();
    alice.log_in("alice").await;
    let refresh = alice.refresh_token().to_owned();
    fs::rename(&backup, folder.path(FILES[0])).unwrap();
    assert_only_reading(&served, &alice, &refresh).await;
    assert_degraded(&served).await;
    let said = served.said();
    assert!(
        said.contains("was removed or replaced while it was in use"),
        "{said}"
    );
    served.kill();
    for companion in &FILES[1..] {
        let _ = fs::remove_file(folder.path(companion));
    }
    let served = Served::start(&folder).await;
    served.anonymous().log_in("alice").await;
    let again = served
        .anonymous()
        .post("/auth/register", &registration("bob"))
        .await;
    again.expect(201);
}

/// How often the process is killed.
const ROUNDS: usize = 200;

/// What was acknowledged of one person's session, and must hold for ever.
#[derive(Default)]
struct Promised {
    registered: bool,
    /// A refresh token that was spent, and the one that took its place.
    rotated: Option<(String, String)>,
    /// The tokens of a session that was signed out of.
    signed_out: Option<(String, String)>,
}

/// One person's doings in a round, until the gateway is gone: what was answered was promised.
async fn live(mut caller: Caller, name: String, signs_out: bool) -> Promised {
    let mut promised = Promised::default();
    let post = |caller: &Caller, path: &str, body: serde_json::Value| {
        Answer::try_of(caller.request(reqwest::Method::POST, path).json(&body))
    };
    let Ok(answer) = post(&caller, "/auth/register", registration(&name)).await else {
        return promised;
    };
    answer.expect(201);
    promised.registered = true;
    let Ok(answer) = post(&caller, "/auth/login", registration(&name)).await else {
        return promised;
    };
    caller.keep(&answer.expect(200));
    if signs_out {
        if let Ok(answer) = post(&caller, "/auth/logout", json!({})).await {
            answer.expect(204);
            let tokens = (caller.token().to_owned(), caller.refresh_token().to_owned());
            promised.signed_out = Some(tokens);
        }
        return promised;
    }
    loop {
        let spent = caller.refresh_token().to_owned();
        let body = json!({ "refresh_token": spent });
        let Ok(answer) = post(&caller, "/auth/refresh", body).await else {
            return promised;
        };
        caller.keep(&answer.expect(200));
        promised.rotated = Some((spent, caller.refresh_token().to_owned()));
    }
}

/// Insists on all of it, in a gateway that was started after the other was killed.
async fn assert_kept(caller: &Caller, name: &str, promised: &Promised) {
    if promised.registered {
        let again = caller.post("/auth/register", &registration(name)).await;
        again.expect_problem(409, "taken");
    }
    if let Some((access, refresh)) = &promised.signed_out {
        let dead = caller.with_token(access);
        dead.get("/app").await.expect_problem(401, "invalid_token");
        let dead = dead.try_refresh(refresh).await;
        dead.expect_problem(401, "invalid_refresh_token");
    }
    if let Some((spent, successor)) = &promised.rotated {
        // A rotation that was under way at the end may have been done, without an answer: then the
        // successor is the one that was spent a moment ago, and asks for its own again.
        let next = caller.try_refresh(successor).await.expect(200);
        let mut owner = caller.clone();
        owner.keep(&next);
        owner.get("/app").await.expect(200);
        // That one has been used by now: the one before it is a thief's.
        let stolen = caller.try_refresh(spent).await;
        stolen.expect_problem(401, "invalid_refresh_token");
        owner.get("/app").await.expect_problem(401, "invalid_token");
    }
}

// SECURITY 49
#[tokio::test(flavor = "multi_thread")]
async fn no_end_without_warning_loses_or_undoes_what_was_acknowledged() {
    let folder = Folder::with(&format!(
        "hashing.threads = 2\ntokens.refresh_grace = \"60s\"\n{ROUTE}"
    ));
    let mut kept = BTreeMap::from([("registered", 0), ("rotated", 0), ("signed out", 0)]);
    let mut before: Vec<(String, Promised)> = Vec::new();
    for round in 0..=ROUNDS {
        let served = Served::start(&folder).await;
        for (name, promised) in before.drain(..) {
            assert_kept(&served.anonymous(), &name, &promised).await;
            *kept.get_mut("registered").unwrap() += usize::from(promised.registered);
            *kept.get_mut("rotated").unwrap() += usize::from(promised.rotated.is_some());
            *kept.get_mut("signed out").unwrap() += usize::from(promised.signed_out.is_some());
        }
        let lives: Vec<_> = (0..3)
            .map(|index| {
                let name = format!("user{round}x{index}");
                let life = live(served.anonymous(), name.clone(), index == 0);
                (name, tokio::spawn(life))
            })
            .collect();
        // Each time at another moment of what they are doing: after so many answers.
        let answers = 2 + round % 11;
        let log = folder.path("stdout");
        eventually("some answers", async || {
            let written = fs::read_to_string(&log).unwrap();
            (written.lines().count() >= answers).then_some(())
        })
        .await;
        served.kill();
        for (name, life) in lives {
            before.push((name, life.await.unwrap()));
        }
    }
    // The rounds were about something.
    assert!(kept.values().all(|count| *count > ROUNDS / 10), "{kept:?}");
}
