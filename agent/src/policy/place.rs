//! Where entries stand, for whoever is told of them.

use serde::{Deserialize, Serialize};

use super::{build::Policy, reservations::Reservation};

/// Where an entry stands, as reports show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryPlace {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// The entry as written, in one line.
    pub text: String,
}

impl Policy {
    /// Where an entry stands: file, line and its own text.
    pub fn place_of(&self, reservation: &Reservation) -> EntryPlace {
        let text = self.sources.slice(reservation.span);
        EntryPlace {
            file: self
                .sources
                .path(reservation.span.source)
                .to_string_lossy()
                .into_owned(),
            line: self.sources.line(reservation.span),
            text: in_one_line(text),
        }
    }
}

/// `text` with one blank between its words.
fn in_one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line
}
