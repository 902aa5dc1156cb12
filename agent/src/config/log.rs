//! `[log]`: where the agent's own messages and the events go.

use std::path::{Path, PathBuf};

use super::table::{Reader, Section, invalid};
use crate::{diagnostics::quoted, profile::suggest::closest};

/// A place for messages and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The journal, if standard error leads there; else standard error, with messages only.
    Auto,
    /// Sentences on standard error.
    Stderr,
    /// JSON Lines on standard output.
    Json,
    /// The journal, field by field.
    Journald,
    /// Sentences to the syslog daemon.
    Syslog,
}

impl Place {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Auto,
        Self::Stderr,
        Self::Json,
        Self::Journald,
        Self::Syslog,
    ];

    /// The word for it in the config.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Stderr => "stderr",
            Self::Json => "json",
            Self::Journald => "journald",
            Self::Syslog => "syslog",
        }
    }
}

/// Where messages and events go: to all of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Places, each once.
    pub to: Vec<Place>,
    /// A file that JSON Lines are added to.
    pub file: Option<PathBuf>,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            to: vec![Place::Auto],
            file: None,
        }
    }
}

pub(super) fn log(top: &mut Section<'_>, folder: &Path, reader: &mut Reader<'_>) -> Log {
    let default = Log::default();
    let mut section = reader.section(top, "log");
    let words = reader.words(&mut section, "to");
    let file = reader.word(&mut section, "file");
    reader.finish(section);
    let file = file.map(|path| folder.join(path.value));
    let Some(words) = words else {
        return Log { file, ..default };
    };
    let mut to = Vec::new();
    for word in words {
        let name = quoted(&word.value);
        let place = Place::ALL.into_iter().find(|p| p.word() == word.value);
        match place {
            Some(place) if to.contains(&place) => {
                reader.push(invalid(word.span, format!("{name} is named twice")));
            }
            Some(place) => to.push(place),
            None => {
                let message = format!("{name} is no place for a log");
                reader.push(invalid(word.span, message).help(advice(&word.value)));
            }
        }
    }
    Log { to, file }
}

/// What a word that is none of ours should have been.
fn advice(word: &str) -> String {
    if word.contains('/') {
        return "a file is named by the key `file`".to_owned();
    }
    let words = Place::ALL.map(Place::word);
    // What is compared with is in upper case.
    let folded = words.map(str::to_ascii_uppercase);
    match closest(word, folded.iter().map(String::as_str)) {
        Some((close, _)) => format!("did you mean `{}`?", close.to_ascii_lowercase()),
        None => format!("the words here are {}", words.join(", ")),
    }
}
