//! Entries that would let those have a port who were refused it, or who have one that
//! nobody reserves. The policy answers who needs one, and whether one can help.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
};

use portreeve_common::{Reason, abi::Protocol};
use serde::{Deserialize, Serialize};

use super::{
    build::Policy,
    explain::{Question, judge, protocol},
    listeners::{is_named, question},
    reservations::Kind,
    story::{Story, entry_name},
};
use crate::{
    kernel::sysctl::PortSettings,
    ports::{Holder, Listener, Listeners},
    profile::ast::User,
};

/// A port that somebody wanted or has.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Who, and which port; no protocol if that isn't known.
    pub question: Question,
    /// What is against an entry, whatever the policy says.
    pub against: Option<String>,
    /// What was seen.
    pub seen: Seen,
}

/// Who was seen at a port; its JSON form is a contract.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// How many refusals, those in audit mode included.
    pub refusals: u64,
    /// The last of them, as RFC 3339.
    pub last: Option<String>,
    /// Names of processes.
    pub comms: BTreeSet<String>,
    /// Effective users.
    pub uids: BTreeSet<u32>,
    /// Cgroups.
    pub cgroups: BTreeSet<String>,
    /// Addresses on which the port is open now.
    pub open_on: BTreeSet<String>,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.refusals += other.refusals;
        // RFC 3339 in UTC, all of one length.
        self.last = self.last.take().max(other.last.clone());
        self.comms.extend(other.comms.iter().cloned());
        self.uids.extend(&other.uids);
        self.cgroups.extend(other.cgroups.iter().cloned());
        self.open_on.extend(other.open_on.iter().cloned());
    }
}

/// Entries, and what no entry can help; its JSON form is a contract.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suggestion {
    /// In the order of protocol and port.
    pub entries: Vec<SuggestedEntry>,
    /// Those that are no entry, and why.
    pub left_out: Vec<LeftOut>,
    /// Refusals of those who would be let by now.
    pub settled: u64,
}

/// An entry for a PORT or a PORTRANGE.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SuggestedEntry {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
    /// Who is to have it.
    pub jobname: String,
    /// Who was seen.
    pub seen: Seen,
}

/// A port for which there is no entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// `tcp` or `udp`, if that is known.
    pub protocol: Option<String>,
    /// The port, if that is known.
    pub port: Option<u16>,
    /// Why not, in a sentence.
    pub why: String,
    /// Who was seen.
    pub seen: Seen,
}

impl Wish {
    /// What somebody has who has no entry.
    fn of_listener(listener: &Listener) -> Self {
        let Listener { socket, holders } = listener;
        let first = holders.first().cloned();
        let unseen = first
            .is_none()
            .then(|| "no process is to be seen that has it".to_owned());
        let holder = first.unwrap_or_else(|| Holder {
            uid: socket.uid,
            ..Holder::default()
        });
        let is_seen = unseen.is_none();
        Self {
            question: question(socket, &holder),
            seen: Seen {
                comms: is_seen.then(|| holder.comm.clone()).into_iter().collect(),
                uids: [holder.uid].into(),
                cgroups: holder.cgroup.into_iter().collect(),
                open_on: [socket.address.to_string()].into(),
                ..Seen::default()
            },
            against: unseen,
        }
    }
}

/// The ports that are open where `listeners` are looked up and that `policy` doesn't
/// name. `exe_of` finds the name by which definitions of jobs know an executable.
///
/// # Errors
///
/// If the kernel doesn't list its sockets.
pub fn open_ports(
    policy: &Policy,
    listeners: &dyn Listeners,
    exe_of: impl Fn(&Holder) -> Option<PathBuf>,
) -> io::Result<Vec<Wish>> {
    let mut found = listeners
        .of(&|socket| socket.is_open() && !is_named(policy, socket.protocol, socket.port))?;
    for holder in found.iter_mut().flat_map(|listener| &mut listener.holders) {
        if let Some(exe) = exe_of(holder) {
            holder.exe = Some(exe);
        }
    }
    Ok(found.iter().map(Wish::of_listener).collect())
}

/// What becomes of a wish.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// An entry for this job.
    Entry(String),
    /// No entry, and why.
    LeftOut(String),
}

/// Protocol and port of a wish, as far as they are known, for sorting.
type Place = (Option<u8>, Option<u16>);

/// What would fulfil `wishes` under `policy`, on a host with these `settings`.
pub fn suggest(policy: &Policy, settings: &PortSettings, wishes: &[Wish]) -> Suggestion {
    let mut settled = 0;
    let mut groups: BTreeMap<(Place, Fate), Seen> = BTreeMap::new();
    for wish in wishes {
        let protocol = protocol(&wish.question.protocol);
        let port = protocol.map(|_| wish.question.port);
        let Some(fate) = fate(policy, settings, wish, protocol) else {
            settled += wish.seen.refusals;
            continue;
        };
        let place = (protocol.map(|protocol| protocol as u8), port);
        groups.entry((place, fate)).or_default().add(&wish.seen);
    }
    let mut suggestion = Suggestion {
        settled,
        ..Suggestion::default()
    };
    for (((protocol, port), fate), seen) in only_one_for_udp(groups) {
        let protocol = Protocol::ALL
            .into_iter()
            .find(|known| Some(*known as u8) == protocol);
        match (fate, protocol, port) {
            (Fate::Entry(jobname), Some(protocol), Some(port)) => {
                suggestion.entries.push(SuggestedEntry {
                    protocol: protocol.name().into(),
                    first: port,
                    last: port,
                    jobname,
                    seen,
                });
            }
            (Fate::Entry(why) | Fate::LeftOut(why), protocol, port) => {
                suggestion.left_out.push(LeftOut {
                    protocol: protocol.map(|protocol| protocol.name().into()),
                    port,
                    why,
                    seen,
                });
            }
        }
    }
    suggestion.entries = in_ranges(policy, suggestion.entries);
    suggestion
}

