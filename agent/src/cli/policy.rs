//! `portreeve policy`

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Changes, NO, NO_ANSWER, Paths, YES, show};
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
#[command(after_help = "Examples:
  portreeve policy diff old.tcpip new.tcpip   what changes between them?
  portreeve policy restrictions               which ports are for which users?")]
pub struct PolicyVerb {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Show what changes from one profile to another, in ports and jobs
    ///
    /// Order, comments and layout don't count. With --obey, the change files are on top of
    /// the second profile.
    #[command(
        after_help = "Exit status 0: the two mean the same; 1: they differ; 2: one of them has errors or can't be \
read.

Examples:
  portreeve policy diff old.tcpip new.tcpip             what changes?
  portreeve policy diff today.tcpip --obey night.tcpip  ... by a change file?"
    )]
    Diff {
        /// The profile to start from
        old: PathBuf,
        /// The profile to come to [default: OLD, with --obey]
        #[arg(required_unless_present = "files")]
        new: Option<PathBuf>,
        #[command(flatten)]
        changes: Changes,
    },
    /// List the ports that the config keeps for certain users, as CFGTCP does on IBM i
    ///
    /// To add one, write a [[restriction]] or an ADDTCPPORT line; to remove one, take it
    /// out of the config or write RMVTCPPORT.
    #[command(after_help = "Examples:
  portreeve policy restrictions                     of the config that there is
  portreeve policy restrictions --config new.toml   of another one
  portreeve policy restrictions --format json       for programs")]
    Restrictions,
}

impl PolicyVerb {
    pub fn run(self, paths: &Paths) -> Result<u8> {
        match self.what {
            What::Diff { old, new, changes } => diff(paths, &old, new, changes.files),
            What::Restrictions => restrictions(paths),
        }
    }
}

/// The ports that are for certain users only (`IBI-15`).
fn restrictions(paths: &Paths) -> Result<u8> {
    let source = Source {
        purpose: Purpose::Explain,
        ..paths.source(Trust::Inspection, None)
    };
    let outcome = source.read(&Presence)?;
    let policy = match outcome.policy {
        Ok(policy) => policy,
        Err(sources) => {
            show(&outcome.diagnostics, &sources);
            return Ok(NO_ANSWER);
        }
    };
    let rows = report::restrictions::rows(&policy);
    match paths.format {
        Format::Json => report::json(&rows)?,
        Format::Text => report::line(&report::restrictions::text(&rows)),
    }
    Ok(YES)
}

fn diff(paths: &Paths, old: &Path, new: Option<PathBuf>, changes: Vec<PathBuf>) -> Result<u8> {
    let new = new.unwrap_or_else(|| old.to_owned());
    let old = read(paths, old, Vec::new())?;
    let (Some(old), Some(new)) = (old, read(paths, &new, changes)?) else {
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

/// The policy of a profile; `None` if it has errors, which are shown.
fn read(paths: &Paths, profile: &Path, changes: Vec<PathBuf>) -> Result<Option<Policy>> {
    let source = Source {
        profile: Some(profile.into()),
        purpose: Purpose::Explain,
        changes,
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
