//! The launcher: what [`Launch`] says, then exec.

use std::{
    convert::Infallible,
    ffi::CString,
    fs::{self, File},
    os::unix::ffi::OsStrExt as _,
    path::Path,
};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    libc,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::{prctl, ptrace, signal::Signal},
    unistd::{Gid, Uid, fexecve, setgroups, setresgid, setresuid},
};

use super::become_caller::{join, stay_on};
use crate::harness::{
    host,
    launch::{Failing, Launch},
};

/// Becomes the program; comes back only if it can't.
pub fn perform(launch: &Launch) -> Result<()> {
    // Before anything is hidden or forbidden: a user may not get at the folder.
    let program = File::open(&launch.program)
        .with_context(|| format!("{} can't be opened", launch.program.display()))?;
    if !(launch.hidden.is_empty()
        && launch.unmounted.is_empty()
        && launch.replaced.is_empty()
        && launch.small.is_empty()
        && launch.read_only.is_empty()
        && launch.bpffs.is_none())
    {
        hide(launch)?;
    }
    for folder in &launch.made {
        fs::create_dir_all(folder)?;
    }
    for cgroup in &launch.cgroups {
        join(cgroup)?;
    }
    if let Some(cpu) = launch.cpu {
        stay_on(cpu)?;
    }
    if let Some(uid) = launch.uid {
        let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
        setgroups(&[])?;
        setresgid(group, group, group)?;
        setresuid(user, user, user)?;
    }
    // A test that is killed can't end its agent. Behind the change of user,
    // which would undo it.
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if launch.traced {
        ptrace::traceme()?;
    }
    for capability in &launch.without {
        // SAFETY: this prctl takes a number, and nothing of ours is read or written.
        let done = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(*capability)) };
        Errno::result(done).context("a capability can't be dropped")?;
    }
    if !launch.failing.is_empty() {
        let_fail(&launch.failing)?;
    }
    let Err(error) = exec(&program, launch);
    Err(error)
}

fn exec(program: &File, launch: &Launch) -> Result<Infallible> {
    let name = CString::new(launch.program.as_os_str().as_bytes())?;
    let mut arguments = vec![name];
    for argument in &launch.arguments {
        arguments.push(CString::new(argument.as_str())?);
    }
    let mut environment = Vec::new();
    for (name, value) in &launch.environment {
        environment.push(CString::new(format!("{name}={value}"))?);
    }
    fexecve(program, &arguments, &environment)
        .with_context(|| format!("{} can't be run", launch.program.display()))
}

fn hide(launch: &Launch) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("no mount namespace can be made")?;
    // Nothing of what follows reaches the host.
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    for file_system in &launch.unmounted {
        for (_, point) in host::mounts(file_system)? {
            umount2(&point, MntFlags::MNT_DETACH)
                .with_context(|| format!("{} can't be unmounted", point.display()))?;
        }
    }
    for folder in &launch.hidden {
        mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), none)
            .with_context(|| format!("{} can't be hidden", folder.display()))?;
    }
    for (file, place) in &launch.replaced {
        mount(Some(file), place, none, MsFlags::MS_BIND, none)
            .with_context(|| format!("{} can't be replaced", place.display()))?;
    }
    for (folder, bytes) in &launch.small {
        let size = format!("size={bytes},mode=0700");
        let size = Some(size.as_str());
        mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), size)
            .with_context(|| format!("{} can't be made small", folder.display()))?;
    }
    if let Some(folder) = &launch.bpffs {
        mount(Some("bpf"), folder, Some("bpf"), MsFlags::empty(), none)
            .with_context(|| format!("{} can't be a BPF file system", folder.display()))?;
    }
    for folder in &launch.read_only {
        forbid_writing(folder)?;
    }
    Ok(())
}

/// Makes what is below `folder` read-only for this mount namespace.
pub fn forbid_writing(folder: &Path) -> Result<()> {
    let none = None::<&str>;
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(Some(folder), folder, none, MsFlags::MS_BIND, none)
        .and_then(|()| mount(none, folder, none, flags, none))
        .with_context(|| format!("{} can't be made read-only", folder.display()))
}

/// Lets system calls fail from now on, and after exec.
fn let_fail(calls: &[Failing]) -> Result<()> {
    // Where `struct seccomp_data` has the call's number and the lower half of its first
    // argument.
    const NUMBER: u32 = 0;
    let first = if cfg!(target_endian = "big") { 20 } else { 16 };
    let load = |at| filter(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, at);
    let answer = |with| filter(libc::BPF_RET | libc::BPF_K, 0, 0, with);
    // Goes on if it is equal, else leaves out so many instructions.
    let equal = |to, otherwise| {
        let code = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        filter(code, 0, otherwise, to)
    };
    let mut program = Vec::new();
    for failing in calls {
        let errno = answer(libc::SECCOMP_RET_ERRNO | failing.errno.cast_unsigned());
        program.push(load(NUMBER));
        match failing.first {
            Some(argument) => program.extend([
                equal(failing.call, 3),
                load(first),
                equal(argument, 1),
                errno,
            ]),
            None => program.extend([equal(failing.call, 1), errno]),
        }
    }
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog {
        len: u16::try_from(program.len())?,
        filter: program.as_mut_ptr(),
    };
    let mode = libc::SECCOMP_MODE_FILTER as libc::c_ulong;
    // SAFETY: the kernel copies the program, which outlives the call.
    let done = unsafe { libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program) };
    Errno::result(done).context("system calls can't be filtered")?;
    Ok(())
}

fn filter(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    let code = code as u16;
    libc::sock_filter { code, jt, jf, k }
}
