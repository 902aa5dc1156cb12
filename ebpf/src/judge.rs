//! What happens in one call: identify the request, decide, tell, answer.

use core::{ffi::c_void, marker::PhantomData, ptr};

use aya_ebpf::helpers::generated::{
    bpf_get_netns_cookie, bpf_get_retval, bpf_get_socket_cookie, bpf_set_retval,
};
use aya_log_ebpf::{
    debug,
    macro_support::{Level, level_enabled},
};
use portreeve_common::{
    Reason, Request, Verdict,
    abi::{
        Active, Event, Feature, Field, Hook, Judged, Mode, Protocol, SELFTEST_ERRNO, SELFTEST_PORT,
        SELFTEST_V4, SELFTEST_V6, counter,
    },
    decide,
    decide::{Operation, is_free},
    reason::{EACCES, EADDRINUSE},
};

use crate::{
    events,
    maps::{JUDGED, SCOPE_NETNS, SELFTEST, has, offset},
    policy::Half,
    socket::Socket,
    task::{self, read_field},
};

/// The hooks' answers. Bit 1 says that no capability is asked for a low port.
pub const REFUSE: i32 = 0;
/// Goes on by the kernel's own rules.
pub const ALLOW: i32 = 1;
/// Goes on, and a low port asks for no capability. Bind hooks only.
pub const ALLOW_WITHOUT_CAPABILITY: i32 = 3;

/// The third word of an IPv4-mapped address; the two before it are 0.
pub const MAPPED: u32 = 0xffff_u32.to_be();

/// A hook, known where the programs are compiled: each has code of its own. What it
/// doesn't say itself is as cgroup hooks have it.
pub trait Kind: Sized {
    /// Which it is.
    const HOOK: Hook;
    /// What it judges.
    const OPERATION: Operation = Operation::Bind;
    /// The answer that lets the call go on.
    const GOES_ON: i32 = ALLOW;
    /// Flags that each of its events has.
    const FLAGS: u8 = 0;

    /// Whether somebody refused before us.
    #[inline(always)]
    fn is_refused() -> bool {
        is_refused()
    }

    /// Refuses the call with `errno`.
    #[inline(always)]
    fn fail_with(errno: u16) -> i32 {
        if has(Feature::Errno) {
            // SAFETY: the helper takes any negative errno. Should it fail, the
            // kernel's own answer to a refusal stands: EPERM.
            unsafe { bpf_set_retval(-i32::from(errno)) };
        }
        REFUSE
    }

    /// [`Call::decide`]'s word. The bind hooks have it from a function of their own.
    #[inline(always)]
    fn verdict(call: &Call<Self>) -> u64 {
        call.decide().word()
    }

    /// [`Call::trace`]. The bind hooks have a function of their own for it too.
    #[inline(always)]
    fn trace(protocol: Protocol, port: u16, verdict: &Verdict) {
        Call::<Self>::trace(protocol, port, verdict);
    }

    /// [`Call::tell`]; of a call that goes on, `flags` say what becomes of it. The bind
    /// hooks have another one for it.
    #[inline(always)]
    fn tell(call: &Call<Self>, verdict: &Verdict, flags: u8) {
        call.tell(verdict, flags, call.address);
    }

    /// Whether the policy governs the socket's network namespace.
    #[inline(always)]
    fn in_scope(call: &Call<Self>) -> bool {
        let scope = SCOPE_NETNS.load();
        scope == 0 || scope == call.netns()
    }
}

/// Whether a program before this one refused the call, as far as the kernel tells. Cgroup
/// hooks only.
#[inline(always)]
pub fn is_refused() -> bool {
    // SAFETY: the helper reads the return value of this call's earlier programs.
    has(Feature::EarlierAnswer) && unsafe { bpf_get_retval() != 0 }
}

/// What tells the network namespace of `socket`, which the call of a cgroup hook is about,
/// from others, as the agent names its own: the cookie, or the inode number.
#[inline(always)]
pub fn netns(ctx: *mut c_void, socket: Socket) -> u64 {
    if has(Feature::NetnsCookie) {
        // SAFETY: the helper reads the namespace of the socket the call is about.
        return unsafe { bpf_get_netns_cookie(ctx) };
    }
    let network: u64 = read_field(socket.address(), Field::SockNet);
    netns_inode(network)
}