/// `None` if the policy has nothing against the wish any more.
fn fate(
    policy: &Policy,
    settings: &PortSettings,
    wish: &Wish,
    protocol: Option<Protocol>,
) -> Option<Fate> {
    let left_out = |why: &str| Some(Fate::LeftOut(why.to_owned()));
    let question = &wish.question;
    let (Some(protocol), None) = (protocol, &wish.against) else {
        return left_out(
            wish.against
                .as_deref()
                .unwrap_or("no protocol that is judged"),
        );
    };
    let verdict = judge(policy, protocol, question);
    let story = Story {
        policy,
        question,
        verdict: &verdict,
        rule: policy.reservation_of(verdict.entry),
        entry: None,
        audit: false,
        host_rule: None,
    };
    let is_open = !wish.seen.open_on.is_empty();
    if is_open {
        if settings.hands_out(question.port, question.port) {
            return left_out("the kernel hands this port out, so it has it by chance, perhaps");
        }
    } else if !verdict.refuses() {
        return None;
    } else if !can_be_admitted(&story, protocol) {
        return Some(Fate::LeftOut(story.change()));
    }
    Some(match entry_name(policy, question) {
        Some(name) => Fate::Entry(name),
        None => Fate::LeftOut(story.no_name()),
    })
}

/// Whether another entry for the port lets a caller have it who is refused: it is not
/// reserved, or for jobs that others may stand beside.
fn can_be_admitted(story: &Story<'_>, protocol: Protocol) -> bool {
    match story.verdict.reason {
        Reason::LowPort | Reason::UnreservedOther | Reason::UnreservedDenied => true,
        Reason::OtherJob => story.rule.is_some_and(|rule| {
            protocol == Protocol::Tcp && rule.kind == Kind::Port && rule.user != User::Authport
        }),
        _ => false,
    }
}

/// A UDP port has one job name (port-control A-25): that of whoever was seen there most.
fn only_one_for_udp(groups: BTreeMap<(Place, Fate), Seen>) -> Vec<((Place, Fate), Seen)> {
    let mut first: BTreeMap<Place, (u64, String)> = BTreeMap::new();
    for ((place, fate), seen) in &groups {
        if let Fate::Entry(name) = fate {
            let most = first.entry(*place).or_insert((seen.refusals, name.clone()));
            if seen.refusals > most.0 {
                *most = (seen.refusals, name.clone());
            }
        }
    }
    let is_udp = |place: Place| place.0 == Some(Protocol::Udp as u8);
    let settle = |((place, fate), seen): ((Place, Fate), Seen)| {
        let fate = match (fate, first.get(&place)) {
            (Fate::Entry(name), Some((_, first))) if is_udp(place) && name != *first => {
                Fate::LeftOut(format!(
                    "{name} wants it too, but a UDP port has one job name; a pattern can mean both"
                ))
            }
            (fate, _) => fate,
        };
        ((place, fate), seen)
    };
    groups.into_iter().map(settle).collect()
}

/// Puts neighbouring ports of one job together. A range has one job name and no entry
/// beside it, so it has only ports that nobody else wants and nobody has.
fn in_ranges(policy: &Policy, entries: Vec<SuggestedEntry>) -> Vec<SuggestedEntry> {
    let mut wanted: BTreeMap<(String, u16), usize> = BTreeMap::new();
    for entry in &entries {
        *wanted
            .entry((entry.protocol.clone(), entry.first))
            .or_default() += 1;
    }
    let is_alone = |entry: &SuggestedEntry| {
        wanted.get(&(entry.protocol.clone(), entry.first)) == Some(&1)
            && protocol(&entry.protocol)
                .is_some_and(|protocol| !is_named(policy, protocol, entry.first))
    };
    let mut merged: Vec<SuggestedEntry> = Vec::new();
    let mut can_grow = false;
    for entry in entries {
        let alone = is_alone(&entry);
        match merged.last_mut() {
            Some(last)
                if alone
                    && can_grow
                    && (&last.protocol, &last.jobname) == (&entry.protocol, &entry.jobname)
                    && last.last.checked_add(1) == Some(entry.first) =>
            {
                last.last = entry.last;
                last.seen.add(&entry.seen);
            }
            _ => merged.push(entry),
        }
        can_grow = alone;
    }
    merged
}

#[cfg(test)]
mod tests;
