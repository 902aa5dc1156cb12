//! `portreeve run`

use anyhow::Result;
use clap::Args;

use super::{NO, Paths, YES, logger, show};
use crate::{
    config::OnError,
    daemon::{
        control::SocketTaken,
        protocol::EventRecord,
        run::{NotProven, RunOptions, run},
    },
    files::Trust,
    kernel::{KernelError, features::Features, requirements},
    policy::{identity::exes::Presence, source::Source},
    report::{self, Format},
};

#[derive(Debug, Args)]
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
        match self.attempt(paths) {
            Err(error) if is_not_done(&error) => {
                anstream::eprintln!("portreeve: {error:#}");
                Ok(NO)
            }
            answer => answer,
        }
    }

    fn attempt(self, paths: &Paths) -> Result<u8> {
        requirements::root("`portreeve run`")?;
        requirements::helpers()?;
        let features = Features::of_running_kernel()?;
        let source = Source {
            features: Some(features),
            audit: self.audit,
            leave_pool: self.leave_pool,
            ..paths.source(Trust::Policy, self.on_error)
        };
        let outcome = source.read(&Presence)?;
        show(&outcome.diagnostics, outcome.sources());
        let Ok(policy) = outcome.policy else {
            anstream::eprintln!("portreeve: not started, because the profile or config has errors");
            return Ok(NO);
        };
        let print: Option<fn(&EventRecord) -> String> = match (self.print_events, paths.format) {
            (false, _) => None,
            (true, Format::Text) => Some(report::events::text),
            (true, Format::Json) => Some(|event| serde_json::to_string(event).unwrap_or_default()),
        };
        let options = RunOptions {
            source,
            policy,
            features,
            cgroup: paths.cgroup.clone(),
            bpffs: paths.bpffs.clone(),
            socket: paths.socket.clone(),
            print,
            trace: self.trace,
        };
        run(options)?;
        Ok(YES)
    }
}

/// Enforcement that was asked for and can't be had is a "no". A right, a path or
/// a mount that is missing is no answer.
fn is_not_done(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<KernelError>() {
        Some(
            KernelError::NotRoot { .. } | KernelError::NoBpffs { .. } | KernelError::Io { .. },
        ) => false,
        Some(_) => true,
        None => error.is::<NotProven>() || error.is::<SocketTaken>(),
    }
}
