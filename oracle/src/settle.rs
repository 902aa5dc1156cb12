//! Which entries take effect (port-control 2.6): each new one is compared with
//! every one before it.

use crate::{
    model::{Line, Ports, Protocol, When},
    names::folded,
};

/// The entries in force, with their line numbers.
pub fn in_force(lines: &[Line]) -> Vec<(u32, &Line)> {
    let mut kept: Vec<(u32, &Line)> = Vec::new();
    for (number, line) in (1..).zip(lines) {
        let earlier = kept
            .iter()
            .map(|(_, other)| *other)
            .filter(|other| other.protocol == line.protocol);
        if !earlier.into_iter().any(|other| excludes(other, line)) {
            kept.push((number, line));
        }
    }
    kept
}

/// First and last port; a range ends at 65535 at the latest.
pub fn extent(ports: Ports) -> Option<(u16, u16)> {
    match ports {
        Ports::One(port) => Some((port, port)),
        Ports::Range(first, count) => Some((first, first.saturating_add(count - 1))),
        Ports::Unreserved => None,
    }
}

fn excludes(earlier: &Line, line: &Line) -> bool {
    let same_user = folded(&earlier.user) == folded(&line.user);
    match (extent(earlier.ports), extent(line.ports)) {
        (None, None) => {
            let other_moment = line.protocol == Protocol::Tcp && moment(earlier) != moment(line);
            same_user || other_moment
        }
        (Some((from, to)), Some((first, last))) if from <= last && first <= to => {
            let ranges = [earlier, line]
                .iter()
                .any(|one| matches!(one.ports, Ports::Range(..)));
            let nobody = [earlier, line]
                .iter()
                .any(|one| folded(&one.user) == "RESERVED");
            ranges || same_user || nobody || line.protocol == Protocol::Udp
        }
        _ => false,
    }
}

/// When an UNRSV entry is judged; UDP only ever at bind.
pub fn moment(line: &Line) -> When {
    match line.protocol {
        Protocol::Udp => When::Bind,
        Protocol::Tcp => line.when.unwrap_or(When::Listen),
    }
}
