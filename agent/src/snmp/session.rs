//! A session with a master: a state machine that is told of messages and of the time, and
//! knows nothing else. What it returns is to be sent.

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use thiserror::Error;

use super::agentx::{
    Body, CloseReason, HEAD, Head, MOST_PAYLOAD, Message, SearchRange, Value, VarBind, encode,
    error,
};
use crate::oid::Oid;

/// How long the master may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// After what time without a word it is asked whether it is there.
pub const PING_AFTER: Duration = Duration::from_secs(15);
/// How long the master waits for us, in seconds: we answer from memory.
const TIMEOUT: u8 = 5;
/// The usual priority of a registration (RFC 2741, section 6.2.3).
const PRIORITY: u8 = 127;
/// Of several variables that are walked at once, so many steps at most.
const MOST_REPETITIONS: usize = 4096;

/// What variables there are.
pub trait Objects {
    /// The value of `name`, or that there is none.
    fn get(&self, name: &Oid) -> Value;

    /// The first variable behind `start`, or at it if it is included. `None` if there is none.
    fn next(&self, start: &Oid, includes_start: bool) -> Option<VarBind>;
}

/// Why a session is over.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum End {
    /// Somebody answers for the same variables.
    #[error("another subagent answers for {0} already")]
    Duplicate(Oid),
    /// The master refuses what we ask.
    #[error("the master refuses {what}: error {error} of AgentX")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Its answer.
        error: u16,
    },
    /// The master ended it.
    #[error("the master has ended the session ({0})")]
    Closed(&'static str),
    /// It doesn't answer.
    #[error("the master doesn't answer")]
    Silent,
}

/// What was asked of the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Open,
    Register,
    Capabilities,
    Ping,
    Notify,
}

impl Asked {
    const fn name(self) -> &'static str {
        match self {
            Self::Open => "a session",
            Self::Register => "the registration",
            Self::Capabilities => "the description of what is implemented",
            Self::Ping => "to answer",
            Self::Notify => "a notification",
        }
    }
}

/// A session, from the first message on.
#[derive(Debug)]
pub struct Session {
    base: Oid,
    /// Its number; `None` until the master has given one.
    number: Option<u32>,
    /// The variables are ours.
    is_registered: bool,
    /// The last message's number.
    packet: u32,
    /// What isn't answered yet, and until when it is to be.
    asked: BTreeMap<u32, (Asked, Instant)>,
    heard: Instant,
    /// The master's `sysUpTime` then.
    clock: (Instant, u32),
}

impl Session {
    /// Begins a session for the variables below `base`, with the message that is sent first.
    pub fn begin(base: Oid, now: Instant) -> (Self, Message) {
        let mut session = Self {
            base,
            number: None,
            is_registered: false,
            packet: 0,
            asked: BTreeMap::new(),
            heard: now,
            clock: (now, 0),
        };
        let open = Body::Open {
            timeout: TIMEOUT,
            id: session.base.clone(),
            description: format!("portreeve {}", env!("CARGO_PKG_VERSION")),
        };
        let message = session.ask(Asked::Open, open, now);
        (session, message)
    }

    /// Whether managers can ask for our variables.
    pub const fn is_registered(&self) -> bool {
        self.is_registered
    }

    /// The master's `sysUpTime` at `time`, in hundredths of a second.
    pub fn uptime(&self, time: Instant) -> u32 {
        let (at, ticks) = self.clock;
        let since = time.saturating_duration_since(at).as_millis() / 10;
        ticks.wrapping_add(since as u32)
    }

    /// Tells of `values`.
    pub fn notify(&mut self, values: Vec<VarBind>, now: Instant) -> Message {
        self.ask(Asked::Notify, Body::Notify(values), now)
    }

    /// The last message of a session that we end.
    pub fn close(&mut self) -> Message {
        self.packet += 1;
        self.message(self.packet, 0, Body::Close(CloseReason::Shutdown))
    }

