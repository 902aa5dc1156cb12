//! `cgroup/bind4` and `bind6`: what a socket asks for, before the kernel looks at it.

use aya_ebpf::{helpers::generated::bpf_get_netns_cookie, programs::SockAddrContext};
use aya_log_ebpf::debug;
use portreeve_common::{
    PolicyView as _, Reason, Verdict,
    abi::{Event, Hook, Mode, Protocol},
    decide::Rewrite,
};

use crate::{
    judge::{ALLOW, ALLOW_WITHOUT_CAPABILITY, Call},
    maps::OWN_NETNS,
    policy::{self, Half},
    socket::{Remembered, Socket},
};

const AF_UNSPEC: u32 = 0;
/// The third word of an IPv4-mapped address.
const MAPPED: u32 = 0xffff_u32.to_be();

/// Judges the bind that `ctx` describes.
#[inline(always)]
pub fn judge(ctx: &SockAddrContext, hook: Hook) -> i32 {
    let active = policy::active();
    let Some(mode) = active.mode() else {
        return ALLOW;
    };
    // The socket's own protocol says which table judges; the address family in
    // the call can be AF_UNSPEC on an IPv4 socket.
    // SAFETY: the verifier checks this and the other loads from the context.
    let Some(protocol) = Protocol::from_ip_protocol(unsafe { (*ctx.sock_addr).protocol }) else {
        return ALLOW;
    };
    let call = Call {
        ctx: ctx.sock_addr.cast(),
        socket: Socket {
            ctx: ctx.sock_addr.cast(),
            // SAFETY: a load from the context.
            sk: unsafe { (*ctx.sock_addr).__bindgen_anon_1.sk },
        },
        hook,
        address: address(ctx, hook),
        protocol,
        port: port(ctx),
        active,
        mode,
    };
    if call.is_selftest() {
        return call.selftest();
    }
    // A socket that has a port keeps it: this bind fails, whatever is set.
    // SAFETY: the verifier knows the pointer to be a socket or NULL.
    let is_bound = unsafe { call.socket.sk.as_ref() }.is_none_or(|sk| sk.src_port != 0);
    if !is_bound && let Some(remembered) = call.socket.remembered() {
        call.socket.undo(remembered);
    }
    let verdict = call.decide();
    debug!(
        ctx,
        "{} {} port {}: reason {} line {}",
        hook.name(),
        protocol.name(),
        call.port,
        verdict.reason as u16,
        verdict.line
    );
    if verdict.refuses() {
        return call.refuse(&verdict);
    }
    if is_bound {
        call.allow(&verdict, 0, call.address);
        return ALLOW;
    }
    remember(&call, &verdict);
    if verdict.reason != Reason::Permitted || mode == Mode::Audit {
        call.allow(&verdict, 0, call.address);
        return ALLOW;
    }
    give(ctx, &call, &verdict)
}

/// What goes with a reserved port, when its rightful job binds it.
#[inline(always)]
fn give(ctx: &SockAddrContext, call: &Call, verdict: &Verdict) -> i32 {
    let mut bound = call.address;
    let mut flags = 0;
    if let Some(address) = replacement(call, verdict) {
        // SAFETY: a load from the context.
        if unsafe { (*ctx.sock_addr).user_family } == AF_UNSPEC {
            // The kernel takes no address but the wildcard with this family, and a
            // listener on every address is not what the entry says.
            let reason = Reason::AddressFamily;
            return call.refuse(&Verdict { reason, ..*verdict });
        }
        set_address(ctx, call.hook, address);
        bound = address;
        flags |= Event::REWRITTEN;
    }
    if call.protocol as u32 == Protocol::Tcp as u32 {
        flags |= options(call, verdict);
    }
    if verdict.grant {
        flags |= Event::GRANTED;
    }
    call.allow(verdict, flags, bound);
    if verdict.grant {
        ALLOW_WITHOUT_CAPABILITY
    } else {
        ALLOW
    }
}

