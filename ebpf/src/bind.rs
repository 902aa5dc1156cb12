//! `cgroup/bind4` and `bind6`: what a socket asks for, before the kernel looks at it.

use core::{hint::black_box, marker::PhantomData};

use aya_ebpf::{bindings::bpf_sock_addr, programs::SockAddrContext};
use portreeve_common::{
    PolicyView as _, Reason, Rewrite, Verdict,
    abi::{Active, Event, Feature, Hook, Mode, Protocol},
};

use crate::{
    cgroup_hook::{CgroupHook, cgroup_hook},
    judge::{ALLOW, ALLOW_WITHOUT_CAPABILITY, Call, Kind, MAPPED, is_traced},
    maps::{OWN_NETNS, has},
    policy::{self, Half},
    socket::{
        SHARE, SHORTEN_DELAY, Socket, UNSHARE, begin_bind, differs, note_judged, set_options,
    },
};

const AF_UNSPEC: u32 = 0;

cgroup_hook!(Bind4: bpf_sock_addr, call, bound; verdict_of_bind4, tell_of_bind4, trace_of_bind4);
cgroup_hook!(Bind6: bpf_sock_addr, call, bound; verdict_of_bind6, tell_of_bind6, trace_of_bind6);

#[inline(always)]
fn call<K: Kind>(ctx: *mut bpf_sock_addr, active: Active) -> Option<Call<K>> {
    let mode = active.mode()?;
    // The socket's own protocol says which table judges; the address family in
    // the call can be AF_UNSPEC on an IPv4 socket.
    // SAFETY: the verifier checks this and the other loads from the context.
    let protocol = Protocol::from_ip_protocol(unsafe { (*ctx).protocol })?;
    Some(Call {
        ctx: ctx.cast(),
        // SAFETY: a load from the context.
        socket: Socket(unsafe { (*ctx).__bindgen_anon_1.sk }),
        address: address::<K>(ctx),
        protocol,
        port: port(ctx),
        active,
        mode,
        kind: PhantomData,
    })
}

/// Judges the bind of an IPv4 socket that `ctx` describes.
#[inline(always)]
pub fn judge_v4(ctx: &SockAddrContext) -> i32 {
    judge::<Bind4>(ctx.sock_addr, answer_of_bind4)
}

/// The same of an IPv6 socket.
#[inline(always)]
pub fn judge_v6(ctx: &SockAddrContext) -> i32 {
    judge::<Bind6>(ctx.sock_addr, answer_of_bind6)
}

