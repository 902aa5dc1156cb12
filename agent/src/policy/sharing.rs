//! TCP ports that several listeners have at once.

use std::collections::BTreeMap;

use portreeve_common::abi::Protocol;

use super::reservations::{Kind, Reservation};

/// The TCP ports that several listeners share, and how many entries each has: those
/// with SHAREPORT on any entry (`PRT-14`, `PRT-17`), and those where a server with
/// BIND stands beside one without, which Linux would refuse otherwise (`PRT-29`).
pub fn shared_ports(entries: &[Reservation]) -> BTreeMap<u16, usize> {
    #[derive(Default)]
    struct Asked {
        shared: bool,
        bound: usize,
        entries: usize,
    }
    let mut ports: BTreeMap<u16, Asked> = BTreeMap::new();
    for entry in entries {
        if entry.kind == Kind::Port && entry.protocol == Protocol::Tcp {
            let asked = ports.entry(entry.first).or_default();
            asked.shared |= entry.options.share.is_some();
            asked.bound += usize::from(entry.options.bind.is_some());
            asked.entries += 1;
        }
    }
    let is_shared = |asked: &Asked| asked.shared || (1..asked.entries).contains(&asked.bound);
    let shared = ports.into_iter().filter(|(_, asked)| is_shared(asked));
    shared.map(|(port, asked)| (port, asked.entries)).collect()
}
