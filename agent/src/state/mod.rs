//! What is in force, remembered on disk: enough to make the very policy again that the
//! tables hold, whatever became of its files and of the users it names.
//!
//! The folder has the files as they were read, named by their hashes, and `state.json`,
//! which says what was made of them. Of a long file that is nearly another one, only what
//! tells it from that is written down, in `state.json`. A change is written down before it comes into
//! force and again after it; which of the two policies the kernel has, if an agent is
//! killed in between, the hash in its tables tells.

mod folder;
mod kept_files;
mod moment;
mod patch;
mod record;
mod store;

use std::{io, path::PathBuf};

use thiserror::Error;

pub use self::{
    moment::Moment,
    record::Record,
    store::{Confirm, DEFAULT, Store},
};

/// Why nothing can be remembered, or what was can't be read.
#[derive(Debug, Error)]
pub enum StateError {
    /// Another agent has it.
    #[error(
        "another portreeve agent is running with the state folder {path}; see `portreeve status`, or name another folder with --state"
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// A later version wrote it.
    #[error(
        "{path} has format {found}, and this agent understands format {ours}: a newer agent wrote it; run that one, or remove what it enforces with its `portreeve detach`"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        ours: u32,
    },
    /// Others could write it.
    #[error("the state folder {path} can't be trusted: {why}")]
    NotTrusted {
        /// The folder.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// It holds nonsense, or lacks something.
    #[error("what {path} says can't be used: {why}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// What the file system says.
    #[error("can't {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
    /// A path or name that JSON can't hold.
    #[error("the policy can't be written down: {0}")]
    Unspeakable(#[source] serde_json::Error),
}
