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
}
