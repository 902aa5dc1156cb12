//! The tests, one file per subject.

mod agent_unit;
mod attacks;
mod audit;
mod audited_ports;
mod authport;
mod autolog;
mod autolog_commands;
mod bind_address;
mod binders;
mod cgroups;
mod confirm;
mod control;
mod degraded;
mod drift;
mod events;
mod executables;
mod expectations;
mod explain;
mod faults;
mod faults_of_changes;
mod fleet;
mod floods;
mod generated;
mod given_ports;
mod grants;
mod input;
mod jobs;
mod kernel_threads;
mod listen;
mod listen_fallback;
mod listeners;
mod low_ports;
mod metrics;
mod metrics_peers;
mod neighbours;
mod obey;
mod outputs;
mod policies;
mod pool;
mod port_alerts;
mod port_displays;
mod port_watch;
mod privileges;
mod privileges_traced;
mod probe;
mod publishing;
mod register;
mod reload;
mod remembered;
mod requirements;
mod restrictions;
mod saf;
mod selftest;
mod sharing;
mod snmp;
mod soak;
mod storm;
mod suggest;
mod survival;
mod survival_of_changes;
mod systemd_procedures;
mod systemd_units;
mod takeover;
mod top;
mod traces;
mod unreserved;
mod users;
mod verdicts;
mod verifier;
mod verify;
mod watched;

use std::env;

use anyhow::{Result, ensure};
use libtest_mimic::Trial;

use crate::harness::{Body, Need, trial};

/// A subject, what all of its tests need of the kernel, and they.
type Subject = (
    &'static str,
    &'static [Need],
    &'static [(&'static str, Body)],
);

const HOOKS: &[Need] = &[Need::Hooks];
const GRANTS: &[Need] = &[Need::Hooks, Need::Grant];
const OPTIONS: &[Need] = &[Need::Hooks, Need::Options];
const LISTEN: &[Need] = &[Need::Hooks, Need::BpfLsm];

