//! A policy as it is written down: not its tables, which are another agent's matter,
//! but all that they were made from.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::StateError;
use crate::{
    config::OnError,
    files::{Hash, ReadFile, hex},
    policy::{
        accounts::FixedAccounts,
        build::Policy,
        source::{Files, Source},
    },
};

/// What a policy was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    command: Command,
    /// The system's name.
    pub sysname: String,
    /// The users and groups that were found.
    pub accounts: FixedAccounts,
    pub(super) profile: Vec<FileRecord>,
    pub(super) changes: Vec<Vec<FileRecord>>,
    pub(super) config: Vec<FileRecord>,
}

/// What the command line had to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    config: Option<PathBuf>,
    profile: Option<PathBuf>,
    on_error: Option<OnError>,
    audit: bool,
    leave_pool: bool,
}

/// A file that was read. What it held is in a file of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileRecord {
    pub(super) path: PathBuf,
    pub(super) identity: PathBuf,
    pub(super) sha256: String,
    /// That of what is kept of it, if it had secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kept: Option<String>,
}

impl FileRecord {
    /// The hash of what is kept.
    pub(super) fn kept(&self) -> &str {
        self.kept.as_deref().unwrap_or(&self.sha256)
    }
}

impl Record {
    /// What `policy` was made from, by `source`.
    pub fn new(source: &Source, policy: &Policy) -> Self {
        let Files {
            profile,
            changes,
            config,
        } = &policy.files;
        Self {
            command: Command::of(source),
            sysname: policy.sysname.clone(),
            accounts: policy.accounts.clone(),
            profile: records(profile),
            changes: changes.iter().map(|files| records(files)).collect(),
            config: records(config),
        }
    }

    /// What tells it from every other.
    ///
    /// # Errors
    ///
    /// [`StateError::Unspeakable`] if a path is no text.
    pub fn hash(&self) -> Result<Hash, StateError> {
        let text = serde_json::to_vec(self).map_err(StateError::Unspeakable)?;
        Ok(Sha256::digest(text).into())
    }

    /// Whether the command line is that of `source`.
    pub fn is_of(&self, source: &Source) -> bool {
        self.command == Command::of(source)
    }

    /// All files.
    pub(super) fn files(&self) -> impl Iterator<Item = &FileRecord> {
        let changes = self.changes.iter().flatten();
        self.profile.iter().chain(changes).chain(&self.config)
    }
}

impl Command {
    fn of(source: &Source) -> Self {
        Self {
            config: source.config.clone(),
            profile: source.profile.clone(),
            on_error: source.on_error,
            audit: source.audit,
            leave_pool: source.leave_pool,
        }
    }
}

fn records(files: &[ReadFile]) -> Vec<FileRecord> {
    let record = |file: &ReadFile| FileRecord {
        path: file.path.clone(),
        identity: file.identity().to_owned(),
        sha256: hex(&file.hash),
        kept: (file.kept_hash() != file.hash).then(|| hex(&file.kept_hash())),
    };
    files.iter().map(record).collect()
}
