//! What people and programs read: tables, sentences and JSON.

pub mod diff;
pub mod events;
pub mod one_port;
pub mod ports;
pub mod refusals;
pub mod restrictions;
pub mod sentence;
pub mod status;
pub mod suggestion;

use std::io::{self, Write as _};

use comfy_table::{ContentArrangement, Table, presets};

/// How a verb answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs; streams are one object per line.
    Json,
}

/// Prints one line. A reader that went away is no error of ours.
pub fn line(text: &str) {
    let mut out = anstream::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Prints one line and says whether anybody still reads.
///
/// # Errors
///
/// `BrokenPipe` when nobody does.
pub fn try_line(text: &str) -> io::Result<()> {
    let mut out = anstream::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Prints `value` as JSON.
///
/// # Errors
///
/// If it can't be written as JSON.
pub fn json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    line(&serde_json::to_string(value)?);
    Ok(())
}

/// Narrower than this, tables run on: a terminal would break every word.
const MIN_TABLE_WIDTH: u16 = 72;

/// A table without lines, as wide as the terminal at most.
fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    let fits = fits(&table);
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(if fits {
            ContentArrangement::Dynamic
        } else {
            ContentArrangement::Disabled
        })
        .set_header(header.to_vec());
    table
}

/// Whether the table is to be as wide as the terminal, because there is one.
fn fits(table: &Table) -> bool {
    table.width().is_some_and(|width| width >= MIN_TABLE_WIDTH)
}

/// The table's text, without the blanks behind its columns.
fn plain(table: &Table) -> String {
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n")
}
