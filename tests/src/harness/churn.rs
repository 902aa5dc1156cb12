//! Processes that do with sockets whatever comes into their heads.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::Caller;
use crate::actors::CHURN;

/// What they do.
#[derive(Debug, Serialize, Deserialize)]
pub struct Task {
    /// Who all of them are.
    pub caller: Caller,
    /// How many there are.
    pub processes: u32,
    /// How many things each of them does.
    pub deeds: u32,
    /// Which things, of all that could be.
    pub seed: u64,
    /// First and last of the ports that they bind.
    pub ports: (u16, u16),
    /// Whether MPTCP can be had.
    pub mptcp: bool,
}

/// A socket that is left in the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Left {
    /// Its inode.
    pub inode: u64,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Its port.
    pub port: u16,
    /// TCP: whether it listens.
    pub listens: bool,
}

/// The processes. They keep what they have in the end until this is dropped.
pub struct Churn {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Churn {
    /// Lets them begin.
    pub fn start(task: &Task) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(CHURN)
            .arg(serde_json::to_string(task)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().context("no output")?;
        Ok(Self {
            child,
            stdout: BufReader::new(stdout),
        })
    }

    /// Waits until all is done; returns how many sockets had a port, and those that still
    /// have.
    pub fn finish(&mut self) -> Result<(u64, Vec<Left>)> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        serde_json::from_str(&line).context("they came to a bad end")
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
