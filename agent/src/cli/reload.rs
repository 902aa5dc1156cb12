//! `portreeve reload`

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::{NO, Paths, YES, stderr_has_color};
use crate::{
    daemon::{
        client,
        protocol::{Reloaded, Request},
    },
    report::{self, Format},
};

#[derive(Debug, Args)]
#[command(
    after_help = "All or nothing: with errors the policy in force stays, and the exit status is 1."
)]
pub struct Reload {
    /// Only show what would change
    #[arg(long)]
    dry_run: bool,
}

impl Reload {
    pub fn run(self, paths: &Paths) -> Result<u8> {
        let request = Request::Reload {
            dry_run: self.dry_run,
            color: stderr_has_color(),
        };
        let reloaded: Reloaded = match client::ask(&paths.socket, &request) {
            Ok(reloaded) => reloaded,
            Err(client::ClientError::Failed(why)) => {
                anstream::eprintln!("portreeve: not reloaded: {why}");
                if paths.format == Format::Json {
                    report::json(&json!({"applied": false, "refused": why}))?;
                }
                return Ok(NO);
            }
            Err(error) => return Err(error.into()),
        };
        match paths.format {
            Format::Json => report::json(&reloaded)?,
            Format::Text => self.text(&reloaded),
        }
        Ok(if reloaded.refused.is_none() { YES } else { NO })
    }

    fn text(&self, reloaded: &Reloaded) {
        anstream::eprint!("{}", reloaded.rendered);
        let changes = report::diff::text(&reloaded.diff);
        match &reloaded.refused {
            Some(why) => {
                anstream::eprintln!(
                    "portreeve: not reloaded, the old policy stays in force: {why}"
                );
            }
            None if self.dry_run => {
                report::line(&format!("{changes}\ndry run: nothing was changed"))
            }
            None => report::line(&format!(
                "{changes}\nreloaded as generation {}",
                reloaded.generation
            )),
        }
    }
}
