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
    judge::{ALLOW, is_refused},
    listen::{AF_INET6, IPPROTO_MPTCP, PORT_IS_CHOSEN, netns_of},
    maps::{OWN_NETNS, TRACKED, WATCH_LOST, WATCHED, offset},
    socket::Socket,
    subject::id_of_cgroup,
    task::{self, Record, number, read, read_bits, read_field},
};

/// `TCP_CLOSE`
const CLOSE: i32 = 7;
/// `TCP_LISTEN`
const LISTEN: i32 = 10;

/// Tells that the socket of `ctx` has got a port, unless it isn't tracked or somebody
/// refused it.
#[inline(always)]
pub fn bound(ctx: &SockContext) -> i32 {
    // SAFETY: this and the next are loads from the context, checked by the verifier.
    let protocol = Protocol::from_ip_protocol(unsafe { (*ctx.sock).protocol });
    // SAFETY: as above. It is in host order.
    let port = unsafe { (*ctx.sock).src_port } as u16;
    if let Some(protocol) = protocol
        && is_tracked(protocol, port)
        && !is_refused()
    {
        tell(Socket(ctx.sock).address(), protocol, Happening::Bound);
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
    // The socket around one of Multipath TCP doesn't know who chose its port.
    if is_tracked(protocol, read_field(socket, Field::SockPort)) && (is_mptcp || is_chosen(socket))
    {
        tell(socket, protocol, Happening::Released);
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
    if let Some(protocol) = Protocol::from_ip_protocol(u32::from(ip_protocol)) {
        tell(socket, protocol, happening);
    }
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

/// Writes what happened to the socket at `socket`, if it is of the agent's own network
/// namespace.
#[inline(always)]
fn tell(socket: u64, protocol: Protocol, happening: Happening) {
    if netns_of(socket) != OWN_NETNS.load() {
        return;
    }
    let Some(mut room) = WATCHED.reserve::<Watched>(0) else {
        return add_one(WATCH_LOST.get_ptr_mut(0));
    };
    let family: u16 = read_field(socket, Field::SockFamily);
    room.write(Watched {
        time: now(),
        inode: inode_of(socket),
        cgroup: id_of_cgroup(),
        address: address_of(socket, family),
        comm: task::comm(Record::task()).unwrap_or([0; 2]),
        pid: task::pid(),
        uid: task::euid(),
        port: read_field(socket, Field::SockPort),
        family,
        happening: happening as u8,
        protocol: protocol as u8,
        chosen: u8::from(is_chosen(socket)),
        reserved: 0,
    });
    room.submit(0);
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
