//! `portreeve policy`

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{NO, NO_ANSWER, Paths, YES, show};
use crate::{
    files::Trust,
    policy::{
        build::{Policy, Purpose},
        diff::Diff,
        identity::exes::Presence,
        source::Source,
    },
    report::{self, Format},
};

#[derive(Debug, Args)]
pub struct PolicyVerb {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show what changes from one profile to another, in ports and jobs
    ///
    /// Order, comments and layout don't count. Exit status 0: the two mean the same;
    /// 1: they differ; 2: one of them has errors or can't be read.
    Diff {
        /// The profile to start from
        old: PathBuf,
        /// The profile to come to
        new: PathBuf,
    },
}

impl PolicyVerb {
    pub fn run(self, paths: &Paths) -> Result<u8> {
        let What::Diff { old, new } = self.what;
        let (Some(old), Some(new)) = (read(paths, &old)?, read(paths, &new)?) else {
            return Ok(NO_ANSWER);
        };
        let diff = Diff::between(&old, &new);
        let same = diff.is_empty();
        match paths.format {
            Format::Json => report::json(&json!({"same": same, "diff": diff}))?,
            Format::Text => report::line(&report::diff::text(&diff)),
        }
        Ok(if same { YES } else { NO })
    }
}

/// The policy of a profile; `None` if it has errors, which are shown.
fn read(paths: &Paths, profile: &Path) -> Result<Option<Policy>> {
    let source = Source {
        profile: Some(profile.into()),
        purpose: Purpose::Explain,
        ..paths.source(Trust::Inspection, None)
    };
    let outcome = source.read(&Presence)?;
    match outcome.policy {
        Ok(policy) => Ok(Some(policy)),
        Err(sources) => {
            show(&outcome.diagnostics, &sources);
            Ok(None)
        }
    }
}
