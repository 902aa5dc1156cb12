//! Where a port's entries stand, and what holds for ports without any.

use super::{MAX_ENTRIES_PER_PORT, PORTS, Protocol, SLOTS};

/// Where a port's entries stand. Zero: the port is neither reserved nor restricted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Slot {
    first: u32,
    /// The count in the low bits, then flags.
    count: u16,
    restriction: u16,
}

impl Slot {
    const COUNT: u16 = 0x01ff;
    const NEEDS_NAME: u16 = 1 << 15;
    const SHARED: u16 = 1 << 14;
    const AUDITED: u16 = 1 << 13;

    /// The slot of a port whose entries are `first..first + count`. `None` if
    /// there are too many.
    pub fn new(first: u32, count: u32) -> Option<Self> {
        if count > MAX_ENTRIES_PER_PORT {
            return None;
        }
        Some(Self {
            first,
            count: u16::try_from(count).ok()?,
            restriction: 0,
        })
    }

    /// The same slot, with one of its entries asking who is calling.
    pub const fn asking_for_name(mut self) -> Self {
        self.count |= Self::NEEDS_NAME;
        self
    }

    /// The same slot, of a port that several listeners share (`PRT-17`).
    pub const fn shared(mut self) -> Self {
        self.count |= Self::SHARED;
        self
    }

    /// The same slot, in audit: what its rules refuse is only told. Without it they
    /// are enforced.
    pub const fn in_audit(mut self) -> Self {
        self.count |= Self::AUDITED;
        self
    }

    /// The same slot, for users in permit set `set` only; 0 for all.
    pub const fn restricted_to(mut self, set: u16) -> Self {
        self.restriction = set;
        self
    }

    /// Index of the first entry in its half.
    #[inline(always)]
    pub const fn first(self) -> u32 {
        self.first
    }

    /// Number of entries; 0 when the port is not reserved.
    #[inline(always)]
    pub const fn count(self) -> u32 {
        (self.count & Self::COUNT) as u32
    }

    /// Whether the caller's name must be read to decide.
    #[inline(always)]
    pub const fn needs_name(self) -> bool {
        self.count & Self::NEEDS_NAME != 0
    }

    /// Whether several listeners share the port.
    #[inline(always)]
    pub const fn is_shared(self) -> bool {
        self.count & Self::SHARED != 0
    }

    /// Whether what its rules refuse is only told.
    #[inline(always)]
    pub const fn is_audited(self) -> bool {
        self.count & Self::AUDITED != 0
    }

    /// Permit set of the users who may have the port; 0 for all (`IBI-02`).
    #[inline(always)]
    pub const fn restriction(self) -> u32 {
        self.restriction as u32
    }

    /// Index of a port's slot in the table of both halves.
    #[inline(always)]
    pub const fn index(half: u32, protocol: Protocol, port: u16) -> u32 {
        (half & 1) * SLOTS + (protocol as u32) * PORTS + port as u32
    }
}

/// What a policy says of ports that nobody reserved. Zero: nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Unreserved {
    /// The UNRSV entries; count 0 when there are none. In audit, RESTRICTLOWPORTS
    /// is too.
    pub entries: Slot,
    flags: u32,
    reserved: u32,
}

impl Unreserved {
    const RESTRICT_LOW: u32 = 1;
    const AT_LISTEN: u32 = 2;

    /// The UNRSV entries of a protocol, judged at listen or at bind, and whether
    /// RESTRICTLOWPORTS holds.
    pub const fn new(entries: Slot, at_listen: bool, restrict_low: bool) -> Self {
        let mut flags = 0;
        if restrict_low {
            flags |= Self::RESTRICT_LOW;
        }
        if at_listen {
            flags |= Self::AT_LISTEN;
        }
        Self {
            entries,
            flags,
            reserved: 0,
        }
    }

    /// Whether low ports are for privileged callers (`LOW-01`).
    #[inline(always)]
    pub const fn restricts_low_ports(self) -> bool {
        self.flags & Self::RESTRICT_LOW != 0
    }

    /// Whether the entries are judged at listen instead of bind (`UNR-10`).
    #[inline(always)]
    pub const fn at_listen(self) -> bool {
        self.flags & Self::AT_LISTEN != 0
    }
}
