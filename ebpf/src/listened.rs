//! `sock_ops`: UNRSV for TCP where the BPF LSM isn't there to refuse a listen.
//!
//! The hook is called when the socket listens already, and can refuse nothing: what
//! the policy refuses is left to the agent, which destroys the listener.

use aya_ebpf::programs::SockOpsContext;
use portreeve_common::{
    abi::{Event, Hook},
    decide::Operation,
};

use crate::{
    judge::{ALLOW, Call, Kind},
    listen::{is_of_governed_netns, judge_socket},
    socket::Socket,
};

/// `BPF_SOCK_OPS_TCP_LISTEN_CB`. The others are asked for by nobody here.
const LISTENS: u32 = 11;

/// [`Hook::Listen`], afterwards.
pub struct Listened;

impl Kind for Listened {
    const HOOK: Hook = Hook::Listen;
    const OPERATION: Operation = Operation::Listen;
    const FLAGS: u8 = Event::AFTERWARDS;

    /// Nothing is refused here.
    #[inline(always)]
    fn is_refused() -> bool {
        false
    }

    /// Any other answer is for other callbacks.
    #[inline(always)]
    fn fail_with(_: u16) -> i32 {
        ALLOW
    }

    /// The hook is called for sockets of its cgroup only.
    #[inline(always)]
    fn in_scope(call: &Call<Self>) -> bool {
        is_of_governed_netns(call.socket.address())
    }
}

/// Judges the listen that `ctx` describes, if it describes one.
#[inline(always)]
pub fn judge(ctx: &SockOpsContext) -> i32 {
    if ctx.op() != LISTENS {
        return ALLOW;
    }
    // SAFETY: a load from the context.
    let socket = Socket(unsafe { (*ctx.ops).__bindgen_anon_2.sk });
    judge_socket::<Listened, _>(ctx, socket, socket.address())
}
