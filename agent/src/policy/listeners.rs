//! What listens on the host, compared with what a policy says about it.

#[cfg(test)]
pub(crate) mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    process,
};

use portreeve_common::{
    PolicyView as _, Reason, Verdict,
    abi::{NO_ENTRY, Protocol, Slot},
    decide::FIRST_HIGH_PORT,
};

use super::{
    bits::PortBits,
    build::Policy,
    explain::{Question, judge},
    lint::in_words,
    reservations::Kind,
    story::entry_name,
};
use crate::{
    diagnostics::{Code, Diagnostic, Diagnostics, Severity},
    kernel::sysctl::PortSettings,
    ports::{Holder, Listener, Listeners, Socket},
    profile::ast::User,
};

/// Reports listeners that `policy` refuses on a host with the settings `host`, if
/// they are known, and if asked advises on those that it doesn't speak of; `advice`
/// has the settings then. Says so if the kernel doesn't list its sockets.
pub fn compare(
    policy: &Policy,
    listeners: &dyn Listeners,
    host: Option<&PortSettings>,
    advice: Option<&PortSettings>,
    diagnostics: &mut Diagnostics,
) {
    let settings = host.or(advice);
    let is_judged = |socket: &Socket| {
        is_named(policy, socket.protocol, socket.port)
            || settings.is_some_and(|s| is_unreserved(policy, s, socket))
    };
    // Who has a socket takes a look at every process; not for nothing.
    match listeners.of(&|socket| advice.is_some() || is_judged(socket)) {
        Ok(found) => {
            let (named, other): (Vec<Listener>, _) = found
                .into_iter()
                .partition(|listener| is_judged(&listener.socket));
            held_by_others(policy, &named, diagnostics);
            if let Some(settings) = advice {
                advise(policy, settings, &other, diagnostics);
            }
        }
        Err(error) => diagnostics.push(Diagnostic::of_file(
            Code::ListenersUnknown,
            Severity::Info,
            policy.profile(),
            format!("the kernel doesn't list the host's sockets ({error}), so nothing is said about them"),
        )),
    }
}

/// Whether an entry or a restriction names the port.
pub(super) fn is_named(policy: &Policy, protocol: Protocol, port: u16) -> bool {
    let slot = policy.compiled.image.slot(protocol, port);
    slot.is_some_and(|slot| slot != Slot::default())
}

impl Policy {
    /// The ports of `protocol` that an entry or a restriction names.
    pub fn named_ports(&self, protocol: Protocol) -> PortBits {
        PortBits::from_words(|word| {
            let named = (0..u64::BITS).filter(|bit| {
                let port = word as u32 * u64::BITS + bit;
                is_named(self, protocol, port as u16)
            });
            named.fold(0, |bits, bit| bits | 1 << bit)
        })
    }
}

/// Whether UNRSV is about `socket`. A port that the kernel may have chosen is nobody's
/// choice (`UNR-16`), and what only listen decides isn't decided yet for who doesn't.
fn is_unreserved(policy: &Policy, settings: &PortSettings, socket: &Socket) -> bool {
    let rules = policy.compiled.image.unreserved(socket.protocol);
    rules.is_some_and(|rules| rules.entries.count() > 0 && !(socket.idle && rules.at_listen()))
        && !settings.hands_out(socket.port, socket.port)
}

/// What `holder` would ask for, to have `socket` again.
pub(super) fn question(socket: &Socket, holder: &Holder) -> Question {
    Question {
        protocol: socket.protocol.name().to_owned(),
        port: socket.port,
        comm: Some(holder.comm.clone()),
        exe: holder.exe.clone(),
        cgroup: holder.cgroup.clone(),
        uid: holder.uid,
        groups: holder.groups.clone(),
        privileged: holder.uid == 0,
        address: Some(socket.address),
        ..Question::default()
    }
}

/// Whether `socket` was judged when it began to listen.
fn is_at_listen(policy: &Policy, socket: &Socket) -> bool {
    let rules = policy.compiled.image.unreserved(socket.protocol);
    !is_named(policy, socket.protocol, socket.port) && rules.is_some_and(|rules| rules.at_listen())
}

