//! LSM `socket_listen`: UNRSV for TCP, unless it is judged at bind already.
//!
//! The hook is the host's, and knows sockets of every kind. It has none of the
//! helpers that tell a cgroup hook about its socket, so all is read from the socket
//! in kernel memory.

use core::marker::PhantomData;

use aya_ebpf::{EbpfContext, programs::LsmContext};
use portreeve_common::{
    abi::{Feature, Field, Hook, NO_ENTRY, Protocol},
    decide::Operation,
};

use crate::{
    judge::{Call, Kind, MAPPED, netns_inode},
    maps::{SCOPE_CGROUP, SCOPE_NETNS, has, offset},
    policy,
    socket::Socket,
    task::{number, read, read_bits, read_field},
};

/// What the other modules said is the answer.
const GOES_ON: i32 = 0;

/// Address family of IPv4.
pub const AF_INET: u16 = 2;
/// Address family of IPv6.
pub const AF_INET6: u16 = 10;
const IPPROTO_TCP: u16 = 6;
/// Multipath TCP.
pub const IPPROTO_MPTCP: u16 = 262;
/// `SOCK_BINDPORT_LOCK`: the application chose the port.
pub const PORT_IS_CHOSEN: u8 = 8;
/// How far below the root the cgroup of the hooks may be, and where each cgroup knows
/// only the next one above it, how far below the hooks the socket's.
const MAX_LEVELS: u32 = 64;
/// Id of the root of the hierarchy.
const ROOT: u64 = 1;

/// [`Hook::Listen`]
pub struct Listen;

impl Kind for Listen {
    const HOOK: Hook = Hook::Listen;
    const OPERATION: Operation = Operation::Listen;
    const GOES_ON: i32 = GOES_ON;

    /// [`judge`] has looked.
    #[inline(always)]
    fn is_refused() -> bool {
        false
    }

    #[inline(always)]
    fn fail_with(errno: u16) -> i32 {
        -i32::from(errno)
    }

    /// A bind would be judged by the cgroup that the socket was made in too.
    #[inline(always)]
    fn in_scope(call: &Call<Self>) -> bool {
        let socket = call.socket.address();
        is_of_governed_netns(socket) && is_below_the_hooks(socket) != 0
    }
}

/// What programs before ours answered; 0 if they let the call go on.
#[inline(always)]
pub fn earlier(ctx: &LsmContext) -> i32 {
    // Behind the hook's own two arguments.
    ctx.arg(2)
}

/// Judges the listen that `ctx` describes.
#[inline(always)]
pub fn judge(ctx: &LsmContext) -> i32 {
    let earlier = earlier(ctx);
    if earlier != 0 {
        return earlier;
    }
    match tcp_socket(read_field(number(ctx.arg(0)), Field::SocketSock)) {
        Some(socket) => judge_socket::<Listen, _>(ctx, Socket(socket as *mut _), socket),
        None => GOES_ON,
    }
}

/// Judges the listen of the TCP socket `socket`, which is at `address` in kernel memory.
#[inline(always)]
pub fn judge_socket<K: Kind, C: EbpfContext>(ctx: &C, socket: Socket, address: u64) -> i32 {
    let active = policy::active();
    let Some(mode) = active.mode() else {
        return K::GOES_ON;
    };
    // Nobody answers for a port that the kernel chose (`UNR-16`).
    let is_chosen = read_bits(address, Field::SockLocks) & PORT_IS_CHOSEN != 0;
    let port: u16 = read_field(address, Field::SockPort);
    if !is_chosen || port == 0 {
        return K::GOES_ON;
    }
    let mut call = Call::<K> {
        ctx: ctx.as_ptr(),
        socket,
        address: bound(address),
        protocol: Protocol::Tcp,
        port,
        active,
        mode,
        kind: PhantomData,
    };
    if !K::in_scope(&call) {
        return K::GOES_ON;
    }
    let verdict = call.judge();
    if verdict.refuses() {
        return call.refuse(&verdict);
    }
    // What no UNRSV entry is about was told at bind.
    if verdict.entry != NO_ENTRY {
        call.allow(&verdict, 0);
    }
    K::GOES_ON
}

