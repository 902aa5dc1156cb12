//! What is listed as it may not be meant.

use portreeve_common::abi::Protocol;

use super::{Autolog, Procedure, awaited, ports, watched};
use crate::{
    config::Config,
    diagnostics::{Code, Diagnostic, Diagnostics, Severity},
    policy::reservations::Reservation,
};

/// Advises on what is listed, among the `entries` that take effect.
pub fn advise(
    autolog: &Autolog,
    config: &Config,
    entries: &[Reservation],
    diagnostics: &mut Diagnostics,
) {
    for procedure in &autolog.procedures {
        let Procedure {
            name, job, span, ..
        } = procedure;
        if watched(entries, job).next().is_none() {
            let message =
                format!("no port is reserved for {job}, so {name} is started and not watched");
            diagnostics.push(Diagnostic::info(Code::NeverWatched, *span, message));
        }
        if procedure.after_dvipa && awaited(config, entries, job).is_empty() {
            let message = format!(
                "{name} waits for no address: [delaystart] dvipa names none, and no entry of {job} has BIND"
            );
            diagnostics.push(Diagnostic::info(Code::NothingAwaited, *span, message));
        }
    }
    policy_agent(autolog, entries, diagnostics);
}

/// The policy agent of z/OS, and the ports that it reserves but doesn't always listen on.
const POLICY_AGENT: &str = "PAGENT";
const POLICY_AGENT_PORTS: [u16; 3] = [1700, 1701, 16310];

/// `ALG-23`: a server that stops listening for a while is cancelled for it.
fn policy_agent(autolog: &Autolog, entries: &[Reservation], diagnostics: &mut Diagnostics) {
    let mut procedures = autolog.procedures.iter();
    let Some(agent) = procedures.find(|one| one.name == POLICY_AGENT) else {
        return;
    };
    let is_its = |entry: &&Reservation| {
        let mut ports = POLICY_AGENT_PORTS.into_iter();
        entry.protocol == Protocol::Tcp
            && ports.any(|port| (entry.first..=entry.last).contains(&port))
    };
    if let Some(entry) = watched(entries, &agent.job).find(is_its) {
        let message = format!(
            "{POLICY_AGENT} doesn't listen on {} all the time, and is cancelled whenever it doesn't",
            ports(entry)
        );
        diagnostics.push_with(Severity::Warning, || {
            Diagnostic::warning(Code::CancelledForNothing, entry.span, message)
                .help("write NOAUTOLOG behind the job name")
        });
    }
}
