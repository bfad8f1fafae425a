//! A cursor over the file's tables that gathers every problem.
//!
//! There are no serde structs here on purpose: serde stops at the first problem, and somebody who
//! writes a file wants all of them. A [`Table`] hands out checked values by key. What is wrong
//! becomes a problem at its place and reading goes on as if the key had been left out; once a table
//! is read, every key that nobody asked for is a problem too. This room must never know what the
//! keys mean, and must never put the value of a secret into a message.

mod value;

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeTable;

use crate::config::Position;
use crate::config::Problem;
use crate::config::Rate;
use crate::config::secrets::Lookup;
use crate::config::values;

pub(super) use value::Value;

/// What was found while reading one file.
pub(super) struct Report<'a> {
    text: &'a str,
    /// Where each line begins: every route of a file asks for its place.
    lines: Vec<usize>,
    lookup: Lookup<'a>,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
}

impl<'a> Report<'a> {
    pub(super) fn new(text: &'a str, lookup: Lookup<'a>) -> Self {
        let breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            text,
            lines: std::iter::once(0).chain(breaks).collect(),
            lookup,
            problems: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    /// Reads a parsed file from its root.
    pub(super) fn read<R>(
        &'a self,
        root: &'a DeTable<'a>,
        read: impl FnOnce(&Table<'a>) -> R,
    ) -> R {
        Table::open(self, 0, vec![root], read)
    }

    /// Something that must be put right; `place` is a byte of the text.
    pub(super) fn problem(&self, place: usize, message: impl Into<String>) {
        self.problem_at(self.position(place), message);
    }

    /// As [`Report::problem`], for what was read before.
    pub(super) fn problem_at(&self, position: Position, message: impl Into<String>) {
        let message = message.into();
        self.problems
            .borrow_mut()
            .push(Problem { position, message });
    }

    /// Something worth a second look.
    pub(super) fn warning_at(&self, position: Position, message: impl Into<String>) {
        let message = message.into();
        self.warnings
            .borrow_mut()
            .push(Problem { position, message });
    }

    /// The line and column of a byte of the text.
    pub(super) fn position(&self, place: usize) -> Position {
        let line = self.lines.partition_point(|start| *start <= place);
        let start = self.lines.get(line.saturating_sub(1)).copied();
        let rest = self.text.get(start.unwrap_or_default()..);
        let within = rest.unwrap_or_default().char_indices();
        let before = within.take_while(|&(at, _)| start.unwrap_or_default() + at < place);
        Position {
            line,
            column: 1 + before.count(),
        }
    }

    /// The path that a file's text means: relative ones are relative to the file's folder.
    pub(super) fn path(&self, text: &str) -> PathBuf {
        self.lookup.folder.join(text)
    }

    /// Problems and warnings in the file's order. What several routes inherit is found once for
    /// each of them and told once.
    pub(super) fn finish(self) -> (Vec<Problem>, Vec<Problem>) {
        let in_order = |mut found: Vec<Problem>| {
            found.sort();
            found.dedup();
            found
        };
        (
            in_order(self.problems.into_inner()),
            in_order(self.warnings.into_inner()),
        )
    }
}

/// One table being read; one that is not in the file reads as empty.
pub(super) struct Table<'a> {
    report: &'a Report<'a>,
    place: usize,
    /// The table's own keys first, then those it inherits from, nearest first.
    layers: Vec<&'a DeTable<'a>>,
    asked: RefCell<Vec<&'static str>>,
    /// Known, but never to be advised.
    refused: RefCell<Vec<&'static str>>,
}

impl<'a> Table<'a> {
    fn open<R>(
        report: &'a Report<'a>,
        place: usize,
        layers: Vec<&'a DeTable<'a>>,
        read: impl FnOnce(&Self) -> R,
    ) -> R {
        let table = Self {
            report,
            place,
            layers,
            asked: RefCell::default(),
            refused: RefCell::default(),
        };
        let result = read(&table);
        table.report_unknown_keys();
        result
    }

    pub(super) fn report(&self) -> &'a Report<'a> {
        self.report
    }

    /// Where the table's header stands.
    pub(super) fn position(&self) -> Position {
        self.report.position(self.place)
    }

    /// A problem with the table as a whole.
    pub(super) fn problem(&self, message: impl Into<String>) {
        self.report.problem(self.place, message);
    }

