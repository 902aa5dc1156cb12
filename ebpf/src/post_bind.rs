//! `cgroup/post_bind4` and `post_bind6`: the port that a socket has in the end.
//!
//! The bind hook judges what is asked for. This one sees what was given: a port
//! that the kernel chose, or one that a program after ours put there.

use core::marker::PhantomData;

use aya_ebpf::programs::SockContext;
use portreeve_common::{
    Reason, Subject as _,
    abi::{Mode, Protocol, Remembered},
    decide::FIRST_HIGH_PORT,
};

use crate::{
    judge::{ALLOW, Call, Kind},
    policy::{self, Half},
    socket::Socket,
};

/// Judges the port in `ctx`, unless it was judged before the bind.
#[inline(always)]
pub fn judge<K: Kind>(ctx: &SockContext) -> i32 {
    let active = policy::active();
    let Some(mode) = active.mode() else {
        return ALLOW;
    };
    // SAFETY: this and the other loads are from the context, checked by the verifier.
    let Some(protocol) = Protocol::from_ip_protocol(unsafe { (*ctx.sock).protocol }) else {
        return ALLOW;
    };
    // SAFETY: as above. Unlike in the bind hooks, it is in host order.
    let port = unsafe { (*ctx.sock).src_port } as u16;
    let socket = Socket(ctx.sock);
    let remembered = socket.remembered().map_or(Remembered::default(), |it| *it);
    // The kernel's choice, where it isn't ours to guide, is told as port 0.
    if remembered.judged == 1 || remembered.judged == 1 + u32::from(port) {
        return ALLOW;
    }
    let is_moved = remembered.judged != 0;
    // Ports that the kernel chose are open to everybody, unless the policy names
    // them (`EPH-10`). One in audit is still in the kernel's pool.
    if !is_moved && !Half(active.half()).keeps(protocol, port) {
        return ALLOW;
    }
    let mut call = Call::<K> {
        ctx: ctx.sock.cast(),
        socket,
        address: address::<K>(ctx),
        protocol,
        port,
        active,
        mode,
        kind: PhantomData,
    };
    let mut verdict = call.decide();
    // A grant is for the port that was judged, and nobody asked for a capability.
    let takes_grant_along = remembered.changed & Remembered::GRANTED != 0
        && port < FIRST_HIGH_PORT
        && !verdict.grant
        && (!verdict.refuses() || call.mode == Mode::Audit);
    if takes_grant_along && !call.is_privileged() {
        verdict.reason = Reason::LowPort;
        // The grant was made, so it is taken back whatever the port's own rules are in.
        call.mode = mode;
    }
    if verdict.refuses() {
        return call.refuse(&verdict);
    }
    call.allow(&verdict, 0, call.address);
    ALLOW
}

#[inline(always)]
fn address<K: Kind>(ctx: &SockContext) -> [u32; 4] {
    // SAFETY: loads from the context, word by word as in the bind hooks.
    unsafe {
        if K::HOOK.is_v6() {
            [
                (*ctx.sock).src_ip6[0],
                (*ctx.sock).src_ip6[1],
                (*ctx.sock).src_ip6[2],
                (*ctx.sock).src_ip6[3],
            ]
        } else {
            [(*ctx.sock).src_ip4, 0, 0, 0]
        }
    }
}
