//! Waiting for the programs that run.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use nix::libc;

use super::{ElementAttr, bpf, owned};

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;

const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_ARRAY_OF_MAPS: u32 = 12;

/// Waits until every bind that was being judged when [`Grace::wait`] was called
/// is over.
///
/// The kernel promises that for the update of a map-in-map's slot: it waits for
/// running programs before it returns. `membarrier` is no substitute; it does
/// nothing on one CPU and fails under nohz_full.
#[derive(Debug)]
pub struct Grace {
    outer: OwnedFd,
    inner: OwnedFd,
}

impl Grace {
    /// Makes the two tiny maps that are waited on.
    ///
    /// # Errors
    ///
    /// What the kernel says of creating a map.
    pub fn new() -> io::Result<Self> {
        let inner = create_map(BPF_MAP_TYPE_ARRAY, None)?;
        let outer = create_map(BPF_MAP_TYPE_ARRAY_OF_MAPS, Some(&inner))?;
        Ok(Self { outer, inner })
    }

    /// Returns when no program runs that ran at the time of the call; some milliseconds.
    ///
    /// # Errors
    ///
    /// What the kernel says of the update; then nothing was waited for.
    pub fn wait(&self) -> io::Result<()> {
        let (key, value) = (0u32, self.inner.as_raw_fd());
        let map = self.outer.as_fd();
        let mut attr = ElementAttr::new(map, &key, std::ptr::from_ref(&value) as u64);
        // SAFETY: the layout is BPF_MAP_UPDATE_ELEM's; key and value are the four
        // bytes each that the map was made with and outlive the call.
        unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut attr) }.map(drop)
    }
}

fn create_map(kind: u32, inner: Option<&OwnedFd>) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        map_flags: u32,
        inner_map_fd: u32,
    }
    let mut attr = Attr {
        map_type: kind,
        key_size: 4,
        value_size: 4,
        max_entries: 1,
        map_flags: 0,
        inner_map_fd: inner.map_or(0, |fd| fd.as_raw_fd().cast_unsigned()),
    };
    // SAFETY: the layout is BPF_MAP_CREATE's; it holds no pointer.
    owned(unsafe { bpf(BPF_MAP_CREATE, &mut attr) }?)
}
