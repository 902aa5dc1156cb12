//! `portreeve run`

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;

use super::{NO, Paths, YES, logger, show};
use crate::{
    autolog::starter::Starter,
    config::OnError,
    daemon::{
        break_glass,
        change::ChangeError,
        control::SocketTaken,
        outputs,
        protocol::EventRecord,
        run::{NotProven, RunOptions, run, stand_by},
        start,
    },
    files::Trust,
    kernel::{
        KernelError,
        features::Features,
        held,
        pins::Pins,
        privileges::capabilities::{self, Plan},
        requirements,
    },
    policy::source::Source,
    report::{self, Format},
    state::{StateError, Store},
};

#[derive(Debug, Args)]
#[command(after_help = format!(
    "Profile and config are read when the agent starts, but for these cases:
  the agent was killed        its policy stays in force until `portreeve reload`
  a change was not confirmed  the policy before it comes back
  their users are not known   the policy that was in force last, until they are

To keep the agent from enforcing anything at boot, boot with {} or make the file {}.

Exit status 1: the policy could not be put in force, or not be proven.

Examples:
  portreeve run                                as /etc/portreeve says
  portreeve run --profile p.tcpip --audit      judge and report, never refuse
  portreeve run --print-events --format json   events as JSON on standard output",
    break_glass::WORD, break_glass::FILE
))]
pub struct Run {
    /// Judge and report, never refuse
    #[arg(long)]
    audit: bool,
    /// What a profile with errors does [default: the config's, else refuse]
    #[arg(long, value_enum, value_name = "HOW")]
    on_error: Option<OnError>,
    /// Leave the ports that the kernel hands out alone, as `[ephemeral] manage = false` does
    #[arg(long)]
    leave_pool: bool,
    /// If this file exists, nothing is enforced
    #[arg(long, value_name = "FILE", default_value = break_glass::FILE)]
    off: PathBuf,
    /// Print events to standard output as they happen
    #[arg(long)]
    print_events: bool,
    /// Log what the programs in the kernel do on every bind; slow
    #[arg(long)]
    trace: bool,
}

impl Run {
    pub fn run(self, paths: &Paths) -> Result<u8> {
        logger::start(self.trace);
        let answer = self.attempt(paths);
        outputs::close();
        match answer {
            Err(error) if is_not_done(&error) => {
                anstream::eprintln!("portreeve: {error:#}");
                Ok(NO)
            }
            answer => answer,
        }
    }

    fn attempt(self, paths: &Paths) -> Result<u8> {
        requirements::root("`portreeve run`")?;
        capabilities::check()?;
        requirements::helpers()?;
        let features = Features::of_running_kernel()?;
        let mut source = Source {
            features: Some(features),
            audit: self.audit,
            is_agent: true,
            leave_pool: self.leave_pool,
            ..paths.source(Trust::Policy, self.on_error)
        };
        if let Some(why) = break_glass::broken(&self.off) {
            stand_by(&why, &paths.bpffs)?;
            return Ok(YES);
        }
        let store = match Store::open(&paths.state) {
            Err(error @ (StateError::InUse { .. } | StateError::Newer { .. })) => {
                anstream::eprintln!("portreeve: {error}");
                return Ok(NO);
            }
            store => store?,
        };
        let held = held::policy_in_force(&Pins::new(&paths.bpffs));
        let start = start::choose(&source, &store, held.as_ref(), show)?;
        let Some(start) = start else {
            anstream::eprintln!("portreeve: not started, because the profile or config has errors");
            return Ok(NO);
        };
        let print: Option<fn(&EventRecord) -> String> = match (self.print_events, paths.format) {
            (false, _) => None,
            (true, Format::Text) => Some(report::events::text),
            (true, Format::Json) => Some(|event| serde_json::to_string(event).unwrap_or_default()),
        };
        let config = &start.policy.config;
        let plan = Plan::new(config.privileges.capabilities, config.scope);
        let lacking = plan.lacking()?;
        for lack in &lacking {
            log::warn!("{lack}");
        }
        // It keeps what the agent gives up from here on.
        let starter = start.policy.autolog.starts_itself().then(Starter::begin);
        let starter = starter.transpose().context("no commands can be started")?;
        source.starts = starter.is_some();
        plan.begin()?;
        outputs::open(&config.log, print)?;
        let options = RunOptions {
            source,
            start,
            starter,
            store,
            features,
            cgroup: paths.cgroup.clone(),
            bpffs: paths.bpffs.clone(),
            socket: paths.socket.clone(),
            prints: print.is_some(),
            plan,
            lacking,
            trace: self.trace,
        };
        run(options)?;
        Ok(YES)
    }
}

/// Enforcement that was asked for and can't be had is a "no". A right, a path or
/// a mount that is missing is no answer.
fn is_not_done(error: &anyhow::Error) -> bool {
    let kernel = match error.downcast_ref::<ChangeError>() {
        Some(ChangeError::Kernel(error)) => Some(error),
        _ => error.downcast_ref(),
    };
    match kernel {
        Some(
            KernelError::NotRoot { .. }
            | KernelError::NoCapability { .. }
            | KernelError::Privileges { .. }
            | KernelError::NoBpffs { .. }
            | KernelError::Io { .. },
        ) => false,
        Some(_) => true,
        None => error.is::<NotProven>() || error.is::<SocketTaken>(),
    }
}