    /// When [`Self::tick`] has something to do.
    pub fn due(&self) -> Instant {
        let deadlines = self.asked.values().map(|(_, until)| *until);
        deadlines.min().unwrap_or(self.heard + PING_AFTER)
    }

    /// Time has passed.
    ///
    /// # Errors
    ///
    /// If the master is silent for too long.
    pub fn tick(&mut self, now: Instant) -> Result<Option<Message>, End> {
        if self.asked.values().any(|(_, until)| *until <= now) {
            return Err(End::Silent);
        }
        let is_quiet = self.asked.is_empty() && now >= self.heard + PING_AFTER;
        Ok(is_quiet.then(|| self.ask(Asked::Ping, Body::Ping, now)))
    }

    /// The master says something; managers' questions are answered from `objects`.
    ///
    /// # Errors
    ///
    /// If the session is over.
    pub fn take(
        &mut self,
        message: &Message,
        objects: &dyn Objects,
        now: Instant,
    ) -> Result<Option<Message>, End> {
        self.heard = now;
        if let Body::Close(reason) = message.body {
            return Err(End::Closed(word(reason)));
        }
        if let Body::Response { uptime, error, .. } = message.body {
            return self.answered(message.head, uptime, error, now);
        }
        let body = match self.number == Some(message.head.session) {
            true => answer(&message.body, objects),
            false => Some(refusal(error::NOT_OPEN, 0)),
        };
        let Head {
            transaction,
            packet,
            ..
        } = message.head;
        Ok(body.map(|body| self.message(packet, transaction, body)))
    }

    fn answered(
        &mut self,
        head: Head,
        uptime: u32,
        error: u16,
        now: Instant,
    ) -> Result<Option<Message>, End> {
        let Some((asked, _)) = self.asked.remove(&head.packet) else {
            // To nothing that was asked: of no use, and no harm.
            return Ok(None);
        };
        self.clock = (now, uptime);
        match (asked, error) {
            (_, 0) => {}
            (Asked::Register, error::DUPLICATE_REGISTRATION) => {
                return Err(End::Duplicate(self.base.clone()));
            }
            // What is implemented may stay untold, and the next notification may get through.
            (Asked::Capabilities, _) => {}
            (Asked::Notify, error) if error != error::NOT_OPEN => {
                log::warn!("SNMP: {}: error {error} of AgentX", Asked::Notify.name());
            }
            (asked, error) => {
                return Err(End::Refused {
                    what: asked.name(),
                    error,
                });
            }
        }
        Ok(match asked {
            Asked::Open => {
                self.number = Some(head.session);
                let register = Body::Register {
                    timeout: 0,
                    priority: PRIORITY,
                    subtree: self.base.clone(),
                };
                Some(self.ask(Asked::Register, register, now))
            }
            Asked::Register => {
                self.is_registered = true;
                let capabilities = Body::AddAgentCaps {
                    id: self.base.clone(),
                    description: "The MIB module PORTREEVE-MIB".into(),
                };
                Some(self.ask(Asked::Capabilities, capabilities, now))
            }
            Asked::Capabilities | Asked::Ping | Asked::Notify => None,
        })
    }

    fn ask(&mut self, asked: Asked, body: Body, now: Instant) -> Message {
        self.packet += 1;
        self.asked.insert(self.packet, (asked, now + PATIENCE));
        self.message(self.packet, 0, body)
    }

    fn message(&self, packet: u32, transaction: u32, body: Body) -> Message {
        let head = Head {
            session: self.number.unwrap_or(0),
            transaction,
            packet,
        };
        Message { head, body }
    }
}

const fn word(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Other => "it says no reason",
        CloseReason::ParseError => "it could not read a message",
        CloseReason::ProtocolError => "a message made no sense to it",
        CloseReason::Timeouts => "answers took too long",
        CloseReason::Shutdown => "it ends",
        CloseReason::ByManager => "a manager asked for it",
    }
}

