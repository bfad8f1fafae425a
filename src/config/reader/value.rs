//! One value of the file, read as what it should be.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeTable;
use toml::de::DeValue;

use crate::config::Position;
use crate::config::reader::Report;
use crate::config::reader::Table;
use crate::config::reader::quoted;
use crate::config::secrets;
use crate::config::secrets::Expanded;
use crate::config::values;

/// One value and the key it belongs to.
#[derive(Clone, Copy)]
pub(in crate::config) struct Value<'a> {
    report: &'a Report<'a>,
    name: &'a str,
    pub(super) place: usize,
    value: &'a DeValue<'a>,
}

/// A string of the file.
pub(in crate::config) struct Text<'a> {
    /// With its references replaced.
    pub(in crate::config) value: String,
    /// As it is written: what messages may show.
    pub(in crate::config) written: &'a str,
    /// Not where a reference was left alone, as [`crate::config::Secrets::Offline`] asks.
    pub(in crate::config) known: bool,
}

impl<'a> Value<'a> {
    pub(super) fn new(
        report: &'a Report<'a>,
        name: &'a str,
        value: &'a Spanned<DeValue<'a>>,
    ) -> Self {
        Self {
            report,
            name,
            place: value.span().start,
            value: value.get_ref(),
        }
    }

    pub(in crate::config) fn report(self) -> &'a Report<'a> {
        self.report
    }

