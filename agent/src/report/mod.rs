//! What people and programs read: tables, sentences and JSON.

pub mod diff;
pub mod events;
pub mod expect;
pub mod export;
pub mod fleet;
pub mod one_port;
mod paint;
pub mod port_news;
pub mod ports;
pub mod probe;
pub mod procedures;
pub mod refusals;
pub mod restrictions;
pub mod sentence;
pub mod sockets;
pub mod status;
pub mod suggestion;
pub mod verify;

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// How a verb answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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

/// How wide the terminal is that answers are shown on; `None` if there is none.
pub fn terminal_width() -> Option<u16> {
    let terminal = io::stdout().is_terminal();
    let size = terminal.then(ratatui::crossterm::terminal::size);
    size.and_then(Result::ok).map(|(width, _)| width)
}

/// Columns that a text is cut to at least.
const LEAST: usize = 8;

/// A table without lines. On a terminal it is as wide as that at most: columns with
/// nothing in them are left out, then those of `less` are shortened, the first one first,
/// and at last left out, so that each row stays one line. Elsewhere it is whole.
fn table(header: &[&str], rows: Vec<Vec<String>>, less: &[&str]) -> String {
    let mut table = Table::new();
    let width = terminal_width().map(usize::from);
    lay_out(&mut table, header, rows, less, width);
    // Blanks behind the last column are nobody's.
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    lines.join("\n")
}

fn lay_out(
    table: &mut Table,
    header: &[&str],
    mut rows: Vec<Vec<String>>,
    less: &[&str],
    width: Option<usize>,
) {
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.to_vec());
    if let Some(width) = width {
        let widths = widths(header, &rows, less, width);
        for row in &mut rows {
            for (cell, width) in row.iter_mut().zip(&widths) {
                *cell = cut(cell, *width);
            }
        }
        for (column, width) in table.column_iter_mut().zip(&widths) {
            column.set_padding((0, 1));
            if *width == 0 {
                column.set_constraint(ColumnConstraint::Hidden);
            }
        }
    }
    table.add_rows(rows);
}

/// How wide each column is in `width`; 0 if it is left out.
fn widths(header: &[&str], rows: &[Vec<String>], less: &[&str], width: usize) -> Vec<usize> {
    let widest = |index: usize| rows.iter().map(|row| row[index].width()).max();
    let mut widths: Vec<usize> = header
        .iter()
        .enumerate()
        .map(|(index, name)| match widest(index) {
            Some(0) => 0,
            widest => widest.unwrap_or(0).max(name.width()),
        })
        .collect();
    let gaps = widths.iter().filter(|width| **width > 0).count();
    let mut over = (widths.iter().sum::<usize>() + gaps).saturating_sub(width);
    for name in less {
        let index = header.iter().position(|column| column == name);
        if let Some(column) = index.and_then(|index| widths.get_mut(index)) {
            let spared = column.saturating_sub(LEAST.max(name.width())).min(over);
            *column -= spared;
            over -= spared;
        }
    }
    for name in less {
        let index = header.iter().position(|column| column == name);
        if let Some(column) = index.and_then(|index| widths.get_mut(index))
            && over > 0
            && *column > 0
        {
            over = over.saturating_sub(*column + 1);
            *column = 0;
        }
    }
    widths
}

/// A terminal is broken lines for only if it is at least as wide.
const LEAST_WIDTH: usize = 40;

/// The line `text` broken between words where it is wider than `width`; what follows the
/// first line begins with `indent` blanks.
pub fn hanging(text: &str, width: Option<u16>, indent: usize) -> String {
    let width = width.map_or(usize::MAX, usize::from);
    if width < LEAST_WIDTH || text.width() <= width {
        return text.to_owned();
    }
    let mut broken = String::with_capacity(text.len() + 2 * indent);
    let mut column = 0;
    for (index, word) in text.split(' ').enumerate() {
        if index > 0 && column > indent && column + 1 + word.width() > width {
            broken.push('\n');
            broken.extend(std::iter::repeat_n(' ', indent));
            column = indent;
        } else if index > 0 {
            broken.push(' ');
            column += 1;
        }
        broken.push_str(word);
        column += word.width();
    }
    broken
}

/// Prints the lines of `text`, broken between words as [`hanging`] says where a terminal
/// shows them.
pub fn prose(text: &str) {
    let width = terminal_width();
    for text in text.lines() {
        line(&hanging(text, width, 2));
    }
}

/// `text` in `width` columns of a terminal, with an ellipsis if it is longer.
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut room = width.saturating_sub(1);
    let fits = |letter: &char| {
        let wide = letter.width().unwrap_or(0);
        let fits = wide <= room;
        room = room.saturating_sub(wide);
        fits
    };
    let cut: String = text.chars().take_while(fits).collect();
    match width {
        0 => String::new(),
        _ => cut + "…",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn laid_out(rows: &[[&str; 4]], width: Option<usize>) -> Vec<String> {
        let rows = rows.iter().map(|row| row.map(str::to_owned).to_vec());
        let mut table = Table::new();
        let header = ["PORT", "NOTHING", "DESCRIPTION", "HOLDER"];
        let less = ["DESCRIPTION", "HOLDER"];
        lay_out(&mut table, &header, rows.collect(), &less, width);
        table
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect()
    }

    const ROWS: [[&str; 4]; 2] = [
        ["00021", "", "a long description of it", "vsftpd (pid 4711)"],
        ["00022", "", "日本語の説明がここにある", "sshd (pid 1)"],
    ];

    #[test]
    fn a_table_fits_its_terminal() {
        assert_eq!(
            laid_out(&ROWS, None),
            [
                " PORT   NOTHING  DESCRIPTION               HOLDER",
                " 00021           a long description of it  vsftpd (pid 4711)",
                " 00022           日本語の説明がここにある  sshd (pid 1)",
            ]
        );
        assert_eq!(
            laid_out(&ROWS, Some(40)),
            [
                "PORT  DESCRIPTION     HOLDER",
                "00021 a long descrip… vsftpd (pid 4711)",
                "00022 日本語の説明が… sshd (pid 1)",
            ]
        );
        assert_eq!(
            laid_out(&ROWS, Some(30)),
            [
                "PORT  DESCRIPTION HOLDER",
                "00021 a long des… vsftpd (pi…",
                "00022 日本語の説… sshd (pid …",
            ]
        );
        assert_eq!(
            laid_out(&ROWS, Some(20)),
            ["PORT  HOLDER", "00021 vsftpd …", "00022 sshd (p…"]
        );
        // Nothing is left out of a table without rows.
        assert_eq!(
            laid_out(&[], Some(200)),
            ["PORT NOTHING DESCRIPTION HOLDER"]
        );
    }

    #[test]
    fn lines_are_broken_between_words() {
        let text = "label  some words and more of them that go on and on";
        assert_eq!(hanging(text, None, 2), text);
        assert_eq!(hanging(text, Some(39), 2), text, "too narrow for anything");
        assert_eq!(
            hanging(text, Some(40), 7),
            "label  some words and more of them that\n       go on and on"
        );
        let word = "x".repeat(60);
        let long = format!("{word} {word}");
        assert_eq!(hanging(&long, Some(50), 2), format!("{word}\n  {word}"));
    }

    #[test]
    fn long_texts_end_with_an_ellipsis() {
        for (width, expected) in [(0, ""), (1, "…"), (4, "abc…"), (5, "abcde"), (9, "abcde")] {
            assert_eq!(cut("abcde", width), expected);
        }
        assert_eq!(cut("日本語", 4), "日…");
    }
}
