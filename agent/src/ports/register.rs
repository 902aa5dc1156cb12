//! Who has which port, from what the kernel tells, event by event.
//!
//! Nothing is polled: a socket comes with its bind and goes when nobody has it open any
//! more. The kernel's own list is looked at now and then, to begin with and as proof: what
//! the two don't agree about, though nothing was lost, is a mistake of ours.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    mem,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use portreeve_common::abi::{Happening, Protocol, Watched, address_bytes};

use super::Socket;
use crate::policy::bits::PortBits;

/// A port of one protocol.
pub type Port = (Protocol, u16);

/// A socket that has a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its port.
    pub port: Port,
    /// The address it is bound to.
    pub address: IpAddr,
    /// TCP: whether it listens.
    pub listens: bool,
    /// Who bound it, or let it listen without a bind; `None` if that was before anybody
    /// watched.
    pub binder: Option<Actor>,
    /// Id of the cgroup it was made in, if the kernel's list said that.
    pub cgroup: Option<u64>,
}

/// Who did something to a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The process, as the host numbers it.
    pub pid: u32,
    /// Its name, NUL-terminated.
    pub comm: [u64; 2],
    /// Its effective user.
    pub uid: u32,
    /// Id of its cgroup.
    pub cgroup: u64,
    /// When, in nanoseconds since boot, suspend included.
    pub at: u64,
}

/// What the register and the kernel's own list don't agree about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// A socket of the list is not known, or known otherwise.
    Unknown(u64),
    /// A known socket is not on the list.
    Gone(u64),
}

impl Difference {
    /// The socket's inode.
    pub const fn inode(self) -> u64 {
        match self {
            Self::Unknown(inode) | Self::Gone(inode) => inode,
        }
    }
}

/// Which sockets are told, by their ports.
#[derive(Clone, Debug)]
pub struct Tracked {
    /// Those whose binds and ends the kernel tells; listeners are told anyway. By protocol.
    pub ports: [PortBits; Protocol::ALL.len()],
    /// Those that the kernel hands out: who gets one so makes no event.
    pub handed_out: PortBits,
}

impl Default for Tracked {
    fn default() -> Self {
        Self {
            ports: Protocol::ALL.map(|_| PortBits::default()),
            handed_out: PortBits::default(),
        }
    }
}

impl Tracked {
    /// Whether binds of `port` are told.
    pub fn has(&self, (protocol, port): Port) -> bool {
        self.ports[protocol as usize].has(port)
    }

    /// Whether the kernel would have told `socket`.
    fn tells(&self, socket: &Socket) -> bool {
        if is_listener(socket) {
            return true;
        }
        self.has((socket.protocol, socket.port)) && !self.handed_out.has(socket.port)
    }
}

fn is_listener(socket: &Socket) -> bool {
    socket.protocol == Protocol::Tcp && !socket.idle
}

/// Everybody who has a port of those that are watched, by inode.
#[derive(Debug, Default)]
pub struct Register {
    held: HashMap<u64, Held>,
    by_port: BTreeMap<Port, BTreeSet<u64>>,
    /// Ports that changed, and whose doing that was last; `None` if a look found it.
    changed: BTreeMap<Port, Option<Actor>>,
    /// What events were about since a look began; `None` if none did.
    touched: Option<HashSet<u64>>,
    /// Something can't be known without a look.
    needs_look: bool,
}

impl Register {
    /// Takes in what happened to a socket.
    pub fn apply(&mut self, event: &Watched, tracked: &Tracked) {
        let (Some(happening), Some(protocol)) = (
            Happening::from_code(event.happening),
            Protocol::ALL.get(usize::from(event.protocol)),
        ) else {
            return;
        };
        if event.inode == 0 {
            return;
        }
        if let Some(touched) = &mut self.touched {
            touched.insert(event.inode);
        }
        let port = (*protocol, event.port);
        match happening {
            Happening::Bound => self.insert(event.inode, held(port, event, false)),
            Happening::Listens if event.port == 0 => self.needs_look = true,
            Happening::Listens => match self.held.get(&event.inode) {
                Some(known) if known.port == port => self.set_listens(event, true),
                _ => self.insert(event.inode, held(port, event, true)),
            },
            // Of a socket whose port nobody chose, or that isn't tracked, no other end is
            // told; and the kernel takes a port back that nobody chose.
            Happening::Stopped if event.chosen == 0 || !tracked.has(port) => {
                self.remove(event.inode, Some(event));
            }
            Happening::Stopped => self.set_listens(event, false),
            Happening::Released => self.remove(event.inode, Some(event)),
        }
    }

    fn set_listens(&mut self, event: &Watched, listens: bool) {
        if let Some(known) = self.held.get_mut(&event.inode)
            && mem::replace(&mut known.listens, listens) != listens
        {
            self.changed.insert(known.port, Some(actor(event)));
        }
    }

    fn insert(&mut self, inode: u64, held: Held) {
        self.remove(inode, None);
        self.by_port.entry(held.port).or_default().insert(inode);
        self.changed.insert(held.port, held.binder.clone());
        self.held.insert(inode, held);
    }

    fn remove(&mut self, inode: u64, event: Option<&Watched>) {
        let Some(held) = self.held.remove(&inode) else {
            return;
        };
        self.changed.insert(held.port, event.map(actor));
        if let Some(inodes) = self.by_port.get_mut(&held.port) {
            inodes.remove(&inode);
            if inodes.is_empty() {
                self.by_port.remove(&held.port);
            }
        }
    }

