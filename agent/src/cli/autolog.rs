//! `portreeve autolog`

use anyhow::Result;
use clap::{Args, Subcommand};

use super::{NO, Paths, YES};
use crate::{
    autolog::machine::Wish,
    daemon::{
        client::{self, ClientError},
        protocol::{ProcedureRow, Request},
    },
    report::{self, Format},
};

#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "States:
  starting     about to be started
  delayed      waits for what DELAYSTART names
  draining     was active at the start, and has its time to end
  cancelling   was cancelled, and is started again when it has ended
  running      was started, or let alone; its ports are looked at
  stopping     is being ended, as `portreeve autolog stop` said
  stopped      has been, and is not started again
  watched      nothing is started here

Examples:
  portreeve autolog              the procedures, and how they are
  portreeve autolog why FTPD     what happened to one, and why
  portreeve autolog stop FTPD    end it, and don't start it again"
)]
pub struct Autolog {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the procedures
    #[command(after_help = "Examples:
  portreeve autolog list                 for people
  portreeve autolog list --format json   for programs")]
    List,
    /// Say what happened to a procedure, and why
    #[command(after_help = "Exit status 1: no such procedure is listed.

Examples:
  portreeve autolog why FTPD")]
    Why {
        /// Its name, or its job's
        #[arg(value_name = "PROC")]
        name: String,
    },
    /// Start a procedure now, whatever it waits for
    #[command(after_help = "Exit status 1: it is not active then.

Examples:
  portreeve autolog start FTPD")]
    Start {
        /// Its name, or its job's
        #[arg(value_name = "PROC")]
        name: String,
    },
    /// End a procedure, and leave it so until it is started, or the agent is
    #[command(after_help = "Exit status 1: it is still active then.

Examples:
  portreeve autolog stop FTPD")]
    Stop {
        /// Its name, or its job's
        #[arg(value_name = "PROC")]
        name: String,
    },
    /// Look at the watched ports now, as is done every five minutes
    #[command(after_help = "Exit status 1: a port is missing all the same.

Examples:
  portreeve autolog pass        of all procedures
  portreeve autolog pass FTPD   of one")]
    Pass {
        /// Its name, or its job's [default: all]
        #[arg(value_name = "PROC")]
        name: Option<String>,
    },
}

impl Autolog {
    pub fn run(self, paths: &Paths) -> Result<u8> {
        match self.what {
            None | Some(What::List) => {
                let rows = list(paths)?;
                match paths.format {
                    Format::Json => report::json(&rows)?,
                    Format::Text => report::line(&report::procedures::text(&rows)),
                }
                Ok(YES)
            }
            Some(What::Why { name }) => why(paths, &name),
            Some(What::Start { name }) => wish(paths, Wish::Start, Some(name), is_active),
            Some(What::Stop { name }) => wish(paths, Wish::Stop, Some(name), |row| !is_active(row)),
            Some(What::Pass { name }) => wish(paths, Wish::Pass, name, has_all),
        }
    }
}

fn list(paths: &Paths) -> Result<Vec<ProcedureRow>, ClientError> {
    client::ask(&paths.socket, &Request::Procedures {})
}

fn is_active(row: &ProcedureRow) -> bool {
    let now = row.now.as_ref();
    now.and_then(|now| now.active) == Some(true)
}

fn has_all(row: &ProcedureRow) -> bool {
    let missing = row.now.as_ref().and_then(|now| now.missing.as_ref());
    missing.is_some_and(Vec::is_empty)
}

fn why(paths: &Paths, name: &str) -> Result<u8> {
    let mut rows = list(paths)?;
    rows.retain(|row| {
        [&row.proc, &row.job]
            .into_iter()
            .any(|one| one.eq_ignore_ascii_case(name))
    });
    if rows.is_empty() {
        anstream::eprintln!("portreeve: AUTOLOG lists no procedure {name:?}");
        return Ok(NO);
    }
    show(paths, &rows)?;
    Ok(YES)
}

fn show(paths: &Paths, rows: &[ProcedureRow]) -> Result<()> {
    match paths.format {
        Format::Json => report::json(&rows)?,
        Format::Text => rows
            .iter()
            .for_each(|row| report::prose(&report::procedures::story(row))),
    }
    Ok(())
}

/// Asks for something; whether it came of it is for `is_so` to say, of each procedure.
fn wish(
    paths: &Paths,
    wish: Wish,
    name: Option<String>,
    is_so: impl Fn(&ProcedureRow) -> bool,
) -> Result<u8> {
    let request = Request::Procedure { wish, name };
    let rows: Vec<ProcedureRow> = match client::ask(&paths.socket, &request) {
        Ok(rows) => rows,
        Err(ClientError::Failed(why)) => {
            anstream::eprintln!("portreeve: {why}");
            return Ok(NO);
        }
        Err(error) => return Err(error.into()),
    };
    show(paths, &rows)?;
    Ok(if rows.iter().all(is_so) { YES } else { NO })
}