/// `LNT-07`, `IBI-16`: ports that somebody has who couldn't bind them now. Such a
/// socket stays (`DEC-06`), and keeps the rightful server out.
fn held_by_others(policy: &Policy, listeners: &[Listener], diagnostics: &mut Diagnostics) {
    // By the entry that refuses: who has which port.
    let mut refused: BTreeMap<u32, Refused> = BTreeMap::new();
    let mut units: BTreeMap<(u32, String), Unit> = BTreeMap::new();
    for Listener { socket, holders } in listeners {
        let Some((holder, verdict)) = speaker(policy, socket, holders) else {
            continue;
        };
        // Of the agent's own port it is said elsewhere, with what to do about it.
        if !verdict.refuses() || holder.pid == process::id() {
            continue;
        }
        if let Some(unit) = holder.unit.clone() {
            let found = units.entry((verdict.entry, unit)).or_insert_with(|| Unit {
                reason: verdict.reason,
                cgroup: holder.cgroup.clone().unwrap_or_default(),
                ports: BTreeSet::new(),
            });
            let port = format!("{}/{}", socket.protocol.name(), socket.port);
            found.ports.insert((socket.port, port));
            continue;
        }
        let entry = refused.entry(verdict.entry).or_insert_with(|| Refused {
            reason: verdict.reason,
            held: BTreeSet::new(),
            pids: BTreeSet::new(),
        });
        entry.held.insert((
            socket.port,
            format!(
                "{}/{} by {} (pid {}, user {})",
                socket.protocol.name(),
                socket.port,
                holder.comm,
                holder.pid,
                holder.uid
            ),
        ));
        entry.pids.insert(holder.pid);
    }
    for (entry, refused) in refused {
        diagnostics.push_with(Severity::Warning, || refused.diagnostic(policy, entry));
    }
    for ((entry, name), unit) in units {
        diagnostics.push_with(Severity::Warning, || unit.diagnostic(policy, entry, &name));
    }
}

/// Whom of the `holders` of `socket` the policy is asked about, and what it answers.
/// `None` if there is nobody to be seen.
pub(super) fn speaker<'h>(
    policy: &Policy,
    socket: &Socket,
    holders: &'h [Holder],
) -> Option<(&'h Holder, Verdict)> {
    let judged = |holder: &'h Holder, listen: bool| {
        let question = Question {
            listen,
            ..question(socket, holder)
        };
        (holder, judge(policy, socket.protocol, &question))
    };
    // Whoever has it from a socket unit didn't bind it, and won't.
    if let Some(systemd) = holders.iter().find(|holder| holder.unit.is_some()) {
        return Some(judged(systemd, false));
    }
    let listen = is_at_listen(policy, socket);
    let judged = |holder| judged(holder, listen);
    // A socket that is handed on has several holders; one that may is enough.
    let may = holders
        .iter()
        .map(judged)
        .find(|(_, verdict)| !verdict.refuses());
    may.or_else(|| holders.first().map(judged))
}

/// A socket unit whose ports one entry refuses.
struct Unit {
    reason: Reason,
    cgroup: String,
    ports: BTreeSet<(u16, String)>,
}

impl Unit {
    fn diagnostic(self, policy: &Policy, entry: u32, name: &str) -> Diagnostic {
        let ports: Vec<String> = self.ports.into_iter().map(|(_, port)| port).collect();
        let message = format!(
            "the socket unit {name} listens on {}, and the policy would refuse it now ({})",
            in_words(&ports),
            self.reason.text()
        );
        let reservation = policy.reservation_of(entry).filter(|_| entry != NO_ENTRY);
        let remedy = match reservation.map(|reservation| &reservation.user) {
            Some(User::Job(job)) => format!(
                "add \"{}\" to `cgroup` of job {job}: systemd binds in the cgroup of the socket unit, not in the service's",
                self.cgroup
            ),
            _ => "admit it".to_owned(),
        };
        let diagnostic = match reservation {
            Some(reservation) => {
                Diagnostic::warning(Code::SocketUnitRefused, reservation.span, message)
                    .label("this entry refuses it")
            }
            None => {
                let profile = policy.profile();
                Diagnostic::of_file(Code::SocketUnitRefused, Severity::Warning, profile, message)
            }
        };
        diagnostic.help(format!(
            "it fails when it is started again; `systemctl stop {name}`, or if it is meant to listen, {remedy}"
        ))
    }
}

