//! The layout of every map and event, as both sides of the kernel boundary see it.
//!
//! All policy tables have two halves. The one that [`Active`] names is in force;
//! publishing fills the other and then changes the word, so a program that reads
//! the word once per call never sees a mix. An all-zero element of any table
//! grants nothing and names nobody.
//!
//! Any change of layout or meaning here raises [`ABI_VERSION`].

use crate::jobname::{Glob, MaskedName};
use crate::reason::{REASONS, Reason};

/// The version of this layout. An agent refuses to adopt pinned maps of another.
pub const ABI_VERSION: u32 = 2;

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
pub const MAX_ADDRESSES: u32 = 1024;
/// Protocols with a table of their own.
pub const PROTOCOLS: u32 = Protocol::ALL.len() as u32;
/// Most entries on one port and protocol.
pub const MAX_ENTRIES_PER_PORT: u32 = 256;
/// Bytes of the event ring; a power of two and a multiple of the page size.
pub const EVENT_RING_BYTES: u32 = 1 << 20;

/// No entry: the value of an entry index when no entry decided.
pub const NO_ENTRY: u32 = u32::MAX;

/// Names of maps and programs in the object and of their pins.
pub mod names {
    /// The word that says which half is in force ([`super::Active`]).
    pub const ACTIVE: &str = "ACTIVE";
    /// What the maps are and who filled them ([`super::Info`]).
    pub const INFO: &str = "INFO";
    /// One [`super::Slot`] per half, protocol and port.
    pub const SLOTS: &str = "SLOTS";
    /// The entries that slots point to ([`super::Entry`]).
    pub const ENTRIES: &str = "ENTRIES";
    /// The jobname operands that entries point to ([`super::Matcher`]).
    pub const MATCHERS: &str = "MATCHERS";
    /// The automata that matchers point to ([`crate::jobname::Glob`]).
    pub const GLOBS: &str = "GLOBS";
    /// One [`super::Unreserved`] per half and protocol.
    pub const UNRESERVED: &str = "UNRESERVED";
    /// The addresses of BIND ([`super::BindAddress`]).
    pub const ADDRESSES: &str = "ADDRESSES";
    /// Refusals per entry.
    pub const REFUSALS: &str = "REFUSALS";
    /// Judged binds per reason and CPU ([`super::counter`]).
    pub const COUNTERS: &str = "COUNTERS";
    /// Ring buffer of [`super::Event`].
    pub const EVENTS: &str = "EVENTS";
    /// Cookie of the socket whose bind is the self-test, or 0.
    pub const SELFTEST: &str = "SELFTEST";

    /// Every map that is pinned, in the order in which they are.
    pub const PINNED_MAPS: [&str; 12] = [
        INFO, ACTIVE, SLOTS, UNRESERVED, ENTRIES, MATCHERS, GLOBS, ADDRESSES, REFUSALS, COUNTERS,
        EVENTS, SELFTEST,
    ];

    /// The `cgroup/bind4` program.
    pub const BIND4: &str = "bind4";
    /// The `cgroup/bind6` program.
    pub const BIND6: &str = "bind6";
}

/// Values that user space puts into the object before it is loaded.
pub mod globals {
    /// Byte offset of `group_leader` in `struct task_struct`.
    pub const TASK_GROUP_LEADER: &str = "TASK_GROUP_LEADER";
    /// Byte offset of `comm` in `struct task_struct`.
    pub const TASK_COMM: &str = "TASK_COMM";
    /// Byte offset of `cred` in `struct task_struct`.
    pub const TASK_CRED: &str = "TASK_CRED";
    /// Byte offset of `euid` in `struct cred`.
    pub const CRED_EUID: &str = "CRED_EUID";
    /// Cookie of the network namespace the policy governs; 0 for all of them.
    pub const SCOPE_NETNS: &str = "SCOPE_NETNS";
}

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

/// What happens to a bind that the policy refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// It fails.
    Enforce = 1,
    /// It is counted and reported, and goes on.
    Audit = 2,
}

impl Mode {
    /// `"enforce"` or `"audit"`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Audit => "audit",
        }
    }
}

/// The word in `ACTIVE`: which half is in force, and how. Zero: nothing is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Active(u64);

impl Active {
    const MODE_SHIFT: u32 = 1;
    const REPORT_ALL: u64 = 1 << 3;

    /// No policy is in force.
    pub const NONE: Self = Self(0);

    /// The word for `generation` in `half` (0 or 1).
    pub const fn new(generation: u32, half: u32, mode: Mode, report_all: bool) -> Self {
        let report = if report_all { Self::REPORT_ALL } else { 0 };
        Self(
            ((generation as u64) << 32)
                | report
                | ((mode as u64) << Self::MODE_SHIFT)
                | (half & 1) as u64,
        )
    }

