//! The direction of dependencies, and which library is used behind which door.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

/// From the top down: a room uses only rooms of layers below its own.
const LAYERS: [&[&str]; 19] = [
    &["properties"],
    &["cli"],
    &["startup"],
    &["edge"],
    &["gate"],
    &["endpoints", "upstream"],
    &["oauth"],
    &["portal"],
    &["page"],
    &["account"],
    &["intake"],
    &["authenticate"],
    &["revocations", "token"],
    &["issuers", "keys"],
    &["store"],
    &["outbound"],
    &[
        "limiter",
        "password",
        "recent",
        "vault",
        "body",
        "disk",
        "certificates",
    ],
    &["config"],
    &["domain"],
];

/// These are used everywhere, and use nothing above `config`.
const EVERYWHERE: [&str; 3] = ["clock", "problem", "telemetry"];

/// A big library lives behind one door.
const DOORS: [(&str, &[&str]); 20] = [
    ("anyhow", &["cli", "startup"]),
    ("argon2", &["password"]),
    ("askama", &["page"]),
    (
        "axum",
        &[
            "account",
            "endpoints",
            "gate/answer",
            "gate/door",
            "intake",
            "oauth",
            "portal",
        ],
    ),
    ("clap", &["cli"]),
    ("governor", &["limiter"]),
    ("h2", &["upstream/http2"]),
    ("jsonwebtoken", &["issuers", "keys", "token"]),
    ("prometheus_client", &["telemetry"]),
    ("proxy_header", &["edge/proxy_protocol"]),
    ("rcgen", &["startup/certificate"]),
    (
        "rustls",
        &["certificates", "edge/tls", "outbound", "upstream/tls"],
    ),
    ("rustls_native_certs", &["certificates"]),
    ("sqlx", &["store"]),
    ("tokio_rustls", &["edge/tls", "outbound", "upstream/tls"]),
    ("toml", &["config"]),
    ("tower", &["endpoints", "gate/door"]),
    ("webpki", &["certificates", "edge/tls"]),
    ("webpki_roots", &["certificates"]),
    ("zxcvbn", &["password"]),
];

#[test]
fn dependencies_point_one_way() {
    let mut wrong = BTreeSet::new();
    for file in sources() {
        for used in file.uses("crate::") {
            let used = used.split("::").next().unwrap_or_default();
            if used != file.room() && !may_use(file.room(), used) {
                wrong.insert(format!("{} uses {used}", file.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn libraries_stay_behind_their_doors() {
    let mut wrong = BTreeSet::new();
    for file in sources() {
        for (library, doors) in DOORS {
            let behind = |door: &&str| {
                file.name == format!("{door}.rs") || file.name.starts_with(&format!("{door}/"))
            };
            if file.mentions(library) && !doors.iter().any(behind) {
                wrong.insert(format!("{} uses {library}", file.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_room_has_its_layer() {
    let known = |room: &str| EVERYWHERE.contains(&room) || layer(room).is_some();
    let rooms: BTreeSet<_> = sources()
        .iter()
        .map(|file| file.room().to_owned())
        .collect();
    let unknown: Vec<_> = rooms.iter().filter(|room| !known(room)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn imports_are_one_path_per_line() {
    let mut wrong = BTreeSet::new();
    for file in sources() {
        for line in file.text.lines().filter(|line| line.starts_with("use ")) {
            if line.contains(['{', '*']) && !line.ends_with("super::*;") {
                wrong.insert(format!("{}: {line}", file.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| file.name)
        .collect();
    assert!(silent.is_empty(), "{silent:?}");
}

fn layer(room: &str) -> Option<usize> {
    LAYERS.iter().position(|rooms| rooms.contains(&room))
}

fn may_use(room: &str, used: &str) -> bool {
    if EVERYWHERE.contains(&used) {
        return true;
    }
    let lowest = LAYERS.len() - 2;
    let own = if EVERYWHERE.contains(&room) {
        Some(lowest - 1)
    } else {
        layer(room)
    };
    matches!((own, layer(used)), (Some(own), Some(used)) if used > own)
}

/// A file of `src/`, without its tests: those may look wherever they like.
struct Source {
    name: String,
    text: String,
}

impl Source {
    fn room(&self) -> &str {
        let name = self.name.split('/').next().unwrap_or_default();
        name.strip_suffix(".rs").unwrap_or(name)
    }

    /// What follows `start` in a path, wherever one begins with it.
    fn uses<'a>(&'a self, start: &'a str) -> impl Iterator<Item = &'a str> {
        let code = self
            .text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        code.flat_map(move |line| line.split(start).skip(1))
            .map(|rest| {
                let is_path =
                    |character: char| character.is_alphanumeric() || "_:".contains(character);
                rest.split(|character| !is_path(character))
                    .next()
                    .unwrap_or_default()
            })
    }

    /// Whether a path begins with this library.
    fn mentions(&self, library: &str) -> bool {
        let path = format!("{library}::");
        let inside = |before: &str| {
            before.ends_with(|last: char| last.is_alphanumeric() || "_:".contains(last))
        };
        let code = self
            .text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        code.flat_map(|line| line.match_indices(&path).map(move |(at, _)| &line[..at]))
            .any(|before| !inside(before))
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 50, "{files:?}");
    files
        .into_iter()
        .filter_map(|path| {
            let name = path
                .strip_prefix(&root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            let text = fs::read_to_string(&path).unwrap();
            let only_tests = ["lib.rs", "main.rs"].contains(&&*name)
                || name.ends_with("/tests.rs")
                || name.contains("/tests/")
                || name.ends_with("/contract.rs")
                || name.contains("/contract/");
            let text = text
                .split("#[cfg(test)]")
                .next()
                .unwrap_or_default()
                .to_owned();
            (!only_tests).then_some(Source { name, text })
        })
        .collect()
}

/// Every Rust file below a folder.
pub(crate) fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
