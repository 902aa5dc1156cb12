//! Becoming the process that a test describes.

use std::{ffi::CString, fs, path::Path, process};

use anyhow::{Context as _, Result, ensure};
use nix::{
    libc,
    sched::{CloneFlags, CpuSet, sched_setaffinity, unshare},
    sys::prctl,
    unistd::{Gid, Pid, Uid, setgroups, setresgid, setresuid},
};

use crate::harness::Caller;

/// What an actor says when the host keeps it from having one.
pub const NO_USER_NAMESPACE: &str = "no user namespace can be made";

/// Becomes `caller`, but for its threads. To be called before any socket is made:
/// the programs that judge a bind are those of the cgroup in which its socket was.
pub fn become_caller(caller: &Caller) -> Result<()> {
    join(&caller.cgroup)?;
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
    if let Some([real, effective, saved]) = caller.uids {
        setgroups(&[])?;
        let [r, e, s] = [real, effective, saved].map(Gid::from_raw);
        setresgid(r, e, s)?;
        // From root to anybody else this drops every capability.
        let [r, e, s] = [real, effective, saved].map(Uid::from_raw);
        setresuid(r, e, s)?;
        // Which made the files of /proc/self root's.
        prctl::set_dumpable(true)?;
    }
    if caller.own_users {
        unshare(CloneFlags::CLONE_NEWUSER).context(NO_USER_NAMESPACE)?;
        fs::write("/proc/self/uid_map", format!("0 {} 1", caller.uid()))?;
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

/// Runs on this processor only.
pub fn stay_on(cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &cpus).context("the processor can't be chosen")
}
