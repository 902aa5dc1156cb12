//! One process after another, each born into a cgroup of its own: thousands of them
//! would take minutes to move there.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Result, ensure};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::{Caller, Sandbox, Want, command};
use crate::actors::SWARM;

/// Processes that bind, in this order.
#[derive(Debug, Serialize, Deserialize)]
pub struct Swarm {
    /// Who all of them are, but for the cgroup.
    pub caller: Caller,
    /// The file in which the visits are.
    pub visits: PathBuf,
}

/// One of the processes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Visit {
    /// Its cgroup.
    pub cgroup: PathBuf,
    /// The cgroup is made just before it is born, and removed when it has ended.
    pub is_fresh: bool,
    /// What it binds.
    pub wants: Vec<Want>,
}

/// How the binds of each visit end.
pub fn swarm(
    sandbox: &Sandbox,
    caller: &Caller,
    visits: &[Visit],
) -> Result<Vec<Vec<Result<(), Errno>>>> {
    let file = sandbox.write("visits.json", serde_json::to_vec(visits)?)?;
    let task = Swarm {
        caller: caller.clone(),
        visits: file,
    };
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg(SWARM)
        .arg(serde_json::to_string(&task)?)
        .stdin(Stdio::null());
    let done = command::finish(&mut command)?.ended_with(0)?;
    let errnos: Vec<Vec<u8>> = serde_json::from_str(done.stdout.trim())?;
    ensure!(errnos.len() == visits.len(), "not everybody came back");
    let result = |errno| match errno {
        0 => Ok(()),
        errno => Err(Errno::from_raw(i32::from(errno))),
    };
    Ok(errnos
        .into_iter()
        .map(|errnos| errnos.into_iter().map(result).collect())
        .collect())
}
