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

use super::assembler::{EXIT, add, call, copy, set, set_map, skip_if, store, store_number};

const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_PROG_ATTACH: libc::c_long = 8;
const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
const BPF_LINK_CREATE: libc::c_long = 28;

const BPF_PROG_TYPE_CGROUP_SOCK_ADDR: u32 = 18;
const BPF_PROG_TYPE_CGROUP_SOCK: u32 = 9;
const BPF_CGROUP_INET4_BIND: u32 = 8;
const BPF_CGROUP_INET6_BIND: u32 = 9;
const BPF_CGROUP_INET4_POST_BIND: u32 = 12;
const BPF_CGROUP_INET6_POST_BIND: u32 = 13;

/// bpf(2)'s number of `bpf_set_retval`.
pub const SET_RETVAL: i32 = 187;

/// What a neighbour's program answers to every bind.
#[derive(Clone, Copy, Debug)]
pub enum Always {
    /// Refuse, which ends in EPERM.
    Refuse = 0,
    /// Go on.
    Allow = 1,
}

/// A program on `bind4` or `bind6` of a cgroup; detached when dropped.
pub struct Neighbour {
    pub(super) link: OwnedFd,
}

impl Neighbour {
    /// Attaches beside whatever is there.
    pub fn attach(cgroup: &Path, answer: Always) -> Result<Self> {
        let answer = [set(0, answer as i32), EXIT];
        Self::attach_to(BPF_CGROUP_INET4_BIND, cgroup, &answer)
    }

    /// Attaches a program that moves every bind of the one family to `port`.
    pub fn attach_moving(cgroup: &Path, v6: bool, port: u16) -> Result<Self> {
        let family = if v6 {
            BPF_CGROUP_INET6_BIND
        } else {
            BPF_CGROUP_INET4_BIND
        };
        let moving = [
            set(2, i32::from(port.to_be())),
            store(1, USER_PORT, 2),
            set(0, Always::Allow as i32),
            EXIT,
        ];
        Self::attach_to(family, cgroup, &moving)
    }

    /// Attaches a program that puts `value` into element `index` of a pinned array at each
    /// IPv4 bind.
    pub fn attach_overwriting(cgroup: &Path, pin: &Path, index: u32, value: u64) -> Result<Self> {
        const MAP_LOOKUP_ELEM: i32 = 1;
        const KEY: i16 = -4;
        let map = open(pin).with_context(|| pin.display().to_string())?;
        let [map, rest] = set_map(1, map.as_raw_fd());
        let overwriting = [
            store_number(10, KEY, index.cast_signed()),
            map,
            rest,
            copy(2, 10),
            add(2, KEY.into()),
            call(MAP_LOOKUP_ELEM),
            skip_if(0, 0, 2),
            store_number(0, 0, value as i32),
            store_number(0, 4, (value >> 32) as i32),
            set(0, Always::Allow as i32),
            EXIT,
        ];
        Self::attach_to(BPF_CGROUP_INET4_BIND, cgroup, &overwriting)
    }

    /// Attaches a program that takes back whatever refusal was there, of what is asked
    /// for or of what was given.
    pub fn attach_undoing(cgroup: &Path, is_given: bool) -> Result<Self> {
        let undoing = [
            set(1, 0),
            call(SET_RETVAL),
            set(0, Always::Allow as i32),
            EXIT,
        ];
        let attach_type = match is_given {
            true => BPF_CGROUP_INET4_POST_BIND,
            false => BPF_CGROUP_INET4_BIND,
        };
        Self::attach_to(attach_type, cgroup, &undoing)
    }

    /// Attaches one of each.
    pub fn attach_undoing_all(cgroup: &Path) -> Result<[Self; 2]> {
        Ok([
            Self::attach_undoing(cgroup, false)?,
            Self::attach_undoing(cgroup, true)?,
        ])
    }

    /// Attaches a program that allows everything the old way: it stays until the cgroup
    /// is removed, and lets no other be attached there.
    pub fn attach_exclusively(cgroup: &Path) -> Result<()> {
        Self::attach_exclusively_to(BPF_CGROUP_INET4_BIND, cgroup)
    }

    /// The same on the hook of this number.
    pub(super) fn attach_exclusively_to(attach_type: u32, cgroup: &Path) -> Result<()> {
        let program = always_allowing(attach_type)?;
        let cgroup = File::open(cgroup)?;
        #[repr(C)]
        struct Attr {
            target_fd: u32,
            prog_fd: u32,
            attach_type: u32,
            flags: u32,
        }
        let mut attr = Attr {
            target_fd: cgroup.as_raw_fd().cast_unsigned(),
            prog_fd: program.as_raw_fd().cast_unsigned(),
            attach_type,
            flags: 0,
        };
        // SAFETY: the layout is BPF_PROG_ATTACH's; it holds no pointer.
        unsafe { bpf(BPF_PROG_ATTACH, &mut attr) }
            .context("a neighbour's program can't be attached the old way")
            .map(drop)
    }