    /// The key.
    pub(in crate::config) fn name(self) -> &'a str {
        self.name
    }

    /// Where the value stands; for a table, its header.
    pub(in crate::config) fn position(self) -> Position {
        self.report.position(self.place)
    }

    /// Something wrong with this value.
    pub(in crate::config) fn problem(self, message: impl Display) {
        self.report
            .problem(self.place, format!("`{}`: {message}", self.name));
    }

    /// Something odd about this value.
    pub(in crate::config) fn warning(self, message: impl Display) {
        let message = format!("`{}`: {message}", self.name);
        self.report.warning_at(self.position(), message);
    }

    /// A string as it is written, references and all.
    pub(in crate::config) fn written(self) -> Option<&'a str> {
        self.value.as_str()
    }

    pub(in crate::config) fn text(self) -> Option<Text<'a>> {
        let DeValue::String(written) = self.value else {
            return self.wrong_type("a string");
        };
        match secrets::expand(written, &self.report.lookup) {
            Ok(Expanded {
                text,
                known,
                readable_by_others,
            }) => {
                for path in readable_by_others {
                    self.warning(format!("others may read {}; chmod 600 it", path.display()));
                }
                Some(Text {
                    value: text,
                    written,
                    known,
                })
            }
            Err(error) => {
                self.problem(error);
                None
            }
        }
    }

    /// A string as `parse` reads it; its error says what would be right.
    pub(in crate::config) fn parse<T, E: Display>(
        self,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text().filter(|text| text.known)?;
        match parse(&text.value) {
            Ok(value) => Some(value),
            Err(error) => {
                let shown = secrets::shown(text.written);
                self.problem(format!("{shown:?}: {error}"));
                None
            }
        }
    }

    /// A path, relative to the file's folder.
    pub(in crate::config) fn path(self) -> Option<PathBuf> {
        self.parse(|text| match text {
            "" => Err("a path is needed"),
            path => Ok(self.report.path(path)),
        })
    }

    pub(in crate::config) fn boolean(self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(value) => Some(*value),
            _ => self.wrong_type("true or false"),
        }
    }

    pub(in crate::config) fn integer<T>(self, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<u64> + PartialOrd + Display,
    {
        let DeValue::Integer(written) = self.value else {
            return self.wrong_type("a whole number");
        };
        let number = u64::from_str_radix(written.as_str(), written.radix())
            .ok()
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| range.contains(number));
        if number.is_none() {
            let (least, most) = (range.start(), range.end());
            self.problem(format!("{written}: it must be from {least} to {most}"));
        }
        number
    }

    pub(in crate::config) fn duration(self, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.parse(|text| duration_within(text, &range))
    }

    /// A duration, or "off".
    pub(in crate::config) fn duration_or_off(
        self,
        range: RangeInclusive<Duration>,
    ) -> Option<Option<Duration>> {
        self.parse(|text| match text {
            "off" => Ok(None),
            _ => duration_within(text, &range).map(Some),
        })
    }

    pub(in crate::config) fn size(self, range: RangeInclusive<u64>) -> Option<u64> {
        self.parse(|text| {
            let size = values::size(text).map_err(|error| error.to_string())?;
            let show = values::show_size;
            if range.contains(&size) {
                Ok(size)
            } else {
                let (least, most) = (show(*range.start()), show(*range.end()));
                Err(format!("it must be from {least} to {most}"))
            }
        })
    }

    pub(in crate::config) fn choice<T: Copy>(
        self,
        choices: &[(&'static str, Option<T>)],
    ) -> Option<T> {
        self.parse(|text| {
            let known = || {
                let here = choices.iter().filter(|(_, value)| value.is_some());
                quoted(&here.map(|(word, _)| *word).collect::<Vec<_>>())
            };
            match choices.iter().find(|(word, _)| *word == text) {
                Some((_, Some(value))) => Ok(*value),
                Some((_, None)) => {
                    Err(format!("this version does not have it; it has {}", known()))
                }
                None => Err(format!("it must be one of {}", known())),
            }
        })
    }

    /// The items of an array.
    pub(in crate::config) fn items(self) -> Vec<Self> {
        match self.value {
            DeValue::Array(items) => {
                let item = |item| Self::new(self.report, self.name, item);
                items.iter().map(item).collect()
            }
            _ => self.wrong_type("an array, as in [..]").unwrap_or_default(),
        }
    }

    /// The items of an array, or the value itself.
    pub(in crate::config) fn one_or_more(self) -> Vec<Self> {
        match self.value {
            DeValue::Array(_) => self.items(),
            _ => vec![self],
        }
    }

    /// The values of a table whose keys are names, in the file's order.
    pub(in crate::config) fn entries(self) -> Vec<Self> {
        let table = self.as_table().into_iter().flat_map(|table| table.iter());
        let mut entries: Vec<_> = table
            .map(|(name, value)| {
                (
                    name.span().start,
                    Self::new(self.report, name.get_ref(), value),
                )
            })
            .collect();
        entries.sort_by_key(|(place, _)| *place);
        entries.into_iter().map(|(_, value)| value).collect()
    }

    /// A table of known keys.
    pub(in crate::config) fn table<R>(self, read: impl FnOnce(&Table<'a>) -> R) -> Option<R> {
        let own = self.as_table()?;
        Some(Table::open(self.report, self.place, vec![own], read))
    }

    /// A table of known keys that inherits what it does not say.
    pub(in crate::config) fn table_over<R>(
        self,
        inherited: &Table<'a>,
        read: impl FnOnce(&Table<'a>) -> R,
    ) -> Option<R> {
        let own = self.as_table()?;
        let layers = [own].into_iter().chain(inherited.layers.iter().copied());
        Some(Table::open(self.report, self.place, layers.collect(), read))
    }

    pub(in crate::config) fn is_table(self) -> bool {
        self.value.is_table()
    }

    pub(super) fn as_table(self) -> Option<&'a DeTable<'a>> {
        match self.value {
            DeValue::Table(table) => Some(table),
            _ => self.wrong_type("a table"),
        }
    }

    fn wrong_type<T>(self, expected: &str) -> Option<T> {
        let found = self.value.type_str();
        self.problem(format!("it is of type {found}, but must be {expected}"));
        None
    }
}

fn duration_within(text: &str, range: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let duration = values::duration(text).map_err(|error| error.to_string())?;
    let show = humantime::format_duration;
    if range.contains(&duration) {
        Ok(duration)
    } else {
        let (least, most) = (show(*range.start()), show(*range.end()));
        Err(format!("it must be from {least} to {most}"))
    }
}