const SUBJECTS: &[Subject] = &[
    // What takes longest comes first; the others run beside it.
    ("publishing", HOOKS, publishing::TESTS),
    ("storm", GRANTS, storm::TESTS),
    ("takeover", HOOKS, takeover::TESTS),
    ("takeover", LISTEN, takeover::WITH_LSM),
    ("verdicts", HOOKS, verdicts::TESTS),
    ("snmp", HOOKS, snmp::TESTS),
    ("soak", HOOKS, soak::TESTS),
    ("policies", HOOKS, policies::TESTS),
    ("cgroups", HOOKS, cgroups::TESTS),
    ("jobs", HOOKS, jobs::TESTS),
    ("kernel_threads", HOOKS, kernel_threads::TESTS),
    ("users", HOOKS, users::TESTS),
    ("low_ports", HOOKS, low_ports::TESTS),
    ("saf", HOOKS, saf::TESTS),
    ("unreserved", HOOKS, unreserved::TESTS),
    ("attacks::addresses", HOOKS, attacks::addresses::TESTS),
    ("attacks::protocols", HOOKS, attacks::protocols::TESTS),
    ("attacks::io_uring", HOOKS, attacks::io_uring::TESTS),
    ("attacks::io_uring", LISTEN, attacks::io_uring::LISTEN),
    (
        "attacks::passed_sockets",
        HOOKS,
        attacks::passed_sockets::TESTS,
    ),
    ("attacks::namespaces", HOOKS, attacks::namespaces::TESTS),
    (
        "attacks::somebody_else",
        HOOKS,
        attacks::somebody_else::TESTS,
    ),
    ("attacks::without_bind", HOOKS, attacks::without_bind::TESTS),
    ("attacks::same_socket", HOOKS, attacks::same_socket::TESTS),
    (
        "attacks::beside_the_owner",
        HOOKS,
        attacks::beside_the_owner::TESTS,
    ),
    ("attacks::neighbours", HOOKS, attacks::neighbours::TESTS),
    ("attacks::kernel_ways", HOOKS, attacks::kernel_ways::TESTS),
    ("attacks::not_stopped", HOOKS, attacks::not_stopped::TESTS),
    ("attacks::manual", &[], attacks::manual::TESTS),
    ("authport", HOOKS, authport::TESTS),
    ("restrictions", HOOKS, restrictions::TESTS),
    ("bind_address", HOOKS, bind_address::TESTS),
    ("sharing", OPTIONS, sharing::TESTS),
    ("grants", GRANTS, grants::TESTS),
    ("given_ports", HOOKS, given_ports::TESTS),
    ("audit", HOOKS, audit::TESTS),
    ("audited_ports", HOOKS, audited_ports::TESTS),
    ("reload", HOOKS, reload::TESTS),
    ("obey", HOOKS, obey::TESTS),
    ("remembered", HOOKS, remembered::TESTS),
    ("watched", HOOKS, watched::TESTS),
    ("confirm", HOOKS, confirm::TESTS),
    ("faults", HOOKS, faults::TESTS),
    ("faults", HOOKS, faults_of_changes::TESTS),
    ("listen", LISTEN, listen::TESTS),
    ("listen", HOOKS, listen::WITHOUT),
    ("listen_fallback", HOOKS, listen_fallback::TESTS),
    ("listen_fallback", LISTEN, listen_fallback::WITH_LSM),
    ("listeners", HOOKS, listeners::TESTS),
    ("pool", HOOKS, pool::TESTS),
    ("survival", HOOKS, survival::TESTS),
    ("survival", HOOKS, survival_of_changes::TESTS),
    ("input", HOOKS, input::TESTS),
    ("control", HOOKS, control::TESTS),
    ("executables", HOOKS, executables::TESTS),
    ("explain", HOOKS, explain::TESTS),
    ("generated", OPTIONS, generated::TESTS),
    ("selftest", HOOKS, selftest::TESTS),
    ("drift", HOOKS, drift::TESTS),
    ("metrics", HOOKS, metrics::TESTS),
    ("metrics", HOOKS, metrics_peers::TESTS),
    ("events", HOOKS, events::TESTS),
    ("fleet", HOOKS, fleet::TESTS),
    ("floods", HOOKS, floods::TESTS),
    ("register", HOOKS, register::TESTS),
    ("port_watch", HOOKS, port_watch::TESTS),
    ("port_alerts", HOOKS, port_alerts::TESTS),
    ("expectations", HOOKS, expectations::TESTS),
    ("verify", HOOKS, verify::TESTS),
    ("probe", &[], probe::TESTS),
    ("probe", HOOKS, probe::WITH_AGENT),
    ("port_displays", HOOKS, port_displays::TESTS),
    ("top", HOOKS, top::TESTS),
    ("suggest", HOOKS, suggest::TESTS),
    ("traces", HOOKS, traces::TESTS),
    ("outputs", HOOKS, outputs::TESTS),
    ("privileges", HOOKS, privileges::TESTS),
    ("privileges_traced", HOOKS, privileges_traced::TESTS),
    ("verifier", HOOKS, verifier::TESTS),
    ("degraded", HOOKS, degraded::TESTS),
    ("requirements", &[], requirements::TESTS),
    ("autolog", HOOKS, autolog::TESTS),
    ("autolog_commands", HOOKS, autolog_commands::TESTS),
    ("binders", HOOKS, binders::TESTS),
    ("systemd_procedures", HOOKS, systemd_procedures::TESTS),
    ("systemd_units", HOOKS, systemd_units::TESTS),
    ("systemd_units", HOOKS, agent_unit::FIRST),
    ("agent_unit", &[], agent_unit::TESTS),
    ("neighbours", HOOKS, neighbours::TESTS),
];

/// The names of all tests.
pub fn names() -> impl Iterator<Item = String> {
    let names = |(subject, _, tests): &'static Subject| {
        let name = move |(name, _): &(&str, Body)| format!("{subject}::{name}");
        tests.iter().map(name)
    };
    SUBJECTS.iter().flat_map(names)
}

/// The tests whose names begin with one of those in `PORTREEVE_TEST_ONLY`; every test
/// without.
///
/// # Errors
///
/// A name that no test begins with: what was to be tested isn't.
pub fn trials() -> Result<Vec<Trial>> {
    let only = env::var("PORTREEVE_TEST_ONLY").unwrap_or_default();
    let only: Vec<&str> = only.split_whitespace().collect();
    let mut trials = Vec::new();
    for (subject, needs, tests) in SUBJECTS {
        for (name, body) in *tests {
            trials.push(trial(subject, needs, name, *body));
        }
    }
    for name in &only {
        let is_there = trials.iter().any(|trial| trial.name().starts_with(name));
        ensure!(is_there, "no test's name begins with {name}");
    }
    if !only.is_empty() {
        trials.retain(|trial| only.iter().any(|name| trial.name().starts_with(name)));
    }
    Ok(trials)
}
