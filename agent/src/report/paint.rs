//! Colours of words. They are always written; a stream that is to have none takes them
//! out, as [`anstream`] does.

use clap::builder::styling::{AnsiColor, Style};

fn painted(text: &str, style: Style) -> String {
    format!("{style}{text}{style:#}")
}

/// As it should be.
pub fn good(text: &str) -> String {
    painted(text, AnsiColor::Green.on_default())
}

/// Worth a look.
pub fn notice(text: &str) -> String {
    painted(text, AnsiColor::Yellow.on_default())
}

/// Refused, or wrong.
pub fn bad(text: &str) -> String {
    painted(text, AnsiColor::Red.on_default().bold())
}
