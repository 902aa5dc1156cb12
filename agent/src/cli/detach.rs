//! `portreeve detach`

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use anyhow::Result;
use clap::Args;

use super::{NO, Paths, YES};
use crate::{
    daemon::{client, protocol::Request},
    kernel::{load, pins::Pins},
    report,
    state::Store,
};

#[derive(Debug, Args)]
#[command(
    after_help = "A running agent steps down; without one, the pins are removed all the same.

Exit status 1: you said no, or nobody was there to be asked.

Examples:
  portreeve detach         asks first
  portreeve detach --yes   for scripts"
)]
pub struct Detach {
    /// Don't ask
    #[arg(long)]
    yes: bool,
}

impl Detach {
    pub fn run(self, paths: &Paths) -> Result<u8> {
        if !self.yes && !confirmed()? {
            anstream::eprintln!("portreeve: not detached; the policy stays in force");
            return Ok(NO);
        }
        match client::ask::<()>(&paths.socket, &Request::Detach {}) {
            Ok(()) => {}
            Err(error) if error.is_no_agent() => {
                load::detach_without_agent(&Pins::new(&paths.bpffs))?;
                Store::forget(&paths.state)?;
            }
            Err(error) => return Err(error.into()),
        }
        report::line("detached: no port is reserved any more");
        Ok(YES)
    }
}

fn confirmed() -> io::Result<bool> {
    if !io::stdin().is_terminal() {
        anstream::eprintln!("portreeve: say --yes to detach without being asked");
        return Ok(false);
    }
    anstream::eprint!("From then on any process may bind any port. Detach? [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
