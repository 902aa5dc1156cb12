//! From the ring to records that people and programs read.

mod callers;
mod decode;
mod queue;
mod stream;

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use nix::errno::Errno;
use portreeve_common::{
    Reason,
    abi::{Event, Feature, Hook, MAX_REPEATS, Protocol, RepeatKey, Repeats},
    reason::{EADDRINUSE, EPERM},
};

use self::decode::address;
pub use self::{
    callers::Cgroups,
    decode::{comm_bytes, moment, since_boot, text_of, wall_clock},
    queue::{Follower, Group},
    stream::Stream,
};
use super::{
    outputs,
    protocol::{EventEntry, EventRecord, Rewritten},
};
use crate::{kernel::features::Features, policy::build::Policy};

/// Events that are kept for `events` without `--follow`, and those that may wait
/// for one who follows.
pub const KEPT: usize = 1000;
/// Policies whose entries can still be named, the one in force included.
const GENERATIONS: usize = 8;
const SECOND: u64 = 1_000_000_000;
/// How long after the end of a second a bind that was judged in it may still be counted.
const GRACE: u64 = SECOND / 10;

/// How long a policy is known when another one is in force.
const KNOWN_FOR: Duration = Duration::from_secs(60);

/// A policy whose entries can be named.
struct Known {
    generation: u32,
    policy: Arc<Policy>,
    /// When another one took its place.
    until: Option<Instant>,
}

/// The events that were seen lately, and those who wait for more.
pub struct EventLog {
    lines: Stream,
    policies: VecDeque<Known>,
    cgroups: Cgroups,
    /// The last event of each key that can still get repetitions.
    told: HashMap<RepeatKey, EventRecord>,
    /// What the kernel has.
    features: Features,
    /// When the newest event was made.
    newest: u64,
}

impl EventLog {
    /// Nothing seen yet, on a kernel that has `features`.
    pub fn new(hierarchy: Option<PathBuf>, features: Features) -> Self {
        Self {
            lines: Stream::new(KEPT),
            policies: VecDeque::new(),
            cgroups: Cgroups::new(hierarchy),
            told: HashMap::new(),
            features,
            newest: 0,
        }
    }

    /// Events of `generation` are about the entries of `policy`.
    pub fn publish(&mut self, generation: u32, policy: Arc<Policy>) {
        if let Some(before) = self.policies.front_mut() {
            before.until = Some(Instant::now());
        }
        self.policies.push_front(Known {
            generation,
            policy,
            until: None,
        });
        self.policies.truncate(GENERATIONS);
    }

    /// Forgets policies that were in force so long ago that every event of them has been
    /// taken in: without a backlog the ring holds none that is older than moments. Whether
    /// there was one.
    pub fn forget_policies(&mut self) -> bool {
        let known = self.policies.len();
        let is_late = |known: &Known| known.until.is_some_and(|until| until.elapsed() > KNOWN_FOR);
        self.policies.retain(|known| !is_late(known));
        self.policies.len() < known
    }

    /// Takes in one event and hands it to those who follow.
    pub fn add(&mut self, event: &Event) {
        self.newest = self.newest.max(event.time);
        // Of those that are destroyed it is told what became of them.
        let refused = Reason::from_code(event.reason).is_some_and(Reason::refuses);
        let is_left = refused && event.flags & RepeatKey::FLAGS == Event::AFTERWARDS;
        self.take_in(event, is_left.then_some(LATE));
    }

    /// Takes in the event of a listener that `fate` became of.
    pub fn add_destroyed(&mut self, event: &Event, fate: &'static str) {
        self.take_in(event, Some(fate));
    }

    fn take_in(&mut self, event: &Event, listener: Option<&'static str>) {
        let key = RepeatKey::of(event);
        if let Some(mut record) = self.record(event) {
            record.listener = listener.map(str::to_owned);
            if record.verdict != ALLOW {
                // More are not counted either.
                if self.told.len() >= MAX_REPEATS as usize {
                    self.told.clear();
                }
                self.told.insert(key, record.clone());
            }
            self.tell(key, &record);
        }
    }

    /// The first second whose repetitions are not complete, or may be of events that
    /// were not taken in yet: with a `backlog` the ring holds newer ones than those.
    pub fn complete_before(&self, backlog: bool) -> u32 {
        let until = if backlog { self.newest } else { since_boot() };
        (until.saturating_sub(GRACE) / SECOND) as u32
    }

    /// Takes in all refusals of seconds before `second` that made no event of their own.
    pub fn add_repeats(&mut self, second: u32, mut repeats: Vec<(RepeatKey, Repeats)>) {
        repeats.sort_by_key(|(key, _)| (key.second, key.cgroup, key.uid, key.entry));
        for (key, repeats) in repeats {
            if repeats.suppressed > 0
                && let Some(record) = self.record_of_repeats(&key, repeats.suppressed)
            {
                self.tell(key, &record);
            }
        }
        self.told.retain(|key, _| key.second >= second);
    }

    /// Whether there may be repetitions of what was told.
    pub fn expects_repeats(&self) -> bool {
        !self.told.is_empty()
    }

    fn tell(&mut self, key: RepeatKey, record: &EventRecord) {
        let Ok(line) = serde_json::to_string(record) else {
            return;
        };
        self.lines.push(Group::of(key), line.into());
        outputs::event(record);
    }

    /// The events that are kept, oldest first, as lines of JSON.
    pub fn kept(&self) -> Vec<Rc<str>> {
        self.lines.kept()
    }

    /// The events that are kept and every one from now on.
    pub fn follow(&mut self) -> Rc<Follower> {
        self.lines.follow()
    }

