//! The tests, one file per subject.

mod audit;
mod authport;
mod bind_address;
mod cgroups;
mod events;
mod executables;
mod explain;
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
mod neighbours;
mod obey;
mod policies;
mod pool;
mod publishing;
mod register;
mod reload;
mod requirements;
mod restrictions;
mod saf;
mod selftest;
mod sharing;
mod survival;
mod traces;
mod unreserved;
mod users;
mod verdicts;
mod verifier;

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
const LISTEN: &[Need] = &[Need::Hooks, Need::BpfLsm];

const SUBJECTS: &[Subject] = &[
    // What takes longest comes first; the others run beside it.
    ("publishing", HOOKS, publishing::TESTS),
    ("verdicts", HOOKS, verdicts::TESTS),
    ("policies", HOOKS, policies::TESTS),
    ("cgroups", HOOKS, cgroups::TESTS),
    ("jobs", HOOKS, jobs::TESTS),
    ("kernel_threads", HOOKS, kernel_threads::TESTS),
    ("users", HOOKS, users::TESTS),
    ("low_ports", HOOKS, low_ports::TESTS),
    ("saf", HOOKS, saf::TESTS),
    ("unreserved", HOOKS, unreserved::TESTS),
    ("authport", HOOKS, authport::TESTS),
    ("restrictions", HOOKS, restrictions::TESTS),
    ("bind_address", HOOKS, bind_address::TESTS),
    ("sharing", HOOKS, sharing::TESTS),
    ("grants", HOOKS, grants::TESTS),
    ("given_ports", HOOKS, given_ports::TESTS),
    ("audit", HOOKS, audit::TESTS),
    ("reload", HOOKS, reload::TESTS),
    ("obey", HOOKS, obey::TESTS),
    ("listen", LISTEN, listen::TESTS),
    ("listen", HOOKS, listen::WITHOUT),
    ("listen_fallback", HOOKS, listen_fallback::TESTS),
    ("listen_fallback", LISTEN, listen_fallback::WITH_LSM),
    ("listeners", HOOKS, listeners::TESTS),
    ("pool", HOOKS, pool::TESTS),
    ("survival", HOOKS, survival::TESTS),
    ("input", HOOKS, input::TESTS),
    ("executables", HOOKS, executables::TESTS),
    ("explain", HOOKS, explain::TESTS),
    ("generated", HOOKS, generated::TESTS),
    ("selftest", HOOKS, selftest::TESTS),
    ("events", HOOKS, events::TESTS),
    ("floods", HOOKS, floods::TESTS),
    ("register", HOOKS, register::TESTS),
    ("traces", HOOKS, traces::TESTS),
    ("verifier", HOOKS, verifier::TESTS),
    ("requirements", &[], requirements::TESTS),
    ("neighbours", HOOKS, neighbours::TESTS),
];

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