    /// The word as read from the map.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// The word to store.
    pub const fn word(self) -> u64 {
        self.0
    }

    /// How refusals are treated; `None` when nothing is judged.
    #[inline(always)]
    pub const fn mode(self) -> Option<Mode> {
        match (self.0 >> Self::MODE_SHIFT) & 3 {
            1 => Some(Mode::Enforce),
            2 => Some(Mode::Audit),
            _ => None,
        }
    }

    /// The half that is in force.
    #[inline(always)]
    pub const fn half(self) -> u32 {
        (self.0 & 1) as u32
    }

    /// Whether permitted and unreserved binds make events too.
    #[inline(always)]
    pub const fn report_all(self) -> bool {
        self.0 & Self::REPORT_ALL != 0
    }

    /// The number of the publication, from 1.
    #[inline(always)]
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

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
    /// The UNRSV entries; count 0 when there are none.
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

/// Whom an entry admits. Zero is nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// Nobody, without a word: an element that was never filled.
    Nobody,
    /// RESERVED: nobody, said by the profile (`PRT-07`).
    Blocked,
    /// `*` or `OMVS`: every process (`PRT-05`, `PRT-06`; Linux has no Pascal API).
    Anyone,
    /// The jobs that the matcher with this index names.
    Job(u32),
}

/// What an entry says besides whom it admits. Zero: nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct EntryOptions {
    /// Its job may bind the low port without `CAP_NET_BIND_SERVICE`, however it
    /// was recognised (`PRT-39`).
    pub grant: bool,
    /// The same, if it was recognised by a definition that can't be forged.
    pub grant_verified: bool,
    /// DENY: whoever it matches is refused (`UNR-05`).
    pub deny: bool,
    /// NODELAYACKS (`PRT-13`).
    pub no_delay_acks: bool,
    /// Permit set of its SAF resource; 0 for no check (`PRT-34`).
    pub saf: u32,
    /// 1 + index of the address of its BIND; 0 for none (`PRT-22`).
    pub bind: u32,
}

/// One entry of a reservation or of UNRSV, as the programs see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Entry {
    who: u32,
    matcher: u32,
    flags: u32,
    line: u32,
    saf: u32,
    bind: u32,
}

impl Entry {
    const BLOCKED: u32 = 1;
    const ANYONE: u32 = 2;
    const JOB: u32 = 3;

    const GRANT: u32 = 1;
    const GRANT_VERIFIED: u32 = 2;
    const DENY: u32 = 4;
    const NO_DELAY_ACKS: u32 = 8;

    /// An entry that stands in line `line` of its file.
    pub const fn new(who: Who, options: EntryOptions, line: u32) -> Self {
        let (who, matcher) = match who {
            Who::Nobody => (0, 0),
            Who::Blocked => (Self::BLOCKED, 0),
            Who::Anyone => (Self::ANYONE, 0),
            Who::Job(matcher) => (Self::JOB, matcher),
        };
        let mut flags = 0;
        if options.grant {
            flags |= Self::GRANT;
        }
        if options.grant_verified {
            flags |= Self::GRANT_VERIFIED;
        }
        if options.deny {
            flags |= Self::DENY;
        }
        if options.no_delay_acks {
            flags |= Self::NO_DELAY_ACKS;
        }
        Self {
            who,
            matcher,
            flags,
            line,
            saf: options.saf,
            bind: options.bind,
        }
    }

    /// Whom the entry admits.
    #[inline(always)]
    pub const fn who(&self) -> Who {
        match self.who {
            Self::BLOCKED => Who::Blocked,
            Self::ANYONE => Who::Anyone,
            Self::JOB => Who::Job(self.matcher),
            _ => Who::Nobody,
        }
    }

    /// Whether a caller that was recognised so goes on without
    /// `CAP_NET_BIND_SERVICE`.
    #[inline(always)]
    pub const fn grants(&self, verified: bool) -> bool {
        self.flags & Self::GRANT != 0 || (verified && self.flags & Self::GRANT_VERIFIED != 0)
    }

    /// Whether the entry refuses whom it matches.
    #[inline(always)]
    pub const fn denies(&self) -> bool {
        self.flags & Self::DENY != 0
    }

    /// Whether acknowledgements are sent at once.
    #[inline(always)]
    pub const fn no_delay_acks(&self) -> bool {
        self.flags & Self::NO_DELAY_ACKS != 0
    }

    /// Permit set of the SAF resource; 0 for no check.
    #[inline(always)]
    pub const fn saf(&self) -> u32 {
        self.saf
    }

