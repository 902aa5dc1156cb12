//! The socket of a call: what it is, what is set on it, and what is remembered of it.

use core::ptr;

use aya_ebpf::{
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock, bpf_sock_addr},
    helpers::generated::{bpf_getsockopt, bpf_setsockopt, bpf_sk_storage_get, bpf_skc_to_tcp_sock},
};
use portreeve_common::abi::{Event, Feature, Field, Remembered};

use crate::{
    maps::{REMEMBERS, SOCKETS, has},
    task::{Record, number, read_bits},
};

const SOL_SOCKET: i32 = 1;
const SO_REUSEPORT: i32 = 15;
const SOL_TCP: i32 = 6;
/// The longest time in microseconds that an acknowledgement is held back.
const TCP_BPF_DELACK_MAX: i32 = 1003;
/// What the kernel begins with.
const DELAY_BY_DEFAULT: u32 = 200_000;
/// The kernel takes nothing below two ticks of its clock: of 1000, 250 and 100 a second.
const SHORT_DELAYS: [u32; 3] = [2_000, 8_000, 20_000];

/// A socket, as the helpers for its storage want it.
#[derive(Clone, Copy)]
pub struct Socket(pub *mut bpf_sock);

/// The address that the socket of a post-bind hook has got, as in [`Event::address`].
#[inline(always)]
pub fn bound_address(ctx: *mut bpf_sock, is_v6: bool) -> [u32; 4] {
    // SAFETY: loads from the context, word by word as in the bind hooks.
    unsafe {
        if is_v6 {
            [
                (*ctx).src_ip6[0],
                (*ctx).src_ip6[1],
                (*ctx).src_ip6[2],
                (*ctx).src_ip6[3],
            ]
        } else {
            [(*ctx).src_ip4, 0, 0, 0]
        }
    }
}

impl Socket {
    /// Where the socket is in kernel memory.
    #[inline(always)]
    pub fn address(self) -> u64 {
        // The verifier lets nobody calculate with the pointer itself.
        number(self.0 as u64)
    }

    /// Whether it takes IPv6 only.
    #[inline(always)]
    pub fn is_v6_only(self) -> bool {
        read_bits(self.address(), Field::SockV6Only) & 1 != 0
    }

    /// What is remembered of it, if anything is.
    #[inline(always)]
    pub fn remembered(self) -> Option<&'static mut Remembered> {
        if is_anything_remembered() {
            self.storage(0)
        } else {
            None
        }
    }

    /// The same, with room made for it. `None` if there is none.
    #[inline(always)]
    fn remember(self) -> Option<&'static mut Remembered> {
        if let Some(any) = REMEMBERS.get_ptr_mut(0) {
            // SAFETY: the pointer is to an 8-byte aligned element of the map. It is
            // stored first: whoever holds the socket's lock next sees it.
            unsafe { ptr::write_volatile(any, 1) };
        }
        self.storage(u64::from(BPF_SK_STORAGE_GET_F_CREATE))
    }

    /// Leaves word that its listener could not be named to the agent. `false` if there
    /// is no room for that either.
    #[inline(always)]
    pub fn mark_late(self) -> bool {
        match self.remember() {
            Some(remembered) => {
                remembered.changed |= Remembered::LATE;
                true
            }
            None => false,
        }
    }

    /// Takes that word back: it listens anew.
    #[inline(always)]
    pub fn unmark_late(self) {
        if let Some(remembered) = self.remembered() {
            remembered.changed &= !Remembered::LATE;
        }
    }

    #[inline(always)]
    fn storage(self, flags: u64) -> Option<&'static mut Remembered> {
        let map = (&raw const SOCKETS).cast_mut().cast();
        // SAFETY: the helper returns NULL or the socket's own value, which lives
        // as long as the program runs; the socket is locked during its bind, so
        // nobody else looks at it.
        unsafe {
            bpf_sk_storage_get(map, self.0.cast(), ptr::null_mut(), flags)
                .cast::<Remembered>()
                .as_mut()
        }
    }
}

/// Whether anything was ever remembered of a socket. Most policies never have a reason
/// to, and then nobody pays for the look.
#[inline(always)]
pub fn is_anything_remembered() -> bool {
    match REMEMBERS.get_ptr(0) {
        // SAFETY: as in [`Socket::remember`].
        Some(any) => unsafe { ptr::read_volatile(any) != 0 },
        None => true,
    }
}

/// The context of a bind hook, by which its socket's options are reached, if the kernel
/// has [`Feature::Options`].
#[derive(Clone, Copy)]
struct Options(*mut bpf_sock_addr);

impl Options {
    /// Whether several sockets may have the port (`SO_REUSEPORT`).
    #[inline(always)]
    fn is_shared(self) -> bool {
        if !has(Feature::Options) {
            return false;
        }
        // A plain load, where asking for the option locks and copies. A socket of
        // Multipath TCP is none of TCP's to the kernel.
        // SAFETY: the helper takes a socket, and returns NULL or the same one, typed.
        let tcp = unsafe { bpf_skc_to_tcp_sock(socket_of(self.0).0.cast()) };
        if !tcp.is_null() {
            return Record::typed(tcp.cast()).bits(Field::SockReusePort) & 1 != 0;
        }
        let mut value = 0i32;
        let to = (&raw mut value).cast();
        // SAFETY: the helper writes the four bytes of `value`.
        unsafe { bpf_getsockopt(self.0.cast(), SOL_SOCKET, SO_REUSEPORT, to, 4) };
        value != 0
    }

