//! `iter/task_file`: the TCP sockets that are bound and no more, which kernels before 6.8
//! list nowhere. Run by the agent over every file that a process has open.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{file, seq_file},
    helpers::generated::{bpf_seq_write, bpf_sock_from_file},
};
use portreeve_common::abi::{Field, Happening, Protocol, Watched};

use crate::{
    listen::{IPPROTO_MPTCP, netns_of},
    maps::OWN_NETNS,
    task::{number, read_field},
    watch::{address_of, inode_of, is_chosen},
};

/// `TCP_CLOSE`: neither connected nor listening.
const CLOSE: u8 = 7;

/// `struct bpf_iter__task_file`
#[repr(C)]
pub struct TaskFile {
    meta: *const Meta,
    task: *const c_void,
    descriptor: u64,
    file: *mut file,
}

/// `struct bpf_iter_meta`
#[repr(C)]
struct Meta {
    output: *mut seq_file,
}

/// Writes the socket that the file in `ctx` is, if it is such.
#[inline(always)]
pub fn tell(ctx: *const TaskFile) {
    // SAFETY: this and the next are loads from the context, checked by the verifier.
    let file = unsafe { (*ctx).file };
    if file.is_null() {
        return;
    }
    // SAFETY: the helper returns NULL for what is no socket.
    let found = unsafe { bpf_sock_from_file(file) };
    if found.is_null() {
        return;
    }
    let socket: u64 = read_field(number(found as u64), Field::SocketSock);
    let protocol: u16 = read_field(socket, Field::SockProtocol);
    let is_mptcp = protocol == IPPROTO_MPTCP;
    let is_tcp = is_mptcp || Protocol::from_ip_protocol(u32::from(protocol)) == Some(Protocol::Tcp);
    let port: u16 = read_field(socket, Field::SockPort);
    let state: u8 = read_field(socket, Field::SockState);
    // The socket around one of Multipath TCP doesn't know who chose its port.
    if !is_tcp || port == 0 || state != CLOSE || !(is_mptcp || is_chosen(socket)) {
        return;
    }
    if netns_of(socket) != OWN_NETNS.load() {
        return;
    }
    let family: u16 = read_field(socket, Field::SockFamily);
    let row = Watched {
        time: 0,
        inode: inode_of(socket),
        cgroup: 0,
        address: address_of(socket, family),
        comm: [0; 2],
        pid: 0,
        uid: 0,
        port,
        family,
        happening: Happening::Bound as u8,
        protocol: Protocol::Tcp as u8,
        chosen: 1,
        reserved: 0,
    };
    // SAFETY: loads from the context, and `row` is as long as said. If there is no room,
    // the kernel asks again with more.
    unsafe {
        let output = (*(*ctx).meta).output;
        bpf_seq_write(output, (&raw const row).cast(), size_of::<Watched>() as u32);
    }
}
