//! The language as a whole: what is accepted, what is refused, what is left.

mod entries;
mod files;
mod hostile;
mod properties;
mod statements;

use std::path::Path;

use super::ast::{PortEntry, PortList, Statement};
use super::{Parsed, ReadOptions};
use crate::diagnostics::Severity;

/// Parses `text` with the defaults.
fn parse(text: &str) -> Parsed {
    super::parse(
        Path::new("test.tcpip"),
        text.as_bytes(),
        &ReadOptions::default(),
    )
}

/// The codes and lines of what is wrong, worse than good to know.
fn wrong(parsed: &Parsed) -> Vec<(&'static str, u32)> {
    let found = parsed.diagnostics.iter();
    found
        .filter(|diagnostic| diagnostic.severity != Severity::Info)
        .map(|diagnostic| {
            let line = diagnostic.span.map_or(0, |span| parsed.sources.line(span));
            (diagnostic.code.id(), line)
        })
        .collect()
}

fn lists(parsed: &Parsed) -> impl Iterator<Item = &PortList> {
    parsed
        .profile
        .statements
        .iter()
        .filter_map(|statement| match statement {
            Statement::Port(list) | Statement::PortRange(list) => Some(list),
            _ => None,
        })
}

/// The entries of all PORT and PORTRANGE statements.
fn all_entries(parsed: &Parsed) -> Vec<&PortEntry> {
    lists(parsed).flat_map(|list| &list.entries).collect()
}

/// The same in canonical spelling.
fn printed(parsed: &Parsed) -> Vec<String> {
    all_entries(parsed)
        .iter()
        .map(|entry| entry.to_string())
        .collect()
}

/// Asserts that `text` leaves `entries` and nothing is wrong with it.
#[track_caller]
fn accepts(text: &str, entries: &[&str]) {
    let parsed = parse(text);
    assert_eq!(wrong(&parsed), [], "{text}");
    assert_eq!(printed(&parsed), entries, "{text}");
}

/// Asserts that `text` leaves `entries` and is wrong in just one way.
#[track_caller]
fn refuses(text: &str, code: &str, line: u32, entries: &[&str]) {
    let parsed = parse(text);
    assert_eq!(wrong(&parsed), [(code, line)], "{text}");
    assert_eq!(printed(&parsed), entries, "{text}");
}

/// The help of the only thing wrong with `text`.
fn help(text: &str) -> String {
    let parsed = parse(text);
    let first = parsed
        .diagnostics
        .iter()
        .find(|d| d.severity != Severity::Info);
    first.and_then(|d| d.help.clone()).unwrap_or_default()
}
