//! `[privileges]`: what the agent gives up once it doesn't need it any more.

use serde::Deserialize;

use super::table::{Reader, Section};

/// Which capabilities the agent has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Capabilities {
    /// Those that it needs.
    #[default]
    Needed,
    /// All that it was started with.
    All,
}

/// Which system calls the agent may make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Syscalls {
    /// Those that it needs; others fail.
    #[default]
    Needed,
    /// All; the kernel logs the others.
    Log,
    /// All.
    All,
}

/// What the agent keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Privileges {
    /// Its capabilities.
    pub capabilities: Capabilities,
    /// Its system calls.
    pub syscalls: Syscalls,
}

pub(super) fn privileges(top: &mut Section<'_>, reader: &mut Reader<'_>) -> Privileges {
    let mut section = reader.section(top, "privileges");
    let capabilities: Option<Capabilities> = reader.value(&mut section, "capabilities");
    let syscalls: Option<Syscalls> = reader.value(&mut section, "syscalls");
    reader.finish(section);
    Privileges {
        capabilities: capabilities.unwrap_or_default(),
        syscalls: syscalls.unwrap_or_default(),
    }
}
