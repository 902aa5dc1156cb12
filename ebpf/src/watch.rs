//! Who has which port: what becomes of sockets, told to the agent that watches.
//!
//! A port is had from the bind on, until nobody has the socket open any more. A listener
//! whose port nobody chose is seen when it begins to listen, and when it ends. The
//! connections that a listener accepts have its port too, and are no news: the kernel
//! doesn't hand them the lock that the bind of a chosen port leaves.

use core::ptr;

use aya_ebpf::programs::{BtfTracePointContext, SockContext};
use portreeve_common::abi::{Field, Happening, Protocol, Watched, tracked_at};

use crate::{
    events::{add_one, now},
    judge::{ALLOW, is_refused, netns},
    listen::{AF_INET, AF_INET6, IPPROTO_MPTCP, PORT_IS_CHOSEN, netns_of},
    maps::{OWN_NETNS, TRACKED, WATCH_LOST, WATCHED, offset},
    socket::{self, Socket},
    subject::id_of_cgroup,
    task::{self, Record, number, read, read_bits, read_field},
};

/// `TCP_CLOSE`
const CLOSE: i32 = 7;
/// `TCP_LISTEN`
const LISTEN: i32 = 10;

/// Tells that the socket of `ctx`, the call of a post-bind hook, has got a port, unless it
/// isn't tracked or somebody refused it.
#[inline(always)]
pub fn bound<const V6: bool>(ctx: &SockContext) -> i32 {
    // SAFETY: this and the next are loads from the context, checked by the verifier.
    let protocol = Protocol::from_ip_protocol(unsafe { (*ctx.sock).protocol });
    // SAFETY: as above. It is in host order.
    let port = unsafe { (*ctx.sock).src_port } as u16;
    let Some(protocol) = protocol else {
        return ALLOW;
    };
    if is_tracked(protocol, port) && !is_refused() && is_own(ctx) {
        tell(|| Watched {
            inode: inode_of(Socket(ctx.sock).address()),
            cgroup: id_of_cgroup(),
            address: socket::bound_address(ctx.sock, V6),
            uid: task::euid(),
            family: if V6 { AF_INET6 } else { AF_INET },
            ..happened(Happening::Bound, protocol, port)
        });
    }
    ALLOW
}

/// Tells that nobody has the socket of `ctx` open any more, if a bind of it was told.
#[inline(always)]
pub fn released(ctx: &SockContext) -> i32 {
    // SAFETY: a load from the context, checked by the verifier.
    let number = unsafe { (*ctx.sock).protocol };
    let is_mptcp = number == u32::from(IPPROTO_MPTCP);
    let protocol = match Protocol::from_ip_protocol(number) {
        None if is_mptcp => Protocol::Tcp,
        Some(protocol) => protocol,
        None => return ALLOW,
    };
    let socket = Socket(ctx.sock).address();
    let port = read_field(socket, Field::SockPort);
    // The socket around one of Multipath TCP doesn't know who chose its port.
    if is_tracked(protocol, port) && (is_mptcp || is_chosen(socket)) && is_own(ctx) {
        tell(|| Watched {
            inode: inode_of(socket),
            ..happened(Happening::Released, protocol, port)
        });
    }
    ALLOW
}

/// Tells that a TCP socket begins to listen or ends, if that is what `ctx` describes.
#[inline(always)]
pub fn state(ctx: &BtfTracePointContext) {
    let (before, after): (i32, i32) = (ctx.arg(1), ctx.arg(2));
    let happening = match (before, after) {
        (_, LISTEN) => Happening::Listens,
        (LISTEN, CLOSE) => Happening::Stopped,
        // Of what listens, connections are made: those are not it.
        _ => return,
    };
    let socket = number(ctx.arg(0));
    let ip_protocol: u16 = read_field(socket, Field::SockProtocol);
    // A socket around one of Multipath TCP goes through the same states as that.
    let Some(protocol) = Protocol::from_ip_protocol(u32::from(ip_protocol)) else {
        return;
    };
    if netns_of(socket) != OWN_NETNS.load() {
        return;
    }
    tell(|| {
        let family: u16 = read_field(socket, Field::SockFamily);
        let port = read_field(socket, Field::SockPort);
        Watched {
            inode: inode_of(socket),
            cgroup: id_of_cgroup(),
            address: address_of(socket, family),
            uid: task::euid(),
            family,
            chosen: u8::from(is_chosen(socket)),
            ..happened(happening, protocol, port)
        }
    });
}

/// Whether the socket of a cgroup hook's call is of the agent's own network namespace.
#[inline(always)]
fn is_own(ctx: &SockContext) -> bool {
    netns(ctx.sock.cast(), Socket(ctx.sock)) == OWN_NETNS.load()
}

/// Whether sockets that have the port are told.
#[inline(always)]
fn is_tracked(protocol: Protocol, port: u16) -> bool {
    let (word, bit) = tracked_at(protocol, port);
    match TRACKED.get_ptr(word) {
        // SAFETY: the pointer is to an 8-byte aligned element of the map, which user space
        // stores whole.
        Some(word) => (unsafe { ptr::read_volatile(word) }) >> bit & 1 != 0,
        None => false,
    }
}

/// Whether the port of the socket at `socket` was chosen by a bind.
#[inline(always)]
pub fn is_chosen(socket: u64) -> bool {
    read_bits(socket, Field::SockLocks) & PORT_IS_CHOSEN != 0
}

/// That the caller did this to a socket whose port a bind chose. What the socket is, and
/// all else about the caller, is left out.
#[inline(always)]
fn happened(happening: Happening, protocol: Protocol, port: u16) -> Watched {
    Watched {
        time: now(),
        inode: 0,
        cgroup: 0,
        address: [0; 4],
        comm: task::comm(Record::task()).unwrap_or([0; 2]),
        pid: task::pid(),
        uid: 0,
        port,
        family: 0,
        happening: happening as u8,
        protocol: protocol as u8,
        chosen: 1,
        reserved: 0,
    }
}

/// Writes what happened, if there is room. Each thing that is read of a socket is paid for
/// by every bind and close of a tracked port, so it is no more than the agent wants to know.
#[inline(always)]
fn tell(watched: impl FnOnce() -> Watched) {
    match WATCHED.reserve::<Watched>(0) {
        Some(mut room) => {
            room.write(watched());
            room.submit(0);
        }
        None => add_one(WATCH_LOST.get_ptr_mut(0)),
    }
}

/// Number of the inode by which the socket at `socket` is open.
#[inline(always)]
pub fn inode_of(socket: u64) -> u64 {
    let file: u64 = read_field(socket, Field::SockSocket);
    read_field(
        file + u64::from(offset(Field::SocketInode)),
        Field::InodeNumber,
    )
}

/// The address that the socket at `socket` has.
#[inline(always)]
pub fn address_of(socket: u64, family: u16) -> [u32; 4] {
    let v6 = offset(Field::SockAddress6);
    if family == AF_INET6 && v6 != Field::MISSING {
        read(socket + u64::from(v6))
    } else {
        [read_field(socket, Field::SockAddress4), 0, 0, 0]
    }
}
