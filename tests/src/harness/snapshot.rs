//! Everything an agent counts and reports, at one moment.

use std::{collections::BTreeMap, time::Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{Agent, pace::limit};

/// The agent keeps this many events; with more, new ones can't be told from old.
const KEPT: usize = 1000;

/// Where an entry stands: file and line.
pub type Line = (String, u64);

/// Counts and events.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Number of the policy in force.
    pub generation: u64,
    /// When it was taken, by the agent's clock.
    pub at: String,
    /// Judged binds in enforce mode, by reason.
    pub counters: BTreeMap<String, u64>,
    /// Judged binds in audit mode, by reason.
    pub audited: BTreeMap<String, u64>,
    /// Refusals of each entry, by its file and line.
    pub refusals: BTreeMap<Line, u64>,
    /// Events so far.
    pub events: Vec<Value>,
}

impl Snapshot {
    /// What `agent` says when it has at least this many events, or else won't have.
    pub fn with_events(agent: &Agent<'_>, count: usize) -> Result<Self> {
        let deadline = Instant::now() + limit(5);
        loop {
            let snapshot = Self::take(agent)?;
            if snapshot.events.len() >= count || Instant::now() > deadline {
                return Ok(snapshot);
            }
        }
    }

    /// What `agent` says now.
    ///
    /// A few events that were made before are in it: while the agent answers the
    /// first question its event loop goes round several times for the self-test, and
    /// each round takes in some of what the ring holds.
    pub fn take(agent: &Agent<'_>) -> Result<Self> {
        let status = agent.status()?;
        ensure!(
            status["events"]["lost"] == 0,
            "events were lost: {}",
            status["events"]
        );
        let counts = |name: &str| -> Result<BTreeMap<String, u64>> {
            serde_json::from_value(status[name].clone()).with_context(|| name.to_owned())
        };
        let rows = agent.ports()?;
        let count = |row: &Value| {
            let file = row["file"].as_str()?.to_owned();
            Some(((file, row["line"].as_u64()?), row["refusals"].as_u64()?))
        };
        let refusals: Option<BTreeMap<Line, u64>> = rows.iter().map(count).collect();
        let events = agent.events()?;
        ensure!(events.len() < KEPT, "more events than the agent keeps");
        Ok(Self {
            generation: status["generation"].as_u64().context("no generation")?,
            at: milliseconds(&status["selftest"]["at"])?,
            counters: counts("counters")?,
            audited: counts("audited")?,
            refusals: refusals.context("a row of the register has no line or count")?,
            events,
        })
    }
}

/// A time as RFC 3339 in UTC, to the millisecond: such times compare as text.
pub fn milliseconds(time: &Value) -> Result<String> {
    let text = time.as_str().and_then(|text| text.strip_suffix('Z'));
    let text = text.and_then(|text| text.get(..23));
    text.map(str::to_owned)
        .with_context(|| format!("{time} is no time"))
}
