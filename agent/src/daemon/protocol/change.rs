//! What is told of a change of the policy.

use serde::{Deserialize, Serialize};

use crate::policy::diff::Diff;

/// What a reload or a change did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Whether the new policy is in force now.
    pub applied: bool,
    /// Number of the policy in force.
    pub generation: u32,
    /// What changes, or would.
    pub diff: Diff,
    /// Change files whose effect ends with it, or would.
    pub dropped: Vec<String>,
    /// All there is to say about the files.
    pub diagnostics: Vec<serde_json::Value>,
    /// The same for people.
    pub rendered: String,
    /// Why it was not applied, if not for the diagnostics.
    pub refused: Option<String>,
    /// It is taken back after so many seconds, unless it is confirmed.
    pub confirm_within: Option<u64>,
    /// What it took, if it was read without errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took: Option<Took>,
}

/// How long the steps of a change took, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Took {
    /// Reading the files, to statements.
    pub parse: u64,
    /// Settling which entries take effect, and what else is looked at.
    pub resolve: u64,
    /// Making tables of them.
    pub compile: u64,
    /// Finding out which entries stay.
    pub compare: u64,
    /// Making ready what comes into force, up to the first write to the tables: it is
    /// written down, and survives from then on.
    pub remember: u64,
    /// Filling the idle half of the tables, up to the store that names it.
    pub fill: u64,
    /// Waiting for binds that were being judged.
    pub grace: u64,
    /// Writing down that it is in force, and what else is done when it is.
    #[serde(default)]
    pub settle: u64,
    /// Telling entry by entry what changed, or would.
    #[serde(default)]
    pub tell: u64,
}