    /// Begins to note what events are about, until [`Self::end_look`].
    pub fn begin_look(&mut self) {
        self.touched = Some(HashSet::new());
        self.needs_look = false;
    }

    /// What the kernel's list `found` and the register don't agree about, and no event was
    /// about since the look began. `lists_bound` says whether the list has TCP sockets that
    /// are bound and no more.
    pub fn compare(
        &self,
        found: &[Socket],
        tracked: &Tracked,
        lists_bound: bool,
    ) -> BTreeSet<Difference> {
        let is_quiet = |inode: &u64| {
            let touched = self.touched.as_ref();
            touched.is_none_or(|touched| !touched.contains(inode))
        };
        // Those that are to be known, or are.
        let there = found.iter();
        let there: HashSet<(u64, Port)> = there
            .filter(|socket| tracked.tells(socket) || self.knows(socket))
            .map(|socket| (socket.inode, (socket.protocol, socket.port)))
            .collect();
        let unknown = found
            .iter()
            .filter(|socket| socket.inode != 0 && tracked.tells(socket) && !self.knows(socket));
        let unknown = unknown.map(|socket| Difference::Unknown(socket.inode));
        let is_listed = |held: &Held| held.listens || held.port.0 == Protocol::Udp || lists_bound;
        let gone = self
            .held
            .iter()
            .filter(|(inode, held)| is_listed(held) && !there.contains(&(**inode, held.port)))
            .map(|(inode, _)| Difference::Gone(*inode));
        let differences = unknown.chain(gone);
        differences
            .filter(|difference| is_quiet(&difference.inode()))
            .collect()
    }

    fn knows(&self, socket: &Socket) -> bool {
        self.held.get(&socket.inode).is_some_and(|held| {
            held.port == (socket.protocol, socket.port) && held.listens == is_listener(socket)
        })
    }

    /// Ends a look.
    pub fn end_look(&mut self) {
        self.touched = None;
    }

    /// Goes by the kernel's list `found` in what differs from it.
    pub fn adopt(&mut self, differences: &BTreeSet<Difference>, found: &[Socket]) {
        for difference in differences {
            if let Difference::Gone(inode) = difference {
                self.remove(*inode, None);
            }
        }
        for socket in found {
            if !differences.contains(&Difference::Unknown(socket.inode)) {
                continue;
            }
            let port = (socket.protocol, socket.port);
            let known = self.held.get(&socket.inode);
            let binder = known.filter(|held| held.port == port);
            let held = Held {
                port,
                address: socket.address,
                listens: is_listener(socket),
                binder: binder.and_then(|held| held.binder.clone()),
                cgroup: socket.cgroup,
            };
            self.insert(socket.inode, held);
        }
    }

    /// Forgets sockets whose ends are not told any more.
    pub fn forget_untracked(&mut self, tracked: &Tracked) {
        let is_told = |held: &Held| held.listens || tracked.has(held.port);
        let lost: Vec<u64> = self
            .held
            .iter()
            .filter(|(_, held)| !is_told(held))
            .map(|(inode, _)| *inode)
            .collect();
        lost.into_iter().for_each(|inode| self.remove(inode, None));
    }

    /// Whether something happened that only a look can make out.
    pub const fn needs_look(&self) -> bool {
        self.needs_look
    }

    /// The ports that somebody got or lost, or began to listen on or ended, since this was
    /// asked last, at most `count` of them; with whose doing that was last, unless a look
    /// found it.
    pub fn take_changed(&mut self, count: usize) -> Vec<(Port, Option<Actor>)> {
        let mut taken = Vec::new();
        while taken.len() < count
            && let Some(changed) = self.changed.pop_first()
        {
            taken.push(changed);
        }
        taken
    }

    /// Those who have `port`, with their inodes.
    pub fn at(&self, port: Port) -> impl Iterator<Item = (u64, &Held)> {
        let inodes = self.by_port.get(&port).into_iter().flatten();
        inodes.filter_map(|inode| Some((*inode, self.held.get(inode)?)))
    }

    /// The socket with that inode.
    pub fn socket(&self, inode: u64) -> Option<&Held> {
        self.held.get(&inode)
    }

    /// All of them, with their inodes, in the order of their ports.
    pub fn sockets(&self) -> impl Iterator<Item = (u64, &Held)> {
        self.by_port.keys().flat_map(|port| self.at(*port))
    }

    /// The ports that somebody has.
    pub fn ports(&self) -> impl Iterator<Item = Port> {
        self.by_port.keys().copied()
    }

    /// How many sockets there are.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

fn held(port: Port, event: &Watched, listens: bool) -> Held {
    Held {
        port,
        address: address(event),
        listens,
        binder: Some(actor(event)),
        cgroup: None,
    }
}

/// A socket that `event` says is bound and no more, as a list would have it; `None` if it is
/// not of this layout.
pub fn socket(event: &Watched) -> Option<Socket> {
    Some(Socket {
        protocol: *Protocol::ALL.get(usize::from(event.protocol))?,
        address: address(event),
        port: event.port,
        connected: false,
        idle: true,
        uid: event.uid,
        inode: event.inode,
        cgroup: None,
    })
}

const fn actor(event: &Watched) -> Actor {
    Actor {
        pid: event.pid,
        comm: event.comm,
        uid: event.uid,
        cgroup: event.cgroup,
        at: event.time,
    }
}

fn address(event: &Watched) -> IpAddr {
    /// `AF_INET`
    const V4: u16 = 2;
    match (event.family, address_bytes(event.address)) {
        (V4, [a, b, c, d, ..]) => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        (_, bytes) => IpAddr::V6(Ipv6Addr::from(bytes)),
    }
}
