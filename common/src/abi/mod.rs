//! The layout of every map and event, as both sides of the kernel boundary see it.
//!
//! All policy tables have two halves. The one that [`Active`] names is in force;
//! publishing fills the other and then changes the word, so a program that reads
//! the word once per call never sees a mix. An all-zero element of any table
//! grants nothing and names nobody.
//!
//! Any change of layout or meaning here raises [`ABI_VERSION`].

mod active;
pub mod counter;
mod entry;
mod event;
mod feature;
mod field;
pub mod globals;
mod handover;
mod info;
pub mod jobs;
pub mod names;
mod operand;
pub mod pool;
mod remembered;
mod slot;
mod watched;

pub use self::{
    active::{Active, Mode},
    entry::{Entry, EntryOptions, Who},
    event::{
        Doomed, Event, Hook, RepeatKey, Repeats, SELFTEST_ERRNO, SELFTEST_PORT, SELFTEST_V4,
        SELFTEST_V6, TOLD_PER_SECOND, address_bytes,
    },
    feature::Feature,
    field::{FIELDS, Field, Needed},
    handover::{HANDOVER, Head},
    info::{Generation, Info, PATH_LEN, VERSION_LEN},
    operand::{BindAddress, Matcher},
    remembered::{JUDGED_PLACES, Judged, Remembered},
    slot::{Slot, Unreserved},
    watched::{Happening, TRACKED_WORDS, WATCH_RING_BYTES, Watched, tracked_at},
};
use crate::jobname::{Glob, MaskedName};

/// The version of this layout. An agent adopts pinned maps of this one only; from those of
/// another it takes over, see [`Head`].
pub const ABI_VERSION: u32 = if cfg!(feature = "other-layout") {
    1009
} else {
    9
};

/// Ports of one protocol, port 0 included so that a port is its own index.
pub const PORTS: u32 = 65536;
/// Slots of one half: one per protocol and port.
pub const SLOTS: u32 = 2 * PORTS;
/// Most entries of one policy: enough for an own entry on each of the 131070 ports.
pub const MAX_ENTRIES: u32 = 131_072;
/// Most different jobname operands in one policy.
pub const MAX_MATCHERS: u32 = 16_384;
/// Most different patterns with an inner `*` in one policy.
pub const MAX_GLOBS: u32 = 512;
/// Most users and groups in the permit sets of one policy, each set counted.
pub const MAX_PERMITS: u32 = 16_384;
/// Most different addresses of BIND in one policy.
pub const MAX_ADDRESSES: u32 = if cfg!(feature = "other-layout") {
    512
} else {
    1024
};
/// Protocols with a table of their own.
pub const PROTOCOLS: u32 = Protocol::ALL.len() as u32;
/// Most entries on one port and protocol.
pub const MAX_ENTRIES_PER_PORT: u32 = 256;
/// Refusals whose repetitions within one second are counted, all told.
pub const MAX_REPEATS: u32 = 8192;
/// Bytes of the event ring; a power of two and a multiple of the page size.
pub const EVENT_RING_BYTES: u32 = 1 << 20;
/// Bytes of the ring of listeners to destroy: room for 7710 of them.
pub const DOOMED_RING_BYTES: u32 = 1 << 20;

/// No entry: the value of an entry index when no entry decided.
pub const NO_ENTRY: u32 = u32::MAX;

/// A transport protocol that has a table of reservations (`PRT-01`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Protocol {
    /// TCP, and MPTCP, whose inner socket is what the hook sees.
    Tcp = 0,
    /// UDP and UDP-Lite.
    Udp = 1,
}

impl Protocol {
    /// Both, in table order.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Udp];

    /// The table that judges sockets of this IP protocol number, if any does.
    #[inline(always)]
    pub const fn from_ip_protocol(number: u32) -> Option<Self> {
        match number {
            6 => Some(Self::Tcp),
            17 | 136 => Some(Self::Udp),
            _ => None,
        }
    }

