//! Walking the tables of the config, key by key.

use std::{ops::Range, path::Path};

use serde::{
    Deserialize,
    de::{DeserializeOwned, IntoDeserializer as _},
};
use toml::de::{DeTable, DeValue};

use crate::{
    diagnostics::{Code, Diagnostic, Diagnostics, Severity, SourceId, Span, escaped, quoted},
    profile::{ast::Spanned, suggest::closest},
};

/// A value as the TOML parser has it.
pub(super) type Value<'t> = toml::Spanned<DeValue<'t>>;

/// A table, less the keys that were asked for.
#[derive(Default)]
pub(super) struct Section<'t> {
    rest: DeTable<'t>,
    known: Vec<&'static str>,
}

impl<'t> Section<'t> {
    /// A table of which nothing was asked yet.
    pub fn new(table: DeTable<'t>) -> Self {
        Self {
            rest: table,
            known: Vec::new(),
        }
    }

    /// Whether the table has `key`.
    pub fn has(&self, key: &str) -> bool {
        self.rest.contains_key(key)
    }

    /// The value of `key`, which the table may have.
    pub fn take(&mut self, key: &'static str) -> Option<Value<'t>> {
        self.known.push(key);
        self.rest.remove(key)
    }

    /// All keys with their values, in the order in which they are written.
    pub fn into_entries(self) -> Vec<(toml::Spanned<String>, Value<'t>)> {
        let owned = |(key, value): (toml::Spanned<std::borrow::Cow<'t, str>>, _)| {
            let span = key.span();
            (
                toml::Spanned::new(span, key.into_inner().into_owned()),
                value,
            )
        };
        let mut entries: Vec<_> = self.rest.into_iter().map(owned).collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
    }
}

/// Reports what is wrong with a config.
pub(super) struct Reader<'a> {
    source: SourceId,
    path: &'a Path,
    diagnostics: &'a mut Diagnostics,
}

impl<'a> Reader<'a> {
    /// For the config at `path`, which is text `source`.
    pub fn new(source: SourceId, path: &'a Path, diagnostics: &'a mut Diagnostics) -> Self {
        Self {
            source,
            path,
            diagnostics,
        }
    }

    /// Where a stretch of the config stands.
    pub fn span(&self, range: Range<usize>) -> Span {
        Span {
            source: self.source,
            start: range.start as u32,
            end: range.end as u32,
        }
    }

    /// Reports `diagnostic`.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Reports what the TOML parser found.
    pub fn refuse(&mut self, error: &toml::de::Error) {
        let message = sentence(error);
        let diagnostic = match error.span() {
            Some(range) => invalid(self.span(range), message),
            None => {
                let code = Code::ConfigInvalid;
                Diagnostic::of_file(code, Severity::Error, self.path, message)
            }
        };
        self.push(diagnostic);
    }

    /// The value of `key`, if it is there and right.
    pub fn value<T: DeserializeOwned>(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
    ) -> Option<T> {
        let value = section.take(key)?;
        let range = value.span();
        match T::deserialize(value.into_deserializer()) {
            Ok(value) => Some(value),
            Err(error) => {
                let span = self.span(error.span().unwrap_or(range));
                self.push(invalid(span, sentence(&error)));
                None
            }
        }
    }

    /// The table at `key`; an empty one if it is not there.
    pub fn section<'t>(&mut self, section: &mut Section<'t>, key: &'static str) -> Section<'t> {
        let value = section.take(key);
        value
            .and_then(|value| self.table(value, key))
            .unwrap_or_default()
    }

