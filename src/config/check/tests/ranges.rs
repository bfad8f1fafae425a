//! Every number, duration, size and rate: just inside what is allowed, and just outside.

use super::BASE;
use super::Secrets;
use super::read;

/// What `key` of `table` may be, and what it may not.
#[track_caller]
fn check(table: &str, key: &str, inside: &[&str], outside: &[&str]) {
    let text = |value: &str| match table {
        "gateway" => BASE.replace("public_url", &format!("{key} = {value}\npublic_url")),
        "accounts" => format!("{BASE}{key} = {value}"),
        "upstreams.a" => format!("{BASE}[upstreams.a]\ntargets = \"http://a\"\n{key} = {value}"),
        "upstreams.a.health" => format!(
            "{BASE}[upstreams.a]\ntargets = \"http://a\"\nhealth.path = \"/\"\nhealth.{key} = {value}"
        ),
        "routes.a" => {
            format!("{BASE}[routes.a]\npath = \"/a\"\nupstream = \"echo\"\n{key} = {value}")
        }
        _ => format!("{BASE}[{table}]\n{key} = {value}"),
    };
    for value in inside {
        if let Err(problems) = read(&text(value), Secrets::Read) {
            panic!("{table}.{key} = {value}: {problems}");
        }
    }
    for value in outside {
        let text = text(value);
        let Err(wrong) = read(&text, Secrets::Read) else {
            panic!("{table}.{key} = {value} is allowed");
        };
        let [problem] = wrong.problems.as_slice() else {
            panic!("{table}.{key} = {value}: {wrong}");
        };
        let line = text.lines().nth(problem.position.line - 1).unwrap();
        let name = key.rsplit('.').next().unwrap();
        assert!(
            line.contains(name) && line.contains(value),
            "{value}: {wrong}"
        );
        assert!(problem.message.contains(&format!("`{name}`")), "{wrong}");
        // What would be right: a range, or what such a value looks like.
        let helps = [
            "must be",
            "looks like",
            "is a number",
            "whole seconds",
            "at most",
            "a whole",
        ];
        assert!(
            helps.iter().any(|words| problem.message.contains(words)),
            "{wrong}"
        );
    }
}

/// What no whole number can be, whatever its range.
const NO_NUMBERS: [&str; 5] = ["-1", "1.5", "99999999999999999999", "\"5\"", "true"];

// SECURITY 59
#[test]
fn numbers_end_where_they_are_said_to_end() {
    for (table, key, inside, outside) in [
        ("gateway", "threads", ["1", "1024"], ["0", "1025"]),
        ("connections", "max", ["1", "1_000_000"], ["0", "1_000_001"]),
        (
            "connections",
            "per_address",
            ["1", "1_000_000"],
            ["0", "1_000_001"],
        ),
        ("connections", "headers", ["16", "1000"], ["15", "1001"]),
        ("connections", "streams", ["1", "200"], ["0", "201"]),
        (
            "connections",
            "control_frames",
            ["100", "1_000_000"],
            ["99", "1_000_001"],
        ),
        (
            "accounts",
            "password.min_length",
            ["8", "128"],
            ["7", "129"],
        ),
        ("hashing", "iterations", ["2", "100"], ["1", "101"]),
        ("hashing", "threads", ["1", "1024"], ["0", "1025"]),
        ("hashing", "queue", ["1", "100_000"], ["0", "100_001"]),
        (
            "limits",
            "keys_max",
            ["1000", "100_000_000"],
            ["999", "100_000_001"],
        ),
        ("limits", "ipv6_prefix", ["32", "128"], ["31", "129"]),
        (
            "tokens",
            "cache_max",
            ["1000", "100_000_000"],
            ["999", "100_000_001"],
        ),
        ("upstreams.a", "connections", ["1", "65535"], ["0", "65536"]),
        ("upstreams.a", "queue", ["0", "65535"], ["65536", "70000"]),
        (
            "upstreams.a",
            "ejection.failures",
            ["1", "1000"],
            ["0", "1001"],
        ),
        (
            "upstreams.a",
            "ejection.statuses",
            ["500", "599"],
            ["499", "600"],
        ),
        (
            "upstreams.a",
            "retries.percent",
            ["0", "100"],
            ["101", "102"],
        ),
        (
            "upstreams.a",
            "retries.per_second",
            ["0", "1000"],
            ["1001", "1002"],
        ),
        ("upstreams.a.health", "healthy", ["1", "100"], ["0", "101"]),
        (
            "upstreams.a.health",
            "unhealthy",
            ["1", "100"],
            ["0", "101"],
        ),
        (
            "upstreams.a.health",
            "status",
            ["200", "599"],
            ["199", "600"],
        ),
    ] {
        let outside: Vec<_> = outside.iter().chain(&NO_NUMBERS).copied().collect();
        // The report shows numbers without their underscores.
        check(table, key, &inside, &outside);
    }
}

