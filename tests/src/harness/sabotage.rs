//! What somebody with the right to do it can do to hooks that are in force: bpf(2) by
//! hand, so that nothing of the product is needed for it.

use std::{
    ffi::CString,
    fs::{self, File},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use anyhow::{Context as _, Result};
use nix::libc;

use super::neighbour::{Neighbour, always_allowing, bpf, open};

const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_PROG_DETACH: libc::c_long = 9;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_DETACH: libc::c_long = 34;

/// Every hook on a cgroup, as the agent names it and as bpf(2) numbers it.
pub const HOOKS: [(&str, u32); 4] = [
    ("post_bind4", 12),
    ("post_bind6", 13),
    ("bind4", 8),
    ("bind6", 9),
];

/// Detaches the link that is pinned at `pin` by force; the pin stays.
pub fn detach(pin: &Path) -> Result<()> {
    #[repr(C)]
    struct Attr {
        link_fd: u32,
    }
    let link = open(pin).with_context(|| pin.display().to_string())?;
    let mut attr = Attr {
        link_fd: link.as_raw_fd().cast_unsigned(),
    };
    // SAFETY: the layout is BPF_LINK_DETACH's; it holds no pointer.
    unsafe { bpf(BPF_LINK_DETACH, &mut attr) }.context("the link can't be detached")?;
    Ok(())
}

/// Lets the link that is pinned at `pin` run a program that allows everything.
pub fn disarm(pin: &Path, attach_type: u32) -> Result<()> {
    #[repr(C)]
    struct Attr {
        link_fd: u32,
        new_prog_fd: u32,
        flags: u32,
        old_prog_fd: u32,
    }
    let link = open(pin).with_context(|| pin.display().to_string())?;
    let program = always_allowing(attach_type)?;
    let mut attr = Attr {
        link_fd: link.as_raw_fd().cast_unsigned(),
        new_prog_fd: program.as_raw_fd().cast_unsigned(),
        flags: 0,
        old_prog_fd: 0,
    };
    // SAFETY: the layout is BPF_LINK_UPDATE's; it holds no pointer.
    unsafe { bpf(BPF_LINK_UPDATE, &mut attr) }.context("the link can't be changed")?;
    Ok(())
}

/// Puts a neighbour's link in the place of the pin at `pin`.
pub fn usurp(pin: &Path, neighbour: &Neighbour) -> Result<()> {
    fs::remove_file(pin)?;
    put(pin, &neighbour.link)
}

fn put(pin: &Path, object: &OwnedFd) -> Result<()> {
    #[repr(C)]
    struct Attr {
        pathname: u64,
        bpf_fd: u32,
        file_flags: u32,
    }
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let mut attr = Attr {
        pathname: path.as_ptr() as u64,
        bpf_fd: object.as_raw_fd().cast_unsigned(),
        file_flags: 0,
    };
    // SAFETY: the layout is BPF_OBJ_PIN's and `path` outlives the call.
    unsafe { bpf(BPF_OBJ_PIN, &mut attr) }.context("nothing can be pinned")?;
    Ok(())
}

/// A program that was attached the old way, which lets no other be attached beside it;
/// detached when dropped.
pub struct Exclusive {
    cgroup: File,
    attach_type: u32,
}

impl Exclusive {
    /// Attaches it to the hook of this number.
    pub fn attach(cgroup: &Path, attach_type: u32) -> Result<Self> {
        Neighbour::attach_exclusively_to(attach_type, cgroup)?;
        Ok(Self {
            cgroup: File::open(cgroup)?,
            attach_type,
        })
    }
}

impl Drop for Exclusive {
    fn drop(&mut self) {
        #[repr(C)]
        struct Attr {
            target_fd: u32,
            prog_fd: u32,
            attach_type: u32,
        }
        let mut attr = Attr {
            target_fd: self.cgroup.as_raw_fd().cast_unsigned(),
            prog_fd: 0,
            attach_type: self.attach_type,
        };
        // SAFETY: the layout is BPF_PROG_DETACH's; it holds no pointer. Should it fail,
        // the program goes with its cgroup.
        let _ = unsafe { bpf(BPF_PROG_DETACH, &mut attr) };
    }
}
