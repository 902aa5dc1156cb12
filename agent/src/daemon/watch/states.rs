//! What each port is, and when that changes.

use std::collections::{BTreeMap, BTreeSet};

use portreeve_common::abi::Protocol;

use super::news::Origin;
use crate::{
    daemon::{
        agent::Agent,
        events::{Cgroups, comm_bytes, text_of},
    },
    policy::{
        build::Policy,
        holdings::{self, State},
    },
    ports::{
        self, FixedListeners, Holder, Listener, Socket,
        register::{Actor, Held, Port, Register},
    },
};

/// What the ports are of which that is known, and those of which it has to be said anew.
#[derive(Default)]
pub struct States {
    /// Those that are not what a port is that nobody has.
    known: BTreeMap<Port, State>,
    /// Whoever has these may have another right to them now.
    to_judge: BTreeSet<Port>,
}

impl States {
    /// Everything is to be judged anew, `expected` ports too.
    pub fn judge_all(&mut self, register: &Register, expected: impl Iterator<Item = Port>) {
        self.to_judge.extend(register.ports());
        self.to_judge.extend(self.known.keys());
        self.to_judge.extend(expected);
    }
}

impl Agent {
    /// Tells what became of `count` ports at most that somebody got or lost, or that the
    /// policy sees otherwise. `true` if there are more.
    pub(super) fn tell_ports(&self, count: usize) -> bool {
        let mut ports: BTreeMap<Port, Origin> = BTreeMap::new();
        {
            let mut states = self.watch.states.borrow_mut();
            let changed = self.watch.register.borrow_mut().take_changed(count);
            for (port, actor) in changed {
                states.to_judge.remove(&port);
                ports.insert(port, actor.map_or(Origin::Look, Origin::Process));
            }
            while ports.len() < count
                && let Some(port) = states.to_judge.pop_first()
            {
                ports.insert(port, Origin::Policy);
            }
        }
        if ports.is_empty() {
            return false;
        }
        let is_more = ports.len() >= count;
        let policy = self.policy();
        let mut listeners = self.listeners_of(ports.keys());
        for (port, origin) in ports {
            let listeners = listeners.remove(&port).unwrap_or_default();
            let exe_of = |holder: &Holder| self.exe_of(holder);
            let (to, who) = holdings::of_port(&policy, port, listeners, exe_of);
            let from = self
                .watch
                .states
                .borrow_mut()
                .become_state(&policy, port, to);
            self.note_port(&policy, port, from, to, &origin, who.as_ref());
        }
        is_more
    }

    /// All who have a port that `is_wanted`, as they were when they bound it; `None` if that
    /// isn't known as it happens.
    pub fn known_listeners(&self, is_wanted: impl Fn(Port) -> bool) -> Option<FixedListeners> {
        let watch = &self.watch;
        if !watch.is_settled.get() || watch.problem.borrow().is_some() {
            return None;
        }
        let register = watch.register.borrow();
        let ports: Vec<Port> = register.ports().filter(|port| is_wanted(*port)).collect();
        let listeners = self.listeners_of(ports.iter()).into_values().flatten();
        Some(FixedListeners(listeners.collect()))
    }

    /// Who has `ports`, as they were when they bound them.
    fn listeners_of<'p>(
        &self,
        ports: impl Iterator<Item = &'p Port>,
    ) -> BTreeMap<Port, Vec<Listener>> {
        let register = self.watch.register.borrow();
        let mut cgroups = self.watch.cgroups.borrow_mut();
        let mut found: BTreeMap<Port, Vec<Listener>> = BTreeMap::new();
        let mut unseen = Vec::new();
        for port in ports {
            let listeners = register.at(*port).map(|(inode, held)| {
                let socket = socket(inode, held);
                let binder = held.binder.as_ref();
                let holder = binder.and_then(|binder| holder(binder, &mut cgroups));
                if holder.is_none() {
                    unseen.push(socket.clone());
                }
                Listener {
                    socket,
                    holders: holder.into_iter().collect(),
                }
            });
            found.insert(*port, listeners.collect());
        }
        // Whoever bound a port before anybody watched, or from where nobody is any more.
        if !unseen.is_empty() {
            let mut holders = ports::holders_of(&unseen);
            for listener in found.values_mut().flatten() {
                if listener.holders.is_empty() {
                    listener.holders = holders.remove(&listener.socket.inode).unwrap_or_default();
                }
            }
        }
        found
    }
}

impl States {
    /// Notes that `port` is `to`, and returns what it was; what a port is that nobody has,
    /// if nobody knew.
    fn become_state(&mut self, policy: &Policy, port: Port, to: State) -> State {
        let before = match to {
            State::Closed | State::Blocked => self.known.remove(&port),
            _ => self.known.insert(port, to),
        };
        before.unwrap_or_else(|| holdings::of_nobody(policy, port))
    }
}

fn socket(inode: u64, held: &Held) -> Socket {
    let (protocol, port) = held.port;
    Socket {
        protocol,
        address: held.address,
        port,
        connected: false,
        idle: protocol == Protocol::Tcp && !held.listens,
        uid: held.binder.as_ref().map_or(0, |binder| binder.uid),
        inode,
        cgroup: held.cgroup,
    }
}

/// The process that was `binder` then. `None` if its cgroup can't be named any more.
fn holder(binder: &Actor, cgroups: &mut Cgroups) -> Option<Holder> {
    let cgroup = cgroups.path(binder.cgroup, Some(binder.pid))?;
    // Another process may have its number by now.
    let now = ports::process(binder.pid).filter(|now| now.started <= binder.at);
    Some(Holder {
        pid: binder.pid,
        comm: text_of(comm_bytes(binder.comm)),
        cgroup: Some(cgroup),
        uid: binder.uid,
        ..now.unwrap_or_default()
    })
}
