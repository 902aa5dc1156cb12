//! What is told of the procedures that AUTOLOG lists.

use serde::{Deserialize, Serialize};

/// One procedure (`RPT-15`); the field names are a contract. The text of PARMSTRING is
/// never told: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcedureRow {
    /// Its name.
    pub proc: String,
    /// The job that its ports are reserved for.
    pub job: String,
    /// `unit`, `exec`, or `None` if nobody said what it is.
    pub kind: Option<String>,
    /// The unit that stands for it.
    pub unit: Option<String>,
    /// What DELAYSTART names: `dvipa`, `ttls`.
    pub delay: Vec<String>,
    /// Whether it has a PARMSTRING.
    pub parm: bool,
    /// How long it has to end where it is active at the start, in minutes.
    pub wait: u8,
    /// The entries that are watched, such as `tcp/21` or `udp/5000-5003`.
    pub watched: Vec<String>,
    /// The file it is listed in.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
    /// Where it is: nothing without an agent.
    pub now: Option<ProcedureNow>,
}

/// A procedure at this moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcedureNow {
    /// `starting`, `delayed`, `draining`, `cancelling`, `running`, `stopping`, `stopped`;
    /// where nothing is started, `watched`.
    pub phase: String,
    /// Whether anything of it ran when it was last looked at; `None` if that can't be told.
    pub active: Option<bool>,
    /// What DELAYSTART waited for then.
    pub lacking: Vec<String>,
    /// The watched entries without a socket then; `None` if that can't be told.
    pub missing: Option<Vec<String>>,
    /// Passes in a row that found one missing.
    pub fruitless: u32,
    /// Seconds until it is looked at again.
    pub due: u64,
    /// What happened to it lately, the last first.
    pub history: Vec<ProcedureEvent>,
}

/// Something that happened to a procedure (`ALG-26`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcedureEvent {
    /// When, as RFC 3339.
    pub time: String,
    /// `start`, `cancel`, `news` or `failed`.
    pub what: String,
    /// In words.
    pub text: String,
}
