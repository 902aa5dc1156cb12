//! Whether a policy lets the agent have the port of its own metrics.

use std::env;

use portreeve_common::{
    Verdict,
    abi::{Mode, Protocol},
};

use super::{build::Policy, listeners::speaker};
use crate::{
    config::Listen,
    diagnostics::{Code, Diagnostic, Diagnostics},
    ports::{Holder, Socket},
    profile::ast::Spanned,
};

/// The cgroup that the agent is in when systemd starts it by its unit.
const OF_UNIT: &str = "/system.slice/portreeve.service";
/// Its process name.
const NAME: &str = "portreeve";

/// The agent as it will be, for those who only ask: root's, started by its unit.
pub fn as_installed() -> Holder {
    Holder {
        comm: NAME.into(),
        exe: env::current_exe().ok(),
        cgroup: Some(OF_UNIT.into()),
        groups: vec![0],
        ..Holder::default()
    }
}

/// Why `policy` refuses the agent, which is `agent`, the port of its metrics; `None` if it
/// doesn't. A port that is bound already stays.
pub fn refusal(policy: &Policy, agent: &Holder) -> Option<Verdict> {
    let Listen::Tcp(address) = &policy.config.metrics.as_ref()?.listen.value else {
        return None;
    };
    let socket = Socket {
        protocol: Protocol::Tcp,
        address: address.ip(),
        port: address.port(),
        connected: false,
        idle: false,
        uid: agent.uid,
        inode: 0,
        cgroup: None,
    };
    let (_, verdict) = speaker(policy, &socket, std::slice::from_ref(agent))?;
    let is_made = verdict.mode(policy.config.mode) == Mode::Enforce;
    (verdict.refuses() && is_made).then_some(verdict)
}

/// What is said of such a refusal in a sentence.
pub fn sentence(policy: &Policy, verdict: &Verdict) -> String {
    let by = policy.reservation_of(verdict.entry).map(|entry| {
        let place = policy.place_of(entry);
        format!(", by {}:{}", place.file, place.line)
    });
    format!(
        "the policy refuses the agent the port of its own metrics{} ({})",
        by.unwrap_or_default(),
        verdict.reason.text()
    )
}

/// Warns if `policy` refuses `agent` its own port; without one, the agent as it will be.
pub fn check(policy: &Policy, agent: Option<Holder>, diagnostics: &mut Diagnostics) {
    let Some(Spanned {
        value: Listen::Tcp(address),
        span,
    }) = policy
        .config
        .metrics
        .as_ref()
        .map(|metrics| &metrics.listen)
    else {
        return;
    };
    let is_running = agent.is_some();
    let agent = agent.unwrap_or_else(as_installed);
    let Some(verdict) = refusal(policy, &agent) else {
        return;
    };
    let message = format!(
        "the agent's metrics are to be served at {}, and the policy refuses it that port ({})",
        address,
        verdict.reason.text()
    );
    let diagnostic = match policy.reservation_of(verdict.entry) {
        Some(entry) => Diagnostic::warning(Code::OwnPortRefused, entry.span, message)
            .label("this entry refuses it")
            .related(*span, "this is the port"),
        None => Diagnostic::warning(Code::OwnPortRefused, *span, message),
    };
    let who = match is_running {
        true => format!("the agent that runs is {}", described(&agent)),
        false => format!("it is asked for {}", described(&agent)),
    };
    diagnostics.push(diagnostic.help(format!(
        "reserve the port for it, such as `PORT {} TCP {}`, or listen elsewhere; {who}",
        address.port(),
        agent.comm.to_ascii_uppercase(),
    )));
}

fn described(agent: &Holder) -> String {
    let cgroup = agent.cgroup.as_deref().unwrap_or("a cgroup unknown");
    format!("{} of user {} in {cgroup}", agent.comm, agent.uid)
}

#[cfg(test)]
mod tests;
