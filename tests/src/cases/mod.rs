//! The tests, one file per subject.

mod verdicts;

use libtest_mimic::Trial;

use crate::harness::{Body, trial};

const SUBJECTS: &[(&str, &[(&str, Body)])] = &[("verdicts", verdicts::TESTS)];

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