/// The TCP socket that the socket at `socket` is or has inside.
#[inline(always)]
fn tcp_socket(socket: u64) -> Option<u64> {
    let family: u16 = read_field(socket, Field::SockFamily);
    if family != AF_INET && family != AF_INET6 {
        return None;
    }
    let inner = offset(Field::MptcpFirst);
    let protocol: u16 = read_field(socket, Field::SockProtocol);
    match protocol {
        IPPROTO_TCP => Some(socket),
        IPPROTO_MPTCP if inner != Field::MISSING => Some(read(socket + u64::from(inner))),
        _ => None,
    }
}

/// The address that the socket at `socket` is bound to, an IPv4 one as IPv4-mapped.
#[inline(always)]
fn bound(socket: u64) -> [u32; 4] {
    let family: u16 = read_field(socket, Field::SockFamily);
    let v6 = offset(Field::SockAddress6);
    if family == AF_INET6 && v6 != Field::MISSING {
        read(socket + u64::from(v6))
    } else {
        [0, 0, MAPPED, read_field(socket, Field::SockAddress4)]
    }
}

/// Whether the policy governs the socket's network namespace.
#[inline(always)]
pub fn is_of_governed_netns(socket: u64) -> bool {
    let scope = SCOPE_NETNS.load();
    scope == 0 || scope == netns_of(socket)
}

/// The network namespace of the socket at `socket`, as the agent names it.
#[inline(always)]
pub fn netns_of(socket: u64) -> u64 {
    let network: u64 = read_field(socket, Field::SockNet);
    if has(Feature::NetnsCookie) {
        read_field(network, Field::NetCookie)
    } else {
        netns_inode(network)
    }
}

/// 1 if the socket at `socket` was made in the cgroup of the hooks or below it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn is_below_the_hooks(socket: u64) -> u32 {
    let scope = SCOPE_CGROUP.load();
    let cgroup = cgroup_of(socket);
    if cgroup == 0 {
        return u32::from(scope == ROOT);
    }
    if offset(Field::CgroupAncestors) == Field::MISSING {
        return climb(read_field(cgroup, Field::CgroupNode), scope);
    }
    let deepest: u32 = read_field(cgroup, Field::CgroupLevel);
    let ancestors = cgroup + u64::from(offset(Field::CgroupAncestors));
    let mut level = 0;
    while level < MAX_LEVELS {
        if level > deepest {
            return 0;
        }
        let above: u64 = read(ancestors + 8 * u64::from(level));
        let node: u64 = read_field(above, Field::CgroupNode);
        let id: u64 = read_field(node, Field::NodeId);
        if id == scope {
            return 1;
        }
        level += 1;
    }
    0
}

/// The cgroup that the socket at `socket` was made in; 0 for the root, and for sockets
/// that an old kernel counts as the root's because of a v1 hierarchy.
#[inline(always)]
fn cgroup_of(socket: u64) -> u64 {
    /// The word is no pointer, or not one to the socket's cgroup.
    const NO_CGROUP: u64 = 3;
    let cgroups = socket + u64::from(offset(Field::SockCgroups));
    if offset(Field::SockCgroup) != Field::MISSING {
        return read_field(cgroups, Field::SockCgroup);
    }
    let word: u64 = read_field(cgroups, Field::SockCgroupWord);
    if word & NO_CGROUP != 0 { 0 } else { word }
}

/// 1 if the directory at `node` or one above it has the id `scope`.
#[inline(always)]
fn climb(node: u64, scope: u64) -> u32 {
    let mut node = node;
    let mut level = 0;
    while level < MAX_LEVELS {
        let id: u64 = read_field(node, Field::NodeId);
        if id == scope {
            return 1;
        }
        node = read_field(node, Field::NodeParent);
        level += 1;
    }
    0
}
