//! Whoever starts and ends the procedures of a policy.

use std::{path::PathBuf, rc::Rc};

use super::{
    commands::Commands,
    procedures::{Procedures, Trouble},
    starter::Starter,
    systemd::Systemd,
};
use crate::policy::{
    autolog::{self, Runs},
    build::Policy,
};

/// One of them.
pub enum Manager {
    /// A systemd.
    Systemd(Systemd),
    /// The agent itself.
    Agent(Commands),
}

impl Manager {
    /// The one for `policy`. The root of the cgroup v2 hierarchy is at `hierarchy`.
    pub fn of(
        policy: &Policy,
        starter: Option<&Rc<Starter>>,
        hierarchy: Option<PathBuf>,
    ) -> Option<Self> {
        let asked = &policy.autolog;
        match asked.manager {
            autolog::Manager::Systemd => {
                let bus = policy.config.autolog.bus.clone();
                Some(Self::Systemd(Systemd::new(bus)))
            }
            autolog::Manager::Agent => {
                let folder = hierarchy?.join(asked.slice.trim_start_matches('/'));
                Some(Self::Agent(Commands::new(Rc::clone(starter?), folder)))
            }
        }
    }
}

impl Procedures for Manager {
    async fn is_active(&self, unit: &str) -> Result<bool, Trouble> {
        match self {
            Self::Systemd(systemd) => systemd.is_active(unit).await,
            Self::Agent(commands) => commands.is_active(unit).await,
        }
    }

    async fn start(&self, runs: &Runs) -> Result<(), Trouble> {
        match self {
            Self::Systemd(systemd) => systemd.start(runs).await,
            Self::Agent(commands) => commands.start(runs).await,
        }
    }

    async fn cancel(&self, unit: &str) -> Result<(), Trouble> {
        match self {
            Self::Systemd(systemd) => systemd.cancel(unit).await,
            Self::Agent(commands) => commands.cancel(unit).await,
        }
    }
}
