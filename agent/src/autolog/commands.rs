//! Procedures as commands that the agent starts, each in a cgroup of its own.

use std::{
    fs,
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use super::{
    procedures::{GRACE, KILLED, Procedures, Trouble},
    starter::{Starter, is_gone},
};
use crate::policy::autolog::Runs;

/// How long what was killed may take to be gone before it is killed again.
const AGAIN: Duration = Duration::from_millis(200);

/// The commands that one agent starts.
pub struct Commands {
    starter: Rc<Starter>,
    /// The directory that has their cgroups.
    folder: PathBuf,
}

impl Commands {
    /// Those that `starter` starts, with their cgroups in `folder`.
    pub const fn new(starter: Rc<Starter>, folder: PathBuf) -> Self {
        Self { starter, folder }
    }
}

impl Procedures for Commands {
    async fn is_active(&self, name: &str) -> Result<bool, Trouble> {
        match fs::read_to_string(self.folder.join(name).join("cgroup.events")) {
            Ok(events) => Ok(events.lines().any(|line| line == "populated 1")),
            Err(error) if is_gone(&error) => Ok(false),
            Err(error) => Err(Trouble::Refused {
                who: "the kernel",
                why: error.to_string(),
            }),
        }
    }

    async fn start(&self, runs: &Runs) -> Result<(), Trouble> {
        match runs {
            Runs::Command { name, words } => {
                self.starter.start(&self.folder.join(name), words).await
            }
            Runs::Unit { name } => {
                let why = format!("{name} is a unit, and there is no systemd");
                Err(Trouble::NoUnit(why))
            }
        }
    }

    async fn cancel(&self, name: &str) -> Result<(), Trouble> {
        let cgroup = self.folder.join(name);
        self.starter.terminate(&cgroup).await?;
        if !self.ends_within(name, GRACE).await? {
            let deadline = Instant::now() + KILLED;
            loop {
                self.starter.kill(&cgroup).await?;
                // Where the kernel doesn't kill a whole cgroup, some may have come meanwhile.
                if self.ends_within(name, AGAIN).await? {
                    break;
                }
                if Instant::now() > deadline {
                    return Err(Trouble::NotDown);
                }
            }
        }
        self.starter.remove(&cgroup).await
    }
}
