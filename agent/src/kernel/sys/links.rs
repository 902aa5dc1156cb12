//! Links: what is attached to a cgroup, and what it runs.

use std::{
    io,
    mem::size_of,
    os::fd::{BorrowedFd, OwnedFd},
};

use nix::libc;

use super::{bpf, owned, raw};

const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_PROG_QUERY: libc::c_long = 16;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_DETACH: libc::c_long = 34;

/// Attaches `program` to the cgroup `directory`, beside others of kind `attach_type`.
///
/// # Errors
///
/// What the kernel says, `EINVAL` if the program is of another kind.
pub fn attach(
    program: BorrowedFd<'_>,
    directory: BorrowedFd<'_>,
    attach_type: u32,
) -> io::Result<OwnedFd> {
    create(program, raw(directory), attach_type)
}

/// Makes a link by which `program`, an iterator, can be run.
///
/// # Errors
///
/// As [`attach`].
pub fn attach_iterator(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const BPF_TRACE_ITER: u32 = 28;
    create(program, 0, BPF_TRACE_ITER)
}

fn create(program: BorrowedFd<'_>, target_fd: u32, attach_type: u32) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        target_fd: u32,
        attach_type: u32,
        flags: u32,
    }
    let mut attr = Attr {
        prog_fd: raw(program),
        target_fd,
        attach_type,
        flags: 0,
    };
    // SAFETY: the layout is BPF_LINK_CREATE's; it holds no pointer.
    owned(unsafe { bpf(BPF_LINK_CREATE, &mut attr) }?)
}

/// Makes `link` run `program` from now on: every bind meets the old program or
/// the new one, none meets neither.
///
/// # Errors
///
/// What the kernel says, `EINVAL` if the program is of another kind.
pub fn replace_program(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        link_fd: u32,
        new_prog_fd: u32,
        flags: u32,
        old_prog_fd: u32,
    }
    let mut attr = Attr {
        link_fd: raw(link),
        new_prog_fd: raw(program),
        flags: 0,
        old_prog_fd: 0,
    };
    // SAFETY: the layout is BPF_LINK_UPDATE's; it holds no pointer.
    unsafe { bpf(BPF_LINK_UPDATE, &mut attr) }.map(drop)
}

/// Detaches `link` now. Closing the last reference would do it too, but some
/// time later.
///
/// # Errors
///
/// What the kernel says.
pub fn detach(link: BorrowedFd<'_>) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        link_fd: u32,
    }
    let mut attr = Attr { link_fd: raw(link) };
    // SAFETY: the layout is BPF_LINK_DETACH's; it holds no pointer.
    unsafe { bpf(BPF_LINK_DETACH, &mut attr) }.map(drop)
}

/// What a cgroup link is attached to, and what it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkTarget {
    /// Id of the link itself.
    pub link: u32,
    /// Id of the cgroup; 0 when the cgroup is gone.
    pub cgroup: u64,
    /// Id of the program.
    pub program: u32,
}

/// What the cgroup link `link` is about.
///
/// # Errors
///
/// What the kernel says.
pub fn link_target(link: BorrowedFd<'_>) -> io::Result<LinkTarget> {
    /// `struct bpf_link_info` as far as the cgroup part reaches.
    #[repr(C)]
    #[derive(Default)]
    struct LinkInfo {
        kind: u32,
        id: u32,
        prog_id: u32,
        padding: u32,
        cgroup_id: u64,
        attach_type: u32,
        padding2: u32,
    }
    #[repr(C)]
    struct Attr {
        bpf_fd: u32,
        info_len: u32,
        info: u64,
    }
    let mut info = LinkInfo::default();
    let mut attr = Attr {
        bpf_fd: raw(link),
        info_len: size_of::<LinkInfo>() as u32,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    // SAFETY: the layout is BPF_OBJ_GET_INFO_BY_FD's; the kernel writes at most
    // `info_len` bytes into `info`, which outlives the call.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok(LinkTarget {
        link: info.id,
        cgroup: info.cgroup_id,
        program: info.prog_id,
    })
}

/// Ids of the programs of kind `attach_type` that are attached to the cgroup
/// `directory` itself, in the order in which they run.
///
/// # Errors
///
/// What the kernel says.
pub fn attached_programs(directory: BorrowedFd<'_>, attach_type: u32) -> io::Result<Vec<u32>> {
    #[repr(C)]
    struct Attr {
        target_fd: u32,
        attach_type: u32,
        query_flags: u32,
        attach_flags: u32,
        prog_ids: u64,
        prog_cnt: u32,
        padding: u32,
        prog_attach_flags: u64,
    }
    // The kernel allows no more than this on one cgroup and attach type.
    let mut ids = [0u32; 64];
    let mut attr = Attr {
        target_fd: raw(directory),
        attach_type,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: ids.len() as u32,
        padding: 0,
        prog_attach_flags: 0,
    };
    // SAFETY: the layout is BPF_PROG_QUERY's; the kernel writes at most `prog_cnt`
    // ids into `ids`, which outlives the call.
    unsafe { bpf(BPF_PROG_QUERY, &mut attr) }?;
    let count = (attr.prog_cnt as usize).min(ids.len());
    Ok(ids[..count].to_vec())
}