const fn refusal(error: u16, index: u16) -> Body {
    Body::Response {
        uptime: 0,
        error,
        index,
        values: Vec::new(),
    }
}

/// The answer to what a master asks; `None` where none is to be given.
fn answer(body: &Body, objects: &dyn Objects) -> Option<Body> {
    let values = match body {
        Body::Get(ranges) => {
            let get = |range: &SearchRange| VarBind {
                name: range.start.clone(),
                value: objects.get(&range.start),
            };
            ranges.iter().map(get).collect()
        }
        Body::GetNext(ranges) => ranges.iter().map(|range| next(range, objects)).collect(),
        Body::GetBulk {
            non_repeaters,
            max_repetitions,
            ranges,
        } => bulk(
            (*non_repeaters).into(),
            (*max_repetitions).into(),
            ranges,
            objects,
        ),
        // Nothing can be written.
        Body::TestSet(_) => return Some(refusal(error::NOT_WRITABLE, 1)),
        Body::CommitSet => return Some(refusal(error::COMMIT_FAILED, 1)),
        Body::UndoSet => return Some(refusal(error::UNDO_FAILED, 1)),
        Body::Ping => Vec::new(),
        // The protocol says so of the first; the others are answers or have ended the session.
        Body::CleanupSet | Body::Response { .. } | Body::Close(_) => return None,
        Body::Other {
            has_context: true, ..
        } => return Some(refusal(error::UNSUPPORTED_CONTEXT, 0)),
        Body::Open { .. }
        | Body::Register { .. }
        | Body::AddAgentCaps { .. }
        | Body::Notify(_)
        | Body::Other { .. } => return Some(refusal(error::PROCESSING, 0)),
    };
    let response = Body::Response {
        uptime: 0,
        error: 0,
        index: 0,
        values,
    };
    let head = Head::default();
    let message = Message {
        head,
        body: response,
    };
    match encode(&message).len() <= HEAD + MOST_PAYLOAD {
        true => Some(message.body),
        false => Some(refusal(error::TOO_BIG, 0)),
    }
}

/// What comes after the start of `range` and before its end.
fn next(range: &SearchRange, objects: &dyn Objects) -> VarBind {
    let found = objects.next(&range.start, range.includes_start);
    let is_before_end = |found: &VarBind| range.end.numbers().is_empty() || found.name < range.end;
    found.filter(is_before_end).unwrap_or_else(|| VarBind {
        name: range.start.clone(),
        value: Value::EndOfView,
    })
}

/// The next of the first `non_repeaters`, and so many of each other in turn as there are, as
/// are asked for, and as fit into one message.
fn bulk(
    non_repeaters: usize,
    max_repetitions: usize,
    ranges: &[SearchRange],
    objects: &dyn Objects,
) -> Vec<VarBind> {
    let (once, often) = ranges.split_at(non_repeaters.min(ranges.len()));
    let mut values: Vec<VarBind> = once.iter().map(|range| next(range, objects)).collect();
    let mut often = often.to_vec();
    let mut room = MOST_PAYLOAD / 2;
    for _ in 0..max_repetitions.min(MOST_REPETITIONS) {
        let round: Vec<VarBind> = often.iter().map(|range| next(range, objects)).collect();
        let is_over = round.iter().all(|found| found.value == Value::EndOfView);
        for (range, found) in often.iter_mut().zip(&round) {
            range.start = found.name.clone();
            range.includes_start = false;
        }
        // Nothing of ours takes more: the longest name, and a text of 255 bytes.
        const MOST_OF_ONE: usize = 400;
        let size = round.len() * MOST_OF_ONE;
        if !values.is_empty() && size > room {
            break;
        }
        room = room.saturating_sub(size);
        values.extend(round);
        if is_over || often.is_empty() {
            break;
        }
    }
    values
}
