//! From the ring to records that people and programs read.

mod callers;
mod decode;
mod queue;

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    rc::{Rc, Weak},
};

use nix::errno::Errno;
use portreeve_common::{
    Reason,
    abi::{Event, Feature, Hook, MAX_REPEATS, Protocol, RepeatKey, Repeats},
    reason::{EADDRINUSE, EPERM},
};

use self::{
    callers::Cgroups,
    decode::{address, comm_bytes, text_of, wall_clock},
    queue::{Group, Queue},
};
pub use self::{
    decode::{decode, moment, since_boot},
    queue::Follower,
};
use super::protocol::{EventEntry, EventRecord, Rewritten};
use crate::{kernel::features::Features, policy::build::Policy};

/// Events that are kept for `events` without `--follow`, and those that may wait
/// for one who follows.
pub const KEPT: usize = 1000;
/// Policies whose entries can still be named, the one in force included.
const GENERATIONS: usize = 8;
const SECOND: u64 = 1_000_000_000;
/// How long after the end of a second a bind that was judged in it may still be counted.
const GRACE: u64 = SECOND / 10;

/// The events that were seen lately, and those who wait for more.
pub struct EventLog {
    kept: Queue,
    followers: Vec<Weak<Follower>>,
    policies: VecDeque<(u32, Rc<Policy>)>,
    cgroups: Cgroups,
    /// The last event of each key that can still get repetitions.
    told: HashMap<RepeatKey, EventRecord>,
    /// What the kernel has.
    features: Features,
    /// When the newest event was made.
    newest: u64,
    /// How each event is printed to standard output, if it is.
    pub print: Option<fn(&EventRecord) -> String>,
}

impl EventLog {
    /// Nothing seen yet, on a kernel that has `features`.
    pub fn new(hierarchy: Option<PathBuf>, features: Features) -> Self {
        Self {
            kept: Queue::new(KEPT),
            followers: Vec::new(),
            policies: VecDeque::new(),
            cgroups: Cgroups::new(hierarchy),
            told: HashMap::new(),
            features,
            newest: 0,
            print: None,
        }
    }

