//! What a client sees of a port, and why.

use serde::Serialize;

use super::ports::process;
use crate::{
    daemon::protocol::{PortHolder, PortRow},
    diagnostics::escaped,
    ports::{
        Connection, ConnectionState,
        probe::{Probe, Seen},
    },
};

/// What this host has at the address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Local {
    /// A listener.
    Listens,
    /// A listener, and no room for more connections with it.
    Full,
    /// A socket that is bound and doesn't listen.
    Bound,
    /// Nothing.
    Nothing,
    /// The address is another host's.
    Elsewhere,
    /// The kernel doesn't list its sockets.
    Unknown,
}

impl Local {
    /// Of the sockets that could answer.
    pub fn of(found: &[Connection]) -> Self {
        let listens = |one: &&Connection| one.state == ConnectionState::Listen;
        let mut listeners = found.iter().filter(listens);
        match (listeners.clone().count(), found.is_empty()) {
            (0, true) => Self::Nothing,
            (0, false) => Self::Bound,
            _ if listeners.all(Connection::is_full) => Self::Full,
            _ => Self::Listens,
        }
    }

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Listens => "listens",
            Self::Full => "full",
            Self::Bound => "bound",
            Self::Nothing => "nothing",
            Self::Elsewhere => "elsewhere",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a client sees that, in a sentence.
pub const fn why(seen: Seen, local: Local) -> &'static str {
    match (seen, local) {
        (Seen::Accepted, Local::Listens) => "it is open: a listener of this host answers",
        (Seen::Accepted, Local::Full) => {
            "it is open, but the listener's queue is full now: it accepts too slowly, and the next clients wait"
        }
        (Seen::Accepted, Local::Bound | Local::Nothing) => {
            "somebody else answers: no listener of this network namespace is there, so a rule redirects the port (as container engines do), or the listener has ended just now"
        }
        (Seen::Accepted, Local::Elsewhere | Local::Unknown) => "it is open",
        (Seen::Refused, Local::Listens) => {
            "a listener is there, so a packet filter rejects clients like this host itself"
        }
        (Seen::Refused, Local::Full) => {
            "the listener's queue is full, and it refuses what has no room (net.ipv4.tcp_abort_on_overflow); or a packet filter rejects it"
        }
        (Seen::Refused, Local::Bound) => {
            "it is closed: a socket is bound to it, but doesn't listen"
        }
        (Seen::Refused, Local::Nothing) => "it is closed: nobody listens",
        (Seen::Refused, Local::Elsewhere | Local::Unknown) => {
            "it is closed, or a packet filter rejects it"
        }
        (Seen::Silence, Local::Full) => {
            "the listener is overloaded: its queue is full, so new clients are not answered"
        }
        (Seen::Silence, Local::Listens) => {
            "a listener is there and has room, so a packet filter drops the packets, or the way back is missing"
        }
        (Seen::Silence, Local::Bound | Local::Nothing) => {
            "nobody listens, and no refusal comes back: a packet filter drops the packets"
        }
        (Seen::Silence, Local::Elsewhere | Local::Unknown) => {
            "a packet filter drops the packets, the listener is overloaded, or the host is down"
        }
        (Seen::Unreachable, _) => {
            "no way leads there: no route, a route `unreachable`, a neighbour that doesn't answer, or a packet filter that says so"
        }
        (Seen::Prohibited, _) => {
            "a route `prohibit` or a rule of this host forbids it; it says nothing of the port"
        }
        (Seen::Blackhole, _) => {
            "a route `blackhole` of this host swallows it; it says nothing of the port"
        }
        (Seen::Failed(_), _) => "this host could not even try, so it says nothing of the port",
    }
}

/// What is known of a port that was tried; the field names are a contract.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `tcp`.
    pub protocol: String,
    /// The port.
    pub port: u16,
    /// The address that was tried.
    pub address: String,
    /// What a client sees.
    pub seen: &'static str,
    /// The errno that connect gave, if any.
    pub errno: Option<String>,
    /// How long that took, in milliseconds.
    pub after_ms: f64,
    /// What this host has there.
    pub local: &'static str,
    /// Of its listeners the connections that wait to be accepted; `None` without one.
    pub queue: Option<u32>,
    /// How many may wait.
    pub limit: Option<u32>,
    /// Why a client sees that.
    pub why: &'static str,
    /// What the register says of the port; `None` if no agent answers, or for another
    /// host's.
    pub register: Option<Register>,
}

/// What the register says of a port.
#[derive(Debug, Serialize)]
pub struct Register {
    /// The jobs that it is reserved for, in the order in which their entries are looked
    /// at; none if it is not reserved.
    pub jobnames: Vec<String>,
    /// What it is expected to be.
    pub expected: Option<String>,
    /// Who has it.
    pub holders: Vec<PortHolder>,
}

impl Register {
    /// What `rows`, which cover the port, say of it.
    pub fn of(rows: &[PortRow], port: u16) -> Self {
        let holders = rows.first().map(|row| row.holders.clone());
        let mut holders = holders.unwrap_or_default();
        holders.retain(|holder| holder.port == port);
        Self {
            jobnames: rows.iter().map(|row| row.jobname.clone()).collect(),
            expected: rows.iter().find_map(|row| row.expected.clone()),
            holders,
        }
    }
}