    /// `false` if the kernel didn't.
    #[inline(always)]
    fn set_shared(self, shared: bool) -> bool {
        self.set(SOL_SOCKET, SO_REUSEPORT, u32::from(shared))
    }

    /// Lets acknowledgements be held back for the shortest time the kernel takes.
    /// `false` if it took none.
    #[inline(always)]
    fn shorten_delay(self) -> bool {
        let mut index = 0;
        while index < SHORT_DELAYS.len() {
            if self.set(SOL_TCP, TCP_BPF_DELACK_MAX, SHORT_DELAYS[index]) {
                return true;
            }
            index += 1;
        }
        false
    }

    #[inline(always)]
    fn set(self, level: i32, option: i32, value: u32) -> bool {
        if !has(Feature::Options) {
            return false;
        }
        let mut value = value;
        let from = (&raw mut value).cast();
        // SAFETY: the helper reads the four bytes of `value`.
        unsafe { bpf_setsockopt(self.0.cast(), level, option, from, 4) == 0 }
    }
}

#[inline(always)]
fn socket_of(ctx: *mut bpf_sock_addr) -> Socket {
    // SAFETY: a load from the context.
    Socket(unsafe { (*ctx).__bindgen_anon_1.sk })
}

/// Begins a bind. `true` if the socket has a port already; then the bind fails whatever
/// is set, and nothing is changed.
#[inline(always)]
pub fn begin_bind(ctx: *mut bpf_sock_addr) -> bool {
    // SAFETY: the verifier knows the pointer to be a socket or NULL.
    let socket = unsafe { socket_of(ctx).0.as_ref() };
    let is_bound = socket.is_none_or(|socket| socket.src_port != 0);
    if !is_bound && is_anything_remembered() {
        take_back(ctx);
    }
    is_bound
}

/// Takes back what was changed for an earlier bind of the socket that failed, because
/// what a hook sets stays set. What the application has set again since is its own.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn take_back(ctx: *mut bpf_sock_addr) -> u32 {
    let Some(remembered) = socket_of(ctx).remembered() else {
        return 0;
    };
    let (changed, options) = (remembered.changed, Options(ctx));
    if changed & Remembered::SHARED != 0 && options.is_shared() {
        options.set_shared(false);
    }
    if changed & Remembered::UNSHARED != 0 && !options.is_shared() {
        options.set_shared(true);
    }
    if changed & Remembered::SHORT_DELAY != 0 {
        options.set(SOL_TCP, TCP_BPF_DELACK_MAX, DELAY_BY_DEFAULT);
    }
    *remembered = Remembered::default();
    0
}

/// Leaves word for the post_bind hook that the bind was judged for `port`, and
/// whether a capability is `granted`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn note_judged(ctx: *mut bpf_sock_addr, port: u32, granted: u32) -> u32 {
    match socket_of(ctx).remember() {
        Some(remembered) => {
            remembered.judged = 1 + port;
            if granted != 0 {
                remembered.changed = Remembered::GRANTED;
            }
            1
        }
        None => 0,
    }
}

/// [`set_options`]: the port is shared by several listeners (`PRT-14`).
pub const SHARE: u32 = 1;
/// [`set_options`]: it isn't, so `SO_REUSEPORT` is switched off.
pub const UNSHARE: u32 = 2;
/// [`set_options`]: acknowledgements are sent early (`PRT-13`).
pub const SHORTEN_DELAY: u32 = 4;

/// Whether a socket's options must be switched to be as `wanted`. Hardly ever.
#[inline(always)]
pub fn differs(ctx: *mut bpf_sock_addr, wanted: u32) -> bool {
    wanted & SHORTEN_DELAY != 0
        || wanted & (SHARE | UNSHARE) != 0 && Options(ctx).is_shared() != (wanted & SHARE != 0)
}

/// Switches a TCP socket's options to what is `wanted`. Returns what was changed,
/// as flags of [`Event`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn set_options(ctx: *mut bpf_sock_addr, wanted: u32) -> u32 {
    if !has(Feature::Options) {
        return 0;
    }
    let options = Options(ctx);
    let (mut flags, mut changed) = (0, 0);
    if wanted & (SHARE | UNSHARE) != 0 {
        let share = wanted & SHARE != 0;
        if options.is_shared() != share {
            (flags, changed) = match (options.set_shared(share), share) {
                (true, true) => (Event::SHARED, Remembered::SHARED),
                (true, false) => (Event::UNSHARED, Remembered::UNSHARED),
                (false, _) => (Event::SHARING_FAILED, 0),
            };
        }
    }
    if wanted & SHORTEN_DELAY != 0 && options.shorten_delay() {
        changed |= Remembered::SHORT_DELAY;
    }
    if changed != 0
        && let Some(remembered) = socket_of(ctx).remember()
    {
        remembered.changed |= changed;
    }
    u32::from(flags)
}
