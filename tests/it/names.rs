//! What somebody may be called: one person for each name, whatever it looks like.

use serde_json::Value;
use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::binary::portcullis;
use crate::harness::binary::portcullis_reading;
use crate::harness::caller::PASSWORD;
use crate::harness::gateway::Gateway;

const ROUTE: &str = r#"
    [routes.app]
    path = "/app"
    upstream = "echo"
"#;

fn with_password(mut body: Value, password: &str) -> Value {
    body["password"] = json!(password);
    body
}

// SECURITY 32
#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_given_once_however_it_is_spelt() {
    let gateway = Gateway::start(ROUTE);
    let caller = gateway.anonymous();
    let body = json!({ "username": "alice", "email": "a@example.com", "password": PASSWORD });
    caller.try_register(&body).await.expect(201);
    for (field, taken) in [
        ("username", json!({ "username": "alice" })),
        ("username", json!({ "username": "ALICE" })),
        (
            "username",
            json!({ "username": "aLiCe", "email": "other@example.com" }),
        ),
        (
            "email",
            json!({ "username": "other", "email": "a@example.com" }),
        ),
        ("email", json!({ "email": "A@Example.COM" })),
    ] {
        let refused = caller.try_register(&with_password(taken, PASSWORD)).await;
        let refused = refused.expect_problem(409, "taken");
        assert_eq!(refused.json()["errors"][0]["field"], field);
    }
    // What was refused has used nothing up.
    let other = json!({ "username": "other", "email": "other@example.com" });
    caller
        .try_register(&with_password(other, PASSWORD))
        .await
        .expect(201);
}

// SECURITY 32
#[tokio::test(flavor = "multi_thread")]
async fn a_username_is_never_given_to_a_second_person() {
    let gateway = Gateway::start(ROUTE);
    let caller = gateway.anonymous();
    for name in ["deleted", "renamed"] {
        let body = json!({ "username": name, "email": format!("{name}@example.com") });
        caller
            .try_register(&with_password(body, PASSWORD))
            .await
            .expect(201);
    }
    let command = |arguments: &[&str]| portcullis(gateway.folder(), arguments);
    command(&["user", "delete", "deleted", "--yes"]).expect(0);
    command(&["user", "set", "renamed", "--username", "newname"]).expect(0);

    for name in ["deleted", "DELETED", "renamed", "Renamed", "newname"] {
        let body = json!({ "username": name, "password": PASSWORD });
        let refused = caller.try_register(&body).await;
        refused.expect_problem(409, "taken");
        // Nor by the administrator.
        let added = portcullis_reading(gateway.folder(), &["user", "add", name], PASSWORD);
        added.expect(1);
    }
    command(&["user", "set", "newname", "--username", "deleted"]).expect(1);
    for gone in ["deleted", "renamed"] {
        let body = json!({ "username": gone, "password": PASSWORD });
        let refused = caller.try_log_in(&body).await;
        refused.expect_problem(401, "bad_credentials");
    }
    // The person's own old name is still the person's; a deleted account's address is anybody's.
    command(&["user", "set", "newname", "--username", "renamed"]).expect(0);
    let body = json!({ "email": "deleted@example.com", "password": PASSWORD });
    caller.try_register(&body).await.expect(201);
}

