//! TCP ports that several listeners have at once.

use std::collections::BTreeMap;

use portreeve_common::abi::Protocol;

use super::reservations::{Kind, Reservation};

/// The TCP ports that several listeners share, and how many entries each has: those
/// with SHAREPORT on any entry (`PRT-14`, `PRT-17`), and those where a server with
/// BIND stands beside one without, which Linux would refuse otherwise (`PRT-29`).
pub fn shared_ports(entries: &[Reservation]) -> BTreeMap<u16, usize> {
    #[derive(Clone, Default)]
    struct Asked {
        shared: bool,
        bound: u32,
        entries: u32,
    }
    let may_be = |entry: &Reservation| {
        let options = &entry.options;
        options.is_given() && (options.share.is_some() || options.bind.is_some())
    };
    if !entries.iter().any(may_be) {
        return BTreeMap::new();
    }
    // By port: most may have an entry, and few are shared.
    let mut ports = vec![Asked::default(); 1 << u16::BITS];
    for entry in entries {
        if entry.kind == Kind::Port && entry.protocol == Protocol::Tcp {
            let asked = &mut ports[usize::from(entry.first)];
            asked.shared |= entry.options.share.is_some();
            asked.bound += u32::from(entry.options.bind.is_some());
            asked.entries += 1;
        }
    }
    let is_shared = |asked: &Asked| asked.shared || (1..asked.entries).contains(&asked.bound);
    let shared = (0..=u16::MAX).zip(ports);
    let shared = shared.filter(|(_, asked)| is_shared(asked));
    shared
        .map(|(port, asked)| (port, asked.entries as usize))
        .collect()
}
