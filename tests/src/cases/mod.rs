//! The tests, one file per subject.

mod audit;
mod events;
mod explain;
mod generated;
mod input;
mod listeners;
mod neighbours;
mod obey;
mod policies;
mod pool;
mod publishing;
mod register;
mod reload;
mod selftest;
mod survival;
mod traces;
mod verdicts;

use libtest_mimic::Trial;

use crate::harness::{Body, trial};

const SUBJECTS: &[(&str, &[(&str, Body)])] = &[
    // What takes longest comes first; the others run beside it.
    ("publishing", publishing::TESTS),
    ("verdicts", verdicts::TESTS),
    ("policies", policies::TESTS),
    ("audit", audit::TESTS),
    ("reload", reload::TESTS),
    ("obey", obey::TESTS),
    ("listeners", listeners::TESTS),
    ("survival", survival::TESTS),
    ("pool", pool::TESTS),
    ("input", input::TESTS),
    ("explain", explain::TESTS),
    ("generated", generated::TESTS),
    ("selftest", selftest::TESTS),
    ("events", events::TESTS),
    ("register", register::TESTS),
    ("traces", traces::TESTS),
    ("neighbours", neighbours::TESTS),
];

/// Every test.
pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (subject, tests) in SUBJECTS {
        for (name, body) in *tests {
            trials.push(trial(subject, name, *body));
        }
    }
    trials
}