    /// `"tcp"` or `"udp"`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

// What the other side relies on. No padding: every byte of an element is said.
const _: () = {
    assert!(size_of::<Slot>() == 8);
    assert!(size_of::<Entry>() == 24);
    assert!(size_of::<Unreserved>() == 16);
    assert!(size_of::<BindAddress>() == 24);
    assert!(size_of::<MaskedName>() == 48);
    assert!(size_of::<Matcher>() == 56);
    assert!(size_of::<Glob>() == 1032);
    assert!(size_of::<Generation>() == 8 + 32 + PATH_LEN + 16);
    assert!(size_of::<Head>() == 8 + 2 * 32 + VERSION_LEN);
    assert!(core::mem::offset_of!(Info, head) == 0);
    assert!(size_of::<Info>() == size_of::<Head>() + 8 + 2 * size_of::<Generation>());
    assert!(size_of::<Event>() == 96);
    assert!(core::mem::offset_of!(Event, comm) == 48);
    assert!(core::mem::offset_of!(Event, pid) == 64);
    assert!(core::mem::offset_of!(Event, port) == 84);
    assert!(core::mem::offset_of!(Event, hook) == 88);
    assert!(size_of::<Doomed>() == 120);
    assert!(size_of::<Remembered>() == 8);
    assert!(core::mem::offset_of!(Remembered, changed) == 4);
    assert!(size_of::<RepeatKey>() == 32);
    assert!(size_of::<Repeats>() == 16);
    assert!(size_of::<Watched>() == 72);
    assert!(core::mem::offset_of!(Watched, port) == 64);
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;

    #[test]
    fn active_keeps_its_parts() {
        for (generation, half, mode, all) in [
            (1, 0, Mode::Enforce, false),
            (u32::MAX, 1, Mode::Audit, true),
        ] {
            let active = Active::from_word(Active::new(generation, half, mode, all).word());
            assert_eq!(active.generation(), generation);
            assert_eq!(active.half(), half);
            assert_eq!(active.mode(), Some(mode));
            assert_eq!(active.report_all(), all);
        }
        assert_eq!(Active::NONE.mode(), None);
    }

    #[test]
    fn slots_of_different_ports_do_not_meet() {
        assert_eq!(
            Slot::index(0, Protocol::Tcp, 65535) + 1,
            Slot::index(0, Protocol::Udp, 0)
        );
        assert_eq!(
            Slot::index(0, Protocol::Udp, 65535) + 1,
            Slot::index(1, Protocol::Tcp, 0)
        );
        assert_eq!(Slot::index(1, Protocol::Udp, 65535) + 1, 2 * SLOTS);
    }

    #[test]
    fn each_port_is_tracked_in_a_place_of_its_own() {
        assert_eq!(tracked_at(Protocol::Tcp, 0), (0, 0));
        assert_eq!(tracked_at(Protocol::Tcp, 65535), (1023, 63));
        assert_eq!(tracked_at(Protocol::Udp, 0), (1024, 0));
        assert_eq!(tracked_at(Protocol::Udp, 65535), (TRACKED_WORDS - 1, 63));
    }

    #[test]
    fn zero_elements_say_nothing() {
        assert_eq!(Slot::default().count(), 0);
        assert!(!Slot::default().is_audited() && !Unreserved::default().entries.is_audited());
        assert_eq!(Entry::default().who(), Who::Nobody);
        assert!(!Entry::default().grants(true));
        assert_eq!(Entry::default().saf(), 0);
        assert_eq!(Entry::default().bind(), None);
        assert!(!BindAddress::default().is_v4() && !BindAddress::default().is_v6());
        assert_eq!(Matcher::default().glob_index(), None);
    }

    #[test]
    fn counters_do_not_meet() {
        let mut seen = vec![false; counter::COUNT as usize];
        for mode in [Mode::Enforce, Mode::Audit] {
            for protocol in Protocol::ALL {
                for reason in Reason::ALL {
                    let index = counter::of(*reason, mode, protocol) as usize;
                    assert!(!core::mem::replace(&mut seen[index], true));
                }
            }
        }
        for others in [
            counter::EVENTS_LOST,
            counter::EVENTS_SUPPRESSED,
            counter::REPORTS_LOST,
            counter::LISTENERS_LATE,
            counter::LISTENERS_LOST,
        ] {
            assert!(!core::mem::replace(&mut seen[others as usize], true));
        }
    }

    #[test]
    fn a_port_takes_its_limit_and_no_more() {
        let full = Slot::new(0, MAX_ENTRIES_PER_PORT).unwrap();
        assert_eq!(
            full.asking_for_name().shared().in_audit().count(),
            MAX_ENTRIES_PER_PORT
        );
        assert!(!full.needs_name() && !full.is_shared() && !full.is_audited());
        assert!(Slot::new(0, MAX_ENTRIES_PER_PORT + 1).is_none());
    }
}
