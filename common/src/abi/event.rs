//! One judged bind, as the programs tell of it, and the self-test's own bind.

use super::names;

/// Which hook saw a bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Hook {
    /// `cgroup/bind4`
    Bind4 = 4,
    /// `cgroup/bind6`
    Bind6 = 6,
    /// `cgroup/post_bind4`: the port that the socket has in the end.
    PostBind4 = 14,
    /// `cgroup/post_bind6`
    PostBind6 = 16,
    /// `lsm/socket_listen`; without the BPF LSM `sock_ops`, see [`Event::AFTERWARDS`]
    Listen = 20,
}

impl Hook {
    /// The hook with this code in an event.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            4 => Some(Self::Bind4),
            6 => Some(Self::Bind6),
            14 => Some(Self::PostBind4),
            16 => Some(Self::PostBind6),
            20 => Some(Self::Listen),
            _ => None,
        }
    }

    /// The program's name, such as `"bind4"`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bind4 => names::BIND4,
            Self::Bind6 => names::BIND6,
            Self::PostBind4 => names::POST_BIND4,
            Self::PostBind6 => names::POST_BIND6,
            Self::Listen => names::LISTEN,
        }
    }

    /// Whether the sockets are IPv6 ones.
    #[inline(always)]
    pub const fn is_v6(self) -> bool {
        matches!(self, Self::Bind6 | Self::PostBind6)
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
    /// Address asked for, in network order; IPv4 uses the first four bytes. Of
    /// [`Hook::Listen`] the one the socket has, an IPv4 one as an IPv4-mapped one.
    pub address: [u32; 4],
    /// Address that is bound instead, if [`Event::REWRITTEN`] is set; else as above.
    pub bound: [u32; 4],
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
    /// What became of it: [`Event::GRANTED`] and so on.
    pub flags: u8,
    /// 0.
    pub reserved: [u8; 5],
}

impl Event {
    /// The bind went on without `CAP_NET_BIND_SERVICE`.
    pub const GRANTED: u8 = 1;
    /// A refusal was only reported.
    pub const AUDIT: u8 = 2;
    /// BIND changed the address.
    pub const REWRITTEN: u8 = 4;
    /// `SO_REUSEPORT` was switched on, for a port that is shared.
    pub const SHARED: u8 = 8;
    /// `SO_REUSEPORT` was switched off, on a port that isn't.
    pub const UNSHARED: u8 = 16;
    /// The caller is a thread of the kernel.
    pub const KERNEL: u8 = 32;
    /// `SO_REUSEPORT` could not be switched.
    pub const SHARING_FAILED: u8 = 64;
    /// A listen was judged when the socket listened already: the call goes on, and the
    /// agent destroys the listener.
    pub const AFTERWARDS: u8 = 128;
}

/// The bytes of an address that is kept as words in network order.
pub const fn address_bytes(words: [u32; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    let mut at = 0;
    while at < bytes.len() {
        bytes[at] = words[at / 4].to_ne_bytes()[at % 4];
        at += 1;
    }
    bytes
}

/// A listener that the agent is to destroy, as written to a ring of its own. The
/// event is the agent's to tell: it says what became of the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Doomed {
    /// The refusal.
    pub event: Event,
    /// The socket's cookie: no other socket ever has it.
    pub socket: u64,
    /// Cookie of the socket's network namespace.
    pub netns: u64,
    /// Index of the network device it is bound to, or 0.
    pub device: u32,
    /// Its address family: 2 for IPv4, 10 for IPv6.
    pub family: u16,
    /// 1 if it was only counted, because the same second told enough like it; else 0.
    pub silent: u16,
}

/// What makes refusals repetitions of each other: the same rule refuses the same
/// cgroup and user in the same second. Leads to [`Repeats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct RepeatKey {
    /// [`Event::cgroup`]
    pub cgroup: u64,
    /// [`Event::generation`]
    pub generation: u32,
    /// [`Event::entry`]
    pub entry: u32,
    /// [`Event::uid`]
    pub uid: u32,
    /// [`Event::time`] in seconds; wraps after 136 years.
    pub second: u32,
    /// [`Event::reason`]
    pub reason: u32,
    /// Those of [`Event::flags`] that every repetition has: [`RepeatKey::FLAGS`].
    pub flags: u32,
}

impl RepeatKey {
    /// The flags that are part of the key.
    pub const FLAGS: u8 = Event::AUDIT | Event::AFTERWARDS;

    /// The key that `event`, of a refusal, is counted under.
    pub const fn of(event: &Event) -> Self {
        Self {
            cgroup: event.cgroup,
            generation: event.generation,
            entry: event.entry,
            uid: event.uid,
            second: (event.time / 1_000_000_000) as u32,
            reason: event.reason as u32,
            flags: (event.flags & Self::FLAGS) as u32,
        }
    }
}

/// How often something was refused within one second. The least recently used give
/// way to new ones; the counters miss none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Repeats {
    /// Refusals that an event of their own was made for; the ring may have had no room.
    pub told: u64,
    /// Refusals behind those, which are only counted.
    pub suppressed: u64,
}

/// Refusals by one rule of one cgroup and user that make an event each within a
/// second. More leave the ring's room to others.
pub const TOLD_PER_SECOND: u64 = 32;

/// The self-test binds this address, which no host may have (TEST-NET-1, RFC 5737).
pub const SELFTEST_V4: [u8; 4] = [192, 0, 2, 1];
/// The self-test's IPv6 address (documentation prefix, RFC 3849).
pub const SELFTEST_V6: [u16; 8] = [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1];
/// What a marked self-test bind fails with when its hook is alive and may choose: `EKEYREJECTED`,
/// which nothing else on a bind's way answers with.
pub const SELFTEST_ERRNO: u16 = 129;
/// The self-test's port: not a low one, so that no capability is asked for.
pub const SELFTEST_PORT: u16 = 60_001;
