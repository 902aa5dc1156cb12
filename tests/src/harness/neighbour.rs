//! Programs of somebody else on the same hooks, and a look into pinned maps:
//! bpf(2) by hand, so that nothing of the product is needed for it.

use std::{
    ffi::CString,
    fs::{self, File},
    io,
    mem::size_of,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use anyhow::{Context as _, Result};
use nix::libc;

const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_LINK_CREATE: libc::c_long = 28;

const BPF_PROG_TYPE_CGROUP_SOCK_ADDR: u32 = 18;
const BPF_CGROUP_INET4_BIND: u32 = 8;

/// What a neighbour's program answers to every bind.
#[derive(Clone, Copy, Debug)]
pub enum Always {
    /// Refuse, which ends in EPERM.
    Refuse = 0,
    /// Go on.
    Allow = 1,
}

/// A program on `bind4` of a cgroup; detached when dropped.
pub struct Neighbour {
    _link: OwnedFd,
}

impl Neighbour {
    /// Attaches beside whatever is there.
    pub fn attach(cgroup: &Path, answer: Always) -> Result<Self> {
        let program = load(answer).context("a neighbour's program can't be loaded")?;
        let cgroup = File::open(cgroup)?;
        #[repr(C)]
        struct Attr {
            prog_fd: u32,
            target_fd: u32,
            attach_type: u32,
            flags: u32,
        }
        let mut attr = Attr {
            prog_fd: program.as_raw_fd().cast_unsigned(),
            target_fd: cgroup.as_raw_fd().cast_unsigned(),
            attach_type: BPF_CGROUP_INET4_BIND,
            flags: 0,
        };
        // SAFETY: the layout is BPF_LINK_CREATE's; it holds no pointer.
        let link = unsafe { bpf(BPF_LINK_CREATE, &mut attr) };
        let link = owned(link.context("a neighbour's program can't be attached")?)?;
        Ok(Self { _link: link })
    }
}

/// `r0 = answer; exit`
fn load(answer: Always) -> io::Result<OwnedFd> {
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
    // Each instruction: operation, registers, offset, number.
    let move_to_r0: u64 = 0xb7 | ((answer as u64) << 32);
    let exit: u64 = 0x95;
    let instructions = [move_to_r0.to_le(), exit.to_le()];
    let license = c"GPL";
    let mut attr = Attr {
        prog_type: BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
        insn_cnt: instructions.len() as u32,
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
    owned(unsafe { bpf(BPF_PROG_LOAD, &mut attr) }?)
}

/// Changes the first element of a pinned array.
pub fn change_first(pin: &Path, change: impl FnOnce(&mut [u8])) -> Result<()> {
    let map = open(pin).with_context(|| pin.display().to_string())?;
    #[repr(C)]
    struct Attr {
        map_fd: u32,
        padding: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    let key = 0u32;
    let mut value = vec![0u8; value_size(&map)?];
    let mut attr = Attr {
        map_fd: map.as_raw_fd().cast_unsigned(),
        padding: 0,
        key: std::ptr::from_ref(&key) as u64,
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    // SAFETY: the layout is that of an element's command; key and value are as long
    // as the map's and outlive both calls.
    unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &mut attr) }?;
    change(&mut value);
    // SAFETY: as above.
    unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut attr) }?;
    Ok(())
}

fn value_size(map: &OwnedFd) -> Result<usize> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", map.as_raw_fd()))?;
    let size = info
        .lines()
        .find_map(|line| line.strip_prefix("value_size:"));
    Ok(size.context("not a map")?.trim().parse()?)
}

fn open(pin: &Path) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attr {
        pathname: u64,
        bpf_fd: u32,
        file_flags: u32,
    }
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let mut attr = Attr {
        pathname: path.as_ptr() as u64,
        bpf_fd: 0,
        file_flags: 0,
    };
    // SAFETY: the layout is BPF_OBJ_GET's and `path` outlives the call.
    owned(unsafe { bpf(BPF_OBJ_GET, &mut attr) }?)
}

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
