//! Which UNRSV entries take effect.

use std::collections::HashMap;

use portreeve_common::abi::Protocol;

use super::reservations::{Kind, Reservation};
use crate::diagnostics::{Code, Diagnostic, Diagnostics, Severity};
use crate::profile::ast::{Options, PortEntry, PortList, Profile, Statement, Target, User, When};

/// What is left of the UNRSV entries of a profile.
pub(super) struct Unreserved {
    /// Those that stand, in the order in which they are written.
    pub(super) entries: Vec<Reservation>,
    /// How many DELETE took away.
    pub(super) deleted: usize,
}

/// The UNRSV entries of `profile` that stand after all statements, in the order
/// in which they are written. The others are reported: a second one for a job
/// (`UNR-09`), or a TCP one that is judged at another moment than those before
/// (`UNR-13`).
pub(super) fn resolve(profile: &Profile, diagnostics: &mut Diagnostics) -> Unreserved {
    let mut kept: HashMap<(Protocol, &User), &PortEntry> = HashMap::new();
    // When TCP entries are judged, and how many there are to agree on it.
    let mut timing: Option<(&PortEntry, usize)> = None;
    let mut deleted = 0;
    for statement in &profile.statements {
        match statement {
            Statement::Port(list) => {
                for entry in unreserved(list) {
                    add(entry, &mut kept, &mut timing, diagnostics);
                }
            }
            Statement::DeletePort(list) => {
                for entry in unreserved(list) {
                    deleted += usize::from(delete(entry, &mut kept, &mut timing, diagnostics));
                }
            }
            _ => {}
        }
    }
    let mut entries: Vec<&PortEntry> = kept.into_values().collect();
    entries.sort_by_key(|entry| entry.span);
    Unreserved {
        entries: entries.into_iter().map(reservation).collect(),
        deleted,
    }
}

fn reservation(entry: &PortEntry) -> Reservation {
    Reservation {
        kind: Kind::Unreserved,
        protocol: entry.protocol,
        first: 0,
        last: 0,
        user: entry.user.clone(),
        options: entry.options.clone(),
        span: entry.span,
        description: entry.description.clone(),
    }
}

fn unreserved(list: &PortList) -> impl Iterator<Item = &PortEntry> {
    let entries = list.entries.iter();
    entries.filter(|entry| entry.target == Target::Unrsv)
}

/// When a TCP entry is judged; at listen unless it says otherwise (`UNR-10`).
pub(super) fn when(options: &Options) -> When {
    options.when.map_or(When::Listen, |when| when.value)
}

fn add<'a>(
    entry: &'a PortEntry,
    kept: &mut HashMap<(Protocol, &'a User), &'a PortEntry>,
    timing: &mut Option<(&'a PortEntry, usize)>,
    diagnostics: &mut Diagnostics,
) {
    if let Some(earlier) = kept.get(&(entry.protocol, &entry.user)) {
        let code = match entry.user {
            User::Anyone => Code::SecondUnreservedStar,
            _ => Code::Duplicate,
        };
        diagnostics.push_with(Severity::Error, || {
            let protocol = entry.protocol.name();
            let message = format!(
                "there is an UNRSV entry for {} and {protocol} already",
                entry.user
            );
            Diagnostic::error(code, entry.span, message)
                .label("this is dropped")
                .related(earlier.span, "this came first")
        });
        return;
    }
    if entry.protocol == Protocol::Tcp {
        if let Some((first, _)) = timing
            && when(&first.options) != when(&entry.options)
        {
            diagnostics.push_with(Severity::Error, || {
                let message = "all UNRSV entries for TCP must agree on WHENBIND or WHENLISTEN";
                Diagnostic::error(Code::MixedTiming, entry.span, message)
                    .label("this is dropped")
                    .related(first.span, "this came first")
                    .help("WHENLISTEN is what holds if neither is given")
            });
            return;
        }
        let (first, count) = timing.unwrap_or((entry, 0));
        *timing = Some((first, count + 1));
    }
    kept.insert((entry.protocol, &entry.user), entry);
}

/// Takes an entry away; false if there is none.
fn delete<'a>(
    entry: &'a PortEntry,
    kept: &mut HashMap<(Protocol, &'a User), &'a PortEntry>,
    timing: &mut Option<(&'a PortEntry, usize)>,
    diagnostics: &mut Diagnostics,
) -> bool {
    if kept.remove(&(entry.protocol, &entry.user)).is_none() {
        diagnostics.push_with(Severity::Error, || {
            let protocol = entry.protocol.name();
            let message = format!(
                "there is no UNRSV entry for {} and {protocol} to delete",
                entry.user
            );
            Diagnostic::error(Code::NothingToDelete, entry.span, message)
        });
        return false;
    }
    // The last one leaves the choice free again (`UNR-14`).
    if entry.protocol == Protocol::Tcp {
        *timing = timing.and_then(|(first, count)| (count > 1).then_some((first, count - 1)));
    }
    true
}
