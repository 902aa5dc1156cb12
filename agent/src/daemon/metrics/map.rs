//! What each of the 65 536 ports of each protocol is.

use portreeve_common::abi::{PORTS, Protocol};
use serde::Serialize;

use crate::{
    policy::{
        build::Policy,
        holdings::{Holding, State},
        reservations::Kind,
    },
    ports::Socket,
    profile::ast::User,
};

/// What a port is. Of several things that it is, the last counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum PortState {
    /// No entry names it, and nobody listens.
    Free,
    /// No entry names it, and somebody listens.
    Unreserved,
    /// RESERVED, so nobody may have it, and nobody has.
    Blocked,
    /// Reserved, and nobody has it.
    Reserved,
    /// Somebody has it who may, and doesn't listen.
    Bound,
    /// Somebody listens who may.
    Open,
    /// Somebody has it whom the policy would refuse.
    Contradicted,
}

impl PortState {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::Free,
        Self::Unreserved,
        Self::Blocked,
        Self::Reserved,
        Self::Bound,
        Self::Open,
        Self::Contradicted,
    ];

    /// Its name in the API and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Unreserved => "unreserved",
            Self::Blocked => "blocked",
            Self::Reserved => "reserved",
            Self::Bound => "bound",
            Self::Open => "open",
            Self::Contradicted => "contradicted",
        }
    }

    const fn of_holding(state: State) -> Self {
        match state {
            State::Blocked => Self::Blocked,
            State::Closed => Self::Reserved,
            State::Bound => Self::Bound,
            State::Open => Self::Open,
            State::Contradicted => Self::Contradicted,
        }
    }
}

/// The state of every port.
pub struct PortMap([Vec<PortState>; Protocol::ALL.len()]);

impl PortMap {
    /// Of `policy`, where `holdings` are those that have ports it names and `others` the
    /// sockets at other ports.
    pub fn new<'a>(
        policy: &Policy,
        holdings: &[Holding],
        others: impl IntoIterator<Item = &'a Socket>,
    ) -> Self {
        let mut map = Self(std::array::from_fn(|_| {
            vec![PortState::Free; PORTS as usize]
        }));
        for entry in &policy.reservations {
            let state = match entry.user {
                User::Reserved => PortState::Blocked,
                _ => PortState::Reserved,
            };
            if entry.kind != Kind::Unreserved {
                map.raise(entry.protocol, entry.first, entry.last, state);
            }
        }
        for restriction in &policy.restrictions {
            let (first, last) = (restriction.first, restriction.last);
            let state = match restriction.users.is_empty() {
                true => PortState::Blocked,
                false => PortState::Reserved,
            };
            map.raise(restriction.protocol, first, last, state);
        }
        for socket in others.into_iter().filter(|socket| socket.is_open()) {
            let state = PortState::Unreserved;
            map.raise(socket.protocol, socket.port, socket.port, state);
        }
        for holding in holdings {
            let socket = &holding.socket;
            let state = PortState::of_holding(holding.state());
            map.raise(socket.protocol, socket.port, socket.port, state);
        }
        map
    }

    fn raise(&mut self, protocol: Protocol, first: u16, last: u16, state: PortState) {
        for known in &mut self.0[protocol as usize][usize::from(first)..=usize::from(last)] {
            *known = state.max(*known);
        }
    }

    /// What one port is.
    pub fn of(&self, protocol: Protocol, port: u16) -> PortState {
        self.0[protocol as usize][usize::from(port)]
    }

    /// How many ports of `protocol` are in each state, in the order of
    /// [`PortState::ALL`]. Port 0 is none.
    pub fn counts(&self, protocol: Protocol) -> [u32; PortState::ALL.len()] {
        let mut counts = [0; PortState::ALL.len()];
        for state in &self.0[protocol as usize][1..] {
            counts[*state as usize] += 1;
        }
        counts
    }

    /// The ports of `protocol` from 0 on, as runs.
    pub fn runs(&self, protocol: Protocol) -> Vec<Run> {
        let states = self.0[protocol as usize].chunk_by(|one, next| one == next);
        states
            .map(|run| Run(run[0] as u8, run.len() as u32))
            .collect()
    }
}

/// So many ports one after the other in a state, which is given by its place in
/// [`PortState::ALL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Run(u8, u32);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::{
            holdings,
            listeners::tests::{held, policy},
        },
        ports::FixedListeners,
    };

    #[test]
    fn every_port_is_what_is_worst_of_it() {
        let policy = policy(
            "PORT\n 21 TCP FTPD1\n 22 TCP RESERVED\n 23 TCP TELNET\nPORTRANGE 4000 10 UDP APPL*\n",
            "",
        );
        let listeners = [
            held("tcp/21", &["ftpd1"]),
            held("tcp/22", &["sshd"]),
            held("udp/4003", &["appl7"]),
            held("udp/4004", &["other"]),
        ];
        let holdings = holdings::of(&policy, &FixedListeners(listeners.into()), |_| None).unwrap();
        let other = held("tcp/8080", &["web"]).socket;
        let map = PortMap::new(&policy, &holdings, [&other]);
        for (protocol, port, state) in [
            (Protocol::Tcp, 20, PortState::Free),
            (Protocol::Tcp, 21, PortState::Open),
            (Protocol::Tcp, 22, PortState::Contradicted),
            (Protocol::Tcp, 23, PortState::Reserved),
            (Protocol::Tcp, 8080, PortState::Unreserved),
            (Protocol::Udp, 21, PortState::Free),
            (Protocol::Udp, 4002, PortState::Reserved),
            (Protocol::Udp, 4003, PortState::Open),
            (Protocol::Udp, 4004, PortState::Contradicted),
            (Protocol::Udp, 65535, PortState::Free),
        ] {
            assert_eq!(map.of(protocol, port), state, "{protocol:?} {port}");
        }
        assert_eq!(map.counts(Protocol::Tcp), [65531, 1, 0, 1, 0, 1, 1]);
        assert_eq!(map.counts(Protocol::Udp), [65525, 0, 0, 8, 0, 1, 1]);
        let runs = map.runs(Protocol::Udp);
        assert_eq!(
            runs,
            [
                Run(0, 4000),
                Run(3, 3),
                Run(5, 1),
                Run(6, 1),
                Run(3, 5),
                Run(0, 61526)
            ]
        );
        assert_eq!(runs.iter().map(|run| run.1).sum::<u32>(), PORTS);
    }
}
