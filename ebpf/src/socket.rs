//! The socket of a call: what it is, what is set on it, and what is remembered of it.

use core::{ffi::c_void, mem::MaybeUninit, ptr};

use aya_ebpf::{
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    helpers::generated::{
        bpf_getsockopt, bpf_probe_read_kernel, bpf_setsockopt, bpf_sk_storage_get,
    },
};
use portreeve_common::abi::Field;

use crate::{
    maps::{SOCKETS, offset},
    task::read,
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

/// What is remembered of a socket between its binds. Zero: nothing.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Remembered {
    /// 1 + the port that its last bind was judged for; 0 for none.
    pub judged: u32,
    /// What was changed for that bind: [`Remembered::SHARED`] and so on.
    pub changed: u32,
}

impl Remembered {
    /// `SO_REUSEPORT` was switched on.
    pub const SHARED: u32 = 1;
    /// `SO_REUSEPORT` was switched off.
    pub const UNSHARED: u32 = 2;
    /// Acknowledgements are held back for a shorter time.
    pub const SHORT_DELAY: u32 = 4;
}

/// The socket of one call.
#[derive(Clone, Copy)]
pub struct Socket {
    /// What the option helpers want: the call's context.
    pub ctx: *mut c_void,
    /// What the storage helpers want.
    pub sk: *mut bpf_sock,
}

impl Socket {
    /// Where the socket is in kernel memory.
    #[inline(always)]
    pub fn address(self) -> u64 {
        let pointer = self.sk;
        let mut address = MaybeUninit::<u64>::zeroed();
        // The verifier lets nobody calculate with the pointer itself, but copies
        // of it are numbers.
        // SAFETY: eight bytes are copied from one place on the stack to another.
        unsafe {
            bpf_probe_read_kernel(address.as_mut_ptr().cast(), 8, (&raw const pointer).cast());
            address.assume_init()
        }
    }

    /// Whether it takes IPv6 only.
    #[inline(always)]
    pub fn is_v6_only(self) -> bool {
        let bit = offset(Field::SockV6Only);
        let byte: u8 = read(self.address() + u64::from(bit / 8));
        byte >> (bit % 8) & 1 != 0
    }

    /// What is remembered of it, if anything is.
    #[inline(always)]
    pub fn remembered(self) -> Option<&'static mut Remembered> {
        self.storage(0)
    }

    /// The same, with room made for it. `None` if there is none.
    #[inline(always)]
    pub fn remember(self) -> Option<&'static mut Remembered> {
        self.storage(u64::from(BPF_SK_STORAGE_GET_F_CREATE))
    }

    #[inline(always)]
    fn storage(self, flags: u64) -> Option<&'static mut Remembered> {
        let map = (&raw const SOCKETS).cast_mut().cast();
        // SAFETY: the helper returns NULL or the socket's own value, which lives
        // as long as the program runs; the socket is locked during its bind, so
        // nobody else looks at it.
        unsafe {
            bpf_sk_storage_get(map, self.sk.cast(), ptr::null_mut(), flags)
                .cast::<Remembered>()
                .as_mut()
        }
    }

    /// Whether several sockets may have its port (`SO_REUSEPORT`).
    #[inline(always)]
    pub fn is_shared(self) -> bool {
        let mut value = 0i32;
        // SAFETY: the helper writes the four bytes of `value`.
        unsafe {
            bpf_getsockopt(
                self.ctx,
                SOL_SOCKET,
                SO_REUSEPORT,
                (&raw mut value).cast(),
                4,
            );
        }
        value != 0
    }

    /// Sets `SO_REUSEPORT`. `false` if the kernel didn't.
    #[inline(always)]
    pub fn set_shared(self, shared: bool) -> bool {
        self.set(SOL_SOCKET, SO_REUSEPORT, u32::from(shared))
    }

    /// Lets acknowledgements be held back for the shortest time the kernel takes
    /// (`PRT-13`). `false` if it took none.
    #[inline(always)]
    pub fn shorten_delay(self) -> bool {
        let mut index = 0;
        while index < SHORT_DELAYS.len() {
            if self.set(SOL_TCP, TCP_BPF_DELACK_MAX, SHORT_DELAYS[index]) {
                return true;
            }
            index += 1;
        }
        false
    }

    /// Takes back what was changed for an earlier bind that failed: what a hook
    /// sets stays set. What the application has set again since is its own.
    #[inline(always)]
    pub fn undo(self, remembered: &mut Remembered) {
        let changed = remembered.changed;
        if changed & Remembered::SHARED != 0 && self.is_shared() {
            self.set_shared(false);
        }
        if changed & Remembered::UNSHARED != 0 && !self.is_shared() {
            self.set_shared(true);
        }
        if changed & Remembered::SHORT_DELAY != 0 {
            self.set(SOL_TCP, TCP_BPF_DELACK_MAX, DELAY_BY_DEFAULT);
        }
        *remembered = Remembered::default();
    }

    #[inline(always)]
    fn set(self, level: i32, option: i32, value: u32) -> bool {
        let mut value = value;
        // SAFETY: the helper reads the four bytes of `value`.
        unsafe { bpf_setsockopt(self.ctx, level, option, (&raw mut value).cast(), 4) == 0 }
    }
}
