//! What is expected of ports, and whether it is so.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use portreeve_common::abi::Protocol;

use super::{
    autolog::{Autolog, Procedure, watched},
    bits::PortBits,
    holdings::{Holding, State},
    reservations::Reservation,
};
use crate::{
    config::{ExpectedPorts, ExpectedState},
    diagnostics::{Code, Diagnostic, Diagnostics, Span},
    profile::ast::User,
};

/// Who expects something of ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The config's `[[expect]]`: of each of the ports.
    Config,
    /// AUTOLOG watches an entry of this procedure's: one port of a range is enough
    /// (port-control 5.2).
    Autolog(String),
}

/// What is expected of neighbouring ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Of which protocol.
    pub protocol: Protocol,
    /// First port.
    pub first: u16,
    /// Last port, inclusive.
    pub last: u16,
    /// What they are to be.
    pub state: ExpectedState,
    /// By whom.
    pub origin: Origin,
    /// Who answers for them.
    pub owner: Option<String>,
    /// What they are for: of AUTOLOG the comment beside the entry.
    pub purpose: Option<String>,
    /// Where it is written.
    pub span: Span,
}

/// All that is expected: the config's in its order, then AUTOLOG's in that of its
/// procedures and the entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expectations {
    all: Vec<Expectation>,
    /// Of which ports: of most sockets of a host nothing is.
    ports: [PortBits; Protocol::ALL.len()],
}

impl Expectation {
    /// Whether each of the ports is to be so, and not only one of them.
    pub fn is_of_each(&self) -> bool {
        self.origin == Origin::Config || self.first == self.last
    }
}

impl Expectations {
    /// What the config says, and for the ports of which it says nothing what follows from
    /// `autolog`, of the `entries` that take effect. Ports that nobody may have
    /// and that are to be open are reported.
    pub fn new(
        config: &[ExpectedPorts],
        autolog: &Autolog,
        entries: &[Reservation],
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let mut all: Vec<Expectation> = config.iter().map(of_config).collect();
        let mut said: [PortBits; Protocol::ALL.len()] = Default::default();
        for one in config {
            said[one.protocol as usize].set(one.first, one.last, true);
        }
        let open = config.iter().filter(|one| one.state == ExpectedState::Open);
        for one in open {
            report_reserved(one, entries, diagnostics);
        }
        for procedure in &autolog.procedures {
            for entry in watched(entries, &procedure.job) {
                let ports = PortBits::from_iter([(entry.first, entry.last)]);
                if !ports.minus(&said[entry.protocol as usize]).is_empty() {
                    all.push(of_autolog(procedure, entry));
                }
            }
        }
        let mut ports = said;
        for one in &all {
            ports[one.protocol as usize].set(one.first, one.last, true);
        }
        Self { all, ports }
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &Expectation> {
        self.all.iter()
    }

    /// The ports each of which something is expected of. Of a range that AUTOLOG watches
    /// one is enough, whichever it is.
    pub fn ports(&self) -> impl Iterator<Item = (Protocol, u16)> {
        let of_each = self.all.iter().filter(|one| one.is_of_each());
        of_each.flat_map(|one| (one.first..=one.last).map(|port| (one.protocol, port)))
    }

    /// The first that is about one of these ports.
    pub fn about(&self, protocol: Protocol, first: u16, last: u16) -> Option<&Expectation> {
        let is_about =
            |one: &&Expectation| one.protocol == protocol && one.first <= last && first <= one.last;
        self.all.iter().find(is_about)
    }

    /// What is expected of a port: what the config says of it comes first.
    pub fn of(&self, protocol: Protocol, port: u16) -> Option<&Expectation> {
        self.ports[protocol as usize].first_in(port, port)?;
        self.all.iter().find(|one| one.covers(protocol, port))
    }
}

impl Expectation {
    /// Whether it is about this port.
    pub fn covers(&self, protocol: Protocol, port: u16) -> bool {
        self.protocol == protocol && (self.first..=self.last).contains(&port)
    }
}

/// Says of ports that are to be open if nobody may have one of them.
fn report_reserved(one: &ExpectedPorts, entries: &[Reservation], diagnostics: &mut Diagnostics) {
    let is_among = |entry: &&Reservation| {
        entry.user == User::Reserved
            && entry.protocol == one.protocol
            && entry.first <= one.last
            && one.first <= entry.last
    };
    if let Some(entry) = entries.iter().find(is_among) {
        let port = entry.first.max(one.first);
        let message = format!(
            "{}/{port} is to be open, and the profile says that it is RESERVED: nobody may have it",
            one.protocol.name()
        );
        diagnostics.push(
            Diagnostic::warning(Code::ExpectedReserved, one.span, message)
                .help("expect it to be closed, or give it to a job"),
        );
    }
}

fn of_config(one: &ExpectedPorts) -> Expectation {
    Expectation {
        protocol: one.protocol,
        first: one.first,
        last: one.last,
        state: one.state,
        origin: Origin::Config,
        owner: one.owner.clone(),
        purpose: one.purpose.clone(),
        span: one.span,
    }
}

fn of_autolog(procedure: &Procedure, entry: &Reservation) -> Expectation {
    Expectation {
        protocol: entry.protocol,
        first: entry.first,
        last: entry.last,
        state: ExpectedState::Open,
        origin: Origin::Autolog(procedure.name.clone()),
        owner: None,
        purpose: entry.description.as_deref().map(str::to_owned),
        span: entry.span,
    }
}

/// Whether a port in this state is as expected. One that somebody has who may not is never.
pub const fn is_met(expected: ExpectedState, state: State) -> bool {
    match expected {
        ExpectedState::Open => matches!(state, State::Open),
        ExpectedState::Closed => matches!(state, State::Blocked | State::Closed | State::Bound),
    }
}

/// What the ports are that somebody has; the others are closed.
#[derive(Clone, Debug, Default)]
pub struct States(BTreeMap<(u8, u16), State>);

impl States {
    /// Where `holdings` are all that have a port.
    pub fn of(holdings: &[Holding]) -> Self {
        let mut states = BTreeMap::new();
        for holding in holdings {
            let key = (holding.socket.protocol as u8, holding.socket.port);
            let state = states.entry(key).or_insert(State::Closed);
            *state = holding.state().max(*state);
        }
        Self(states)
    }

