//! The system calls of an agent, as strace tells them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
};

use anyhow::{Context as _, Result};
use nix::libc;

use super::{Agent, agent::Start, tools};

/// Where the calls of an agent are written.
pub struct Trace {
    file: PathBuf,
}

/// What an agent did after it had installed its filter.
#[derive(Debug, Default)]
pub struct Calls {
    /// Names of the calls, by their numbers.
    pub made: BTreeMap<libc::c_long, String>,
    /// Names of those that failed with EPERM.
    pub denied: BTreeSet<String>,
}

impl Trace {
    /// Has the agent that is about to be started, and what it starts, traced.
    ///
    /// # Errors
    ///
    /// Without strace.
    pub fn of(start: &mut Start<'_>, file: PathBuf) -> Result<Self> {
        let launch = &mut start.launch;
        let traced = std::mem::replace(&mut launch.program, tools::program("strace")?);
        let text = |path: &PathBuf| path.display().to_string();
        // The tracer is a descendant of its own: the agent stays our child.
        let strace = ["strace", "-D", "-f", "-n", "-o"].map(str::to_owned);
        let options = strace.into_iter().skip(1);
        let last = [text(&file), "--".to_owned(), text(&traced)];
        launch.arguments.splice(0..0, options.chain(last));
        Ok(Self { file })
    }

    /// What was traced, when `agent` has ended.
    ///
    /// # Errors
    ///
    /// If the trace is not whole.
    pub fn finish(self, agent: Agent<'_>) -> Result<Calls> {
        let mut agent = agent;
        agent.wait()?;
        let pid = agent.pid().to_string();
        let is_end = |line: &str| line.starts_with(&pid) && line.contains("] +++ exited with ");
        agent.wait_until("the end of the trace", |_| {
            let text = fs::read_to_string(&self.file).unwrap_or_default();
            text.lines().any(is_end)
        })?;
        calls(&fs::read_to_string(&self.file)?).context("no filter was installed")
    }
}

/// Those behind the filter; `None` if there is none.
fn calls(trace: &str) -> Option<Calls> {
    let mut lines = trace.lines();
    // An agent that can't have its filter never gets ready.
    lines.find(|line| line.contains("seccomp(SECCOMP_SET_MODE_FILTER"))?;
    let mut calls = Calls::default();
    for line in lines {
        let Some((number, rest)) = numbered(line) else {
            continue;
        };
        // A call during which another thread makes one is told in two lines.
        let resumed = rest.strip_prefix("<... ");
        let name = resumed.unwrap_or(rest);
        let name = &name[..name.find([' ', '(']).unwrap_or(name.len())];
        if resumed.is_none() {
            calls.made.insert(number, name.to_owned());
        }
        if line.contains(" = -1 EPERM ") {
            calls.denied.insert(name.to_owned());
        }
    }
    Some(calls)
}

/// A call's number and what is said of it: `PID [ NUMBER] NAME(...) = RESULT`.
fn numbered(line: &str) -> Option<(libc::c_long, &str)> {
    let (_, rest) = line.split_once('[')?;
    let (number, rest) = rest.split_once("] ")?;
    // Signals and ends are told likewise.
    let is_call = !rest.starts_with("+++") && !rest.starts_with("---");
    is_call.then_some((number.trim().parse().ok()?, rest))
}