/// One call that is judged: what the hook was called with, and by which policy.
pub struct Call<K> {
    /// The hook's context.
    pub ctx: *mut c_void,
    /// The socket.
    pub socket: Socket,
    /// As in [`Event::address`].
    pub address: [u32; 4],
    /// The table that judges it.
    pub protocol: Protocol,
    /// The port, in host order.
    pub port: u16,
    /// The policy.
    pub active: Active,
    /// How it treats refusals.
    pub mode: Mode,
    /// The hook.
    pub kind: PhantomData<K>,
}

impl<K: Kind> Call<K> {
    /// The socket's network namespace. Cgroup hooks only.
    #[inline(always)]
    pub fn netns(&self) -> u64 {
        netns(self.ctx, self.socket)
    }

    /// What the policy says. From then on the call is in the mode of the rules that
    /// said it.
    #[inline(always)]
    pub fn judge(&mut self) -> Verdict {
        self.judged(K::verdict(self))
    }

    /// The same, where it is known that `word` is the verdict's.
    #[inline(always)]
    pub fn judged(&mut self, word: u64) -> Verdict {
        let verdict = Verdict::from_word(word);
        if is_traced() {
            K::trace(self.protocol, self.port, &verdict);
        }
        self.mode = verdict.mode(self.mode);
        verdict
    }

    /// The verdict of the policy.
    #[inline(always)]
    pub fn decide(&self) -> Verdict {
        decide(self.request(), self, &Half(self.active.half()))
    }

    #[inline(always)]
    fn request(&self) -> Request {
        Request {
            protocol: self.protocol,
            port: self.port,
            operation: K::OPERATION,
        }
    }

    /// Whether nothing is to be judged, counted or told: see [`is_free`].
    #[inline(always)]
    pub fn is_free(&self) -> bool {
        !self.active.report_all() && is_free(self.request(), &Half(self.active.half()))
    }

    /// Puts a judged call into the log of traces, if there is one.
    #[inline(always)]
    pub fn trace(protocol: Protocol, port: u16, verdict: &Verdict) {
        debug!(
            (),
            "{} {} port {}: reason {} entry {}",
            K::HOOK.name(),
            protocol.name(),
            port,
            verdict.reason as u16,
            verdict.entry
        );
    }

    /// A refusal: counted, told, and in enforce mode made.
    #[inline(always)]
    pub fn refuse(&self, verdict: &Verdict) -> i32 {
        // The call fails with their errno, and it is not ours to count.
        if K::is_refused() {
            return K::GOES_ON;
        }
        K::tell(self, verdict, 0);
        match self.mode {
            Mode::Enforce => K::fail_with(errno(verdict.reason)),
            Mode::Audit => K::GOES_ON,
        }
    }

    /// A bind that goes on: counted and told. `flags` say what becomes of it.
    #[inline(always)]
    pub fn allow(&self, verdict: &Verdict, flags: u8) {
        let is_asked_for = self.active.report_all() && verdict.reason != Reason::NotJudged;
        if is_asked_for || is_news(flags) {
            K::tell(self, verdict, flags);
        } else {
            self.count(verdict);
        }
    }

    #[inline(always)]
    fn count(&self, verdict: &Verdict) {
        if is_counted(verdict.reason) {
            events::count(counter::of(verdict.reason, self.mode, self.protocol));
        }
    }

    /// Counts a verdict, and makes an event of it if it is one that is told. A call
    /// that goes on gets the address `bound`.
    #[inline(always)]
    pub fn tell(&self, verdict: &Verdict, flags: u8, bound: [u32; 4]) {
        self.count(verdict);
        if verdict.refuses() {
            if matches!(self.mode, Mode::Enforce) {
                events::count_refusal(self.active.half(), verdict.entry);
            }
            events::report_refusal(self, verdict);
            return;
        }
        if is_news(flags) || self.active.report_all() {
            events::report_allowed(self, verdict, flags, bound);
        }
    }