    /// Events of `generation` are about the entries of `policy`.
    pub fn publish(&mut self, generation: u32, policy: Rc<Policy>) {
        self.policies.push_front((generation, policy));
        self.policies.truncate(GENERATIONS);
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

    fn tell(&mut self, key: RepeatKey, record: &EventRecord) {
        let Ok(line) = serde_json::to_string(record) else {
            return;
        };
        let (group, line) = (Group::of(key), Rc::<str>::from(line));
        self.followers.retain(|follower| {
            let follower = follower.upgrade();
            if let Some(follower) = &follower {
                follower.push(group, Rc::clone(&line));
            }
            follower.is_some()
        });
        self.kept.push(group, line);
        if let Some(print) = self.print {
            crate::report::line(&print(record));
        }
    }

    /// The events that are kept, oldest first, as lines of JSON.
    pub fn kept(&self) -> Vec<Rc<str>> {
        self.kept.iter().map(|(_, line)| Rc::clone(line)).collect()
    }

    /// The events that are kept and every one from now on.
    pub fn follow(&mut self) -> Rc<Follower> {
        let follower = Rc::new(Follower::new(self.kept.iter(), KEPT));
        self.followers.push(Rc::downgrade(&follower));
        follower
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
        let (_, policy) = policies.find(|(number, _)| *number == generation)?;
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
mod tests {
    use portreeve_common::abi::NO_ENTRY;

    use super::*;

    fn event(flags: u8) -> Event {
        Event {
            time: 5 * SECOND + 1,
            cgroup: u64::MAX,
            address: [0; 4],
            bound: [0; 4],
            comm: [u64::from_ne_bytes(*b"nfsd\0\0\0\0"), 0],
            pid: u32::MAX,
            uid: 7,
            generation: 1,
            entry: NO_ENTRY,
            line: 0,
            port: 700,
            reason: Reason::LowPort as u16,
            hook: Hook::Bind4 as u8,
            protocol: Protocol::Udp as u8,
            flags,
            reserved: [0; 5],
        }
    }

    fn kept(log: &EventLog) -> Vec<EventRecord> {
        let lines = log.kept();
        let read = |line: &Rc<str>| serde_json::from_str(line).unwrap();
        lines.iter().map(read).collect()
    }

    #[test]
    fn the_errno_is_what_the_caller_saw() {
        let mut log = EventLog::new(None, Features::ALL);
        for flags in [0, Event::KERNEL, Event::AUDIT, Event::AUDIT | Event::KERNEL] {
            log.add(&event(flags));
        }
        let mut family = event(0);
        family.reason = Reason::AddressFamily as u16;
        log.add(&family);
        let events = kept(&log);
        let errnos: Vec<Option<&str>> = events.iter().map(|e| e.errno.as_deref()).collect();
        let expected = [
            Some("EACCES"),
            Some("EADDRINUSE"),
            None,
            None,
            Some("EAFNOSUPPORT"),
        ];
        assert_eq!(errnos, expected);
        assert_eq!([events[0].kernel, events[1].kernel], [false, true]);
        assert_eq!(events[0].cgroup, format!("#{}", u64::MAX));
    }

    #[test]
    fn of_a_listener_it_is_told_what_became_of_it() {
        let mut log = EventLog::new(None, Features::ALL);
        let mut listened = event(Event::AFTERWARDS);
        listened.hook = Hook::Listen as u8;
        log.add_destroyed(&listened, "destroyed");
        log.add(&listened);
        listened.flags |= Event::AUDIT;
        log.add(&listened);
        listened.reason = Reason::UnreservedPermitted as u16;
        listened.flags = Event::AFTERWARDS;
        log.add(&listened);
        let events = kept(&log);
        let found: Vec<_> = events
            .iter()
            .map(|e| {
                (
                    e.verdict.as_str(),
                    e.errno.as_deref(),
                    e.listener.as_deref(),
                )
            })
            .collect();
        let expected = [
            ("deny", None, Some("destroyed")),
            ("deny", None, Some("late")),
            ("would-deny", None, None),
            ("allow", None, None),
        ];
        assert_eq!(found, expected);
        // Nobody knows of those that were not told.
        let key = RepeatKey {
            second: 5,
            ..RepeatKey::of(&Event {
                reason: Reason::LowPort as u16,
                ..listened
            })
        };
        log.add_repeats(
            6,
            vec![(
                key,
                Repeats {
                    told: 32,
                    suppressed: 2,
                },
            )],
        );
        let last = kept(&log).pop().unwrap();
        assert_eq!((last.repeated, last.listener, last.errno), (2, None, None));
    }

    #[test]
    fn repetitions_are_told_like_the_last_of_them() {
        let mut log = EventLog::new(None, Features::ALL);
        let told = event(0);
        log.add(&told);
        let key = RepeatKey::of(&told);
        let silent = RepeatKey { uid: 8, ..key };
        let repeats = |suppressed| Repeats {
            told: 32,
            suppressed,
        };
        let taken = vec![(silent, repeats(3)), (key, repeats(4711))];
        log.add_repeats(6, taken);
        let events = kept(&log);
        let like_it = EventRecord {
            repeated: 4711,
            ..events[0].clone()
        };
        assert_eq!(events[1], like_it);
        // Nothing is known of those but what they have in common.
        let unknown = &events[2];
        assert_eq!((unknown.uid, unknown.repeated, unknown.pid), (8, 3, None));
        assert_eq!(unknown.errno.as_deref(), Some("EACCES"));
        assert_eq!((&unknown.comm, &unknown.hook), (&None, &None));
        // Whoever was told once makes no event of its own for nothing.
        log.add_repeats(7, vec![(key, repeats(0))]);
        assert_eq!(log.kept().len(), 3);
        assert!(log.told.is_empty());
    }

    /// With a backlog the ring may still hold what repetitions are like.
    #[test]
    fn a_second_is_complete_when_its_events_are_in() {
        let mut log = EventLog::new(None, Features::ALL);
        assert_eq!(log.complete_before(true), 0);
        let mut late = event(0);
        for (time, second) in [(5 * SECOND + GRACE, 5), (6 * SECOND + GRACE - 1, 5)] {
            late.time = time;
            log.add(&late);
            assert_eq!(log.complete_before(true), second);
        }
        assert!(log.complete_before(false) > 0);
    }
}
