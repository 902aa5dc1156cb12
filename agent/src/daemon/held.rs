//! The status of what the kernel holds, whether an agent runs or not.

use std::collections::BTreeMap;

use portreeve_common::abi::{Active, Mode, names};

use super::{
    pool::held_status,
    protocol::{AttachStatus, EventStatus, ListenerStatus, ProfileStatus, Status},
};
use crate::{
    files::hex,
    kernel::{
        counters::Counters,
        features::Features,
        hooks::HOOKS,
        listen,
        pool::Recorded,
        tables::{generation_in_force, text},
    },
};

/// What the kernel holds, as anybody with the right can read it from the pins.
pub struct Held<'a> {
    /// What is in force.
    pub active: Active,
    /// What filled the tables.
    pub info: &'a portreeve_common::abi::Info,
    /// Hooks that are attached.
    pub hooks: &'a [&'static str],
    /// The counters.
    pub counters: &'a Counters,
    /// What was changed in the kernel's pool of ports.
    pub pool: &'a Recorded,
    /// What the kernel has, if that could be told.
    pub features: Option<Features>,
}

impl Held<'_> {
    /// The part of a status that needs no agent.
    pub fn status(&self, attach: AttachStatus) -> Status {
        let generation = generation_in_force(self.info, self.active);
        let owned = |counts: &BTreeMap<&'static str, u64>| {
            counts
                .iter()
                .map(|(reason, count)| ((*reason).to_owned(), *count))
                .collect()
        };
        let published = generation.map_or(0, |g| i64::try_from(g.published).unwrap_or(0));
        Status {
            mode: self.active.mode().map_or("none", Mode::name).into(),
            generation: self.active.generation(),
            profile: ProfileStatus {
                path: generation.map_or_else(String::new, |g| text(&g.profile)),
                hash: generation.map_or_else(String::new, |g| hex(&g.profile_hash)),
                differs_from_file: None,
                changes: None,
                dropped: None,
                entries: generation.map_or(0, |g| g.entries),
                audited: generation.map_or(0, |g| g.audited),
                published: jiff::Timestamp::from_second(published)
                    .map_or_else(|_| String::new(), |t| t.to_string()),
            },
            hooks: self.hooks.iter().map(|hook| (*hook).to_owned()).collect(),
            missing: missing(self),
            pool: held_status(self.pool),
            neighbours: Vec::new(),
            attach,
            counters: owned(&self.counters.enforced),
            audited: owned(&self.counters.audited),
            events: EventStatus {
                lost: self.counters.events_lost,
                suppressed: self.counters.events_suppressed,
                reports_lost: self.counters.reports_lost,
            },
            listeners: ListenerStatus {
                late: self.counters.listeners_late,
                lost: self.counters.listeners_lost,
                ..ListenerStatus::default()
            },
            drift: Vec::new(),
            selftest: None,
            watch: None,
            pending_confirm: None,
            reload: None,
            outputs: Vec::new(),
            privileges: None,
            metrics: None,
            snmp: None,
            agent: None,
            version: text(&self.info.head.agent),
        }
    }
}

/// What a reader could take for enforced, and isn't.
fn missing(held: &Held<'_>) -> Vec<String> {
    let mut missing: Vec<String> = HOOKS
        .iter()
        .filter(|hook| !held.hooks.contains(hook))
        .map(|hook| format!("{hook}: the hook is not attached"))
        .collect();
    let lacking = held.features.map(Features::lacking).unwrap_or_default();
    missing.extend(lacking.iter().map(|lack| lack.to_string()));
    if held.hooks.contains(&names::LISTENED) {
        missing.push(format!(
            "listen: UNRSV for TCP is judged when the socket listens already, and the agent destroys the listener, as [degraded] accepts: {}",
            listen::why_not()
        ));
    } else if !held.hooks.contains(&names::LISTEN) {
        missing.push(format!(
            "listen: UNRSV for TCP can be judged at bind only: {}",
            listen::why_not()
        ));
    }
    if !held.pool.managed {
        missing.push("port 0: the kernel's pool is not managed ([ephemeral] manage = false, or audit mode), so a reserved port in net.ipv4.ip_local_port_range can be handed out; list it in net.ipv4.ip_local_reserved_ports".into());
    } else if held.info.scope_netns == 0 {
        missing.push("port 0: reserved ports are kept out of the pool in the agent's own network namespace only; in others one can be handed out".into());
    }
    missing
}