    /// The value of a key, the table's own or an inherited one.
    pub(super) fn get(&self, key: &'static str) -> Option<Value<'a>> {
        self.nearest(&[key])
    }

    /// The value of whichever of some keys that exclude each other stands nearest.
    pub(super) fn nearest(&self, keys: &[&'static str]) -> Option<Value<'a>> {
        self.asked.borrow_mut().extend(keys);
        self.layers.iter().find_map(|layer| {
            let mut found = keys.iter().filter_map(|key| self.find(layer, key));
            let first = found.next();
            for other in found {
                other.problem(format!("only one of {} can be given", quoted(keys)));
            }
            first
        })
    }

    /// The values of a key in the table itself and in each one it inherits from, nearest first: for
    /// tables of which not the nearest alone is meant, but all of them together.
    pub(super) fn every(&self, key: &'static str) -> Vec<Value<'a>> {
        self.asked.borrow_mut().push(key);
        let layers = self.layers.iter();
        layers.filter_map(|layer| self.find(layer, key)).collect()
    }

    /// Whether the table itself has a key, not only one that it inherits from.
    pub(super) fn says(&self, key: &str) -> bool {
        let own = self.layers.first();
        own.is_some_and(|own| own.contains_key(key))
    }

    /// The value of a key that has no default; `like` shows what to write.
    pub(super) fn required(&self, key: &'static str, like: &str) -> Option<Value<'a>> {
        let value = self.get(key);
        if value.is_none() {
            self.problem(format!("`{key}` is missing; write {key} = {like}"));
        }
        value
    }

    /// Keys that have a meaning, but not yet.
    pub(super) fn later(&self, keys: &[&'static str]) {
        self.refused.borrow_mut().extend(keys);
        let own = self.layers.first();
        let found = own
            .into_iter()
            .flat_map(|own| keys.iter().filter_map(|key| self.find(own, key)));
        for value in found {
            value.problem("this version does not have it");
        }
    }

    pub(super) fn boolean(&self, key: &'static str, default: bool) -> bool {
        self.get(key).and_then(Value::boolean).unwrap_or(default)
    }

    pub(super) fn integer<T>(&self, key: &'static str, range: RangeInclusive<T>, default: T) -> T
    where
        T: TryFrom<u64> + PartialOrd + Display,
    {
        self.get(key)
            .and_then(|value| value.integer(range))
            .unwrap_or(default)
    }

    pub(super) fn duration(
        &self,
        key: &'static str,
        range: RangeInclusive<Duration>,
        default: Duration,
    ) -> Duration {
        self.get(key)
            .and_then(|value| value.duration(range))
            .unwrap_or(default)
    }

    /// A size in bytes.
    pub(super) fn size(&self, key: &'static str, range: RangeInclusive<u64>, default: u64) -> u64 {
        self.get(key)
            .and_then(|value| value.size(range))
            .unwrap_or(default)
    }

    /// A rate; `None` is `"off"`. The default is written as in the file.
    pub(super) fn rate(&self, key: &'static str, default: &str) -> Option<Rate> {
        self.get(key)
            .and_then(|value| value.parse(values::rate))
            .unwrap_or_else(|| values::rate(default).ok().flatten())
    }

    /// One of some words; a word without a value is one this version does not have.
    pub(super) fn choice<T: Copy>(
        &self,
        key: &'static str,
        choices: &[(&'static str, Option<T>)],
        default: T,
    ) -> T {
        self.get(key)
            .and_then(|value| value.choice(choices))
            .unwrap_or(default)
    }

    /// One text or a list of texts, none of them twice.
    pub(super) fn distinct<T: PartialEq, E: Display>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let mut distinct = Vec::new();
        for item in self.get(key).map(Value::one_or_more).unwrap_or_default() {
            match item.parse(&parse) {
                Some(value) if distinct.contains(&value) => item.problem("it is listed twice"),
                Some(value) => distinct.push(value),
                None => {}
            }
        }
        distinct
    }

    /// A list of texts, each read by `parse`.
    pub(super) fn list<T, E: Display>(
        &self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let items = self.get(key).map(Value::items).unwrap_or_default();
        items
            .into_iter()
            .filter_map(|item| item.parse(&parse))
            .collect()
    }

    /// A table of known keys.
    pub(super) fn table<R>(&self, key: &'static str, read: impl FnOnce(&Self) -> R) -> R {
        let layers = self
            .get(key)
            .and_then(|value| Some((value.place, value.as_table()?)));
        match layers {
            Some((place, own)) => Self::open(self.report, place, vec![own], read),
            None => Self::open(self.report, self.place, Vec::new(), read),
        }
    }

    /// A table whose keys are names: its values, in the file's order.
    pub(super) fn entries(&self, key: &'static str) -> Vec<Value<'a>> {
        self.get(key).map(Value::entries).unwrap_or_default()
    }

    fn find(&self, layer: &'a DeTable<'a>, key: &str) -> Option<Value<'a>> {
        let (name, value) = layer.get_key_value(key)?;
        Some(Value::new(self.report, name.get_ref(), value))
    }

    fn report_unknown_keys(&self) {
        let asked = self.asked.borrow();
        let refused = self.refused.borrow();
        for name in self.layers.first().into_iter().flat_map(|own| own.keys()) {
            let key = name.get_ref();
            if asked.iter().chain(refused.iter()).any(|known| known == key) {
                continue;
            }
            let advice = match meant(asked.iter().copied(), key) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here are {}", quoted(&asked)),
            };
            let message = format!("unknown key `{key}`; {advice}");
            self.report.problem(name.span().start, message);
        }
    }
}

fn quoted(words: &[&str]) -> String {
    let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    words.join(", ")
}

/// The word that somebody had in mind who wrote another, where one is near enough.
pub(super) fn meant<'a>(known: impl Iterator<Item = &'a str>, written: &str) -> Option<&'a str> {
    let plain = |word: &str| word.to_ascii_lowercase().replace('-', "_");
    let written = plain(written);
    let distance_max = (written.chars().count() / 3).max(2);
    known
        .map(|known| (distance(&plain(known), &written), known))
        .min()
        .filter(|(distance, _)| *distance <= distance_max)
        .map(|(_, known)| known)
}

/// How many letters to insert, remove or change (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (index, left) in from.chars().enumerate() {
        let mut last = index + 1;
        let mut next = vec![last];
        for (right, (diagonal, above)) in to.chars().zip(row.iter().zip(row.iter().skip(1))) {
            let changed = diagonal + usize::from(left != right);
            last = changed.min(above + 1).min(last + 1);
            next.push(last);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
