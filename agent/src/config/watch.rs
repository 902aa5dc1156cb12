//! `[watch]`: when ports that are not as expected are worth an alert.

use std::time::Duration;

use super::table::{Reader, Section};

/// When ports that are not as expected are worth an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// How long a port must be so; a restart is shorter.
    pub hold_down: Duration,
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            hold_down: Duration::from_secs(10),
        }
    }
}

pub(super) fn watch(top: &mut Section<'_>, reader: &mut Reader<'_>) -> Watch {
    let seconds: Option<u16> = reader.only(top, "watch", "hold_down");
    let hold_down = seconds.map(|seconds| Duration::from_secs(seconds.into()));
    Watch {
        hold_down: hold_down.unwrap_or(Watch::default().hold_down),
    }
}
