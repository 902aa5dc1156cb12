//! What the status page asks for, as JSON.

use std::collections::BTreeMap;

use portreeve_common::{Reason, abi::Protocol};
use serde::Serialize;

use super::{
    map::{PortState, Run},
    observer::Sockets,
    snapshot::Snapshot,
};
use crate::{
    daemon::protocol::{EventRecord, PortHolder, Status},
    policy::holdings::State,
    report::{ports::holder, refusals::is_refusal},
};

/// Most holders that the map tells of.
const MOST_HOLDERS: usize = 200;
/// Most refusals.
const MOST_REFUSALS: usize = 100;

/// How things are.
#[derive(Serialize)]
pub struct Overview<'a> {
    /// Why the mode asked for is not proven; `null` if it is.
    pub not_ready: Option<String>,
    /// As `status --format json` has it.
    pub status: &'a Status,
}

/// What every port is; see [`PortMap`](super::map::PortMap).
#[derive(Serialize)]
pub struct Map {
    /// When the host's sockets were looked at, as RFC 3339.
    pub at: String,
    /// Why nothing is known of them.
    pub problem: Option<String>,
    /// The names of the states.
    pub states: [&'static str; PortState::ALL.len()],
    /// The ports of TCP from 0 on: pairs of a state and how many ports have it.
    pub tcp: Vec<Run>,
    /// Those of UDP.
    pub udp: Vec<Run>,
    /// How many ports of TCP, and of UDP, are in each state.
    pub counts: [[u32; PortState::ALL.len()]; Protocol::ALL.len()],
    /// Who has ports that he would be refused, by protocol.
    pub contradicted: Vec<Contradiction>,
    /// How many of those there are.
    pub contradictions: usize,
}

/// Somebody who has a port that he would be refused.
#[derive(Serialize)]
pub struct Contradiction {
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// Who.
    #[serde(flatten)]
    pub holder: PortHolder,
}

/// The map of `sockets`.
pub fn map(sockets: &Sockets) -> Map {
    let holdings = sockets.holdings.as_deref().unwrap_or_default();
    let wrong: Vec<_> = holdings
        .iter()
        .filter(|holding| holding.state() == State::Contradicted)
        .collect();
    let contradicted = wrong
        .iter()
        .take(MOST_HOLDERS)
        .map(|holding| Contradiction {
            protocol: holding.socket.protocol.name(),
            holder: holder(&sockets.policy, holding),
        });
    Map {
        at: format!("{:.3}", sockets.at),
        problem: sockets.holdings.as_ref().err().cloned(),
        states: PortState::ALL.map(PortState::name),
        tcp: sockets.map.runs(Protocol::Tcp),
        udp: sockets.map.runs(Protocol::Udp),
        counts: Protocol::ALL.map(|protocol| sockets.map.counts(protocol)),
        contradicted: contradicted.collect(),
        contradictions: wrong.len(),
    }
}

/// The last refusals.
#[derive(Serialize)]
pub struct LastRefusals {
    /// The last first.
    pub events: Vec<EventRecord>,
    /// What reasons mean, by their ids.
    pub reasons: BTreeMap<&'static str, &'static str>,
}

/// The last refusals among `events`, which are lines of JSON, oldest first.
pub fn refusals(events: &[String]) -> LastRefusals {
    let events = records(events.iter().rev());
    LastRefusals {
        events: events.filter(is_refusal).take(MOST_REFUSALS).collect(),
        reasons: Reason::ALL
            .iter()
            .map(|reason| (reason.id(), reason.text()))
            .collect(),
    }
}

/// Lines of JSON as records.
pub fn records<'e>(lines: impl Iterator<Item = &'e String>) -> impl Iterator<Item = EventRecord> {
    lines.filter_map(|line| serde_json::from_str(line).ok())
}

/// What of `snapshot` the page shows.
pub fn overview(snapshot: &Snapshot) -> Overview<'_> {
    Overview {
        not_ready: super::families::not_ready(&snapshot.status),
        status: &snapshot.status,
    }
}