    /// Index of the address of BIND.
    #[inline(always)]
    pub const fn bind(&self) -> Option<u32> {
        self.bind.checked_sub(1)
    }

    /// Line in its file, from 1.
    #[inline(always)]
    pub const fn line(&self) -> u32 {
        self.line
    }
}

/// An address of BIND: IPv4 in the first four bytes, or IPv6, in network order.
/// The all-zero value is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct BindAddress {
    bytes: [u8; 16],
    family: u32,
    reserved: u32,
}

impl BindAddress {
    /// An IPv4 address.
    pub fn v4(address: [u8; 4]) -> Self {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&address);
        Self {
            bytes,
            family: 4,
            reserved: 0,
        }
    }

    /// An IPv6 address.
    pub const fn v6(address: [u8; 16]) -> Self {
        Self {
            bytes: address,
            family: 6,
            reserved: 0,
        }
    }

    /// Whether it is an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.family == 4
    }

    /// Whether it is an IPv6 address.
    #[inline(always)]
    pub const fn is_v6(&self) -> bool {
        self.family == 6
    }

    /// Its bytes in network order; IPv4 uses the first four.
    pub const fn bytes(&self) -> [u8; 16] {
        self.bytes
    }
}

/// One jobname operand: a name or a pattern, and the defined jobs it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Matcher {
    masked: MaskedName,
    /// 1 + index of the automaton, or 0 when the masked compare says it all.
    glob: u32,
    /// Set of defined jobs that the operand covers; 0 is none. The top bit says
    /// that their definitions can't be forged.
    jobs: u32,
}

impl Matcher {
    const VERIFIED: u32 = 1 << 31;

    /// A name or pattern that masked compares can say.
    pub const fn masked(masked: MaskedName, jobs: u32) -> Self {
        Self {
            masked,
            glob: 0,
            jobs,
        }
    }

    /// A pattern that needs automaton `index`.
    pub fn glob(index: u32, jobs: u32) -> Self {
        Self {
            masked: MaskedName::default(),
            glob: index.saturating_add(1),
            jobs,
        }
    }

    /// The masked compare; matches nothing when [`Self::glob_index`] is given.
    #[inline(always)]
    pub const fn masked_name(&self) -> &MaskedName {
        &self.masked
    }

    /// Index of the automaton in its half.
    #[inline(always)]
    pub const fn glob_index(&self) -> Option<u32> {
        self.glob.checked_sub(1)
    }

    /// The set of defined jobs the operand covers; 0 is none.
    #[inline(always)]
    pub const fn jobs(&self) -> u32 {
        self.jobs & !Self::VERIFIED
    }

    /// Whether being one of those jobs is proven by more than what a process
    /// says of itself.
    #[inline(always)]
    pub const fn is_verified(&self) -> bool {
        self.jobs & Self::VERIFIED != 0
    }

    /// The same operand, with jobs that can't be forged.
    pub const fn verified(mut self) -> Self {
        self.jobs |= Self::VERIFIED;
        self
    }
}

/// Bytes of a path in [`Generation`]; longer ones are cut at the front.
pub const PATH_LEN: usize = 256;
/// Bytes of the agent's version in [`Info`].
pub const VERSION_LEN: usize = 32;

/// What filled one half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Generation {
    /// When it was published, in seconds since 1970.
    pub published: u64,
    /// SHA-256 of the profile as read.
    pub profile_hash: [u8; 32],
    /// Path of the profile, padded with NULs.
    pub profile: [u8; PATH_LEN],
    /// Entries in use.
    pub entries: u32,
    /// Its number, as in [`Active::generation`].
    pub number: u32,
}

/// What the pinned maps are: the single element of `INFO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Info {
    /// [`ABI_VERSION`] of the agent that made the maps; 0 until they are complete.
    pub abi: u32,
    /// 0, so that nothing of this layout is undefined.
    pub reserved: u32,
    /// Cookie of the network namespace the programs judge; 0 for all.
    pub scope_netns: u64,
    /// Version of the agent that loaded the programs, padded with NULs.
    pub agent: [u8; VERSION_LEN],
    /// What filled each half.
    pub halves: [Generation; 2],
}

/// Indexes of the per-CPU counters.
pub mod counter {
    use super::{Mode, REASONS, Reason};

    /// Number of counters.
    pub const COUNT: u32 = 2 * REASONS as u32 + 1;
    /// Events that found no room in the ring.
    pub const EVENTS_LOST: u32 = COUNT - 1;

    /// The counter of `reason` in `mode`; what was refused and what would have
    /// been are never added up.
    #[inline(always)]
    pub const fn of(reason: Reason, mode: Mode) -> u32 {
        let base = match mode {
            Mode::Enforce => 0,
            Mode::Audit => REASONS as u32,
        };
        base + reason as u32
    }
}

