//! Becoming the process that a test describes.

use std::{ffi::CString, fs, path::Path, process};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    libc,
    sched::{CloneFlags, CpuSet, sched_setaffinity, unshare},
    sys::prctl,
    unistd::{Gid, Pid, Uid, getegid, gettid, setgroups, setresgid, setresuid},
};

use crate::harness::Caller;

/// What an actor says when the host keeps it from having one.
pub const NO_USER_NAMESPACE: &str = "no user namespace can be made";

/// Becomes `caller`, but for its threads. To be called before any socket is made:
/// the programs that judge a bind are those of the cgroup in which its socket was.
pub fn become_caller(caller: &Caller) -> Result<()> {
    // Whoever runs the file of another user is where and who he is already.
    let is_started_by_root = caller.started_by.is_none();
    if is_started_by_root {
        join(&caller.cgroup)?;
    }
    if let Some(cpu) = caller.cpu {
        stay_on(cpu)?;
    }
    if caller.nice != 0 {
        // SAFETY: the call takes a number.
        unsafe { libc::nice(caller.nice) };
    }
    if caller.elsewhere {
        portreeve_sandbox::isolate()?;
    }
    name_thread(&caller.name)?;
    if let Some([real, effective, saved]) = caller.uids
        && is_started_by_root
    {
        let groups: Vec<Gid> = caller.groups.iter().copied().map(Gid::from_raw).collect();
        setgroups(&groups)?;
        let [r, e, s] = caller
            .gids
            .unwrap_or([real, effective, saved])
            .map(Gid::from_raw);
        setresgid(r, e, s)?;
        prctl::set_keepcaps(caller.capabilities.is_some())?;
        // From root to anybody else this drops every capability, but for those kept.
        let [r, e, s] = [real, effective, saved].map(Uid::from_raw);
        setresuid(r, e, s)?;
        // Which made the files of /proc/self root's.
        prctl::set_dumpable(true)?;
    }
    if caller.own_users {
        let group = getegid();
        unshare(CloneFlags::CLONE_NEWUSER).context(NO_USER_NAMESPACE)?;
        fs::write("/proc/self/uid_map", format!("0 {} 1", caller.uid()))?;
        // Both must be mapped, or no further one can be made inside.
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/gid_map", format!("0 {group} 1"))?;
    }
    if caller.own_network {
        portreeve_sandbox::isolate()?;
        free_low_ports()?;
    }
    if let Some(set) = caller.capabilities {
        keep_capabilities(set)?;
    }
    Ok(())
}

/// Names the calling thread; of the leader, this is the name of the process.
pub fn name_thread(name: &str) -> Result<()> {
    // The kernel would cut it without a word.
    ensure!(name.len() <= 15, "a process name has at most 15 characters");
    prctl::set_name(&CString::new(name)?).context("the thread can't be named")
}

/// Moves to this cgroup.
pub fn join(cgroup: &Path) -> Result<()> {
    fs::write(cgroup.join("cgroup.procs"), process::id().to_string())
        .with_context(|| format!("{} can't be joined", cgroup.display()))
}

/// Moves the calling thread alone to this threaded cgroup.
pub fn join_as_thread(cgroup: &Path) -> Result<()> {
    fs::write(cgroup.join("cgroup.threads"), gettid().to_string())
        .with_context(|| format!("{} can't be joined by a thread", cgroup.display()))
}

/// Low ports need no capability in the calling thread's network namespace any more,
/// as far as the kernel itself is concerned.
pub fn free_low_ports() -> Result<()> {
    fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
        .context("the low ports can't be freed")
}

/// Takes from the calling thread all capabilities but those in `set`, and makes
/// the others effective.
fn keep_capabilities(set: u64) -> Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let mut header: [u32; 2] = [VERSION_3, 0];
    // Effective, permitted, inheritable, for the low half and for the high one.
    let mut sets: [u32; 6] = [0; 6];
    // SAFETY: both structures are as long as this version says, and outlive the calls.
    Errno::result(unsafe {
        libc::syscall(libc::SYS_capget, header.as_mut_ptr(), sets.as_mut_ptr())
    })?;
    for (half, keep) in sets
        .chunks_exact_mut(3)
        .zip([set as u32, (set >> 32) as u32])
    {
        let kept = half[1] & keep;
        half.copy_from_slice(&[kept, kept, 0]);
    }
    // SAFETY: as above.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) })
        .context("the capabilities can't be dropped")?;
    Ok(())
}

/// Runs on this processor only.
pub fn stay_on(cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &cpus).context("the processor can't be chosen")
}
