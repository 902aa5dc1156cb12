//! `portreeve obey`

use std::path::{PathBuf, absolute};

use anyhow::{Context as _, Result};
use clap::Args;

use super::{
    Paths,
    reload::{Change, Confirm, carry_out},
    stderr_has_color,
};
use crate::daemon::protocol::Request;

#[derive(Debug, Args)]
#[command(
    after_help = "All or nothing: with errors the policy in force stays, and the exit status is 1. \
Saying an entry again doesn't change it: DELETE it first, in the same file.

Examples:
  portreeve obey /etc/portreeve/night.tcpip --dry-run    what would change?
  portreeve obey /etc/portreeve/night.tcpip              put it in force
  portreeve reload                                       back to the profile"
)]
pub struct Obey {
    /// The change file
    file: PathBuf,
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    confirm: Confirm,
}

impl Obey {
    pub fn run(self, paths: &Paths) -> Result<u8> {
        // The agent has a working directory of its own.
        let file =
            absolute(&self.file).with_context(|| format!("{} is no path", self.file.display()))?;
        let request = Request::Obey {
            file,
            dry_run: self.dry_run,
            confirm: self.confirm.seconds(),
            color: stderr_has_color(),
        };
        let change = Change {
            done: "obeyed",
            dry_run: self.dry_run,
        };
        carry_out(&change, &request, paths)
    }
}