/// Listeners that one entry refuses.
struct Refused {
    reason: Reason,
    held: BTreeSet<(u16, String)>,
    pids: BTreeSet<u32>,
}

impl Refused {
    fn diagnostic(self, policy: &Policy, entry: u32) -> Diagnostic {
        let held: Vec<String> = self.held.into_iter().map(|(_, held)| held).collect();
        let message = format!(
            "held already, and the policy would refuse it now ({}): {}",
            self.reason.text(),
            in_words(&held)
        );
        let diagnostic = match policy.reservation_of(entry).filter(|_| entry != NO_ENTRY) {
            Some(reservation) => Diagnostic::warning(Code::HeldByOther, reservation.span, message)
                .label("this entry refuses it"),
            None => {
                let profile = policy.profile();
                Diagnostic::of_file(Code::HeldByOther, Severity::Warning, profile, message)
            }
        };
        let pids: Vec<String> = self.pids.iter().map(u32::to_string).collect();
        diagnostic.help(format!(
            "a socket that is bound stays, and keeps the rightful server out: end process {}, or admit it; it can't bind the port again as it is",
            in_words(&pids)
        ))
    }
}

/// `LNT-08`, `LNT-09`: servers whose ports nothing reserves. Ports that the kernel
/// hands out are no server's own, and where UNRSV judges, the port isn't free.
fn advise(
    policy: &Policy,
    settings: &PortSettings,
    listeners: &[Listener],
    diagnostics: &mut Diagnostics,
) {
    let judged = |protocol: Protocol| {
        let mut entries = policy.reservations.iter();
        entries.any(|entry| entry.kind == Kind::Unreserved && entry.protocol == protocol)
    };
    let judged = Protocol::ALL.map(judged);
    let mut low = Servers::default();
    let mut high = Servers::default();
    for listener in listeners {
        let socket = &listener.socket;
        let (port, protocol) = (socket.port, socket.protocol);
        if !socket.is_open() || judged[protocol as usize] || settings.hands_out(port, port) {
            continue;
        }
        let servers = if port < FIRST_HIGH_PORT {
            &mut low
        } else {
            &mut high
        };
        servers.add(policy, listener);
    }
    for (code, servers, which) in [
        (Code::LowPortsUnreserved, low, "below 1024"),
        (Code::ServersUnreserved, high, "above 1023"),
    ] {
        if servers.seen.is_empty() {
            continue;
        }
        let message = format!(
            "servers of this host use ports {which} that no entry reserves, so any process can have them first: {}",
            in_words(
                &servers
                    .seen
                    .into_iter()
                    .map(|(_, seen)| seen)
                    .collect::<Vec<_>>()
            )
        );
        let diagnostic = Diagnostic::of_file(code, Severity::Info, policy.profile(), message);
        let entries: Vec<String> = servers
            .entries
            .into_iter()
            .map(|(_, entry)| entry)
            .collect();
        diagnostics.push(match entries.is_empty() {
            true => diagnostic,
            false => diagnostic.help(format!(
                "add, as far as they are meant to run: {}",
                in_words(&entries)
            )),
        });
    }
}

/// Servers in the order of their ports, and entries for them.
#[derive(Default)]
struct Servers {
    seen: BTreeSet<((u16, u8), String)>,
    entries: BTreeSet<((u16, u8), String)>,
}

impl Servers {
    fn add(&mut self, policy: &Policy, listener: &Listener) {
        let Listener { socket, holders } = listener;
        let key = (socket.port, socket.protocol as u8);
        let name = socket.protocol.name();
        let who = match holders.first() {
            Some(Holder {
                unit: Some(unit), ..
            }) => unit.clone(),
            Some(holder) => holder.comm.clone(),
            None => format!("user {}", socket.uid),
        };
        self.seen
            .insert((key, format!("{name}/{} ({who})", socket.port)));
        let job = holders
            .first()
            .and_then(|holder| entry_name(policy, &question(socket, holder)));
        if let Some(job) = job {
            let name = name.to_ascii_uppercase();
            self.entries
                .insert((key, format!("`PORT {} {name} {job}`", socket.port)));
        }
    }
}
