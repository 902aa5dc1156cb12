//! `[ephemeral]`: what is done about the ports that the kernel hands out.

use serde::Deserialize;

use super::table::{Reader, Section};

/// What is done about the ports that the kernel hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ephemeral {
    /// Keep reserved ports out of them.
    pub manage: bool,
    /// How many must be left.
    pub floor: u16,
    /// What a policy does that leaves fewer.
    pub below_floor: BelowFloor,
}

/// What a policy does that leaves fewer ports than the floor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BelowFloor {
    /// It is refused.
    #[default]
    Refuse,
    /// It is put in force, with a warning.
    Accept,
}

impl Default for Ephemeral {
    fn default() -> Self {
        Self {
            manage: true,
            // Enough for a busy client of one server; Linux begins with 28232.
            floor: 1024,
            below_floor: BelowFloor::default(),
        }
    }
}

pub(super) fn ephemeral(top: &mut Section<'_>, reader: &mut Reader<'_>) -> Ephemeral {
    let default = Ephemeral::default();
    let mut section = reader.section(top, "ephemeral");
    let manage = reader.value(&mut section, "manage");
    let floor = reader.value(&mut section, "floor");
    let below_floor = reader.value(&mut section, "below_floor");
    reader.finish(section);
    Ephemeral {
        manage: manage.unwrap_or(default.manage),
        floor: floor.unwrap_or(default.floor),
        below_floor: below_floor.unwrap_or_default(),
    }
}
