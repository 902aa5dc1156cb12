//! From a changed profile to the tables in force, step by step, as the agent itself
//! tells it with each reload.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use portreeve_bench::{Case, Row, Spread, Unit};
use serde_json::Value;

use super::{
    Progress,
    policies::{config, crowd},
};
use crate::harness::{Agent, Sandbox};

/// Reservations.
const MANY: usize = 130_000;
/// Reloads are less often measured than binds.
const ROUNDS_PER_RELOAD: u32 = 15;

/// The steps that [`Took`](Value) tells of, in microseconds, and their names in the results.
const STEPS: [(&str, &str); 9] = [
    ("parse", "parse"),
    ("resolve", "resolve"),
    ("compile", "compile"),
    ("compare", "find what stays in force"),
    ("remember", "write down"),
    ("fill", "fill and flip"),
    ("grace", "wait for binds under way"),
    ("settle", "write down that it is in force"),
    ("tell", "tell what changed"),
];
/// What is done before the profile is parsed, whom a change has to wait for, and what
/// comes when it is in force.
const APART: [&str; 4] = ["parse", "grace", "settle", "tell"];

/// What changes from one reload to the next.
#[derive(Clone, Copy)]
enum Change {
    One,
    All,
}

/// Measures the reloads of a large profile of which one entry changes, and of one of
/// which all do.
pub fn run(rounds: u32, progress: &Progress) -> Result<Vec<Row>> {
    let sandbox = Sandbox::new()?;
    let agent = sandbox.agent_with(&crowd(MANY), &config(""))?.start()?;
    let rounds = rounds.div_ceil(ROUNDS_PER_RELOAD).max(3);
    let mut rows = Vec::new();
    let began = Instant::now();
    let mut done = 0;
    let mut preparing = Vec::new();
    for (change, title) in [
        (Change::One, "one of 130000 entries changed"),
        (Change::All, "all 130000 entries changed"),
    ] {
        let mut steps = vec![Vec::new(); STEPS.len()];
        let mut sums = Vec::new();
        for round in 0..rounds {
            sandbox.write("profile.tcpip", changed(change, round))?;
            let took = reload(&agent)?;
            let mut sum = 0.0;
            for ((field, _), values) in STEPS.iter().zip(&mut steps) {
                let value = took[field].as_f64().with_context(|| format!("{took}"))? / 1000.0;
                values.push(value);
                if !APART.contains(field) {
                    sum += value;
                }
            }
            sums.push(sum);
            let of = |field: &str| took[field].as_f64().unwrap_or_default() / 1000.0;
            preparing.push(of("parse") + of("resolve") + of("compile"));
            done += 1;
            progress.tell(Case::Publish, done, 2 * rounds, began.elapsed());
        }
        let target = match change {
            Change::One => 5.0,
            Change::All => 100.0,
        };
        let name = format!("from parsed profile to flip, {title}");
        rows.push(row(name, sums, Some(target)));
        for ((_, step), values) in STEPS.iter().zip(steps) {
            rows.push(row(format!("{step}, {title}"), values, None));
        }
    }
    let name = "parse, resolve and compile 130000 entries".to_owned();
    rows.insert(0, row(name, preparing, Some(150.0)));
    Ok(rows)
}

/// The large profile, as the round has it.
fn changed(change: Change, round: u32) -> String {
    let text = crowd(MANY);
    let marked = round.is_multiple_of(2);
    match (change, marked) {
        (_, false) => text,
        // The last entry is another job's.
        (Change::One, true) => match text.trim_end().rsplit_once(' ') {
            Some((rest, _)) => format!("{rest} CHANGED\n"),
            None => text,
        },
        (Change::All, true) => text.replace(" JOB", " OTH").replace(" RIGHT", " WRONG"),
    }
}

fn reload(agent: &Agent<'_>) -> Result<Value> {
    let (code, answer) = agent.reload(&[])?;
    ensure!(code == 0 && answer["applied"] == true, "{answer}");
    Ok(answer["took"].clone())
}

fn row(name: String, values: Vec<f64>, target: Option<f64>) -> Row {
    Row {
        case: Case::Publish,
        name,
        unit: Unit::Milliseconds,
        value: Spread::of(values),
        ratio: None,
        baseline: None,
        target,
    }
}
