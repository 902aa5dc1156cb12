//! `[reload]`: whether the agent reloads by itself.

use super::table::{Reader, Section};

/// Whether files that change are put in force by themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reload {
    /// Watch profile, included files and config.
    pub watch: bool,
}

pub(super) fn reload(top: &mut Section<'_>, reader: &mut Reader<'_>) -> Reload {
    let watch: Option<bool> = reader.only(top, "reload", "watch");
    Reload {
        watch: watch.unwrap_or_default(),
    }
}
