//! Destroying the listeners that the policy refuses where listen itself can't be
//! refused.
//!
//! On a thread of its own: however many events there are to tell, and however slow those
//! are who read them, no listener waits for that.

use std::{
    collections::HashSet,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd as _, BorrowedFd},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use aya::maps::{Map, MapData, PerCpuArray, RingBuf};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};
use portreeve_common::abi::{Doomed, Event, Remembered, address_bytes, names};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::protocol::ListenerStatus;
use crate::{
    kernel::{
        counters::{self, Counters},
        netns,
        pins::Pins,
        privileges::capabilities::Plan,
        stream::element,
    },
    ports::destroy::{Destroyer, Fate, Target},
};

/// Address family of IPv4 sockets; there is one other.
const AF_INET: u16 = 2;

/// How many listeners met which fate.
#[derive(Debug, Default)]
pub struct Tally {
    destroyed: AtomicU64,
    closed: AtomicU64,
    stay: AtomicU64,
    /// Why nothing is destroyed any more.
    problem: OnceLock<String>,
}

impl Tally {
    /// The tally at this moment, with what the kernel counts.
    pub fn status(&self, counters: &Counters) -> ListenerStatus {
        let count = |counter: &AtomicU64| Some(counter.load(Ordering::Relaxed));
        ListenerStatus {
            destroyed: count(&self.destroyed),
            closed: count(&self.closed),
            stay: count(&self.stay),
            late: counters.listeners_late,
            lost: counters.listeners_lost,
        }
    }

    /// What a status says is missing, if no listener is destroyed any more.
    pub fn problem(&self) -> Option<String> {
        let why = self.problem.get()?;
        Some(format!(
            "listen: listeners that the policy refuses are not destroyed any more: {why}"
        ))
    }

    /// Counts `fate`, and says it in a word.
    fn count(&self, fate: &Fate) -> &'static str {
        let (counter, word) = match fate {
            Fate::Destroyed => (&self.destroyed, "destroyed"),
            Fate::Closed => (&self.closed, "closed"),
            Fate::Stays(_) => (&self.stay, "stays"),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        word
    }
}