    /// The proof that this hook is alive: noted, because the ring may be full of
    /// events, refused in enforce mode, and never counted. Without us the address
    /// itself makes the bind fail.
    #[inline(always)]
    pub fn selftest(&self) -> i32 {
        if let Some(seen) = SELFTEST.get_ptr_mut(1) {
            // SAFETY: the pointer is to an 8-byte aligned element of the map.
            unsafe { ptr::write_volatile(seen, self.cookie()) };
        }
        match self.mode {
            Mode::Enforce => K::fail_with(SELFTEST_ERRNO),
            Mode::Audit => ALLOW,
        }
    }

    /// The socket's cookie.
    #[inline(always)]
    pub fn cookie(&self) -> u64 {
        // SAFETY: the helper reads the cookie of the socket that the call is about.
        unsafe { bpf_get_socket_cookie(self.ctx) }
    }

    /// Leaves word for the post_bind hook that the port was judged, in the place of what an
    /// earlier bind of the socket has left that failed.
    #[inline(always)]
    pub fn note_judged(&self) {
        let cookie = self.cookie();
        let judged = Judged::new(cookie, self.port);
        if let Some(word) = JUDGED.get_ptr_mut(Judged::place(cookie)) {
            // SAFETY: the pointer is to an 8-byte aligned element of the map.
            unsafe { ptr::write_volatile(word, judged.word()) };
        }
    }

    /// The port that [`Self::note_judged`] has noted of the socket, if another one's word
    /// hasn't taken its place since.
    #[inline(always)]
    pub fn noted(&self) -> Option<u16> {
        let cookie = self.cookie();
        let word = JUDGED.get_ptr_mut(Judged::place(cookie))?;
        // SAFETY: as above.
        Judged::from_word(unsafe { ptr::read_volatile(word) }).of(cookie)
    }

    /// Whether this is the bind of the one socket whose cookie the agent has left
    /// for us. The address is looked at first: nobody else pays for the look-up.
    #[inline(always)]
    pub fn is_selftest(&self) -> bool {
        let expected = if K::HOOK.is_v6() {
            let [a, b, c, d, e, f, g, h] = SELFTEST_V6;
            [word(a, b), word(c, d), word(e, f), word(g, h)]
        } else {
            [u32::from_ne_bytes(SELFTEST_V4), 0, 0, 0]
        };
        if self.port != SELFTEST_PORT || self.address != expected {
            return false;
        }
        match SELFTEST.get(0) {
            Some(cookie) => *cookie != 0 && *cookie == self.cookie(),
            None => false,
        }
    }
}

/// The inode number of the network namespace at `network`.
#[inline(always)]
pub fn netns_inode(network: u64) -> u64 {
    let common = network + u64::from(offset(Field::NetCommon));
    u64::from(read_field::<u32>(common, Field::NamespaceInode))
}

/// Whether `flags` say something of a bind that goes on that isn't only told to those who
/// ask for all: somebody who set `SO_REUSEPORT` should find out why it isn't.
#[inline(always)]
fn is_news(flags: u8) -> bool {
    flags & (Event::UNSHARED | Event::SHARING_FAILED) != 0
}

/// Whether traces are asked for. The verifier knows, and drops what isn't.
#[inline(always)]
pub fn is_traced() -> bool {
    level_enabled(Level::Debug)
}

/// Whether verdicts of this reason are counted. Only a port with rules has news to tell
/// that aren't asked for.
#[inline(always)]
fn is_counted(reason: Reason) -> bool {
    !matches!(reason, Reason::NotJudged | Reason::Unreserved)
}

/// What the caller sees, where the kernel lets us choose.
#[inline(always)]
fn errno(reason: Reason) -> u16 {
    if task::is_kernel() {
        EADDRINUSE
    } else {
        reason.errno().unwrap_or(EACCES)
    }
}

/// Two groups of an IPv6 address as a word in network order.
const fn word(high: u16, low: u16) -> u32 {
    (((high as u32) << 16) | low as u32).to_be()
}