/// Which hook saw a bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Hook {
    /// `cgroup/bind4`
    Bind4 = 4,
    /// `cgroup/bind6`
    Bind6 = 6,
}

impl Hook {
    /// The hook with this code in an event.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            4 => Some(Self::Bind4),
            6 => Some(Self::Bind6),
            _ => None,
        }
    }

    /// `"bind4"` or `"bind6"`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bind4 => names::BIND4,
            Self::Bind6 => names::BIND6,
        }
    }
}

/// One judged bind, as written to the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// Nanoseconds since boot, suspend included (`CLOCK_BOOTTIME`).
    pub time: u64,
    /// Id of the caller's cgroup v2: the inode number of its directory.
    pub cgroup: u64,
    /// Address asked for, in network order; IPv4 uses the first four bytes.
    pub address: [u32; 4],
    /// The leader's process name, not folded, NUL-terminated.
    pub comm: [u64; 2],
    /// Process id (thread group) in the initial namespace.
    pub pid: u32,
    /// Effective user id in the initial namespace.
    pub uid: u32,
    /// The policy that decided.
    pub generation: u32,
    /// Index of the deciding entry in that policy, or [`NO_ENTRY`].
    pub entry: u32,
    /// Its line in the profile, or 0.
    pub line: u32,
    /// Port asked for, in host order.
    pub port: u16,
    /// Code of the [`Reason`].
    pub reason: u16,
    /// Code of the [`Hook`].
    pub hook: u8,
    /// [`Protocol`] as a number.
    pub protocol: u8,
    /// What became of it: [`Event::GRANTED`], [`Event::AUDIT`], [`Event::SELFTEST`].
    pub flags: u8,
    /// 0.
    pub reserved: [u8; 5],
}

impl Event {
    /// The bind went on without `CAP_NET_BIND_SERVICE`.
    pub const GRANTED: u8 = 1;
    /// A refusal was only reported.
    pub const AUDIT: u8 = 2;
    /// The agent's own proof that the hook is alive; not a caller's bind.
    pub const SELFTEST: u8 = 4;
}

/// The self-test binds this address, which no host may have (TEST-NET-1, RFC 5737).
pub const SELFTEST_V4: [u8; 4] = [192, 0, 2, 1];
/// The self-test's IPv6 address (documentation prefix, RFC 3849).
pub const SELFTEST_V6: [u16; 8] = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1];
/// What a marked self-test bind fails with when its hook is alive: `EKEYREJECTED`,
/// which nothing else on a bind's way answers with.
pub const SELFTEST_ERRNO: u16 = 129;
/// The self-test's port: not a low one, so that no capability is asked for.
pub const SELFTEST_PORT: u16 = 60_001;

// What the other side relies on. No padding: every byte of an element is said.
const _: () = {
    assert!(size_of::<Slot>() == 8);
    assert!(size_of::<Entry>() == 24);
    assert!(size_of::<Unreserved>() == 16);
    assert!(size_of::<BindAddress>() == 24);
    assert!(size_of::<MaskedName>() == 48);
    assert!(size_of::<Matcher>() == 56);
    assert!(size_of::<Glob>() == 1032);
    assert!(size_of::<Generation>() == 8 + 32 + PATH_LEN + 8);
    assert!(size_of::<Info>() == 16 + VERSION_LEN + 2 * size_of::<Generation>());
    assert!(size_of::<Event>() == 80);
    assert!(core::mem::offset_of!(Event, comm) == 32);
    assert!(core::mem::offset_of!(Event, pid) == 48);
    assert!(core::mem::offset_of!(Event, port) == 68);
    assert!(core::mem::offset_of!(Event, hook) == 72);
};

#[cfg(test)]
mod tests {
    use super::*;

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
    fn zero_elements_say_nothing() {
        assert_eq!(Slot::default().count(), 0);
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
            for reason in Reason::ALL {
                let index = counter::of(*reason, mode) as usize;
                assert!(!core::mem::replace(&mut seen[index], true));
            }
        }
        assert!(!seen[counter::EVENTS_LOST as usize]);
    }

    #[test]
    fn a_port_takes_its_limit_and_no_more() {
        let full = Slot::new(0, MAX_ENTRIES_PER_PORT).unwrap();
        assert_eq!(
            full.asking_for_name().shared().count(),
            MAX_ENTRIES_PER_PORT
        );
        assert!(!full.needs_name() && !full.is_shared());
        assert!(Slot::new(0, MAX_ENTRIES_PER_PORT + 1).is_none());
    }
}
