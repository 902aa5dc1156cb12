//! What became of each port, the last changes of it (`CLS-10`).

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use super::alerts::{Cause, Change};
use crate::{policy::holdings::State, ports::register::Port};

/// Most changes that are kept of a port.
pub const MOST_OF_PORT: usize = 32;
/// Most ports of which changes are kept.
pub const MOST_PORTS: usize = 4096;

/// A process that did something to a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// Its number.
    pub pid: u32,
    /// Its name.
    pub comm: String,
}

/// A change that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// When, since boot.
    pub at: Duration,
    /// What the port was.
    pub from: State,
    /// What it was from then on.
    pub to: State,
    /// Why.
    pub cause: Cause,
    /// Who did it; `None` if nobody was seen.
    pub who: Option<Who>,
}

/// The last changes of ports, as many as there is room for.
#[derive(Clone, Debug, Default)]
pub struct History {
    ports: BTreeMap<Port, VecDeque<Past>>,
    /// How many changes were forgotten because there were too many ports.
    forgotten: u64,
}

impl History {
    /// A port has changed at `now`; `who` did it. If there are too many ports, that one is
    /// forgotten of which there is no news for the longest time.
    pub fn observe(&mut self, change: &Change, who: Option<Who>, now: Duration) {
        if !self.ports.contains_key(&change.port) && self.ports.len() >= MOST_PORTS {
            self.forget_one();
        }
        let changes = self.ports.entry(change.port).or_default();
        if changes.len() >= MOST_OF_PORT {
            changes.pop_front();
        }
        changes.push_back(Past {
            at: now,
            from: change.from,
            to: change.to,
            cause: change.cause,
            who,
        });
    }

    /// What is kept of a port, the oldest first.
    pub fn of(&self, port: Port) -> impl Iterator<Item = &Past> {
        self.ports.get(&port).into_iter().flatten()
    }

    /// Who changed it last, if that was seen.
    pub fn last_by(&self, port: Port) -> Option<Who> {
        self.ports.get(&port)?.back()?.who.clone()
    }

    /// What is kept of all ports, the oldest of each first.
    pub fn iter(&self) -> impl Iterator<Item = (Port, &VecDeque<Past>)> {
        self.ports.iter().map(|(port, changes)| (*port, changes))
    }

    /// Since when it is what it is; `None` if it hasn't changed as long as is known.
    pub fn since(&self, port: Port) -> Option<Duration> {
        self.ports.get(&port)?.back().map(|past| past.at)
    }

    /// How many changes were forgotten because there were too many ports.
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    fn forget_one(&mut self) {
        let last = |changes: &VecDeque<Past>| changes.back().map(|past| past.at);
        let oldest = self.ports.iter().min_by_key(|(_, changes)| last(changes));
        if let Some(port) = oldest.map(|(port, _)| *port)
            && let Some(changes) = self.ports.remove(&port)
        {
            self.forgotten += changes.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use portreeve_common::abi::Protocol;

    use super::*;

    fn change(number: u16, to: State) -> Change {
        Change {
            port: (Protocol::Tcp, number),
            from: State::Closed,
            to,
            expected: None,
            cause: Cause::Owner,
        }
    }

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// `CLS-10`: when, from what to what, why and by whom.
    #[test]
    fn the_last_changes_are_kept() {
        let mut history = History::default();
        let port = (Protocol::Tcp, 21);
        assert_eq!((history.of(port).count(), history.since(port)), (0, None));
        for at in 1..=40 {
            let who = Who {
                pid: at as u32,
                comm: "ftpd".into(),
            };
            history.observe(&change(21, State::Open), Some(who), seconds(at));
        }
        let kept: Vec<&Past> = history.of(port).collect();
        assert_eq!(kept.len(), MOST_OF_PORT);
        assert_eq!(
            *kept[0],
            Past {
                at: seconds(9),
                from: State::Closed,
                to: State::Open,
                cause: Cause::Owner,
                who: Some(Who {
                    pid: 9,
                    comm: "ftpd".into(),
                }),
            }
        );
        assert_eq!(history.since(port), Some(seconds(40)));
        let other = (Protocol::Udp, 21);
        assert_eq!(history.of(other).count(), 0);
        assert_eq!(history.forgotten(), 0);
    }

    /// The port that was quiet for the longest time makes room.
    #[test]
    fn ports_are_bounded() {
        let mut history = History::default();
        for number in 1..=MOST_PORTS as u16 {
            history.observe(&change(number, State::Open), None, seconds(number.into()));
        }
        history.observe(&change(1, State::Closed), None, seconds(10_000));
        history.observe(&change(65535, State::Open), None, seconds(10_001));
        let kept = |number| history.of((Protocol::Tcp, number)).count();
        assert_eq!((kept(1), kept(2), kept(3), kept(65535)), (2, 0, 1, 1));
        assert_eq!(history.forgotten(), 1);
    }
}
