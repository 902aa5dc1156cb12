//! What happens in one call: identify the request, decide, tell, answer.

use core::ptr;

use aya_ebpf::{
    helpers::generated::{bpf_get_retval, bpf_get_socket_cookie, bpf_set_retval},
    programs::SockAddrContext,
};
use aya_log_ebpf::debug;
use portreeve_common::{
    Reason, Request, Verdict,
    abi::{
        Active, Event, Hook, Mode, NO_ENTRY, Protocol, SELFTEST_ERRNO, SELFTEST_PORT, SELFTEST_V4,
        SELFTEST_V6, counter,
    },
    decide,
    decide::{Asked, Operation},
    reason::EACCES,
};

use crate::{
    events,
    maps::SELFTEST,
    policy::{self, Half},
    subject::Caller,
};

/// The hook's answers. Bit 1 says that no capability is asked for a low port.
const REFUSE: i32 = 0;
const ALLOW: i32 = 1;
const ALLOW_WITHOUT_CAPABILITY: i32 = 3;

/// One bind that is judged: what the hook was called with, and by which policy.
pub struct Call<'a> {
    pub ctx: &'a SockAddrContext,
    pub hook: Hook,
    /// As in [`Event::address`].
    pub address: [u32; 4],
    pub request: Request,
    pub active: Active,
    pub mode: Mode,
}

/// Judges the bind that `ctx` describes.
#[inline(always)]
pub fn bind(ctx: &SockAddrContext, hook: Hook) -> i32 {
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
        ctx,
        hook,
        address: address(ctx, hook),
        request: Request {
            protocol,
            port: port(ctx),
            operation: Operation::Bind,
            // No policy that rewrites addresses is published.
            asked: Asked::Specific,
        },
        active,
        mode,
    };
    if call.is_selftest() {
        call.selftest()
    } else {
        call.judge()
    }
}

impl Call<'_> {
    #[inline(always)]
    fn judge(&self) -> i32 {
        let verdict = decide(
            self.request,
            &Caller::new(self.ctx),
            &Half(self.active.half()),
        );
        debug!(
            self.ctx,
            "{} {} port {}: reason {} line {}",
            self.hook.name(),
            self.request.protocol.name(),
            self.request.port,
            verdict.reason as u16,
            verdict.line
        );
        if verdict.refuses() {
            return self.refuse(&verdict);
        }
        let grant = verdict.grant && self.mode == Mode::Enforce;
        if verdict.entry != NO_ENTRY {
            events::count(counter::of(verdict.reason, self.mode));
        }
        if self.active.report_all() && verdict.reason != Reason::NotJudged {
            events::report(self, &verdict, if grant { Event::GRANTED } else { 0 });
        }
        if grant {
            ALLOW_WITHOUT_CAPABILITY
        } else {
            ALLOW
        }
    }

    /// A refusal: counted, told, and in enforce mode made.
    #[inline(always)]
    fn refuse(&self, verdict: &Verdict) -> i32 {
        // Somebody refused before us: the bind fails with their errno, and it is
        // not ours to count.
        // SAFETY: the helper reads the return value of this call's earlier programs.
        if unsafe { bpf_get_retval() } != 0 {
            return ALLOW;
        }
        events::count(counter::of(verdict.reason, self.mode));
        events::report(self, verdict, 0);
        match self.mode {
            Mode::Enforce => {
                events::count_refusal(self.active.half(), verdict.entry);
                fail_with(EACCES)
            }
            Mode::Audit => ALLOW,
        }
    }

    /// The proof that this hook is alive: refused in enforce mode, noted in audit
    /// mode, where the ring may be full of events; never counted. Without us the
    /// address itself makes the bind fail.
    #[inline(always)]
    fn selftest(&self) -> i32 {
        match self.mode {
            Mode::Enforce => fail_with(SELFTEST_ERRNO),
            Mode::Audit => {
                if let Some(seen) = SELFTEST.get_ptr_mut(1) {
                    // SAFETY: the pointer is to an 8-byte aligned element of the map.
                    unsafe { ptr::write_volatile(seen, self.cookie()) };
                }
                ALLOW
            }
        }
    }

    #[inline(always)]
    fn cookie(&self) -> u64 {
        // SAFETY: the helper reads the cookie of the socket that the call is about.
        unsafe { bpf_get_socket_cookie(self.ctx.sock_addr.cast()) }
    }

    /// Whether this is the bind of the one socket whose cookie the agent has left
    /// for us. The address is looked at first: nobody else pays for the look-up.
    #[inline(always)]
    fn is_selftest(&self) -> bool {
        let expected = match self.hook {
            Hook::Bind4 => [u32::from_ne_bytes(SELFTEST_V4), 0, 0, 0],
            Hook::Bind6 => {
                let [a, b, c, d, e, f, g, h] = SELFTEST_V6;
                [word(a, b), word(c, d), word(e, f), word(g, h)]
            }
        };
        if self.request.port != SELFTEST_PORT || self.address != expected {
            return false;
        }
        match SELFTEST.get(0) {
            Some(cookie) => *cookie != 0 && *cookie == self.cookie(),
            None => false,
        }
    }
}

/// Refuses the bind with `errno`.
#[inline(always)]
fn fail_with(errno: u16) -> i32 {
    // SAFETY: the helper takes any negative errno. Should it fail, the kernel's
    // own answer to a refusal stands: EPERM.
    unsafe { bpf_set_retval(-i32::from(errno)) };
    REFUSE
}

/// Two groups of an IPv6 address as a word in network order.
const fn word(high: u16, low: u16) -> u32 {
    (((high as u32) << 16) | low as u32).to_be()
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
        match hook {
            Hook::Bind4 => [(*ctx.sock_addr).user_ip4, 0, 0, 0],
            Hook::Bind6 => [
                (*ctx.sock_addr).user_ip6[0],
                (*ctx.sock_addr).user_ip6[1],
                (*ctx.sock_addr).user_ip6[2],
                (*ctx.sock_addr).user_ip6[3],
            ],
        }
    }
}