    /// What a port is.
    pub fn at(&self, protocol: Protocol, port: u16) -> State {
        let key = (protocol as u8, port);
        self.0.get(&key).copied().unwrap_or(State::Closed)
    }

    /// Those of the ports that somebody has.
    fn taken(
        &self,
        protocol: Protocol,
        first: u16,
        last: u16,
    ) -> impl Iterator<Item = (u16, State)> {
        let key = |port| (protocol as u8, port);
        let ports = self.0.range(key(first)..=key(last));
        ports.map(|((_, port), state)| (*port, *state))
    }
}

/// What was found of an expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What the ports are: of those that are not as expected the worst, else of all.
    pub state: State,
    /// Which are not as expected; none if it is met.
    pub broken: PortBits,
}

impl Finding {
    /// Whether it is as expected.
    pub fn is_met(&self) -> bool {
        self.broken.is_empty()
    }
}

/// Whether the ports of `expectation` are as expected.
pub fn judge(expectation: &Expectation, states: &States) -> Finding {
    let Expectation {
        protocol,
        first,
        last,
        state: expected,
        ref origin,
        ..
    } = *expectation;
    let all = PortBits::from_iter([(first, last)]);
    let taken: Vec<(u16, State)> = states.taken(protocol, first, last).collect();
    let mut met = match is_met(expected, State::Closed) {
        true => all.clone(),
        false => PortBits::default(),
    };
    for (port, state) in &taken {
        met.set(*port, *port, is_met(expected, *state));
    }
    let broken = match origin {
        // One that lives is enough, unless somebody sits on another.
        Origin::Autolog(_) if !met.is_empty() => {
            let mut wrong = PortBits::default();
            for (port, _) in taken
                .iter()
                .filter(|(_, state)| *state == State::Contradicted)
            {
                wrong.set(*port, *port, true);
            }
            wrong
        }
        _ => all.minus(&met),
    };
    let untaken = |ports: &PortBits| ports.len() as usize > taken_in(&taken, ports).count();
    let of = match broken.is_empty() {
        true => &all,
        false => &broken,
    };
    let nobody = untaken(of).then_some(State::Closed);
    let found = taken_in(&taken, of).chain(nobody);
    let state = match (broken.is_empty(), expected) {
        // The worst is what is furthest from being open.
        (false, ExpectedState::Open) => found.max_by_key(|state| match state {
            State::Contradicted => 3,
            State::Blocked | State::Closed => 2,
            State::Bound => 1,
            State::Open => 0,
        }),
        _ => found.max(),
    };
    Finding {
        state: state.unwrap_or(State::Closed),
        broken,
    }
}

fn taken_in<'t>(
    taken: &'t [(u16, State)],
    ports: &'t PortBits,
) -> impl Iterator<Item = State> + 't {
    let is_in = |port: u16| ports.first_in(port, port).is_some();
    let inside = taken.iter().filter(move |(port, _)| is_in(*port));
    inside.map(|(_, state)| *state)
}
