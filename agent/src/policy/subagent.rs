//! What SACONFIG says of the SNMP subagent.

#[cfg(test)]
mod tests;

use std::time::Duration;

use portreeve_common::abi::Protocol;

use super::reservations::{Kind, Reservation};
use crate::{
    diagnostics::{Code, Diagnostic, Diagnostics, Span},
    profile::ast::{Profile, SaConfig, Statement},
};

/// Where the SNMP agent is asked unless AGENT says otherwise (`SAC-01`).
const DEFAULT_AGENT: u16 = 161;
/// How old answers may be unless SACACHETIME says otherwise (`SAC-08`).
const DEFAULT_CACHE: Duration = Duration::from_secs(30);

/// The SNMP subagent, as SACONFIG wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subagent {
    /// Whether it is to run. It is unless it is DISABLED (`SAC-01`, `SAC-02`).
    pub enabled: bool,
    /// Whether that was said.
    pub is_asked_for: bool,
    /// How old answers may be.
    pub cache: Duration,
}

impl Default for Subagent {
    fn default() -> Self {
        Self {
            enabled: true,
            is_asked_for: false,
            cache: DEFAULT_CACHE,
        }
    }
}

/// Of several statements, and files of changes, the last word on each operand counts
/// (`SAC-05`). What has no effect on Linux is reported.
pub fn settle(profile: &Profile, diagnostics: &mut Diagnostics) -> Subagent {
    let mut subagent = Subagent::default();
    for config in statements(profile) {
        if let Some(enabled) = config.enabled {
            subagent.enabled = enabled.value;
            subagent.is_asked_for = enabled.value;
        }
        if let Some(seconds) = config.cache_time {
            subagent.cache = Duration::from_secs(seconds.into());
        }
        report(config, diagnostics);
    }
    subagent
}

fn statements(profile: &Profile) -> impl Iterator<Item = &SaConfig> {
    let statements = profile.statements.iter();
    statements.filter_map(|statement| match statement {
        Statement::SaConfig(config) => Some(config),
        _ => None,
    })
}

fn report(config: &SaConfig, diagnostics: &mut Diagnostics) {
    if config.community_given {
        let message = "the COMMUNITY has no effect: the SNMP agent of the host says who may read";
        diagnostics.push(
            Diagnostic::info(Code::SnmpOperand, config.span, message)
                .help("with net-snmp, `rocommunity` or `rouser` in snmpd.conf"),
        );
    }
    if config.osa_enabled == Some(true) || config.osa_port.is_some() {
        let message = "OSA operands have no effect: there is no OSA adapter";
        diagnostics.push(Diagnostic::info(Code::SnmpOperand, config.span, message));
    }
    if config.sets_enabled == Some(true) {
        let message = "SETSENABLED has no effect: nothing can be written by SNMP";
        diagnostics.push(
            Diagnostic::warning(Code::SnmpReadOnly, config.span, message)
                .help("change the profile, and reload it"),
        );
    }
}

/// `SAC-07`: whoever gets the SNMP agent's port first answers in its name.
pub fn advise(profile: &Profile, entries: &[Reservation], diagnostics: &mut Diagnostics) {
    let (mut port, mut asked): (_, Option<Span>) = (DEFAULT_AGENT, None);
    for config in statements(profile) {
        if let Some(enabled) = config.enabled {
            asked = enabled.value.then_some(enabled.span);
        }
        if let Some(agent) = &config.agent {
            port = agent.value;
            asked = asked.and(Some(agent.span));
        }
    }
    let is_reserved = |entry: &Reservation| {
        entry.kind != Kind::Unreserved
            && entry.protocol == Protocol::Udp
            && (entry.first..=entry.last).contains(&port)
    };
    if let Some(span) = asked
        && !entries.iter().any(is_reserved)
    {
        let message = format!("udp/{port}, where the SNMP agent is asked, is reserved for nobody");
        let help = format!("reserve it for the agent's job, such as `PORT {port} UDP SNMPD`");
        diagnostics.push(Diagnostic::warning(Code::SnmpAgentPort, span, message).help(help));
    }
}