// SECURITY 32
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_could_pass_for_another_is_no_name() {
    let gateway = Gateway::start(ROUTE);
    let caller = gateway.anonymous();
    let body = json!({ "email": "nameless@example.com", "password": PASSWORD });
    let id = caller.try_register(&body).await.expect(201).json()["id"].clone();
    let id = id.as_str().unwrap();
    caller.register("alice").await;

    for name in [
        // Another's address, a machine, somebody who is known by an id.
        "nameless@example.com",
        "alice@",
        "client:notes-sync",
        "client:portcullis",
        id,
        &id.to_uppercase(),
        &id.replace('-', ""),
        &format!("{{{id}}}"),
        &format!("urn:uuid:{id}"),
        // `alice` to the eye: Cyrillic, Greek, full width, dotted and dotless I, ligature, accents.
        "\u{430}lice",
        "al\u{3b9}ce",
        "\u{ff41}\u{ff4c}\u{ff49}\u{ff43}\u{ff45}",
        "AL\u{130}CE",
        "al\u{131}ce",
        "ali\u{441}e",
        "\u{1d44e}lice",
        "alice\u{301}",
        "alic\u{e9}",
        // Characters that fold into ASCII: the long s, the Kelvin sign.
        "\u{17f}am",
        "\u{212a}im",
        // What shows nothing.
        "alice\u{200b}",
        "al\u{ad}ice",
        "\u{202e}ecila",
        "\u{feff}alice",
        "alice\u{3164}",
        "alice ",
        " alice",
        "\u{a0}alice",
        "alice\0",
        "alice\r\n",
        "ali\tce",
        "\u{7f}alice",
        "",
        ".",
        "..",
        "-alice",
        "_alice",
        "%61lice",
        "alice/",
        "alice,bob",
        "<alice>",
        "$(alice)",
        "' OR 1=1 --",
        &"a".repeat(65),
        &"a".repeat(10_000),
    ] {
        let body = json!({ "username": name, "password": PASSWORD });
        let refused = caller.try_register(&body.clone()).await;
        assert_eq!(refused.status, 422, "{name:?}: {}", refused.text());
        let refused = refused.expect_problem(422, "bad_fields");
        assert_eq!(refused.json()["errors"][0]["field"], "username");
        if name != "nameless@example.com" {
            let refused = caller.try_log_in(&body).await;
            assert_eq!(refused.status, 401, "{name:?}: {}", refused.text());
            refused.expect_problem(401, "bad_credentials");
        }
    }
    for name in ["a", "0", "a.b-c_d", "xn--alice", &"z".repeat(64)] {
        let body = json!({ "username": name, "password": PASSWORD });
        caller.try_register(&body).await.expect(201);
    }
}

// SECURITY 32
#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_the_house_is_nobodys() {
    let gateway = Gateway::start(&format!(
        "[accounts]\nreserved_usernames = ['Boss']\n{ROUTE}"
    ));
    let caller = gateway.anonymous();
    for reserved in [
        "admin",
        "Admin",
        "ADMIN",
        "root",
        "portcullis",
        "system",
        "boss",
        "BOSS",
    ] {
        let body = json!({ "username": reserved, "password": PASSWORD });
        let refused = caller.try_register(&body).await;
        let refused = refused.expect_problem(422, "bad_fields");
        assert_eq!(refused.json()["errors"][0]["field"], "username");
    }
    // The administrator knows what such a name is for.
    portcullis_reading(gateway.folder(), &["user", "add", "boss"], PASSWORD).expect(0);
}