    /// The tables of the array at `key`, with their places; none if it is not there.
    pub fn tables<'t>(
        &mut self,
        section: &mut Section<'t>,
        key: &'static str,
    ) -> Vec<(Section<'t>, Span)> {
        let Some(value) = section.take(key) else {
            return Vec::new();
        };
        let span = self.span(value.span());
        let values: Vec<Value<'_>> = match value.into_inner() {
            DeValue::Array(list) => list.into_iter().collect(),
            other => {
                let expected = format!("an array of tables, [[{key}]]");
                self.wrong_type(span, key, &expected, &other);
                return Vec::new();
            }
        };
        let mut tables = Vec::new();
        for value in values {
            let span = self.span(value.span());
            tables.extend(self.table(value, key).map(|table| (table, span)));
        }
        tables
    }

    /// `value` as a table; `name` is what it is called.
    pub fn table<'t>(&mut self, value: Value<'t>, name: &str) -> Option<Section<'t>> {
        let span = self.span(value.span());
        match value.into_inner() {
            DeValue::Table(table) => Some(Section::new(table)),
            other => {
                self.wrong_type(span, name, "a table", &other);
                None
            }
        }
    }

    /// The value of the one key that the table at `key` may have.
    pub fn only<T: for<'de> Deserialize<'de>>(
        &mut self,
        section: &mut Section<'_>,
        table: &'static str,
        key: &'static str,
    ) -> Option<T> {
        let mut table = self.section(section, table);
        let value = self.value(&mut table, key);
        self.finish(table);
        value
    }

    /// The word at `key`: a string, or a number as its digits.
    pub fn word(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
    ) -> Option<Spanned<String>> {
        let value = section.take(key)?;
        self.as_word(value, key, "a string")
    }

    /// The words at `key`: one, or a list of them. `None` if the key is not
    /// there or none of its values is a word.
    pub fn words(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
    ) -> Option<Vec<Spanned<String>>> {
        let value = section.take(key)?;
        let expected = "a string or a list of strings";
        let range = value.span();
        let list = match value.into_inner() {
            DeValue::Array(list) => list.into_iter().collect(),
            one => vec![toml::Spanned::new(range, one)],
        };
        let given = list.len();
        let words: Vec<_> = list
            .into_iter()
            .filter_map(|value| self.as_word(value, key, expected))
            .collect();
        (given == 0 || !words.is_empty()).then_some(words)
    }

    fn as_word(&mut self, value: Value<'_>, key: &str, expected: &str) -> Option<Spanned<String>> {
        let span = self.span(value.span());
        let value = match value.into_inner() {
            DeValue::String(text) => text.into_owned(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
            other => {
                self.wrong_type(span, key, expected, &other);
                return None;
            }
        };
        Some(Spanned { value, span })
    }

    /// Reports that `name` is not what is `expected`.
    pub fn wrong_type(&mut self, span: Span, name: &str, expected: &str, found: &DeValue<'_>) {
        let found = found.type_str();
        let message = format!(
            "{} is {expected}, not a value of type {found}",
            quoted(name)
        );
        self.push(invalid(span, message));
    }

    /// Reports the keys that nobody asked for.
    pub fn finish(&mut self, section: Section<'_>) {
        self.finish_with(section, None);
    }

    /// The same; `help` is for a key that looks like no other.
    pub fn finish_with(&mut self, section: Section<'_>, help: Option<&str>) {
        let known = section.known.clone();
        // What is compared with is in upper case.
        let folded: Vec<String> = known.iter().map(|key| key.to_ascii_uppercase()).collect();
        for (key, _) in section.into_entries() {
            let name = key.get_ref();
            let message = format!("there is no key {} here", quoted(name));
            let help = match (closest(name, folded.iter().map(String::as_str)), help) {
                (Some((close, _)), _) => {
                    format!("did you mean `{}`?", close.to_ascii_lowercase())
                }
                (None, Some(help)) => help.to_owned(),
                (None, None) => format!("the keys here are {}", known.join(", ")),
            };
            let span = self.span(key.span());
            self.push(Diagnostic::error(Code::ConfigInvalid, span, message).help(help));
        }
    }
}

/// toml puts what it expected in a second line.
fn sentence(error: &toml::de::Error) -> String {
    escaped(&error.message().trim_end().replace('\n', "; "))
}

/// That something is not as the config must be.
pub(super) fn invalid(span: Span, message: impl Into<String>) -> Diagnostic {
    Diagnostic::error(Code::ConfigInvalid, span, message)
        .help("the keys and their values are in docs/config.md")
}
