//! The few bpf(2) commands that aya has no call for.

mod grace;
mod links;

use std::{
    ffi::{CStr, CString},
    fs::File,
    io,
    mem::size_of,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    path::Path,
};

use nix::libc;

pub use self::{
    grace::Grace,
    links::{
        LinkTarget, attach, attach_iterator, attached_programs, detach, link_target,
        replace_program,
    },
};

const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_PROG_TEST_RUN: libc::c_long = 10;
const BPF_ITER_CREATE: libc::c_long = 33;

const BPF_PROG_TYPE_CGROUP_SOCK_ADDR: u32 = 18;
const BPF_CGROUP_INET4_BIND: u32 = 8;

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

/// Begins a run of the iterator behind `link`: what its program writes is read from the
/// file.
///
/// # Errors
///
/// What the kernel says.
pub fn iterate(link: BorrowedFd<'_>) -> io::Result<File> {
    #[repr(C)]
    struct Attr {
        link_fd: u32,
        flags: u32,
    }
    let mut attr = Attr {
        link_fd: raw(link),
        flags: 0,
    };
    // SAFETY: the layout is BPF_ITER_CREATE's.
    owned(unsafe { bpf(BPF_ITER_CREATE, &mut attr) }?).map(File::from)
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

/// What bpf(2) takes for a command on an element.
#[repr(C)]
struct ElementAttr {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

impl ElementAttr {
    /// About element `key` of `map`, with its value at the address `value`; both have to
    /// outlive the call.
    fn new(map: BorrowedFd<'_>, key: &u32, value: u64) -> Self {
        Self {
            map_fd: raw(map),
            padding: 0,
            key: std::ptr::from_ref(key) as u64,
            value,
            flags: 0,
        }
    }
}

/// Id of the program at `index` of the table of programs `table`.
///
/// # Errors
///
/// `ENOENT` if there is none.
pub fn program_in(table: BorrowedFd<'_>, index: u32) -> io::Result<u32> {
    let mut id = 0u32;
    let mut attr = ElementAttr::new(table, &index, std::ptr::from_mut(&mut id) as u64);
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
