//! From the ring to records that people and programs read.

use std::{
    collections::{HashMap, VecDeque},
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    rc::Rc,
};

use nix::time::{ClockId, clock_gettime};
use portreeve_common::{
    Reason,
    abi::{Event, Hook, Protocol},
    jobname::Name,
};
use tokio::sync::broadcast;

use super::protocol::{EventEntry, EventRecord};
use crate::policy::build::Policy;

/// Events that are kept for `events` without `--follow`.
pub const KEPT: usize = 1000;
/// Policies whose entries can still be named, the one in force included.
const GENERATIONS: usize = 8;
/// Paths of cgroups that are remembered.
const CGROUPS: usize = 4096;

/// The event in a ring element; `None` if it is not one of this layout.
pub fn decode(bytes: &[u8]) -> Option<Event> {
    let bytes: &[u8; size_of::<Event>()] = bytes.try_into().ok()?;
    let u64_at = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let u16_at = |at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    Some(Event {
        time: u64_at(0)?,
        cgroup: u64_at(8)?,
        address: [u32_at(16)?, u32_at(20)?, u32_at(24)?, u32_at(28)?],
        bound: [u32_at(32)?, u32_at(36)?, u32_at(40)?, u32_at(44)?],
        comm: [u64_at(48)?, u64_at(56)?],
        pid: u32_at(64)?,
        uid: u32_at(68)?,
        generation: u32_at(72)?,
        entry: u32_at(76)?,
        line: u32_at(80)?,
        port: u16_at(84)?,
        reason: u16_at(86)?,
        hook: bytes[88],
        protocol: bytes[89],
        flags: bytes[90],
        reserved: [0; 5],
    })
}

/// The events that were seen lately, and those who wait for more.
pub struct EventLog {
    kept: VecDeque<Rc<str>>,
    followers: broadcast::Sender<String>,
    policies: VecDeque<(u32, Rc<Policy>)>,
    cgroups: HashMap<u64, String>,
    /// Root of the cgroup v2 hierarchy, to tell a cgroup's path.
    hierarchy: Option<PathBuf>,
}

impl EventLog {
    /// Nothing seen yet.
    pub fn new(hierarchy: Option<PathBuf>) -> Self {
        Self {
            kept: VecDeque::new(),
            followers: broadcast::channel(KEPT).0,
            policies: VecDeque::new(),
            cgroups: HashMap::new(),
            hierarchy,
        }
    }

    /// Events of `generation` are about the entries of `policy`.
    pub fn publish(&mut self, generation: u32, policy: Rc<Policy>) {
        self.policies.push_front((generation, policy));
        self.policies.truncate(GENERATIONS);
    }

    /// Takes in one event and hands it to those who follow.
    pub fn add(&mut self, event: &Event) -> Option<EventRecord> {
        let record = self.record(event)?;
        let line = serde_json::to_string(&record).ok()?;
        self.kept.push_back(line.as_str().into());
        if self.kept.len() > KEPT {
            self.kept.pop_front();
        }
        // Without a follower the send fails, which is fine.
        let _ = self.followers.send(line);
        Some(record)
    }

    /// The events that are kept, oldest first, as lines of JSON.
    pub fn kept(&self) -> Vec<Rc<str>> {
        self.kept.iter().cloned().collect()
    }

    /// Every event from now on, as lines of JSON.
    pub fn follow(&self) -> broadcast::Receiver<String> {
        self.followers.subscribe()
    }

    fn record(&mut self, event: &Event) -> Option<EventRecord> {
        let reason = Reason::from_code(event.reason)?;
        let hook = Hook::from_code(event.hook)?;
        let protocol = Protocol::ALL
            .into_iter()
            .find(|p| *p as u8 == event.protocol)?;
        let audit = event.flags & Event::AUDIT != 0;
        let verdict = match (reason.refuses(), audit) {
            (false, _) => "allow",
            (true, false) => "deny",
            (true, true) => "would-deny",
        };
        Some(EventRecord {
            time: wall_clock(event.time),
            hook: hook.name().into(),
            verdict: verdict.into(),
            reason: reason.id().into(),
            errno: (reason.refuses() && !audit).then(|| "EACCES".into()),
            protocol: protocol.name().into(),
            address: address(hook, event.address),
            port: event.port,
            pid: event.pid,
            comm: text_of(comm_bytes(event.comm)),
            job: text_of(Name::from_comm(event.comm).bytes()),
            uid: event.uid,
            cgroup: self.cgroup(event),
            granted: event.flags & Event::GRANTED != 0,
            generation: event.generation,
            entry: self.entry(event),
            repeated: 0,
        })
    }