// SECURITY 32
#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_registrations_of_one_name_one_wins() {
    let gateway = Gateway::start(&format!("[hashing]\nqueue = 200\ndeadline = '1m'\n{ROUTE}"));
    for (kind, name) in [("username", "somebody"), ("email", "somebody@example.com")] {
        let caller = gateway.anonymous();
        let mut registrations = JoinSet::new();
        for number in 0..100_u32 {
            // Upper case wherever the number has a bit: a hundred spellings.
            let spelling: String = name
                .chars()
                .enumerate()
                .map(|(at, letter)| match number >> at.min(31) & 1 {
                    1 => letter.to_ascii_uppercase(),
                    _ => letter,
                })
                .collect();
            let body = json!({ kind: spelling, "password": PASSWORD });
            let caller = caller.clone();
            registrations.spawn(async move { caller.try_register(&body).await });
        }
        let (made, refused): (Vec<_>, Vec<_>) = registrations
            .join_all()
            .await
            .into_iter()
            .partition(|answer| answer.status == 201);
        assert_eq!((made.len(), refused.len()), (1, 99), "{kind}");
        for answer in refused {
            answer.expect_problem(409, "taken");
        }
        let users = portcullis(gateway.folder(), &["user", "list", "--json"]).expect(0);
        let users: Value = serde_json::from_str(&users.stdout).unwrap();
        let users = users.as_array().unwrap();
        let bear_it: Vec<_> = users.iter().filter(|user| user[kind].is_string()).collect();
        assert_eq!(bear_it.len(), 1, "{users:?}");
        assert_eq!(bear_it[0][kind], made[0].json()[kind]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_address_or_no_name_is_refused() {
    let gateway = Gateway::start(ROUTE);
    let caller = gateway.anonymous();
    let refused = async |field: &str, text: &str| {
        let body = json!({ field: text, "username": "somebody", "password": PASSWORD });
        let refused = caller.try_register(&body).await;
        assert_eq!(refused.status, 422, "{field} {text:?}: {}", refused.text());
        let refused = refused.expect_problem(422, "bad_fields");
        assert_eq!(refused.json()["errors"][0]["field"], field);
    };
    for address in [
        "",
        "@",
        "alice",
        "alice@localhost",
        "@example.com",
        "alice@example.com ",
        "alice@example.com\r\nBcc: x@example.com",
        "alice@example.com\0",
        "alice@example.com,bob@example.com",
        "Alice <alice@example.com>",
        "\"a b\"@example.com",
        "alice@[127.0.0.1]",
        "alice@exam_ple.com",
        "alice@example.com.",
        "alice@ex\u{e4}mple.com",
        "\u{430}lice@example.com",
        "alice@ex\u{430}mple.com",
        "alice@example\u{3002}com",
        "ali\u{200b}ce@example.com",
        "a..b@example.com",
        &format!("{}@example.com", "a".repeat(65)),
        &format!("a@{}.com", "b".repeat(300)),
        &format!("a@{}com", "b.".repeat(5_000)),
    ] {
        refused("email", address).await;
    }
    for name in [
        "",
        " ",
        "\u{3000}",
        "\u{3164}",
        "\u{200b}",
        "Al\u{202e}ice",
        "Al\u{34f}ice",
        "Alice\u{2800}",
        "Alice\nX-Auth-Roles: admin",
        "Alice\r",
        "Alice\0",
        "Alice\u{1b}[2J",
        "Alice\u{85}",
        "Alice\u{2028}",
        &"x".repeat(129),
        &"x".repeat(10_000),
    ] {
        refused("name", name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn control_characters_are_in_no_field() {
    let gateway = Gateway::start(ROUTE);
    let caller = gateway.anonymous();
    caller.register("alice").await;
    for control in [
        "\0", "\r", "\n", "\r\n", "\t", "\u{b}", "\u{1b}", "\u{7f}", "\u{85}",
    ] {
        let fields = ["username", "email", "name", "password"];
        for field in fields {
            let mut body = json!({
                "username": "somebody", "email": "somebody@example.com", "name": "Somebody",
                "password": PASSWORD,
            });
            let text = body[field].as_str().unwrap().to_owned();
            let (head, tail) = text.split_at(4);
            body[field] = json!(format!("{head}{control}{tail}"));
            let refused = caller.try_register(&body).await;
            let refused = refused.expect_problem(422, "bad_fields");
            assert_eq!(refused.json()["errors"].as_array().unwrap().len(), 1);
            assert_eq!(refused.json()["errors"][0]["field"], field, "{control:?}");
        }
        for body in [
            json!({ "username": format!("alice{control}"), "password": PASSWORD }),
            json!({ "username": "alice", "password": format!("{PASSWORD}{control}") }),
            json!({ "email": format!("a@example.com{control}"), "password": PASSWORD }),
        ] {
            let refused = caller.try_log_in(&body).await;
            refused.expect_problem(401, "bad_credentials");
        }
        let scope = format!("notes:read{control}notes:write");
        let body = json!({ "username": "alice", "password": PASSWORD, "scope": scope });
        let refused = caller.try_log_in(&body).await;
        refused.expect_problem(400, "invalid_scope");
        let refused = caller.try_refresh(&format!("ptc_rt_{control}")).await;
        refused.expect_problem(401, "invalid_refresh_token");
    }
    // The same words at the command line.
    let added = portcullis_reading(gateway.folder(), &["user", "add", "some\nbody"], PASSWORD);
    added.expect(1);
    let users = portcullis(gateway.folder(), &["user", "list", "--json"]).expect(0);
    let users: Value = serde_json::from_str(&users.stdout).unwrap();
    assert_eq!(users.as_array().unwrap().len(), 1);
}