// SECURITY 59
#[test]
fn durations_end_where_they_are_said_to_end() {
    for (table, key, inside, outside) in [
        ("gateway", "hsts", ["0s", "730d"], ["63072001s", "731d"]),
        (
            "connections",
            "handshake_timeout",
            ["1s", "2m"],
            ["999ms", "121s"],
        ),
        (
            "connections",
            "header_timeout",
            ["1s", "10m"],
            ["999ms", "601s"],
        ),
        (
            "connections",
            "body_timeout",
            ["1s", "1h"],
            ["999ms", "3601s"],
        ),
        (
            "connections",
            "drain_timeout",
            ["0s", "1h"],
            ["3600001ms", "3601s"],
        ),
        ("tokens", "access_ttl", ["10s", "1d"], ["9999ms", "86401s"]),
        ("tokens", "refresh_ttl", ["901s", "366d"], ["10s", "367d"]),
        (
            "tokens",
            "refresh_ttl",
            ["15m 1s", "366d"],
            ["15m", "31622401s"],
        ),
        ("tokens", "refresh_grace", ["0s", "60s"], ["60001ms", "61s"]),
        ("hashing", "deadline", ["100ms", "60s"], ["99ms", "61s"]),
        (
            "upstreams.a",
            "timeouts.connect",
            ["10ms", "60s"],
            ["9ms", "61s"],
        ),
        (
            "upstreams.a",
            "timeouts.stream_idle",
            ["100ms", "24h"],
            ["99ms", "86401s"],
        ),
        (
            "upstreams.a",
            "timeouts.response",
            ["100ms", "24h"],
            ["99ms", "86401s"],
        ),
        (
            "upstreams.a",
            "timeouts.idle",
            ["100ms", "24h"],
            ["99ms", "86401s"],
        ),
        (
            "upstreams.a",
            "timeouts.keep_alive",
            ["0s", "1h"],
            ["3600001ms", "3601s"],
        ),
        (
            "upstreams.a",
            "slow_start",
            ["0s", "1h"],
            ["3600001ms", "3601s"],
        ),
        (
            "upstreams.a",
            "ejection.time",
            ["100ms", "1h"],
            ["99ms", "3601s"],
        ),
        (
            "upstreams.a.health",
            "interval",
            ["100ms", "1h"],
            ["99ms", "3601s"],
        ),
        (
            "upstreams.a.health",
            "timeout",
            ["100ms", "60s"],
            ["99ms", "61s"],
        ),
    ] {
        let quoted = |values: &[&str]| -> Vec<_> {
            values.iter().map(|value| format!("\"{value}\"")).collect()
        };
        let (inside, mut outside) = (quoted(&inside), quoted(&outside));
        outside.extend(quoted(&[
            "",
            "5",
            "-1s",
            "1 fortnight",
            "99999999999999999999s",
        ]));
        outside.push("5".to_owned());
        let inside: Vec<_> = inside.iter().map(String::as_str).collect();
        let outside: Vec<_> = outside.iter().map(String::as_str).collect();
        check(table, key, &inside, &outside);
    }
}

// SECURITY 59
#[test]
fn sizes_end_where_they_are_said_to_end() {
    for (table, key, inside, outside) in [
        (
            "connections",
            "header_bytes",
            ["\"8KiB\"", "\"64KiB\""],
            ["\"8191B\"", "\"65537B\""],
        ),
        (
            "hashing",
            "memory",
            ["\"19MiB\"", "\"4GiB\""],
            ["\"19455KiB\"", "\"4194305KiB\""],
        ),
        (
            "routes.a",
            "max_body",
            ["\"0B\"", "\"1024GiB\""],
            ["\"1099511627777B\"", "\"99999999999GiB\""],
        ),
    ] {
        let nonsense = ["\"\"", "\"10\"", "\"10MB\"", "\"-1B\"", "\"1.5MiB\"", "10"];
        let outside: Vec<_> = outside.iter().chain(&nonsense).copied().collect();
        check(table, key, &inside, &outside);
    }
}

// SECURITY 59
#[test]
fn rates_end_where_they_are_said_to_end() {
    const INSIDE: [&str; 6] = [
        "\"off\"",
        "\"1 per second\"",
        "\"1000000 per second\"",
        "\"1 per 31d\"",
        "\"5 per 10s burst 1\"",
        "\"1 per second burst 1000000\"",
    ];
    const OUTSIDE: [&str; 10] = [
        "\"\"",
        "\"0 per second\"",
        "\"1000001 per second\"",
        "\"1 per second burst 1000001\"",
        "\"5 per minute burst 0\"",
        "\"1 per 999ms\"",
        "\"1 per 2678401s\"",
        "\"often\"",
        "\"-1 per second\"",
        "5",
    ];
    for key in ["per_address", "per_user", "register", "login"] {
        check("limits", key, &INSIDE, &OUTSIDE);
    }
    check("routes.a", "limit", &INSIDE, &OUTSIDE);
    let in_list = |rate: &&str| format!("[{{ rate = {rate} }}]");
    for rate in INSIDE.iter().map(in_list) {
        check("routes.a", "limits", &[&rate], &[]);
    }
    for rate in OUTSIDE {
        let text = format!(
            "{BASE}[routes.a]\npath = \"/a\"\nupstream = \"echo\"\nlimits = [{{ rate = {rate} }}]"
        );
        assert!(read(&text, Secrets::Read).is_err(), "{rate}");
    }
}
