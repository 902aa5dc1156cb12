//! What managers are told of without asking, and when: a state machine that is told of
//! changes and of the time, and knows nothing else.
//!
//! Nobody is told more than they can read: of a port that changes only what has stayed so for
//! a while, of the refusals of one entry one in a minute, of everything so many a second. What
//! becomes of a port is not forgotten for that, only told later, and as it is then; refusals
//! are counted meanwhile.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{policy::holdings::State, ports::register::Port};

/// The shortest time between two notices of one entry's refusals.
pub const BETWEEN_REFUSALS: Duration = Duration::from_secs(60);
/// Notices a second, and at once.
pub const MOST_AT_ONCE: u32 = 10;
/// Entries whose refusals are remembered apart; the others count as one.
const MOST_ENTRIES: usize = 1024;

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A port has become open, or ceased to be.
    Port {
        /// Which.
        port: Port,
        /// What it is.
        state: State,
        /// Who has it, or had it.
        process: String,
    },
    /// A bind was refused.
    Refused {
        /// Of which port.
        port: Port,
        /// For whom it is; empty if no entry says.
        jobname: String,
        /// Who wanted it.
        process: String,
        /// Why.
        reason: String,
        /// How many more refusals of the entry there were since the last notice of it.
        suppressed: u64,
    },
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What refused: what tells entries apart.
    pub entry: String,
    /// Of which port.
    pub port: Port,
    /// For whom it is.
    pub jobname: String,
    /// Who wanted it.
    pub process: String,
    /// Why.
    pub reason: String,
    /// How many there were.
    pub count: u64,
}

#[derive(Debug)]
struct Watched {
    /// Whether managers believe it to be open.
    is_told_open: bool,
    state: State,
    /// Since when it is so.
    since: Instant,
    process: String,
}

impl Watched {
    fn is_news(&self) -> bool {
        self.is_told_open != is_open(self.state)
    }
}

#[derive(Debug)]
struct Refused {
    /// Before then nothing is told.
    until: Instant,
    /// The last, and how many there were that nobody was told of.
    waiting: Option<(Refusal, u64)>,
}

/// What is to be told.
#[derive(Debug)]
pub struct Notices {
    hold_down: Duration,
    /// Whether somebody is there to be told.
    is_connected: bool,
    ports: BTreeMap<Port, Watched>,
    refused: BTreeMap<String, Refused>,
    /// How many may be told at once, as of that time.
    tokens: (u32, Instant),
}

/// Whether whoever asks there is answered.
const fn is_open(state: State) -> bool {
    matches!(state, State::Open | State::Contradicted)
}

impl Notices {
    /// Nothing yet. A port must be so for `hold_down` to be told of.
    pub const fn new(hold_down: Duration, now: Instant) -> Self {
        Self {
            hold_down,
            is_connected: false,
            ports: BTreeMap::new(),
            refused: BTreeMap::new(),
            tokens: (MOST_AT_ONCE, now),
        }
    }

    /// Whether somebody is there to be told. Refusals wait for nobody.
    pub fn set_connected(&mut self, is_connected: bool) {
        self.is_connected = is_connected;
        if !is_connected {
            self.refused.clear();
        }
    }

    /// A port has become another.
    pub fn port(&mut self, port: Port, from: State, to: State, process: String, now: Instant) {
        let watched = self.ports.entry(port).or_insert_with(|| Watched {
            is_told_open: is_open(from),
            state: from,
            since: now,
            process: String::new(),
        });
        if is_open(watched.state) != is_open(to) {
            watched.since = now;
        }
        watched.state = to;
        if !process.is_empty() {
            watched.process = process;
        }
    }

    /// A bind was refused.
    pub fn refusal(&mut self, refusal: Refusal, now: Instant) {
        if !self.is_connected {
            return;
        }
        let key =
            match self.refused.len() < MOST_ENTRIES || self.refused.contains_key(&refusal.entry) {
                true => refusal.entry.clone(),
                false => String::new(),
            };
        let refused = self.refused.entry(key).or_insert(Refused {
            until: now,
            waiting: None,
        });
        let before = refused.waiting.take().map_or(0, |(_, count)| count);
        let count = before + refusal.count;
        refused.waiting = Some((refusal, count));
    }

    /// When [`Self::take`] has something; `None` if that takes news.
    pub fn due(&self) -> Option<Instant> {
        if !self.is_connected {
            return None;
        }
        let ports = self.ports.values().filter(|watched| watched.is_news());
        let ports = ports.map(|watched| watched.since + self.hold_down);
        let refused = self.refused.values();
        let refused = refused.map(|refused| refused.until);
        let due = ports.chain(refused).min()?;
        Some(match self.tokens {
            (0, since) => due.max(since + Duration::from_secs(1)),
            _ => due,
        })
    }

    /// What is to be told now.
    pub fn take(&mut self, now: Instant) -> Vec<Notice> {
        let mut notices = Vec::new();
        if !self.is_connected {
            return notices;
        }
        if now >= self.tokens.1 + Duration::from_secs(1) {
            self.tokens = (MOST_AT_ONCE, now);
        }
        let hold_down = self.hold_down;
        for (port, watched) in &mut self.ports {
            if watched.is_news() && now >= watched.since + hold_down && spend(&mut self.tokens.0) {
                watched.is_told_open = is_open(watched.state);
                notices.push(Notice::Port {
                    port: *port,
                    state: watched.state,
                    process: watched.process.clone(),
                });
            }
        }
        // What is told, and what comes of a change and its undoing, is forgotten.
        self.ports.retain(|_, watched| watched.is_news());
        self.refused.retain(|_, refused| {
            if now < refused.until {
                return true;
            }
            let Some((refusal, count)) = refused.waiting.take() else {
                return false;
            };
            if !spend(&mut self.tokens.0) {
                refused.waiting = Some((refusal, count));
                return true;
            }
            refused.until = now + BETWEEN_REFUSALS;
            notices.push(Notice::Refused {
                port: refusal.port,
                jobname: refusal.jobname,
                process: refusal.process,
                reason: refusal.reason,
                suppressed: count - 1,
            });
            true
        });
        notices
    }
}

/// Whether one more may be told.
const fn spend(tokens: &mut u32) -> bool {
    match tokens.checked_sub(1) {
        Some(rest) => {
            *tokens = rest;
            true
        }
        None => false,
    }
}
