//! Who has the ports that a policy reserves, and whether that is right.

use portreeve_common::{Verdict, abi::Protocol};

use super::{
    build::Policy,
    explain::caller,
    listeners::{is_named, question, speaker},
    reservations::Reservation,
};
use crate::{
    ports::{FixedListeners, Holder, Listener, Listeners, Socket, register::Port},
    profile::ast::User,
};

/// What a reserved port is (port-control 6.3). Of several ports, and of several
/// sockets at one, what is worst comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// RESERVED, and nobody has it.
    Blocked,
    /// Nobody has it (`CLS-02`).
    Closed,
    /// Somebody has it who may, but nobody is answered there: a TCP socket that doesn't
    /// listen, or a UDP socket that talks to one peer only (`CLS-03`).
    Bound,
    /// Somebody listens who may (`CLS-01`), or the kernel itself does.
    Open,
    /// Somebody has it whom the policy would refuse (`CLS-06`).
    Contradicted,
}

impl State {
    /// Its name in the register.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Closed => "closed",
            Self::Bound => "bound",
            Self::Open => "open",
            Self::Contradicted => "contradicted",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        let all = [
            Self::Blocked,
            Self::Closed,
            Self::Bound,
            Self::Open,
            Self::Contradicted,
        ];
        all.into_iter().find(|state| state.name() == name)
    }
}

/// A socket that has a port which the policy names.
#[derive(Clone, Debug)]
pub struct Holding {
    /// The socket.
    pub socket: Socket,
    /// Who speaks for those who have it open, if anybody is to be seen.
    pub speaker: Option<Speaker>,
    /// The others who have it open.
    pub others: Vec<u32>,
    /// All who have it open, who had it first first.
    pub holders: Vec<Holder>,
    /// When it was bound, in nanoseconds since boot, if that was seen.
    pub bound: Option<u64>,
    /// Why it belongs to nobody any more, if [`super::orphans::mark`] found that.
    pub orphan: Option<String>,
}

/// A process that has a socket, as the policy sees it.
#[derive(Clone, Debug)]
pub struct Speaker {
    /// The process.
    pub holder: Holder,
    /// The jobs that it is, as events have them.
    pub job: Option<String>,
    /// What the policy would answer now.
    pub verdict: Verdict,
}

impl Holding {
    /// Whether the policy would let its holder have it.
    pub fn is_rightful(&self) -> Option<bool> {
        let speaker = self.speaker.as_ref();
        speaker.map(|speaker| !speaker.verdict.refuses())
    }

    /// What it makes of its port.
    pub fn state(&self) -> State {
        match self.is_rightful() {
            Some(false) => State::Contradicted,
            _ if self.socket.is_open() => State::Open,
            _ => State::Bound,
        }
    }
}

/// Who has ports that `policy` names, in the order of the ports. `exe_of` finds the
/// name by which definitions of jobs know a process's executable.
///
/// # Errors
///
/// If the kernel doesn't list its sockets.
pub fn of(
    policy: &Policy,
    listeners: &dyn Listeners,
    exe_of: impl Fn(&Holder) -> Option<std::path::PathBuf>,
) -> std::io::Result<Vec<Holding>> {
    of_ports(policy, listeners, &|_, _| false, exe_of)
}

/// The same, and who has ports that `policy` doesn't name and that are `wanted` too.
///
/// # Errors
///
/// If the kernel doesn't list its sockets.
pub fn of_ports(
    policy: &Policy,
    listeners: &dyn Listeners,
    wanted: &dyn Fn(Protocol, u16) -> bool,
    exe_of: impl Fn(&Holder) -> Option<std::path::PathBuf>,
) -> std::io::Result<Vec<Holding>> {
    let found = listeners.of(&|socket| {
        is_named(policy, socket.protocol, socket.port) || wanted(socket.protocol, socket.port)
    })?;
    let holding = |Listener {
                       socket,
                       mut holders,
                   }: Listener| {
        for holder in &mut holders {
            if let Some(exe) = exe_of(holder) {
                holder.exe = Some(exe);
            }
        }
        // Who is asked first is who had it first, as far as that can be told.
        holders.sort_by_key(|holder| (holder.started, holder.pid));
        let spoken = speaker(policy, &socket, &holders);
        let speaker = spoken.map(|(holder, verdict)| Speaker {
            job: job(policy, &socket, holder),
            holder: holder.clone(),
            verdict,
        });
        let pid = speaker.as_ref().map(|speaker| speaker.holder.pid);
        let others = holders.iter().map(|holder| holder.pid);
        let others = others.filter(|other| Some(*other) != pid).collect();
        Holding {
            socket,
            speaker,
            others,
            holders,
            bound: None,
            orphan: None,
        }
    };
    Ok(found.into_iter().map(holding).collect())
}

/// The jobs that `holder` is, as events have them.
pub fn job(policy: &Policy, socket: &Socket, holder: &Holder) -> Option<String> {
    let caller = caller(policy, &question(socket, holder));
    policy.jobs.called(&policy.jobs.of(&caller), &holder.comm)
}

/// What the ports of `reservation` are where `holdings` are all that have one of them.
pub fn state(reservation: &Reservation, holdings: &[&Holding]) -> State {
    let states = holdings.iter().map(|holding| holding.state());
    states.max().unwrap_or(closed(reservation))
}

/// What the ports of `reservation` are where nobody has one.
const fn closed(reservation: &Reservation) -> State {
    match reservation.user {
        User::Reserved => State::Blocked,
        _ => State::Closed,
    }
}

/// What a port is that nobody has.
pub fn of_nobody(policy: &Policy, port: Port) -> State {
    entry_of(policy, port).map_or(State::Closed, closed)
}

/// The first entry that is looked at for a port. RESERVED stands alone on its ports.
pub fn entry_of(policy: &Policy, (protocol, port): Port) -> Option<&Reservation> {
    let first = policy.entries_of(protocol, port).next()?;
    policy.reservation_of(first)
}

/// What `port` is where `listeners` are all that have it, and who has it
/// then, if somebody is to be seen.
pub fn of_port(
    policy: &Policy,
    port: Port,
    listeners: Vec<Listener>,
    exe_of: impl Fn(&Holder) -> Option<std::path::PathBuf>,
) -> (State, Option<Holder>) {
    let any = listeners
        .iter()
        .map(|listener| match listener.socket.is_open() {
            true => State::Open,
            false => State::Bound,
        });
    let any = any.max().unwrap_or(State::Closed);
    let first = listeners
        .first()
        .and_then(|listener| listener.holders.first().cloned());
    let Some(entry) = entry_of(policy, port) else {
        return (any, first);
    };
    // A list of one's own is always to be had.
    let holdings = of(policy, &FixedListeners(listeners), exe_of).unwrap_or_default();
    let holdings: Vec<&Holding> = holdings.iter().collect();
    let worst = holdings.iter().max_by_key(|holding| holding.state());
    let speaker = worst.and_then(|holding| holding.speaker.as_ref());
    let who = speaker.map(|speaker| speaker.holder.clone());
    (state(entry, &holdings), who)
}

#[cfg(test)]
mod tests;
