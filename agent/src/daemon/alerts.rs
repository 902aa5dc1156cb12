//! When a port that is not as expected is worth an alert (`CLS-05`): a state machine that
//! is told of changes and of the time, and knows nothing else.
//!
//! Whoever feeds it calls [`Alerts::observe`] for each change, [`Alerts::settle`] for what
//! a snapshot or a new policy says, and [`Alerts::tick`] when [`Alerts::next_deadline`] has
//! come; what they return is to be told, in its order. Times are those since boot, as
//! events have them.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{
    config::ExpectedState,
    policy::{expect::is_met, holdings::State},
    ports::register::Port,
};

/// A port that changes more often than [`MOST_CHANGES`] times in this time is flapping.
pub const FLAP_WINDOW: Duration = Duration::from_secs(600);
/// How often it may change in that time.
pub const MOST_CHANGES: usize = 3;

/// Why a port has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its owner bound it, began to listen, or ended that, and lives on.
    Owner,
    /// The process that had it has ended by itself.
    Ended,
    /// An administrator stopped the unit that had it.
    Stopped,
    /// Another policy is in force.
    Policy,
    /// It was found so: nobody saw when it changed.
    Found,
}

impl Cause {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Ended => "ended",
            Self::Stopped => "stopped",
            Self::Policy => "policy",
            Self::Found => "found",
        }
    }

    /// How bad it is that a port isn't as expected because of it: what an administrator
    /// wanted is told, too, but as news.
    const fn level(self) -> Level {
        match self {
            Self::Stopped => Level::Notice,
            _ => Level::Warning,
        }
    }
}

/// How bad something is, by syslog's levels; what is worse comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Somebody wanted it so.
    Notice,
    /// A port is not as expected.
    Warning,
}

impl Level {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
        }
    }

    /// Its number in syslog.
    pub const fn priority(self) -> u8 {
        match self {
            Self::Notice => 5,
            Self::Warning => 4,
        }
    }
}

/// A port has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub port: Port,
    /// What it was.
    pub from: State,
    /// What it is now.
    pub to: State,
    /// What it is to be, if anything is expected of it.
    pub expected: Option<ExpectedState>,
    /// Why it has changed.
    pub cause: Cause,
}

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The port is not as expected, for longer than the hold-down.
    Broken,
    /// It changes all the time.
    Flapping,
}

impl Kind {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Flapping => "flapping",
        }
    }
}

/// Something that somebody should look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert {
    /// The port.
    pub port: Port,
    /// What it is about.
    pub kind: Kind,
    /// How bad it is.
    pub level: Level,
    /// What the port is.
    pub state: State,
    /// What it is to be.
    pub expected: ExpectedState,
    /// Why it is not: of flapping the last reason.
    pub cause: Cause,
    /// When it began.
    pub since: Duration,
}

/// What is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// A port has changed: an event, whatever is expected.
    Event(Change),
    /// There is an alert. One that is there already is told again only if it has become
    /// another kind, or worse.
    Raised(Alert),
    /// What was raised is over, once for all of it.
    Cleared {
        /// The alert as it was raised last; its `state` is what the port is now.
        alert: Alert,
        /// How long it was so.
        lasted: Duration,
    },
}

/// What is known of a port that something is expected of.
#[derive(Clone, Debug)]
struct Watched {
    state: State,
    expected: ExpectedState,
    /// When the last changes were, and how bad they are; older ones are forgotten.
    changes: VecDeque<(Duration, Level)>,
    /// It is not as expected: since when, and how bad that is.
    broken: Option<(Duration, Level)>,
    /// Why it is not, or was not the last time.
    cause: Cause,
    raised: Option<Alert>,
}

/// The alerts about all ports.
#[derive(Clone, Debug)]
pub struct Alerts {
    hold_down: Duration,
    ports: BTreeMap<Port, Watched>,
}

impl Alerts {
    /// None yet. A port must be broken for `hold_down` to be worth one.
    pub const fn new(hold_down: Duration) -> Self {
        Self {
            hold_down,
            ports: BTreeMap::new(),
        }
    }

    /// From now on a port must be broken for so long; what is raised stays so.
    pub const fn set_hold_down(&mut self, hold_down: Duration) {
        self.hold_down = hold_down;
    }

    /// A port has changed.
    pub fn observe(&mut self, change: Change, now: Duration) -> Vec<Output> {
        let hold_down = self.hold_down;
        let mut outputs = vec![Output::Event(change)];
        let Change {
            port, to, cause, ..
        } = change;
        if let Some(watched) = self.watch(port, to, change.expected, now, &mut outputs) {
            watched.become_state(to, cause, now);
            watched.note_change(now);
            watched.judge(port, hold_down, now, &mut outputs);
        }
        outputs
    }

