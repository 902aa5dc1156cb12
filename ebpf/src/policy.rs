//! The maps as one policy: the half that was in force when the call began.

use core::ptr;

use portreeve_common::{
    PolicyView,
    abi::{
        Active, BindAddress, Entry, MAX_ADDRESSES, MAX_ENTRIES, MAX_GLOBS, MAX_MATCHERS, Matcher,
        PROTOCOLS, Protocol, Slot, Unreserved,
    },
    jobname::Glob,
};

use crate::maps::{ACTIVE, ADDRESSES, ENTRIES, GLOBS, MATCHERS, SLOTS, UNRESERVED};

/// What `ACTIVE` says now. Read once per call: a second look could name the other half.
#[inline(always)]
pub fn active() -> Active {
    match ACTIVE.get_ptr(0) {
        // SAFETY: the pointer is to the map's one element, which is 8-byte
        // aligned and lives as long as the program; user space stores it whole.
        Some(word) => Active::from_word(unsafe { ptr::read_volatile(word) }),
        None => Active::NONE,
    }
}

/// One half of every table.
pub struct Half(pub u32);

impl Half {
    /// Where element `index` of this half stands; nothing reaches the other half.
    #[inline(always)]
    fn index(&self, index: u32, per_half: u32) -> Option<u32> {
        if index < per_half {
            Some(self.0 * per_half + index)
        } else {
            None
        }
    }
}

impl PolicyView for Half {
    #[inline(always)]
    fn slot(&self, protocol: Protocol, port: u16) -> Option<Slot> {
        SLOTS.get(Slot::index(self.0, protocol, port)).copied()
    }

    #[inline(always)]
    fn unreserved(&self, protocol: Protocol) -> Option<Unreserved> {
        UNRESERVED
            .get(self.index(protocol as u32, PROTOCOLS)?)
            .copied()
    }

    #[inline(always)]
    fn address(&self, index: u32) -> Option<&BindAddress> {
        ADDRESSES.get(self.index(index, MAX_ADDRESSES)?)
    }

    #[inline(always)]
    fn entry(&self, index: u32) -> Option<&Entry> {
        ENTRIES.get(self.index(index, MAX_ENTRIES)?)
    }

    #[inline(always)]
    fn matcher(&self, index: u32) -> Option<&Matcher> {
        MATCHERS.get(self.index(index, MAX_MATCHERS)?)
    }

    #[inline(always)]
    fn glob(&self, index: u32) -> Option<&Glob> {
        GLOBS.get(self.index(index, MAX_GLOBS)?)
    }
}
