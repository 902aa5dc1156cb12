//! What becomes of sockets that have a port, as the programs tell the agent that watches.

use super::{PORTS, PROTOCOLS, Protocol};

/// What happened to a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Happening {
    /// It has got a port that is tracked.
    Bound = 1,
    /// It begins to listen, whatever its port is. Port 0 if the kernel is only about to
    /// choose one.
    Listens = 2,
    /// It listens no more. It may be bound still.
    Stopped = 3,
    /// Nobody has it open any more.
    Released = 4,
}

impl Happening {
    /// The one with this code.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Bound),
            2 => Some(Self::Listens),
            3 => Some(Self::Stopped),
            4 => Some(Self::Released),
            _ => None,
        }
    }
}

/// Something that happened to a socket, as written to the ring of those who watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Watched {
    /// Nanoseconds since boot, suspend included (`CLOCK_BOOTTIME`).
    pub time: u64,
    /// The socket's inode number: what `/proc/PID/fd`, `fstat` and sock_diag show. A socket
    /// of Multipath TCP and the one inside it have the same.
    pub inode: u64,
    /// Id of the caller's cgroup v2. 0 of [`Happening::Released`], as all that the bind has
    /// told.
    pub cgroup: u64,
    /// The address it is bound to, in network order; IPv4 uses the first four bytes. 0 of
    /// [`Happening::Released`].
    pub address: [u32; 4],
    /// The leader's process name, NUL-terminated. Of [`Happening::Released`] it is whoever
    /// had it open last.
    pub comm: [u64; 2],
    /// Process id (thread group) in the initial namespace, of the same.
    pub pid: u32,
    /// Effective user id in the initial namespace. 0 of [`Happening::Released`].
    pub uid: u32,
    /// The port, in host order.
    pub port: u16,
    /// Its address family: 2 for IPv4, 10 for IPv6. 0 of [`Happening::Released`].
    pub family: u16,
    /// Code of the [`Happening`].
    pub happening: u8,
    /// [`Protocol`] as a number.
    pub protocol: u8,
    /// 1 if somebody chose the port, by a bind, so that a listener which stops has it still.
    /// The socket around one of Multipath TCP doesn't know.
    pub chosen: u8,
    /// 0.
    pub reserved: u8,
}

/// Bytes of the ring: room for 3276 of them. A power of two and a multiple of the page
/// size.
pub const WATCH_RING_BYTES: u32 = 1 << 18;

/// Words of the set of tracked ports: a bit for each protocol and port.
pub const TRACKED_WORDS: u32 = PROTOCOLS * PORTS / u64::BITS;

/// Word and bit of a port in that set.
#[inline(always)]
pub const fn tracked_at(protocol: Protocol, port: u16) -> (u32, u32) {
    let bit = protocol as u32 * PORTS + port as u32;
    (bit / u64::BITS, bit % u64::BITS)
}
