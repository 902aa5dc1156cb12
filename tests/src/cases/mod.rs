//! The tests, one file per subject.

mod audit;
mod authport;
mod bind_address;
mod events;
mod explain;
mod generated;
mod given_ports;
mod grants;
mod input;
mod listeners;
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
mod verdicts;
mod verifier;

use libtest_mimic::Trial;

use crate::harness::{Body, Need, trial};

/// A subject, what all of its tests need of the kernel, and they.
type Subject = (
    &'static str,
    &'static [Need],
    &'static [(&'static str, Body)],
);

const HOOKS: &[Need] = &[Need::Hooks];

const SUBJECTS: &[Subject] = &[
    // What takes longest comes first; the others run beside it.
    ("publishing", HOOKS, publishing::TESTS),
    ("verdicts", HOOKS, verdicts::TESTS),
    ("policies", HOOKS, policies::TESTS),
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
    ("listeners", HOOKS, listeners::TESTS),
    ("pool", HOOKS, pool::TESTS),
    ("survival", HOOKS, survival::TESTS),
    ("input", HOOKS, input::TESTS),
    ("explain", HOOKS, explain::TESTS),
    ("generated", HOOKS, generated::TESTS),
    ("selftest", HOOKS, selftest::TESTS),
    ("events", HOOKS, events::TESTS),
    ("register", HOOKS, register::TESTS),
    ("traces", HOOKS, traces::TESTS),
    ("verifier", HOOKS, verifier::TESTS),
    ("requirements", &[], requirements::TESTS),
    ("neighbours", HOOKS, neighbours::TESTS),
];

/// Every test.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (subject, needs, tests) in SUBJECTS {
        for (name, body) in *tests {
            trials.push(trial(subject, needs, name, *body));
        }
    }
    trials
}
