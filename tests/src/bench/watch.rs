//! What it costs to tell the agent who has which port: with an agent that runs, and with one
//! that has ended, so that the policy is enforced and nobody is told.

use std::{net::Ipv4Addr, time::Instant};

use anyhow::Result;
use portreeve_bench::{Case, Row, Spread, Unit};

use super::{
    Progress,
    policies::{Of, config, features, servauth},
    processors,
};
use crate::{
    harness::{
        Sandbox,
        request::Kind,
        timer::{Drill, Span, Timer},
    },
    soak::random::Random,
};

/// Of one batch the median counts.
const BATCH: u32 = 400;
/// An agent is started in each: there is one in so many rounds.
const ROUNDS_PER_START: u32 = 10;
/// What is timed: its name, the sockets, whose ports, and what the ratio is to be at most.
const TIMED: [(&str, Kind, Span, Of, Option<f64>); 8] = [
    ("bind, TCP, reserved", Kind::Tcp, Span::Bind, Of::Job, None),
    ("bind, UDP, reserved", Kind::Udp, Span::Bind, Of::Job, None),
    (
        "bind, TCP, unreserved",
        Kind::Tcp,
        Span::Bind,
        Of::Free,
        None,
    ),
    (
        "close, TCP, reserved",
        Kind::Tcp,
        Span::Close,
        Of::Job,
        Some(1.03),
    ),
    (
        "close, UDP, reserved",
        Kind::Udp,
        Span::Close,
        Of::Job,
        Some(1.03),
    ),
    (
        "close, TCP, unreserved",
        Kind::Tcp,
        Span::Close,
        Of::Free,
        Some(1.03),
    ),
    (
        "close of a connection",
        Kind::Tcp,
        Span::CloseAccepted,
        Of::Job,
        Some(1.03),
    ),
    (
        "connect and accept",
        Kind::Tcp,
        Span::Connection,
        Of::Job,
        Some(1.01),
    ),
];

/// Measures them all.
pub fn run(rounds: u32, progress: &Progress) -> Result<Vec<Row>> {
    let sandbox = Sandbox::new()?;
    let rounds = rounds.div_ceil(ROUNDS_PER_START).max(3);
    let mut timers = Vec::new();
    let mut agent = Some(
        sandbox
            .agent_with(&features(), &config(&servauth()))?
            .start()?,
    );
    for (_, kind, span, of, _) in TIMED {
        timers.push(Timer::start(&Drill {
            caller: sandbox.caller("right").cpu(Some(processors().last)),
            kind,
            address: Ipv4Addr::LOCALHOST.into(),
            ports: of.ports(),
            span,
            refused: false,
            forgets: None,
        })?);
    }
    let mut random = Random::new(Random::seed());
    let mut values = vec![[Vec::new(), Vec::new()]; TIMED.len()];
    let began = Instant::now();
    for round in 0..rounds {
        let first = random.below(2);
        for watched in [first == 0, first != 0] {
            match (watched, agent.take()) {
                (true, None) => agent = Some(sandbox.agent_again()?.start()?),
                (false, Some(running)) => running.kill()?,
                (_, same) => agent = same,
            }
            for (timer, values) in timers.iter_mut().zip(&mut values) {
                values[usize::from(watched)].push(timer.time(BATCH)?);
            }
        }
        progress.tell(Case::Watch, round + 1, rounds, began.elapsed());
    }
    let mut rows = Vec::new();
    for ((name, _, _, _, target), [without, with]) in TIMED.iter().zip(values) {
        let baseline = format!("{name}, nobody is told");
        let ratios = with
            .iter()
            .zip(&without)
            .map(|(with, without)| with / without);
        let ratio = Spread::of(ratios.collect());
        let row = |name: String, values, ratio: Option<Spread>, target| Row {
            case: Case::Watch,
            name,
            unit: Unit::Nanoseconds,
            value: Spread::of(values),
            baseline: ratio.is_some().then(|| baseline.clone()),
            ratio,
            target,
        };
        rows.push(row(baseline.clone(), without, None, None));
        rows.push(row((*name).to_owned(), with, Some(ratio), *target));
    }
    Ok(rows)
}
