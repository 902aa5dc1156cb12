//! The processes of the tests: this executable under a hidden first argument,
//! so that each is a real process with its own name, user and cgroup.

pub mod become_caller;
mod bind;
mod child;
mod churn;
mod converse;
mod draw;
pub mod launch;
mod mail;
mod meddle;
mod puppet;
mod ring;
mod servant;
pub mod serve;
mod socket;
pub mod spin;
mod swarm;
mod time;

use std::{env, process::ExitCode};

pub use servant::take;

use anyhow::{Context as _, Result, bail};

use crate::harness::{
    request::{Kind, Through},
    tcp,
};

/// Binds, tells, and holds what it got until its standard input is closed.
pub const BIND: &str = "__bind";
/// Binds over and over until its standard input is closed.
pub const SPIN: &str = "__spin";
/// Takes every port that the kernel will choose.
pub const DRAW: &str = "__draw";
/// Is somebody else for each bind.
pub const PUPPET: &str = "__puppet";
/// Is born into one cgroup after another, and binds.
pub const SWARM: &str = "__swarm";
/// Does one thing after another with its sockets, as it is told.
pub const SERVANT: &str = "__servant";
/// Times its binds.
pub const TIME: &str = "__time";
/// Says who it is to whoever connects.
pub const SERVE: &str = "__serve";
/// Talks to itself over MPTCP.
pub const CONVERSE: &str = "__converse";
/// Changes what another process has mounted.
pub const MEDDLE: &str = "__meddle";
/// Does whatever comes into its head.
pub const CHURN: &str = "__churn";
/// Becomes another program.
pub const LAUNCH: &str = "__launch";

/// Whether the kernel has this kind of socket.
pub fn can_open(kind: Kind) -> Result<()> {
    socket::open(&tcp(0).kind(kind)).map(drop)
}

/// Whether the kernel binds by rings.
pub fn can_bind_by_ring() -> Result<()> {
    let want = tcp(0).through(Through::Ring);
    socket::bind(&socket::open(&want)?, &want).context("bind by io_uring")
}

/// Plays the part that the command line asks for, if it does.
pub fn play() -> Option<ExitCode> {
    let mut arguments = env::args().skip(1);
    let part = arguments.next().filter(|part| part.starts_with("__"))?;
    // The last one: before it can stand the script that we are the interpreter of.
    let played = arguments
        .next_back()
        .context("a part comes with its task in JSON")
        .and_then(|task| perform(&part, &task));
    Some(match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{part}: {error:#}");
            ExitCode::FAILURE
        }
    })
}

fn perform(part: &str, task: &str) -> Result<()> {
    match part {
        BIND => bind::perform(serde_json::from_str(task)?),
        SPIN => spin::perform(serde_json::from_str(task)?),
        DRAW => draw::perform(&serde_json::from_str(task)?),
        PUPPET => puppet::perform(),
        SWARM => swarm::perform(&serde_json::from_str(task)?),
        SERVANT => servant::perform(&serde_json::from_str(task)?),
        TIME => time::perform(&serde_json::from_str(task)?),
        SERVE => serve::perform(&serde_json::from_str(task)?),
        CONVERSE => converse::perform(&serde_json::from_str(task)?),
        MEDDLE => meddle::perform(&serde_json::from_str(task)?),
        CHURN => churn::perform(&serde_json::from_str(task)?),
        LAUNCH => launch::perform(&serde_json::from_str(task)?),
        _ => bail!("there is no such part"),
    }
}
