//! Who is calling.
//!
//! What takes a loop or several look-ups is a function of its own that the
//! verifier walks once, however often it is called: exported and of numbers
//! only, which makes it a global function to the kernel.

mod cgroup;
mod jobs;
mod permits;
mod privilege;

use portreeve_common::{
    Subject,
    abi::Hook,
    decide::{Asked, Identity},
};

pub use self::cgroup::id_of_cgroup;
use crate::judge::{Call, Kind, MAPPED};

impl<K: Kind> Subject for Call<K> {
    #[inline(always)]
    fn in_scope(&self) -> bool {
        K::in_scope(self)
    }

    #[inline(always)]
    fn identity(&self, list: u32) -> Option<Identity> {
        jobs::identify(self.active, list)
    }

    #[inline(always)]
    fn is_permitted(&self, set: u32) -> bool {
        permits::is_permitted(self.active.half(), set) != 0
    }

    #[inline(always)]
    fn is_privileged(&self) -> bool {
        privilege::may_bind_low(self.socket.address()) != 0
    }

    #[inline(always)]
    fn asked(&self) -> Asked {
        match (K::HOOK, self.address) {
            (Hook::Bind4, [0, ..]) | (Hook::Bind6, [0, 0, MAPPED, 0]) => Asked::AnyV4,
            (Hook::Bind6, [0, 0, 0, 0]) if self.socket.is_v6_only() => Asked::AnyV6Only,
            (Hook::Bind6, [0, 0, 0, 0]) => Asked::AnyV6,
            _ => Asked::Specific,
        }
    }
}