/// A refusal that is to be told, and what became of the listener.
pub type Told = (Event, &'static str);

/// Begins to destroy what the ring pinned at `pins` names, and to count it in `tally`.
/// What it names from times before `since`, in nanoseconds since boot, nobody was there to
/// destroy: it is older than this agent, and told as what stays.
///
/// # Errors
///
/// If no thread can be had.
pub fn start(
    pins: Pins,
    since: u64,
    own_netns: u64,
    tally: Arc<Tally>,
    plan: Plan,
) -> io::Result<UnboundedReceiver<Told>> {
    let (tell, told) = unbounded_channel();
    let ends = Arc::clone(&tally);
    let worker = Worker {
        tally,
        tell,
        since,
        own_netns,
        destroyer: None,
        staying: HashSet::new(),
    };
    thread::Builder::new()
        .name("destroyer".into())
        .spawn(move || {
            // A thread has capabilities of its own.
            let settled = plan.settle().map_err(io::Error::other);
            let ended = settled
                .and_then(|()| Maps::open(&pins))
                .and_then(|maps| worker.run(maps));
            if let Err(error) = ended {
                log::error!(
                    "listeners that the policy refuses are not destroyed any more: {error}"
                );
                // This thread alone says so.
                let _ = ends.problem.set(error.to_string());
            }
        })?;
    Ok(told)
}

/// What the programs write.
struct Maps {
    /// The listeners.
    ring: RingBuf<MapData>,
    /// Those that it had no room for are marked here, at the sockets themselves.
    marks: MapData,
    /// And counted here.
    counters: PerCpuArray<MapData, u64>,
}

impl Maps {
    fn open(pins: &Pins) -> io::Result<Self> {
        let pinned = |name| MapData::from_pin(pins.map(name)).map_err(io::Error::other);
        let ring = RingBuf::try_from(Map::RingBuf(pinned(names::DOOMED)?));
        Ok(Self {
            ring: ring.map_err(io::Error::other)?,
            marks: pinned(names::SOCKETS)?,
            counters: counters::open(pins).map_err(io::Error::other)?,
        })
    }

    /// How many the ring had no room for.
    fn late(&self) -> io::Result<u64> {
        counters::late(&self.counters).map_err(io::Error::other)
    }
}

/// Listeners that are looked at together, at most.
const BATCH: usize = 4096;
/// So many are looked for one by one. If there are more, all are compared with a list
/// of those that are still there: who closes them at once must not be able to make
/// them faster than they are seen to.
const FEW: usize = 16;

struct Worker {
    tally: Arc<Tally>,
    tell: UnboundedSender<Told>,
    since: u64,
    own_netns: u64,
    /// That of the last network namespace, and its cookie.
    destroyer: Option<(u64, Destroyer)>,
    /// Those that the last sweep could not destroy.
    staying: HashSet<u64>,
}

impl Worker {
    fn run(mut self, mut maps: Maps) -> io::Result<()> {
        let mut batch: Vec<Doomed> = Vec::new();
        let mut late = maps.late()?;
        loop {
            while batch.len() < BATCH
                && let Some(item) = maps.ring.next()
            {
                match element(&item) {
                    Some(doomed) => batch.push(doomed),
                    None => log::warn!("a listener to destroy is not of this agent's layout"),
                }
            }
            for listeners in batch.chunk_by(|one, next| one.netns == next.netns) {
                self.see_to(listeners);
            }
            // Whatever comes too late comes behind something that the ring had room for.
            let now_late = maps.late()?;
            if late != now_late {
                self.sweep(maps.marks.fd().as_fd());
                late = now_late;
            }
            if !batch.is_empty() {
                batch.clear();
                continue;
            }
            // It keeps a network namespace from ending.
            self.destroyer = None;
            let mut waiting = [PollFd::new(maps.ring.as_fd(), PollFlags::POLLIN)];
            match poll(&mut waiting, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Destroys what is marked in `marks`: the ring had no room for it.
    fn sweep(&mut self, marks: BorrowedFd<'_>) {
        let is_late = |word: &[u8]| match *word {
            [_, _, _, _, a, b, c, d] => u32::from_ne_bytes([a, b, c, d]) & Remembered::LATE != 0,
            _ => false,
        };
        let found = Destroyer::new().and_then(|destroyer| {
            let targets = destroyer.marked(marks, is_late)?;
            Ok((destroyer, targets))
        });
        let (destroyer, targets) = match found {
            Ok(found) => found,
            Err(error) => {
                return log::error!("listeners that came too fast are not destroyed: {error}");
            }
        };
        let mut staying = HashSet::new();
        for target in targets {
            let fate = destroyer.seek(&target);
            if let Fate::Stays(why) = &fate {
                staying.insert(target.cookie);
                // Its mark stays too, so it is found each time.
                if self.staying.contains(&target.cookie) {
                    continue;
                }
                log::warn!(
                    "a listener on tcp/{}, which the policy refuses, stays: {why}",
                    target.port
                );
            }
            self.tally.count(&fate);
        }
        self.staying = staying;
    }

    /// Sees to `listeners`, which are of one network namespace, and has them told.
    fn see_to(&mut self, listeners: &[Doomed]) {
        let since = self.since;
        let fates = match self.destroyer_of(listeners) {
            Ok(destroyer) => fates(destroyer, listeners, since),
            Err(error) => vec![Fate::Stays(error.to_string()); listeners.len()],
        };
        for (doomed, fate) in listeners.iter().zip(&fates) {
            self.conclude(doomed, fate);
        }
    }

    /// Counts what became of a listener, and has it told.
    fn conclude(&self, doomed: &Doomed, fate: &Fate) {
        // As rarely as events.
        if let Fate::Stays(why) = fate
            && doomed.silent == 0
        {
            let why = match is_old(doomed, self.since) {
                true => "it began when no agent ran",
                false => why,
            };
            log::warn!(
                "the listener on tcp/{} of process {}, which the policy refuses, stays: {why}",
                doomed.event.port,
                doomed.event.pid
            );
        }
        let fate = self.tally.count(fate);
        if doomed.silent == 0 {
            // Nobody listens any more when the agent ends.
            let _ = self.tell.send((doomed.event, fate));
        }
    }

    /// What destroys `listeners`.
    fn destroyer_of(&mut self, listeners: &[Doomed]) -> io::Result<&Destroyer> {
        let netns = listeners
            .first()
            .map_or(self.own_netns, |first| first.netns);
        let destroyer = match self.destroyer.take() {
            Some((of, destroyer)) if of == netns => destroyer,
            _ if netns == self.own_netns => Destroyer::new()?,
            _ => netns::in_namespace(netns, Destroyer::new).unwrap_or_else(|| {
                Err(io::Error::other("its network namespace is not to be found"))
            })?,
        };
        Ok(&self.destroyer.insert((netns, destroyer)).1)
    }
}

/// Whether `doomed` began when no agent, or another one, was there to destroy it.
fn is_old(doomed: &Doomed, since: u64) -> bool {
    doomed.event.time < since
}

/// What becomes of `listeners`, in order. Those older than `since` are spared.
fn fates(destroyer: &Destroyer, listeners: &[Doomed], since: u64) -> Vec<Fate> {
    let settle = |listeners: &[Doomed]| {
        let targets: Vec<Target> = listeners.iter().map(target).collect();
        let is_spared = |index: usize| listeners.get(index).is_some_and(|one| is_old(one, since));
        destroyer.settle(&targets, is_spared)
    };
    if listeners.len() > FEW {
        return settle(listeners);
    }
    let one_by_one = listeners.chunks(1).flat_map(|one| {
        let fresh = one.iter().find(|one| !is_old(one, since));
        let found = fresh.and_then(|one| destroyer.destroy(&target(one)));
        found.map_or_else(|| settle(one), |fate| vec![fate])
    });
    one_by_one.collect()
}

fn target(doomed: &Doomed) -> Target {
    let bytes = address_bytes(doomed.event.address);
    let address = if doomed.family == AF_INET {
        let [.., a, b, c, d] = bytes;
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    } else {
        IpAddr::V6(Ipv6Addr::from(bytes))
    };
    Target {
        address,
        port: doomed.event.port,
        device: doomed.device,
        cookie: doomed.socket,
    }
}
