//! `portreeve reload`, and what it has in common with `obey`.

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::{NO, Paths, YES, stderr_has_color};
use crate::{
    daemon::{
        client,
        protocol::{Reloaded, Request},
    },
    diagnostics::escaped,
    report::{self, Format},
};

#[derive(Debug, Args)]
#[command(
    after_help = "All or nothing: with errors the policy in force stays, and the exit status is 1. \
Changes made by `portreeve obey` end with a reload; they are listed.

Examples:
  portreeve reload --dry-run      what would change?
  portreeve reload --confirm 60   back again in a minute, unless you confirm
  portreeve confirm               it is as meant"
)]
pub struct Reload {
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    confirm: Confirm,
}

impl Reload {
    pub fn run(self, paths: &Paths) -> Result<u8> {
        let request = Request::Reload {
            dry_run: self.dry_run,
            confirm: self.confirm.seconds(),
            color: stderr_has_color(),
        };
        let change = Change {
            done: "reloaded",
            dry_run: self.dry_run,
        };
        carry_out(&change, &request, paths)
    }
}

/// Whether a change is taken back by itself.
#[derive(Debug, Args)]
pub(super) struct Confirm {
    /// Take the change back after so many seconds, unless `portreeve confirm` comes
    #[arg(
        long = "confirm",
        value_name = "SECS",
        conflicts_with = "dry_run",
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    within: Option<u64>,
}

impl Confirm {
    pub(super) fn seconds(&self) -> Option<u64> {
        self.within
    }
}

/// A request that brings another policy in force.
pub(super) struct Change {
    /// What it is, once it is done.
    pub(super) done: &'static str,
    /// Nothing is to be done.
    pub(super) dry_run: bool,
}

/// Asks the agent for `change` by `request`, and shows what came of it.
pub(super) fn carry_out(change: &Change, request: &Request, paths: &Paths) -> Result<u8> {
    let reloaded: Reloaded = match client::ask(&paths.socket, request) {
        Ok(reloaded) => reloaded,
        Err(client::ClientError::Failed(why)) => {
            anstream::eprintln!("portreeve: not {}: {why}", change.done);
            if paths.format == Format::Json {
                report::json(&json!({"applied": false, "refused": why}))?;
            }
            return Ok(NO);
        }
        Err(error) => return Err(error.into()),
    };
    match paths.format {
        Format::Json => report::json(&reloaded)?,
        Format::Text => change.text(&reloaded),
    }
    Ok(if reloaded.refused.is_none() { YES } else { NO })
}

impl Change {
    fn text(&self, reloaded: &Reloaded) {
        anstream::eprint!("{}", reloaded.rendered);
        if let Some(why) = &reloaded.refused {
            anstream::eprintln!(
                "portreeve: not {}, the old policy stays in force: {why}",
                self.done
            );
            return;
        }
        report::line(&report::diff::text(&reloaded.diff));
        let ends = if self.dry_run { "would end" } else { "ended" };
        for file in &reloaded.dropped {
            report::line(&format!("the changes of {} {ends}", escaped(file)));
        }
        report::line(&if self.dry_run {
            "dry run: nothing was changed".to_owned()
        } else {
            format!("{} as generation {}", self.done, reloaded.generation)
        });
        if let Some(seconds) = reloaded.confirm_within {
            report::line(&format!(
                "it is taken back in {seconds} s unless you say `portreeve confirm`"
            ));
        }
    }
}
