//! `cgroup/bind4` and `bind6`: what a socket asks for, before the kernel looks at it.

use core::marker::PhantomData;

use aya_ebpf::programs::SockAddrContext;
use aya_log_ebpf::debug;
use portreeve_common::{
    PolicyView as _, Reason, Verdict,
    abi::{Event, Feature, Mode, Protocol},
    decide::Rewrite,
};

use crate::{
    judge::{ALLOW, ALLOW_WITHOUT_CAPABILITY, Call, Kind, MAPPED},
    maps::{OWN_NETNS, has},
    policy::{self, Half},
    socket::{SHARE, SHORTEN_DELAY, Socket, UNSHARE, begin_bind, note_judged, set_options},
};

const AF_UNSPEC: u32 = 0;
/// Judges the bind that `ctx` describes.
#[inline(always)]
pub fn judge<K: Kind>(ctx: &SockAddrContext) -> i32 {
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
    let mut call = Call::<K> {
        ctx: ctx.sock_addr.cast(),
        // SAFETY: a load from the context.
        socket: Socket(unsafe { (*ctx.sock_addr).__bindgen_anon_1.sk }),
        address: address::<K>(ctx),
        protocol,
        port: port(ctx),
        active,
        mode,
        kind: PhantomData,
    };
    if call.is_selftest() {
        return call.selftest();
    }
    let is_bound = begin_bind(ctx.sock_addr) != 0;
    let mut verdict = call.decide();
    debug!(
        ctx,
        "{} {} port {}: reason {} line {}",
        K::HOOK.name(),
        protocol.name(),
        call.port,
        verdict.reason as u16,
        verdict.line
    );
    let gives = verdict.reason == Reason::Permitted && call.mode == Mode::Enforce && !is_bound;
    let replacement = if gives {
        replacement(&call, &verdict)
    } else {
        None
    };
    // SAFETY: a load from the context.
    if replacement.is_some() && unsafe { (*ctx.sock_addr).user_family } == AF_UNSPEC {
        // The kernel takes no address but the wildcard with this family, and a
        // listener on every address is not what the entry says.
        verdict.reason = Reason::AddressFamily;
    }
    if !is_bound && tells(&call, &verdict) {
        let granted = u32::from(gives && verdict.grant && has(Feature::Grant));
        note_judged(ctx.sock_addr, u32::from(call.port), granted);
    }
    if verdict.refuses() {
        return call.refuse(&verdict);
    }
    let (mut flags, mut bound) = (0, call.address);
    if gives {
        if let Some(address) = replacement {
            set_address::<K>(ctx, address);
            bound = address;
            flags |= Event::REWRITTEN;
        }
        flags |= set_options(ctx.sock_addr, wanted(&call, &verdict)) as u8;
        if verdict.grant && has(Feature::Grant) {
            flags |= Event::GRANTED;
        }
    }
    call.allow(&verdict, flags, bound);
    // Also for a socket that has a port: it fails by the kernel's own error then.
    if verdict.grant && call.mode == Mode::Enforce && has(Feature::Grant) {
        ALLOW_WITHOUT_CAPABILITY
    } else {
        ALLOW
    }
}

/// Whether the post_bind hook must know which port was judged: one that it would
/// judge itself, or be it twice. Port 0 is told only where the agent can't keep
/// reserved ports from being chosen.
#[inline(always)]
fn tells<K: Kind>(call: &Call<K>, verdict: &Verdict) -> bool {
    if call.port != 0 {
        // In audit the bind goes on, whatever the verdict.
        let goes_on = !verdict.refuses() || call.mode == Mode::Audit;
        return goes_on
            && verdict.reason != Reason::NotJudged
            && Half(call.active.half()).names(call.protocol, call.port);
    }
    !call.active.keeps_pool() || OWN_NETNS.load() != call.netns()
}

/// What the options of the socket are to be.
#[inline(always)]
fn wanted<K: Kind>(call: &Call<K>, verdict: &Verdict) -> u32 {
    if call.protocol as u32 != Protocol::Tcp as u32 {
        return 0;
    }
    let sharing = if verdict.shared {
        SHARE
    } else if call.active.sharing_stays() {
        0
    } else {
        UNSHARE
    };
    let delay = if verdict.no_delay_acks {
        SHORTEN_DELAY
    } else {
        0
    };
    sharing | delay
}

/// The address that BIND puts in the wildcard's place (`PRT-22` to `PRT-26`).
#[inline(always)]
fn replacement<K: Kind>(call: &Call<K>, verdict: &Verdict) -> Option<[u32; 4]> {
    let index = match verdict.rewrite {
        Rewrite::Keep => return None,
        Rewrite::To(index) | Rewrite::Mapped(index) => index,
    };
    let policy = Half(call.active.half());
    let address = policy.address(index)?;
    let words = address.words();
    // The IPv4 wildcard can come as an IPv4-mapped one.
    Some(if K::HOOK.is_v6() && address.is_v4() {
        [0, 0, MAPPED, words[0]]
    } else {
        words
    })
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
fn address<K: Kind>(ctx: &SockAddrContext) -> [u32; 4] {
    // SAFETY: loads from the context; bind6 may read user_ip6, bind4 user_ip4.
    unsafe {
        if K::HOOK.is_v6() {
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
fn set_address<K: Kind>(ctx: &SockAddrContext, words: [u32; 4]) {
    // SAFETY: stores to the context, which the same hooks may make.
    unsafe {
        if K::HOOK.is_v6() {
            (*ctx.sock_addr).user_ip6[0] = words[0];
            (*ctx.sock_addr).user_ip6[1] = words[1];
            (*ctx.sock_addr).user_ip6[2] = words[2];
            (*ctx.sock_addr).user_ip6[3] = words[3];
        } else {
            (*ctx.sock_addr).user_ip4 = words[0];
        }
    }
}