    /// Attaches a program of these instructions to binds of both families.
    pub fn attach_to_binds(cgroup: &Path, instructions: &[u64]) -> Result<[Self; 2]> {
        Ok([
            Self::attach_to(BPF_CGROUP_INET4_BIND, cgroup, instructions)?,
            Self::attach_to(BPF_CGROUP_INET6_BIND, cgroup, instructions)?,
        ])
    }

    /// The same for the ports that were given then.
    pub fn attach_to_given(cgroup: &Path, instructions: &[u64]) -> Result<[Self; 2]> {
        Ok([
            Self::attach_to(BPF_CGROUP_INET4_POST_BIND, cgroup, instructions)?,
            Self::attach_to(BPF_CGROUP_INET6_POST_BIND, cgroup, instructions)?,
        ])
    }

    fn attach_to(attach_type: u32, cgroup: &Path, instructions: &[u64]) -> Result<Self> {
        let program =
            load_for(attach_type, instructions).context("a neighbour's program can't be loaded")?;
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
            attach_type,
            flags: 0,
        };
        // SAFETY: the layout is BPF_LINK_CREATE's; it holds no pointer.
        let link = unsafe { bpf(BPF_LINK_CREATE, &mut attr) };
        let link = owned(link.context("a neighbour's program can't be attached")?)?;
        Ok(Self { link })
    }
}

/// Where the port stands in what a bind hook is called with.
const USER_PORT: i16 = 24;

/// Whether a program on `bind4` may answer so.
pub fn may_answer(answer: i32) -> Result<bool> {
    match load(&[set(0, answer), EXIT]) {
        Ok(_) => Ok(true),
        // The verifier's word for what a program must not do.
        Err(error) if refuses(&error) => Ok(false),
        Err(error) => Err(error).context("a program can't be tried"),
    }
}

/// Whether a program on `bind4` may call a helper. It may pass it the wrong
/// arguments: the verifier tells that with EACCES, and EINVAL an unknown helper.
pub fn knows_helper(helper: i32) -> Result<bool> {
    match load(&[set(1, 0), call(helper), set(0, 1), EXIT]) {
        Ok(_) => Ok(true),
        Err(error) => match error.raw_os_error() {
            Some(libc::EACCES) => Ok(true),
            Some(libc::EINVAL) => Ok(false),
            _ => Err(error).context("a program can't be tried"),
        },
    }
}

fn refuses(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EINVAL))
}

/// A program that allows everything, on the hook of this number.
pub(super) fn always_allowing(attach_type: u32) -> io::Result<OwnedFd> {
    load_for(attach_type, &[set(0, Always::Allow as i32), EXIT])
}

/// A program on `bind4` of these instructions.
fn load(instructions: &[u64]) -> io::Result<OwnedFd> {
    load_for(BPF_CGROUP_INET4_BIND, instructions)
}

fn load_for(attach_type: u32, instructions: &[u64]) -> io::Result<OwnedFd> {
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
        prog_type: match attach_type {
            BPF_CGROUP_INET4_POST_BIND | BPF_CGROUP_INET6_POST_BIND => BPF_PROG_TYPE_CGROUP_SOCK,
            _ => BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
        },
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
        expected_attach_type: attach_type,
    };
    // SAFETY: the layout is BPF_PROG_LOAD's; instructions and licence outlive the call.
    owned(unsafe { bpf(BPF_PROG_LOAD, &mut attr) }?)
}

/// Changes the first element of a pinned array.
pub fn change_first(pin: &Path, change: impl FnOnce(&mut [u8])) -> Result<()> {
    let map = open(pin).with_context(|| pin.display().to_string())?;
    let mut value = vec![0u8; usize::try_from(field(&map, "value_size:")?)?];
    on_element(BPF_MAP_LOOKUP_ELEM, &map, 0, &mut value)?;
    change(&mut value);
    on_element(BPF_MAP_UPDATE_ELEM, &map, 0, &mut value)
}

/// Writes `value` into each of the `count` elements of a pinned array.
pub fn fill(pin: &Path, count: u32, value: &[u8]) -> Result<()> {
    let map = open(pin).with_context(|| pin.display().to_string())?;
    let mut value = value.to_vec();
    (0..count).try_for_each(|key| on_element(BPF_MAP_UPDATE_ELEM, &map, key, &mut value))
}

