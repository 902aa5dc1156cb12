//! The programs that judge every bind and listen, run by the kernel.
//!
//! Entry points only: [`bind`], [`post_bind`], [`listen`] and [`listened`] say what happens in a call,
//! `judge` what they have in common, [`watch`] and [`found`] tell who has which port, `subject` who is calling, `socket` what for,
//! `policy` what the maps say, `events` how it is told, `identify` what the agent
//! asks of the kernel. The rules themselves are [`portreeve_common::decide()`], the same code as everywhere.

#![no_std]
#![no_main]
// The target has no compare-and-swap everywhere, so `core` offers it no
// `AtomicU64::fetch_add`, though every BPF machine can add atomically.
#![feature(core_intrinsics)]
#![expect(
    missing_docs,
    reason = "the program macro makes functions it gives no docs"
)]
#![expect(
    internal_features,
    reason = "atomic_xadd has no stable name on this target"
)]

mod bind;
mod cgroup_hook;
mod events;
mod found;
mod identify;
mod judge;
mod listen;
mod listened;
mod maps;
mod policy;
mod post_bind;
mod socket;
mod subject;
mod task;
mod watch;

use crate::post_bind::{PostBind4, PostBind6};
use aya_ebpf::{
    macros::{btf_tracepoint, cgroup_sock, cgroup_sock_addr, lsm, raw_tracepoint, sock_ops},
    programs::{
        BtfTracePointContext, LsmContext, RawTracePointContext, SockAddrContext, SockContext,
        SockOpsContext,
    },
};

/// Judges binds of IPv4 sockets.
#[cgroup_sock_addr(bind4)]
pub fn bind4(ctx: SockAddrContext) -> i32 {
    bind::judge_v4(&ctx)
}

/// Judges binds of IPv6 sockets, v4-mapped and dual-stack ones included.
#[cgroup_sock_addr(bind6)]
pub fn bind6(ctx: SockAddrContext) -> i32 {
    bind::judge_v6(&ctx)
}

/// Judges the ports that IPv4 sockets have got.
#[cgroup_sock(post_bind4)]
pub fn post_bind4(ctx: SockContext) -> i32 {
    post_bind::judge::<PostBind4>(&ctx)
}

/// Judges the ports that IPv6 sockets have got.
#[cgroup_sock(post_bind6)]
pub fn post_bind6(ctx: SockContext) -> i32 {
    post_bind::judge::<PostBind6>(&ctx)
}

/// Lets [`judge_listen`] judge. This one stays attached from agent to agent: the link
/// of such a program can't be given another one.
#[lsm(hook = "socket_listen")]
pub fn listen(ctx: LsmContext) -> i32 {
    let earlier = listen::earlier(&ctx);
    // SAFETY: nothing here must be dropped.
    unsafe { maps::LISTENING.tail_call(&ctx, 0) };
    earlier
}

/// Judges TCP sockets that begin to listen.
#[lsm(hook = "socket_listen")]
pub fn judge_listen(ctx: LsmContext) -> i32 {
    listen::judge(&ctx)
}

/// Judges TCP sockets that have begun to listen, where [`listen`] isn't asked.
#[sock_ops]
pub fn listened(ctx: SockOpsContext) -> u32 {
    listened::judge(&ctx) as u32
}

/// Tells that an IPv4 socket has a port.
#[cgroup_sock(post_bind4)]
pub fn watch_bind4(ctx: SockContext) -> i32 {
    watch::bound::<false>(&ctx)
}

/// Tells that an IPv6 socket has a port.
#[cgroup_sock(post_bind6)]
pub fn watch_bind6(ctx: SockContext) -> i32 {
    watch::bound::<true>(&ctx)
}

/// Tells that nobody has a socket open any more.
#[cgroup_sock(sock_release)]
pub fn watch_release(ctx: SockContext) -> i32 {
    watch::released(&ctx)
}

/// Tells that a TCP socket begins to listen, or ends.
#[btf_tracepoint(function = "inet_sock_set_state")]
pub fn watch_state(ctx: BtfTracePointContext) -> i32 {
    watch::state(&ctx);
    0
}

/// Lists sockets that have a port and that the kernel lists nowhere else. aya has no macro
/// for such.
#[unsafe(link_section = "iter/task_file")]
#[unsafe(no_mangle)]
pub extern "C" fn watch_files(ctx: *const found::TaskFile) -> i32 {
    found::tell(ctx);
    0
}

/// Tells the agent what the kernel knows one of its open files by.
/// Never attached; the agent runs it. The macro drops what it returns.
#[raw_tracepoint]
pub fn identify(ctx: RawTracePointContext) -> i32 {
    identify::answer(ctx.arg(0));
    0
}

/// Nothing here can panic; the verifier would refuse a program that could.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

/// Helpers that are for GPL-compatible programs only ask for this.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
