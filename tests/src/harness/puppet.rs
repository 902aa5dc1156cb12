//! Processes that are somebody else for each bind.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    net::IpAddr,
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::Want;
use crate::actors::PUPPET;

/// Who to be, and what to bind.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Act {
    /// The process name.
    pub name: String,
    /// The cgroup to move to; the one it is in without.
    pub cgroup: Option<PathBuf>,
    /// The effective user.
    pub uid: u32,
    /// The groups, the effective one first.
    pub groups: Vec<u32>,
    /// The bind.
    pub want: Want,
    /// Sets `SO_REUSEPORT` first.
    pub shares: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The errno of the bind, or 0.
    pub errno: i32,
    /// The address that the socket has.
    pub address: IpAddr,
    /// Whether it has `SO_REUSEPORT`.
    pub shared: bool,
}

/// A process in a network namespace of its own, which ends when dropped.
pub struct Puppet {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Puppet {
    /// A new one.
    pub fn start() -> Result<Self> {
        let mut child = Command::new(env::current_exe()?)
            .args([PUPPET, "null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("a puppet can't be run")?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("a puppet has no output")?;
        Ok(Self {
            child,
            stdin,
            stdout: BufReader::new(stdout),
        })
    }

    /// Lets it act.
    pub fn act(&mut self, act: &Act) -> Result<Outcome> {
        let stdin = self.stdin.as_mut().context("a puppet is deaf")?;
        writeln!(stdin, "{}", serde_json::to_string(act)?)?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        serde_json::from_str(&line).context("a puppet fell down")
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