    fn entry(&self, event: &Event) -> Option<EventEntry> {
        let policy = self
            .policies
            .iter()
            .find(|(number, _)| *number == event.generation);
        let reservation = policy.and_then(|(_, policy)| {
            let reservation = policy.reservation_of(event.entry)?;
            Some(policy.place_of(reservation))
        });
        match reservation {
            Some(place) => Some(EventEntry {
                file: Some(place.file),
                line: place.line,
                text: Some(place.text),
            }),
            None if event.line > 0 => Some(EventEntry {
                file: None,
                line: event.line,
                text: None,
            }),
            None => None,
        }
    }

    /// The path of the caller's cgroup. Ids are never used twice, so a path once
    /// found stays right; a new one is looked up while the process is there.
    fn cgroup(&mut self, event: &Event) -> String {
        if let Some(path) = self.cgroups.get(&event.cgroup) {
            return path.clone();
        }
        let found = self.look_up_cgroup(event);
        if let Some(path) = &found {
            if self.cgroups.len() >= CGROUPS {
                self.cgroups.clear();
            }
            self.cgroups.insert(event.cgroup, path.clone());
        }
        found.unwrap_or_else(|| format!("#{}", event.cgroup))
    }

    fn look_up_cgroup(&self, event: &Event) -> Option<String> {
        let text = fs::read_to_string(format!("/proc/{}/cgroup", event.pid)).ok()?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
        // The process may have moved, or another may have its number by now.
        let directory = self.hierarchy.as_ref()?.join(path.trim_start_matches('/'));
        let metadata = fs::metadata(directory).ok()?;
        (metadata.ino() == event.cgroup).then(|| path.to_owned())
    }
}

fn comm_bytes(comm: [u64; 2]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&comm[0].to_ne_bytes());
    bytes[8..].copy_from_slice(&comm[1].to_ne_bytes());
    bytes
}

fn text_of(bytes: [u8; 16]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn address(hook: Hook, words: [u32; 4]) -> String {
    let mut bytes = [0; 16];
    for (target, word) in bytes.chunks_exact_mut(4).zip(words) {
        target.copy_from_slice(&word.to_ne_bytes());
    }
    if hook == Hook::Listen {
        Ipv6Addr::from(bytes).to_canonical().to_string()
    } else if hook.is_v6() {
        Ipv6Addr::from(bytes).to_string()
    } else {
        Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).to_string()
    }
}

/// Wall-clock time of an event, which carries the time since boot.
fn wall_clock(boot_ns: u64) -> String {
    let age = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |now| {
        (now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64).saturating_sub(boot_ns)
    });
    let now = jiff::Timestamp::now();
    let then = now
        .checked_sub(jiff::SignedDuration::from_nanos(age as i64))
        .unwrap_or(now);
    format!("{then:.6}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_their_family_does() {
        let v4 = [u32::from_ne_bytes([127, 0, 0, 1]), 0, 0, 0];
        assert_eq!(address(Hook::Bind4, v4), "127.0.0.1");
        let mapped = [0, 0, 0xffff_u32.to_be(), u32::from_ne_bytes([10, 0, 0, 1])];
        assert_eq!(address(Hook::Bind6, mapped), "::ffff:10.0.0.1");
        assert_eq!(address(Hook::Listen, mapped), "10.0.0.1");
        let one = [0, 0, 0, 1_u32.to_be()];
        assert_eq!(address(Hook::Listen, one), "::1");
    }

    #[test]
    fn only_whole_events_decode() {
        assert!(decode(&[0; size_of::<Event>()]).is_some());
        assert!(decode(&[0; size_of::<Event>() - 1]).is_none());
        assert!(decode(&[0; size_of::<Event>() + 8]).is_none());
        assert!(decode(&[]).is_none());
    }

    #[test]
    fn fields_are_read_where_the_programs_write_them() {
        let mut bytes = [0; size_of::<Event>()];
        bytes[core::mem::offset_of!(Event, pid)..][..4].copy_from_slice(&7u32.to_ne_bytes());
        bytes[core::mem::offset_of!(Event, port)..][..2].copy_from_slice(&21u16.to_ne_bytes());
        bytes[core::mem::offset_of!(Event, line)..][..4].copy_from_slice(&9u32.to_ne_bytes());
        bytes[core::mem::offset_of!(Event, flags)] = Event::GRANTED;
        bytes[core::mem::offset_of!(Event, comm)..][..3].copy_from_slice(b"ftp");
        let event = decode(&bytes).unwrap();
        assert_eq!(
            (event.pid, event.port, event.line, event.flags),
            (7, 21, 9, Event::GRANTED)
        );
        assert_eq!(text_of(comm_bytes(event.comm)), "ftp");
    }
}
