//! `cgroup/post_bind4` and `post_bind6`: the port that a socket has in the end.
//!
//! The bind hook judges what is asked for. This one sees what was given: a port
//! that the kernel chose, or one that a program after ours put there.

use core::marker::PhantomData;

use aya_ebpf::{bindings::bpf_sock, programs::SockContext};
use portreeve_common::{
    Reason, Subject as _, Verdict,
    abi::{Active, Hook, Mode, Protocol, Remembered},
    decide::FIRST_HIGH_PORT,
};

use crate::{
    cgroup_hook::{CgroupHook, as_it_is, cgroup_hook},
    judge::{ALLOW, Call, Kind},
    policy::{self, Half},
    socket::{self, Socket},
};

cgroup_hook!(
    PostBind4: bpf_sock, call, as_it_is;
    verdict_of_post_bind4, tell_of_post_bind4, trace_of_post_bind4
);
cgroup_hook!(
    PostBind6: bpf_sock, call, as_it_is;
    verdict_of_post_bind6, tell_of_post_bind6, trace_of_post_bind6
);

#[inline(always)]
fn call<K: Kind>(ctx: *mut bpf_sock, active: Active) -> Option<Call<K>> {
    let mode = active.mode()?;
    // SAFETY: this and the other loads are from the context, checked by the verifier.
    let protocol = Protocol::from_ip_protocol(unsafe { (*ctx).protocol })?;
    Some(Call {
        ctx: ctx.cast(),
        socket: Socket(ctx),
        address: socket::bound_address(ctx, K::HOOK.is_v6()),
        protocol,
        // SAFETY: as above. Unlike in the bind hooks, it is in host order.
        port: unsafe { (*ctx).src_port } as u16,
        active,
        mode,
        kind: PhantomData,
    })
}

/// Judges the port in `ctx`, unless it was judged before the bind.
#[inline(always)]
pub fn judge<K: CgroupHook<Context = bpf_sock>>(ctx: &SockContext) -> i32 {
    let Some(mut call) = K::call(ctx.sock, policy::active()) else {
        return ALLOW;
    };
    // Whatever was judged, there is nothing to be said of this port, and a grant is for
    // low ones.
    if call.port >= FIRST_HIGH_PORT && call.is_free() {
        return ALLOW;
    }
    let remembered = call
        .socket
        .remembered()
        .map_or(Remembered::default(), |it| *it);
    // The kernel's choice, where it isn't ours to guide, is kept with the socket as port 0.
    if remembered.judged == 1 {
        return ALLOW;
    }
    let judged = match remembered.judged {
        0 => call.noted(),
        judged => Some((judged - 1) as u16),
    };
    if judged == Some(call.port) {
        return ALLOW;
    }
    let is_moved = judged.is_some_and(|port| port != 0);
    // Ports that the kernel chose are open to everybody, unless the policy names
    // them (`EPH-10`). One in audit is still in the kernel's pool.
    if !is_moved && !Half(call.active.half()).keeps(call.protocol, call.port) {
        return ALLOW;
    }
    let mode = call.mode;
    let mut verdict = call.judge();
    // A grant is for the port that was judged, and nobody asked for a capability.
    let takes_grant_along = remembered.changed & Remembered::GRANTED != 0
        && call.port < FIRST_HIGH_PORT
        && !verdict.grant
        && (!verdict.refuses() || call.mode == Mode::Audit);
    if takes_grant_along && !call.is_privileged() {
        verdict.reason = Reason::LowPort;
        // The grant was made, so it is taken back whatever the port's own rules are in.
        verdict.audited = false;
        call.mode = mode;
    }
    if verdict.refuses() {
        return call.refuse(&verdict);
    }
    // If the bind hook's word was lost, it has counted this already. Other binds than
    // those that are permitted and not told leave theirs with the socket.
    let is_counted = judged.is_none() && call.mode == Mode::Enforce && !call.active.report_all();
    if !is_counted {
        call.allow(&verdict, 0);
    }
    ALLOW
}