    /// What a port is, and what is expected of it, is known now, though nothing has
    /// changed: at the start, and with each new policy. That is no change of the port.
    pub fn settle(
        &mut self,
        port: Port,
        state: State,
        expected: Option<ExpectedState>,
        now: Duration,
    ) -> Vec<Output> {
        let hold_down = self.hold_down;
        let mut outputs = Vec::new();
        if let Some(watched) = self.watch(port, state, expected, now, &mut outputs) {
            watched.become_state(state, Cause::Found, now);
            watched.judge(port, hold_down, now, &mut outputs);
        }
        outputs
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration) -> Vec<Output> {
        let mut outputs = Vec::new();
        for (port, watched) in &mut self.ports {
            watched.judge(*port, self.hold_down, now, &mut outputs);
        }
        outputs
    }

    /// When [`Self::tick`] has something to say next, if nothing changes until then.
    pub fn next_deadline(&self) -> Option<Duration> {
        let deadlines = self.ports.values();
        deadlines
            .filter_map(|one| one.deadline(self.hold_down))
            .min()
    }

    /// The ports that something was expected of.
    pub fn ports(&self) -> impl Iterator<Item = Port> {
        self.ports.keys().copied()
    }

    /// Those that are raised, in the order of the ports.
    pub fn raised(&self) -> impl Iterator<Item = &Alert> {
        self.ports.values().filter_map(|one| one.raised.as_ref())
    }

    /// What is known of `port`. Nothing, if nothing is expected of it any more: then what
    /// was raised is over.
    fn watch(
        &mut self,
        port: Port,
        state: State,
        expected: Option<ExpectedState>,
        now: Duration,
        outputs: &mut Vec<Output>,
    ) -> Option<&mut Watched> {
        let Some(expected) = expected else {
            if let Some(mut watched) = self.ports.remove(&port) {
                watched.state = state;
                watched.clear(now, outputs);
            }
            return None;
        };
        let watched = self.ports.entry(port).or_insert_with(|| Watched {
            state,
            expected,
            changes: VecDeque::new(),
            broken: None,
            cause: Cause::Found,
            raised: None,
        });
        watched.expected = expected;
        Some(watched)
    }
}

impl Watched {
    fn become_state(&mut self, state: State, cause: Cause, now: Duration) {
        self.state = state;
        if is_met(self.expected, state) {
            self.broken = None;
            return;
        }
        let level = cause.level();
        self.broken = match self.broken {
            // What is found to be as it was before is no new reason.
            Some(_) if cause == Cause::Found => return,
            Some((since, before)) => Some((since, before.max(level))),
            None => Some((now, level)),
        };
        self.cause = cause;
    }

    /// The state has changed; that it is as expected again is nothing bad.
    fn note_change(&mut self, now: Duration) {
        let level = match self.broken {
            Some(_) => self.cause.level(),
            None => Level::Notice,
        };
        self.changes.push_back((now, level));
        while self.changes.len() > MOST_CHANGES + 1 {
            self.changes.pop_front();
        }
    }

    /// When what makes it flapping will be forgotten; `None` if nothing does.
    fn flaps_until(&self) -> Option<Duration> {
        let (oldest, _) = self.changes.front()?;
        (self.changes.len() > MOST_CHANGES).then_some(*oldest + FLAP_WINDOW)
    }

    /// Raises and clears what is to be.
    fn judge(&mut self, port: Port, hold_down: Duration, now: Duration, outputs: &mut Vec<Output>) {
        let is_flapping = self.flaps_until().is_some_and(|until| now < until);
        let is_raised = |kind| self.raised.is_some_and(|raised| raised.kind == kind);
        let (kind, level, since) = match (is_flapping, self.broken, self.changes.front()) {
            (true, broken, Some((first, _))) => {
                let levels = self.changes.iter().map(|(_, level)| *level);
                let level = levels.chain(broken.map(|(_, level)| level)).max();
                let since = broken.map_or(*first, |(since, _)| since.min(*first));
                (Kind::Flapping, level.unwrap_or(Level::Notice), since)
            }
            (_, Some((since, level)), _) if now >= since + hold_down || is_raised(Kind::Broken) => {
                (Kind::Broken, level, since)
            }
            // Perhaps it is a restart, or the next of many.
            (_, Some(_), _) => return,
            (_, None, _) => return self.clear(now, outputs),
        };
        let alert = Alert {
            port,
            kind,
            level,
            state: self.state,
            expected: self.expected,
            cause: self.cause,
            since: self.raised.map_or(since, |before| before.since),
        };
        match &mut self.raised {
            Some(before)
                if before.kind == kind
                    && before.level >= level
                    && before.expected == self.expected =>
            {
                before.state = alert.state;
                before.cause = alert.cause;
            }
            _ => {
                outputs.push(Output::Raised(alert));
                self.raised = Some(alert);
            }
        }
    }

    fn clear(&mut self, now: Duration, outputs: &mut Vec<Output>) {
        if let Some(alert) = self.raised.take() {
            let state = self.state;
            outputs.push(Output::Cleared {
                alert: Alert { state, ..alert },
                lasted: now.saturating_sub(alert.since),
            });
        }
    }

    /// When time alone makes something of it.
    fn deadline(&self, hold_down: Duration) -> Option<Duration> {
        let due = self.broken.map(|(since, _)| since + hold_down);
        match self.raised.map(|raised| raised.kind) {
            Some(Kind::Broken) => None,
            Some(Kind::Flapping) => self.flaps_until().max(due),
            None => due,
        }
    }
}
