//! Listeners that are left behind by a job that is gone (`CLS-09`).

#[cfg(test)]
mod tests;

use super::{
    build::Policy,
    explain::{Question, judge},
    holdings::Holding,
    listeners::question,
};
use crate::{
    ports::{
        origins::{Origin, Origins},
        units::unit_of,
    },
    profile::ast::User,
};

/// The number of the init process, which holds the sockets of socket units.
const INIT: u32 = 1;
/// What the name of a socket unit ends with: its sockets are made for others.
const SOCKET_UNIT: &str = ".socket";

/// Marks those of `holdings` that are orphaned, by the cgroups of this host.
pub fn mark(policy: &Policy, holdings: &mut [Holding]) {
    let origins = Origins::of(holdings.iter().map(|holding| &holding.socket));
    for holding in holdings {
        holding.orphan = orphan(policy, holding, &origins.at(&holding.socket));
    }
}

/// Why a listener made at `origin` belongs to nobody any more; `None` if it does, or if
/// that can't be told. Whoever has it from a socket unit's systemd is meant to.
pub fn orphan(policy: &Policy, holding: &Holding, origin: &Origin) -> Option<String> {
    let holders = &holding.holders;
    let is_kept = |pid: u32, unit: &Option<String>| pid == INIT || unit.is_some();
    if !holding.socket.is_open()
        || holders.is_empty()
        || holders.iter().any(|one| is_kept(one.pid, &one.unit))
        || holders.iter().any(|one| one.cgroup.is_none())
        || is_in_its_cgroup(policy, holding)
    {
        return None;
    }
    let path = match origin {
        Origin::Unknown => return None,
        Origin::Gone => return Some("the cgroup that it was made in is gone".to_owned()),
        Origin::In(path) => path,
    };
    let units = |unit: &str| {
        let mut cgroups = holders.iter().filter_map(|one| one.cgroup.as_deref());
        cgroups.any(|cgroup| unit_of(cgroup) == Some(unit))
    };
    if let Some(unit) = unit_of(path)
        && !unit.ends_with(SOCKET_UNIT)
        && !units(unit)
    {
        return Some(format!("{unit} made it, and no process of that has it"));
    }
    let by_others = holding.is_rightful() == Some(false);
    if by_others && would_be_rightful(policy, holding, path) {
        return Some(format!(
            "it was made in cgroup {path}, whose job may have it, and no process of that job has it"
        ));
    }
    None
}

/// Whether the policy lets somebody have it because of the cgroup he is in now.
fn is_in_its_cgroup(policy: &Policy, holding: &Holding) -> bool {
    let Some(speaker) = holding.speaker.as_ref() else {
        return false;
    };
    let entry = policy.reservation_of(speaker.verdict.entry);
    let Some(User::Job(name)) = entry.map(|entry| &entry.user) else {
        return false;
    };
    let jobs = policy.jobs.named(name);
    let mut jobs = jobs.iter().filter_map(|id| policy.jobs.get(*id));
    !speaker.verdict.refuses()
        && jobs.any(|job| job.alternatives.iter().any(|one| !one.cgroups.is_empty()))
}

/// Whether its holder could have it in the cgroup it was made in.
fn would_be_rightful(policy: &Policy, holding: &Holding, path: &str) -> bool {
    holding.speaker.as_ref().is_some_and(|speaker| {
        let asked = Question {
            cgroup: Some(path.to_owned()),
            ..question(&holding.socket, &speaker.holder)
        };
        !judge(policy, holding.socket.protocol, &asked).refuses()
    })
}