    /// Every event from now on.
    pub fn follow_from_now(&mut self) -> Rc<Follower> {
        self.lines.follow_from_now()
    }

    fn record(&mut self, event: &Event) -> Option<EventRecord> {
        let hook = Hook::from_code(event.hook)?;
        let protocol = Protocol::ALL
            .into_iter()
            .find(|protocol| *protocol as u8 == event.protocol)?;
        let has = |flag: u8| event.flags & flag != 0;
        let cgroup = self.cgroups.path(event.cgroup, Some(event.pid));
        let policy = self.policy(event.generation);
        let job = policy.and_then(|policy| callers::job(&policy.jobs, event, cgroup.as_deref()));
        let entry = self.entry(event.generation, event.entry, event.line);
        // A security module always says which.
        let chooses = hook == Hook::Listen || self.features.has(Feature::Errno);
        let outcome = Outcome::new(event.reason, event.flags, chooses)?;
        let from = address(hook, event.address);
        let rewritten = has(Event::REWRITTEN).then(|| Rewritten {
            from: from.clone(),
            to: address(hook, event.bound),
        });
        let sharing = [
            (Event::SHARED, "switched-on"),
            (Event::UNSHARED, "switched-off"),
            (Event::SHARING_FAILED, "failed"),
        ];
        let sharing = sharing.into_iter().find(|(flag, _)| has(*flag));
        Some(EventRecord {
            time: wall_clock(event.time),
            hook: Some(hook.name().into()),
            verdict: outcome.verdict.into(),
            reason: outcome.reason.id().into(),
            errno: outcome.errno,
            protocol: Some(protocol.name().into()),
            address: Some(from),
            port: Some(event.port),
            pid: Some(event.pid),
            comm: Some(text_of(comm_bytes(event.comm))),
            job,
            kernel: has(Event::KERNEL),
            uid: event.uid,
            cgroup: path_or_id(cgroup, event.cgroup),
            granted: has(Event::GRANTED),
            rewritten,
            sharing: sharing.map(|(_, what)| what.into()),
            listener: None,
            generation: event.generation,
            entry,
            repeated: 0,
        })
    }

    /// What is said of `count` refusals: what the last of them that was told had, or
    /// else what they have in common.
    fn record_of_repeats(&mut self, key: &RepeatKey, count: u64) -> Option<EventRecord> {
        if let Some(record) = self.told.remove(key) {
            return Some(EventRecord {
                repeated: count,
                // Each has a fate of its own.
                listener: None,
                ..record
            });
        }
        let chooses = self.features.has(Feature::Errno);
        let outcome = Outcome::new(key.reason as u16, key.flags as u8, chooses)?;
        let entry = self.entry(key.generation, key.entry, 0);
        let reservation = self
            .policy(key.generation)
            .and_then(|policy| policy.reservation_of(key.entry));
        let protocol = reservation.map(|reservation| reservation.protocol.name().into());
        Some(EventRecord {
            time: wall_clock(u64::from(key.second) * SECOND),
            hook: None,
            verdict: outcome.verdict.into(),
            reason: outcome.reason.id().into(),
            errno: outcome.errno,
            protocol,
            address: None,
            port: None,
            pid: None,
            comm: None,
            job: None,
            kernel: false,
            uid: key.uid,
            cgroup: path_or_id(self.cgroups.path(key.cgroup, None), key.cgroup),
            granted: false,
            rewritten: None,
            sharing: None,
            listener: None,
            generation: key.generation,
            entry,
            repeated: count,
        })
    }

    fn policy(&self, generation: u32) -> Option<&Policy> {
        let mut policies = self.policies.iter();
        let known = policies.find(|known| known.generation == generation)?;
        let policy = &known.policy;
        Some(policy)
    }

    /// Entry `index` of a policy, of which at least the line may be known.
    fn entry(&self, generation: u32, index: u32, line: u32) -> Option<EventEntry> {
        let place = self.policy(generation).and_then(|policy| {
            let reservation = policy.reservation_of(index)?;
            Some(policy.place_of(reservation))
        });
        match place {
            Some(place) => Some(EventEntry {
                file: Some(place.file),
                line: place.line,
                text: Some(place.text),
            }),
            None if line > 0 => Some(EventEntry {
                file: None,
                line,
                text: None,
            }),
            None => None,
        }
    }
}

/// A bind that goes on, or would anyway.
const ALLOW: &str = "allow";
/// What is said of a listener that came too fast to be named: it is destroyed with all
/// others like it that still listen.
const LATE: &str = "late";

/// What became of a bind.
struct Outcome {
    verdict: &'static str,
    reason: Reason,
    errno: Option<String>,
}

impl Outcome {
    /// `chooses` says whether the errno of a refusal is ours to choose. `None` if a program
    /// of another version said it.
    fn new(reason: u16, flags: u8, chooses: bool) -> Option<Self> {
        let reason = Reason::from_code(reason)?;
        let has = |flag: u8| flags & flag != 0;
        let (verdict, errno) = match reason.errno() {
            None => (ALLOW, None),
            Some(_) if has(Event::AUDIT) => ("would-deny", None),
            Some(_) if has(Event::AFTERWARDS) => ("deny", None),
            Some(_) if !chooses => ("deny", Some(EPERM)),
            Some(_) if has(Event::KERNEL) => ("deny", Some(EADDRINUSE)),
            Some(errno) => ("deny", Some(errno)),
        };
        Some(Self {
            verdict,
            reason,
            errno: errno.map(|errno| format!("{:?}", Errno::from_raw(errno.into()))),
        })
    }
}

fn path_or_id(path: Option<String>, id: u64) -> String {
    path.unwrap_or_else(|| format!("#{id}"))
}

#[cfg(test)]
mod tests;
