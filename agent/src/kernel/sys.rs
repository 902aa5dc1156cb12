//! The few bpf(2) commands that aya has no call for.

use std::{
    ffi::{CStr, CString},
    io,
    mem::size_of,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    path::Path,
};

use nix::libc;

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_PROG_QUERY: libc::c_long = 16;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_UPDATE: libc::c_long = 29;
const BPF_LINK_DETACH: libc::c_long = 34;

const BPF_PROG_TYPE_CGROUP_SOCK_ADDR: u32 = 18;
const BPF_CGROUP_INET4_BIND: u32 = 8;

const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_ARRAY_OF_MAPS: u32 = 12;

/// Calls bpf(2) with `attr` as its argument.
///
/// # Safety
///
/// `attr` must be laid out as the part of `union bpf_attr` that `command` reads,
/// and every pointer in it must be valid for what the command does with it.
unsafe fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes at `attr`, which is borrowed
    // for the call; the rest is the caller's promise.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_mut(attr),
            size_of::<T>(),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Takes ownership of a descriptor that bpf(2) has just returned.
fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel made this descriptor for us; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// Loads a program for `bind4` of these instructions, and drops it.
///
/// # Errors
///
/// What the verifier says: `EACCES` and `EINVAL` if it refuses the program.
pub fn try_bind_program(instructions: &[u64]) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log_buf: u64,
        kern_version: u32,
        prog_flags: u32,
        prog_name: [u8; 16],
        prog_ifindex: u32,
        expected_attach_type: u32,
    }
    let license = c"GPL";
    let mut attr = Attr {
        prog_type: BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
        insn_cnt: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        insns: instructions.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name: [0; 16],
        prog_ifindex: 0,
        expected_attach_type: BPF_CGROUP_INET4_BIND,
    };
    // SAFETY: the layout is BPF_PROG_LOAD's; instructions and licence outlive the call.
    owned(unsafe { bpf(BPF_PROG_LOAD, &mut attr) }?).map(drop)
}

/// What BPF_OBJ_GET and BPF_OBJ_PIN read.
#[repr(C)]
struct PinAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

impl PinAttr {
    /// About a pin at `path`, which has to outlive the call.
    fn new(path: &CStr, bpf_fd: u32) -> Self {
        Self {
            pathname: path.as_ptr() as u64,
            bpf_fd,
            file_flags: 0,
        }
    }
}

/// Id of the program at `index` of the table of programs `table`.
///
/// # Errors
///
/// `ENOENT` if there is none.
pub fn program_in(table: BorrowedFd<'_>, index: u32) -> io::Result<u32> {
    #[repr(C)]
    struct Attr {
        map_fd: u32,
        padding: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let mut id = 0u32;
    let mut attr = Attr {
        map_fd: raw(table),
        padding: 0,
        key: std::ptr::from_ref(&index) as u64,
        value: std::ptr::from_mut(&mut id) as u64,
        flags: 0,
    };
    // SAFETY: the layout is BPF_MAP_LOOKUP_ELEM's; the kernel reads the key and writes the
    // value of such a table, four bytes each, and both outlive the call.
    unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &mut attr) }?;
    Ok(id)
}

/// Opens a pinned object.
///
/// # Errors
///
/// `ENOENT` when there is no such pin, `EPERM` without the right to open it.
pub fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_encoded_bytes())?;
    let mut attr = PinAttr::new(&path, 0);
    // SAFETY: the layout is BPF_OBJ_GET's and `path` outlives the call.
    owned(unsafe { bpf(BPF_OBJ_GET, &mut attr) }?)
}

/// Pins `object` at `path`.
///
/// # Errors
///
/// `EEXIST` when something is pinned there.
pub fn pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_encoded_bytes())?;
    let mut attr = PinAttr::new(&path, raw(object));
    // SAFETY: the layout is BPF_OBJ_PIN's and `path` outlives the call.
    unsafe { bpf(BPF_OBJ_PIN, &mut attr) }.map(drop)
}

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
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        target_fd: u32,
        attach_type: u32,
        flags: u32,
    }
    let mut attr = Attr {
        prog_fd: raw(program),
        target_fd: raw(directory),
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

/// Runs the raw tracepoint program `program` once, in this thread, with `argument`
/// as its first argument.
///
/// # Errors
///
/// What the kernel says, `ENOTSUPP` if the program is of another kind.
pub fn run_program(program: BorrowedFd<'_>, argument: u64) -> io::Result<()> {
    #[repr(C)]
    struct Attr {
        prog_fd: u32,
        retval: u32,
        data_size_in: u32,
        data_size_out: u32,
        data_in: u64,
        data_out: u64,
        repeat: u32,
        duration: u32,
        ctx_size_in: u32,
        ctx_size_out: u32,
        ctx_in: u64,
        ctx_out: u64,
        flags: u32,
        cpu: u32,
    }
    let arguments = [argument];
    let mut attr = Attr {
        prog_fd: raw(program),
        retval: 0,
        data_size_in: 0,
        data_size_out: 0,
        data_in: 0,
        data_out: 0,
        repeat: 0,
        duration: 0,
        ctx_size_in: size_of_val(&arguments) as u32,
        ctx_size_out: 0,
        ctx_in: arguments.as_ptr() as u64,
        ctx_out: 0,
        flags: 0,
        cpu: 0,
    };
    // SAFETY: the layout is BPF_PROG_TEST_RUN's; the kernel reads `ctx_size_in`
    // bytes of `arguments`, which outlives the call, and writes nothing but `attr`.
    unsafe { bpf(BPF_PROG_TEST_RUN, &mut attr) }.map(drop)
}

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
        #[repr(C)]
        struct Attr {
            map_fd: u32,
            padding: u32,
            key: u64,
            value: u64,
            flags: u64,
        }
        let key = 0u32;
        let value = self.inner.as_raw_fd();
        let mut attr = Attr {
            map_fd: self.outer.as_raw_fd().cast_unsigned(),
            padding: 0,
            key: std::ptr::from_ref(&key) as u64,
            value: std::ptr::from_ref(&value) as u64,
            flags: 0,
        };
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
