//! The tests, one file per subject.

mod audit;
mod events;
mod explain;
mod generated;
mod input;
mod listen;
mod listeners;
mod neighbours;
mod obey;
mod policies;
mod pool;
mod publishing;
mod register;
mod reload;
mod requirements;
mod selftest;
mod survival;
mod traces;
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
const LISTEN: &[Need] = &[Need::Hooks, Need::BpfLsm];

const SUBJECTS: &[Subject] = &[
    // What takes longest comes first; the others run beside it.
    ("publishing", HOOKS, publishing::TESTS),
    ("verdicts", HOOKS, verdicts::TESTS),
    ("policies", HOOKS, policies::TESTS),
    ("audit", HOOKS, audit::TESTS),
    ("reload", HOOKS, reload::TESTS),
    ("obey", HOOKS, obey::TESTS),
    ("listen", LISTEN, listen::TESTS),
    ("listen", HOOKS, listen::WITHOUT),
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
