//! What is told of ports that change.

use serde::{Deserialize, Serialize};

/// News of a port; the field names are a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortNews {
    /// When, as RFC 3339.
    pub time: String,
    /// `change`; `alert`, when it is not as expected for too long, or changes too often;
    /// `cleared`, when that is over.
    pub news: String,
    /// `info`, `notice` or `warning`.
    pub level: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The port.
    pub port: u16,
    /// What it was before; of a change only.
    pub from: Option<String>,
    /// What it is, as in [`super::PortRow::state`].
    pub state: String,
    /// What it is to be, `open` or `closed`, if anything is expected.
    pub expected: Option<String>,
    /// Why it is so: `owner`, if whoever had it did it; `ended`, if that process is gone;
    /// `policy`, if another one is in force; `found`, if nobody saw when it changed.
    pub cause: String,
    /// The process that did it, or has it now.
    pub pid: Option<u32>,
    /// Its name.
    pub comm: Option<String>,
    /// `broken` or `flapping`; `None` of a change.
    pub alert: Option<String>,
    /// Since when it was so, as RFC 3339; `None` of a change.
    pub since: Option<String>,
    /// How long, in seconds; of what is over.
    pub lasted: Option<u64>,
}