/// Keeps little of what it knows: all functions together have 512 bytes of stack.
#[inline(always)]
fn judge<K: CgroupHook<Context = bpf_sock_addr>>(
    ctx: *mut bpf_sock_addr,
    answer: extern "C" fn(*mut bpf_sock_addr, u64, u64, u32) -> u32,
) -> i32 {
    let Some(call) = K::call(ctx, policy::active()) else {
        return ALLOW;
    };
    if call.is_selftest() {
        return call.selftest();
    }
    let is_bound = begin_bind(ctx);
    if call.is_free() {
        // Another program may still put a port there that has rules.
        call.note_judged();
        let verdict = Verdict::without_entry(Reason::Unreserved);
        if is_traced() {
            K::trace(call.protocol, call.port, &verdict);
        }
        return ALLOW;
    }
    let word = K::verdict(&call);
    // The compiler knows that there is no other answer; the verifier must be shown.
    let answer = black_box(answer(ctx, call.active.word(), word, is_bound.into())) as i32;
    if has(Feature::Grant) {
        answer & ALLOW_WITHOUT_CAPABILITY
    } else {
        answer & ALLOW
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn answer_of_bind4(
    ctx: *mut bpf_sock_addr,
    active: u64,
    word: u64,
    is_bound: u32,
) -> u32 {
    match Bind4::call(ctx, Active::from_word(active)) {
        Some(call) => answer(ctx, call, word, is_bound != 0) as u32,
        None => ALLOW as u32,
    }
}

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn answer_of_bind6(
    ctx: *mut bpf_sock_addr,
    active: u64,
    word: u64,
    is_bound: u32,
) -> u32 {
    match Bind6::call(ctx, Active::from_word(active)) {
        Some(call) => answer(ctx, call, word, is_bound != 0) as u32,
        None => ALLOW as u32,
    }
}

/// What becomes of a bind, and what goes with it, when the verdict of which `word` is the
/// word is known.
#[inline(always)]
fn answer<K: Kind>(ctx: *mut bpf_sock_addr, mut call: Call<K>, word: u64, is_bound: bool) -> i32 {
    let mut verdict = call.judged(word);
    let gives = verdict.reason == Reason::Permitted && call.mode == Mode::Enforce && !is_bound;
    let replacement = if gives {
        replacement(&call, &verdict)
    } else {
        None
    };
    // SAFETY: a load from the context.
    if replacement.is_some() && unsafe { (*ctx).user_family } == AF_UNSPEC {
        // The kernel takes no address but the wildcard with this family, and a
        // listener on every address is not what the entry says.
        verdict.reason = Reason::AddressFamily;
    }
    if !is_bound {
        let granted = gives && verdict.grant && has(Feature::Grant);
        if is_kept_with_socket(&call, &verdict, gives && !granted) {
            note_judged(ctx, u32::from(call.port), u32::from(granted));
        } else if goes_on(&call, &verdict) {
            call.note_judged();
        }
    }
    if verdict.refuses() {
        return call.refuse(&verdict);
    }
    let mut flags = 0;
    if gives {
        if replacement.is_some() {
            flags |= Event::REWRITTEN;
        }
        let wanted = wanted(&call, &verdict);
        if differs(ctx, wanted) {
            flags |= set_options(ctx, wanted) as u8;
        }
        if verdict.grant && has(Feature::Grant) {
            flags |= Event::GRANTED;
        }
    }
    call.allow(&verdict, flags);
    // What was asked for has been told.
    if let Some(address) = replacement {
        set_address::<K>(ctx, address);
    }
    // Also for a socket that has a port: it fails by the kernel's own error then.
    if verdict.grant && call.mode == Mode::Enforce && has(Feature::Grant) {
        ALLOW_WITHOUT_CAPABILITY
    } else {
        ALLOW
    }
}

/// Whether the bind goes on, as far as it is ours to say.
#[inline(always)]
fn goes_on<K: Kind>(call: &Call<K>, verdict: &Verdict) -> bool {
    !verdict.refuses() || call.mode == Mode::Audit
}

/// Whether the post_bind hook must know for certain which port was judged, and a word that
/// may be lost won't do: of a port that it would tell of a second time, or take a grant
/// for. Where that is a bind that `is_plain`, permitted with nothing granted, it is told only
/// if all are. Port 0 is kept only where the agent can't keep reserved ports from being
/// chosen.
#[inline(always)]
fn is_kept_with_socket<K: Kind>(call: &Call<K>, verdict: &Verdict, is_plain: bool) -> bool {
    if call.port == 0 {
        return !call.active.keeps_pool() || OWN_NETNS.load() != call.netns();
    }
    (!is_plain || call.active.report_all())
        && goes_on(call, verdict)
        && verdict.reason != Reason::NotJudged
        && Half(call.active.half()).names(call.protocol, call.port)
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
fn bound<K: Kind>(call: &Call<K>, verdict: &Verdict, flags: u8) -> [u32; 4] {
    let replacement = if flags & Event::REWRITTEN != 0 {
        replacement(call, verdict)
    } else {
        None
    };
    replacement.unwrap_or(call.address)
}

#[inline(always)]
fn port(ctx: *mut bpf_sock_addr) -> u16 {
    // SAFETY: a load from the context.
    u16::from_be(unsafe { (*ctx).user_port } as u16)
}

/// The address asked for, as in [`Event::address`]. The words of `user_ip6` are
/// read one by one: copying the array makes the compiler do arithmetic on the
/// context pointer, which the verifier refuses.
#[inline(always)]
fn address<K: Kind>(ctx: *mut bpf_sock_addr) -> [u32; 4] {
    // SAFETY: loads from the context; bind6 may read user_ip6, bind4 user_ip4.
    unsafe {
        if K::HOOK.is_v6() {
            [
                (*ctx).user_ip6[0],
                (*ctx).user_ip6[1],
                (*ctx).user_ip6[2],
                (*ctx).user_ip6[3],
            ]
        } else {
            [(*ctx).user_ip4, 0, 0, 0]
        }
    }
}

#[inline(always)]
fn set_address<K: Kind>(ctx: *mut bpf_sock_addr, words: [u32; 4]) {
    // SAFETY: stores to the context, which the same hooks may make.
    unsafe {
        if K::HOOK.is_v6() {
            (*ctx).user_ip6[0] = words[0];
            (*ctx).user_ip6[1] = words[1];
            (*ctx).user_ip6[2] = words[2];
            (*ctx).user_ip6[3] = words[3];
        } else {
            (*ctx).user_ip4 = words[0];
        }
    }
}