/// The words of element `index` of an array that has one for each processor.
pub fn per_cpu(map: &OwnedFd, index: u32) -> Result<Vec<u64>> {
    let possible = fs::read_to_string("/sys/devices/system/cpu/possible")?;
    let last = possible.trim().rsplit(['-', ',']).next();
    let processors: usize = last.unwrap_or_default().parse::<usize>()? + 1;
    let mut value = vec![0u8; 8 * processors];
    on_element(BPF_MAP_LOOKUP_ELEM, map, index, &mut value)?;
    let words = value.chunks_exact(8);
    words
        .map(|word| Ok(u64::from_ne_bytes(word.try_into()?)))
        .collect()
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

/// An array of `values`, which are all as long.
pub fn array<const N: usize>(values: &[[u8; N]]) -> Result<OwnedFd> {
    const BPF_MAP_CREATE: libc::c_long = 0;
    const BPF_MAP_TYPE_ARRAY: u32 = 2;
    #[repr(C)]
    struct Attr {
        map_type: u32,
        key_size: u32,
        value_size: u32,
        max_entries: u32,
        flags: u32,
    }
    let mut attr = Attr {
        map_type: BPF_MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: u32::try_from(N)?,
        max_entries: u32::try_from(values.len())?,
        flags: 0,
    };
    // SAFETY: the layout is BPF_MAP_CREATE's; it holds no pointer.
    let map = owned(unsafe { bpf(BPF_MAP_CREATE, &mut attr) }?)?;
    for (key, value) in (0..).zip(values) {
        on_element(BPF_MAP_UPDATE_ELEM, &map, key, &mut value.clone())?;
    }
    Ok(map)
}

/// Reads or changes element `key` of an array, which is as long as `value`.
fn on_element(command: libc::c_long, map: &OwnedFd, key: u32, value: &mut [u8]) -> Result<()> {
    let mut attr = ElementAttr {
        map_fd: map.as_raw_fd().cast_unsigned(),
        padding: 0,
        key: std::ptr::from_ref(&key) as u64,
        value: value.as_mut_ptr() as u64,
        flags: 0,
    };
    // SAFETY: the layout is that of an element's command; key and value are as long
    // as the map's and outlive the call.
    unsafe { bpf(command, &mut attr) }?;
    Ok(())
}

/// Removes an element of a hash map, if it is there; `key` is as long as the map's.
pub fn forget(map: &OwnedFd, key: &[u8]) {
    let mut attr = ElementAttr {
        map_fd: map.as_raw_fd().cast_unsigned(),
        padding: 0,
        key: key.as_ptr() as u64,
        value: 0,
        flags: 0,
    };
    // SAFETY: the layout is that of an element's command; the key outlives the call.
    // What isn't there can't be removed, which is as good.
    let _ = unsafe { bpf(BPF_MAP_DELETE_ELEM, &mut attr) };
}

/// What the kernel says of a BPF object.
fn field(object: &OwnedFd, name: &str) -> Result<u64> {
    field_if_any(object, name)?.with_context(|| format!("no {name}"))
}

/// The same; `None` if this kernel doesn't say that.
fn field_if_any(object: &OwnedFd, name: &str) -> Result<Option<u64>> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", object.as_raw_fd()))?;
    let value = info.lines().find_map(|line| line.strip_prefix(name));
    Ok(value.map(|value| value.trim().parse()).transpose()?)
}

/// Instructions that the verifier walked through for the program of a pinned link;
/// `None` before Linux 5.16, which doesn't tell.
pub fn verified(link: &Path) -> Result<Option<u64>> {
    let link = open(link).with_context(|| link.display().to_string())?;
    verified_of(u32::try_from(field(&link, "prog_id:")?)?)
}

/// The same for the first program of a pinned table of programs.
pub fn verified_in(table: &Path) -> Result<Option<u64>> {
    let table = open(table).with_context(|| table.display().to_string())?;
    let mut id = [0; 4];
    on_element(BPF_MAP_LOOKUP_ELEM, &table, 0, &mut id)?;
    verified_of(u32::from_ne_bytes(id))
}

/// The same for the program of that number.
pub fn verified_of(id: u32) -> Result<Option<u64>> {
    #[repr(C)]
    struct Attr {
        id: u32,
        next_id: u32,
        flags: u32,
    }
    let mut attr = Attr {
        id,
        next_id: 0,
        flags: 0,
    };
    // SAFETY: the layout is BPF_PROG_GET_FD_BY_ID's; it holds no pointer.
    let program = owned(unsafe { bpf(BPF_PROG_GET_FD_BY_ID, &mut attr) }?)?;
    field_if_any(&program, "verified_insns:")
}

/// Detaches what process `pid` has attached to hook `attach_type` of a cgroup by links that
/// are not pinned.
pub fn detach_links_of(pid: u32, attach_type: u32) -> Result<()> {
    const BPF_LINK_GET_FD_BY_ID: libc::c_long = 30;
    const BPF_LINK_DETACH: libc::c_long = 34;
    for file in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        let info = fs::read_to_string(file?.path()).unwrap_or_default();
        let field = |name: &str| {
            let value = info.lines().find_map(|line| line.strip_prefix(name));
            value.and_then(|value| value.trim().parse::<u32>().ok())
        };
        let (Some(id), Some(kind)) = (field("link_id:"), field("attach_type:")) else {
            continue;
        };
        if kind != attach_type {
            continue;
        }
        // What is read here is as long as the longest part of it that either command reads.
        let mut attr = [id, 0, 0];
        // SAFETY: both commands read a number that is no pointer, and flags.
        let link = owned(unsafe { bpf(BPF_LINK_GET_FD_BY_ID, &mut attr) }?)?;
        let mut attr = [link.as_raw_fd().cast_unsigned()];
        // SAFETY: as above.
        unsafe { bpf(BPF_LINK_DETACH, &mut attr) }?;
    }
    Ok(())
}

/// What is pinned at `pin`.
pub fn open(pin: &Path) -> io::Result<OwnedFd> {
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
pub(super) unsafe fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<libc::c_long> {
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
