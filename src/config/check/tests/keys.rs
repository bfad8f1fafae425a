//! Every key of every table: misspelt, it is told with its place and with the key that was meant.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use toml::de::DeTable;
use toml::de::DeValue;

use crate::config::Secrets;

use super::read;
use super::sample::full;
use super::shown;

/// Tables whose keys are names that people choose.
const OF_NAMES: [&str; 9] = [
    "clients",
    "issuers",
    "providers",
    "roles",
    "routes",
    "upstreams",
    "scopes",
    "paths",
    "set",
];

/// A key of the sample: in which kind of table, and where in the text.
#[derive(Debug)]
struct Key {
    table: String,
    name: String,
    at: usize,
}

/// Every key that has a meaning of its own, wherever it stands.
fn keys(text: &str) -> Vec<Key> {
    fn walk(table: &DeTable<'_>, path: &str, names: bool, found: &mut Vec<Key>) {
        for (name, value) in table.iter() {
            let key = name.get_ref();
            if !names {
                found.push(Key {
                    table: path.to_owned(),
                    name: key.to_string(),
                    at: name.span().start,
                });
            }
            let below = format!("{path}.{}", if names { "*" } else { key });
            let of_names = !names && OF_NAMES.contains(&&**key);
            walk_value(value.get_ref(), &below, of_names, found);
        }
    }
    fn walk_value(value: &DeValue<'_>, path: &str, names: bool, found: &mut Vec<Key>) {
        match value {
            DeValue::Table(table) => walk(table, path, names, found),
            DeValue::Array(items) => {
                for item in items.iter() {
                    walk_value(item.get_ref(), path, names, found);
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    let root = DeTable::parse(text).expect("the sample is TOML");
    walk(root.get_ref(), "", false, &mut found);
    found
}

fn problems(text: &str) -> Vec<String> {
    match read(text, Secrets::Read) {
        Ok(_) => Vec::new(),
        Err(problems) => shown(&problems.problems),
    }
}

fn place(text: &str, at: usize) -> String {
    let before = &text[..at];
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("{line}:{column}: ")
}

// SECURITY 59
#[test]
fn a_misspelt_key_is_told_with_the_one_that_was_meant() {
    let text = full();
    let keys = keys(&text);
    assert!(keys.len() > 100, "{}", keys.len());
    for Key { table, name, at } in &keys {
        let middle = name.len() / 2;
        let misspellings = [
            format!("{}{}", &name[..middle], &name[middle + 1..]),
            format!("{}{}", &name[..=middle], &name[middle..]),
            format!("{}{}", name[..1].to_ascii_uppercase(), &name[1..]),
        ];
        for wrong in misspellings {
            let misspelt = format!("{}{wrong}{}", &text[..*at], &text[at + name.len()..]);
            let found = problems(&misspelt);
            let expected = format!("unknown key `{wrong}`; did you mean `{name}`?");
            let told = format!("{}{expected}", place(&misspelt, *at));
            assert!(found.contains(&told), "{table}: {told}\n{found:#?}");
        }
    }
}

/// So that the test above cannot miss one: what a table knows is what the sample shows of it.
#[test]
fn the_sample_shows_every_key() {
    let text = full();
    let mut shown: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut first: BTreeMap<String, usize> = BTreeMap::new();
    for Key { table, name, at } in keys(&text) {
        // The defaults and sub-paths of a route have the keys of a route; and the names of headers
        // are the same for all routes as for one.
        let table = match &*table {
            ".defaults" | ".routes.*.paths.*" => ".routes.*".to_owned(),
            ".routes.*.identity" => ".identity.headers".to_owned(),
            _ => table,
        };
        let at = if table.is_empty() { 0 } else { at };
        let first = first.entry(table.clone()).or_insert(at);
        *first = at.min(*first);
        shown.entry(table).or_default().insert(name);
    }
    for (table, at) in first {
        let separator = if text[..at].ends_with("{ ") {
            ", "
        } else {
            "\n"
        };
        let strange = format!("{}zzzzzzzzzzzz = 1{separator}{}", &text[..at], &text[at..]);
        let found = problems(&strange);
        let known = found
            .iter()
            .find_map(|problem| problem.split_once("unknown key `zzzzzzzzzzzz`; known here are "))
            .unwrap_or_else(|| panic!("{table}: {found:#?}"));
        let known: BTreeSet<_> = known
            .1
            .split(", ")
            .map(|key| key.trim_matches('`').to_owned())
            .collect();
        let missing: Vec<_> = known.difference(&shown[&table]).collect();
        assert!(missing.is_empty(), "{table}: the sample has no {missing:?}");
    }
}