/// Leaves word for the post_bind hook: which port was judged. Port 0 is told only
/// where the agent can't keep reserved ports from being chosen.
#[inline(always)]
fn remember(call: &Call, verdict: &Verdict) {
    let is_managed = || {
        // SAFETY: the helper reads the namespace of the socket the call is about.
        call.active.keeps_pool() && OWN_NETNS.load() == unsafe { bpf_get_netns_cookie(call.ctx) }
    };
    let tells = if call.port == 0 {
        !is_managed()
    } else {
        verdict.reason == Reason::Permitted
    };
    if tells && let Some(remembered) = call.socket.remember() {
        remembered.judged = 1 + u32::from(call.port);
    }
}

/// The address that BIND puts in the wildcard's place (`PRT-22` to `PRT-26`).
#[inline(always)]
fn replacement(call: &Call, verdict: &Verdict) -> Option<[u32; 4]> {
    let (index, mapped) = match verdict.rewrite {
        Rewrite::Keep => return None,
        Rewrite::To(index) => (index, false),
        Rewrite::Mapped(index) => (index, true),
    };
    let policy = Half(call.active.half());
    let address = policy.address(index)?;
    let words = address.words();
    Some(match (call.hook, address.is_v4()) {
        // The IPv4 wildcard can come as an IPv4-mapped one.
        (Hook::Bind6, true) => [0, 0, MAPPED, words[0]],
        (Hook::Bind4, true) if !mapped => [words[0], 0, 0, 0],
        _ => words,
    })
}

/// Switches the options of a TCP socket to what the port's entries say
/// (`PRT-13`, `PRT-14`), and tells which were changed.
#[inline(always)]
fn options(call: &Call, verdict: &Verdict) -> u8 {
    let socket = call.socket;
    let (mut flags, mut changed) = (0, 0);
    let is_shared = socket.is_shared();
    if verdict.shared && !is_shared {
        (flags, changed) = if socket.set_shared(true) {
            (Event::SHARED, Remembered::SHARED)
        } else {
            (Event::SHARING_FAILED, 0)
        };
    }
    if !verdict.shared && is_shared && !call.active.sharing_stays() {
        (flags, changed) = if socket.set_shared(false) {
            (Event::UNSHARED, Remembered::UNSHARED)
        } else {
            (Event::SHARING_FAILED, 0)
        };
    }
    if verdict.no_delay_acks && socket.shorten_delay() {
        changed |= Remembered::SHORT_DELAY;
    }
    if changed != 0
        && let Some(remembered) = socket.remember()
    {
        remembered.changed = changed;
    }
    flags
}

#[inline(always)]
fn port(ctx: &SockAddrContext) -> u16 {
    // SAFETY: a load from the context.
    u16::from_be(unsafe { (*ctx.sock_addr).user_port } as u16)
}

/// The address asked for, as in [`Event::address`]. The words of `user_ip6` are
/// read one by one: copying the array makes the compiler do arithmetic on the
/// context pointer, which the verifier refuses.
#[inline(always)]
fn address(ctx: &SockAddrContext, hook: Hook) -> [u32; 4] {
    // SAFETY: loads from the context; bind6 may read user_ip6, bind4 user_ip4.
    unsafe {
        if hook.is_v6() {
            [
                (*ctx.sock_addr).user_ip6[0],
                (*ctx.sock_addr).user_ip6[1],
                (*ctx.sock_addr).user_ip6[2],
                (*ctx.sock_addr).user_ip6[3],
            ]
        } else {
            [(*ctx.sock_addr).user_ip4, 0, 0, 0]
        }
    }
}

#[inline(always)]
fn set_address(ctx: &SockAddrContext, hook: Hook, words: [u32; 4]) {
    // SAFETY: stores to the context, which the same hooks may make.
    unsafe {
        if hook.is_v6() {
            (*ctx.sock_addr).user_ip6[0] = words[0];
            (*ctx.sock_addr).user_ip6[1] = words[1];
            (*ctx.sock_addr).user_ip6[2] = words[2];
            (*ctx.sock_addr).user_ip6[3] = words[3];
        } else {
            (*ctx.sock_addr).user_ip4 = words[0];
        }
    }
}