impl Report {
    /// What is known: `found` are the sockets of this host that could answer.
    pub fn new(
        (protocol, port): &(String, u16),
        address: String,
        probe: Probe,
        local: Local,
        found: &[Connection],
        register: Option<Register>,
    ) -> Self {
        let listens = |one: &&Connection| one.state == ConnectionState::Listen;
        let listeners: Vec<&Connection> = found.iter().filter(listens).collect();
        let sum = |of: fn(&Connection) -> u32| -> Option<u32> {
            (!listeners.is_empty()).then(|| listeners.iter().map(|one| of(one)).sum())
        };
        Self {
            protocol: protocol.clone(),
            port: *port,
            address,
            seen: probe.seen.name(),
            errno: probe.errno.map(|errno| format!("{errno:?}")),
            after_ms: (probe.took.as_secs_f64() * 1e6).round() / 1e3,
            local: local.name(),
            queue: sum(|one| one.waiting),
            limit: sum(|one| one.limit),
            why: why(probe.seen, local),
            register,
        }
    }
}

/// The same for people, a line for each fact.
pub fn text(report: &Report) -> String {
    let errno = match &report.errno {
        Some(errno) => format!(" ({errno})"),
        None => String::new(),
    };
    let mut lines = vec![
        format!(
            "{}/{} on {}, from this host: {}{errno} after {} ms",
            report.protocol, report.port, report.address, report.seen, report.after_ms
        ),
        report.why.to_owned(),
    ];
    if let (Some(queue), Some(limit)) = (report.queue, report.limit) {
        lines.push(format!(
            "queue: {queue} connections wait to be accepted, limit {limit}"
        ));
    }
    match &report.register {
        Some(register) => lines.extend(of_register(register)),
        None if report.local == Local::Elsewhere.name() => {}
        None => lines.push(
            "nothing is said of reservations: no agent answers, as it does to root only".to_owned(),
        ),
    }
    lines.join("\n")
}

fn of_register(register: &Register) -> Vec<String> {
    let reserved = match register.jobnames.is_empty() {
        true => "register: reserved by no entry".to_owned(),
        false => format!("register: reserved for {}", register.jobnames.join(", ")),
    };
    let expected = register.expected.as_deref();
    let expected = expected.map_or_else(String::new, |state| format!(", expected {state}"));
    let mut lines = vec![reserved + &expected];
    lines.extend(register.holders.iter().map(|holder| {
        let wrong = match holder.rightful {
            Some(false) => ", whom the policy would REFUSE now",
            _ => "",
        };
        let unit = holder.unit.as_deref();
        let unit = unit.map_or_else(String::new, |unit| format!(", unit {}", escaped(unit)));
        format!(
            "holder: {} on {}{unit}{wrong}",
            process(holder),
            holder.address
        )
    }));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::listeners::tests::held;

    fn socket(state: ConnectionState, waiting: u32, limit: u32) -> Connection {
        Connection {
            socket: held("tcp/21", &[]).socket,
            peer: None,
            state,
            waiting,
            limit,
        }
    }

    /// One of several listeners that has room is enough.
    #[test]
    fn what_is_there_is_told_apart() {
        let (listen, bound) = (ConnectionState::Listen, ConnectionState::Bound);
        let full = socket(listen, 2, 1);
        let free = socket(listen, 1, 1);
        let idle = socket(bound, 0, 0);
        for (found, local) in [
            (vec![], Local::Nothing),
            (vec![idle.clone()], Local::Bound),
            (vec![idle.clone(), free.clone()], Local::Listens),
            (vec![full.clone()], Local::Full),
            (vec![full.clone(), idle], Local::Full),
            (vec![full, free], Local::Listens),
        ] {
            assert_eq!(Local::of(&found), local, "{found:?}");
        }
    }

    /// `CLS-04`: only the register and the probe together tell.
    #[test]
    fn each_situation_has_its_reason() {
        for (seen, local, words) in [
            (Seen::Accepted, Local::Listens, "it is open"),
            (Seen::Accepted, Local::Nothing, "redirects"),
            (Seen::Refused, Local::Nothing, "closed: nobody listens"),
            (Seen::Refused, Local::Bound, "doesn't listen"),
            (Seen::Refused, Local::Listens, "packet filter rejects"),
            (Seen::Refused, Local::Full, "tcp_abort_on_overflow"),
            (Seen::Silence, Local::Full, "overloaded"),
            (Seen::Silence, Local::Listens, "drops"),
            (Seen::Silence, Local::Nothing, "drops"),
            (Seen::Unreachable, Local::Nothing, "no route"),
            (Seen::Prohibited, Local::Elsewhere, "prohibit"),
            (Seen::Blackhole, Local::Elsewhere, "blackhole"),
        ] {
            let why = why(seen, local);
            assert!(why.contains(words), "{seen:?} {local:?}: {why}");
        }
    }
}
