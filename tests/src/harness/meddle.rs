//! Changing what a running agent finds, behind its back.

use std::{env, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    libc,
    unistd::{SysconfVar, sysconf},
};
use serde::{Deserialize, Serialize};

use super::{Agent, Sandbox, cleanup, command, host, skip};
use crate::actors::MEDDLE;

/// A change of what a process has mounted. Done by [`crate::actors`].
#[derive(Debug, Serialize, Deserialize)]
pub struct Meddling {
    /// The process; it must have a mount namespace of its own.
    pub pid: u32,
    /// What is done.
    pub deed: Deed,
}

/// What is done to a process's mounts.
#[derive(Debug, Serialize, Deserialize)]
pub enum Deed {
    /// What is mounted there is no more.
    Unmount(PathBuf),
    /// It is read-only from now on.
    ForbidWriting(PathBuf),
}

/// Does `deed` to the mounts of `agent`, which has its own.
pub fn meddle(agent: &Agent<'_>, deed: Deed) -> Result<()> {
    let pid = agent.pid();
    let task = serde_json::to_string(&Meddling { pid, deed })?;
    let mut command = Command::new(env::current_exe()?);
    command.env_clear().args([MEDDLE, &task]);
    command::finish(&mut command)?.ended_with(0)?;
    Ok(())
}

/// Leaves `agent` room for no more than so many descriptors more, or lets it have as many
/// as it likes again.
pub fn limit_descriptors(agent: &Agent<'_>, more: Option<usize>) -> Result<()> {
    let mut used = Vec::new();
    for entry in fs::read_dir(format!("/proc/{}/fd", agent.pid()))? {
        let name = entry?.file_name();
        used.push(name.to_string_lossy().parse::<u64>()?);
    }
    // The limit is on the numbers, and the lowest that is free is taken.
    let free = |more| (0..).filter(|number| !used.contains(number)).nth(more);
    limit(agent, libc::RLIMIT_NOFILE.into(), more.and_then(free))
}

/// Leaves `agent` room for no more than so many bytes of addresses more.
pub fn limit_addresses(agent: &Agent<'_>, more: u64) -> Result<()> {
    let pages = fs::read_to_string(format!("/proc/{}/statm", agent.pid()))?;
    let pages = pages.split(' ').next().context("statm")?.parse::<u64>()?;
    let page = sysconf(SysconfVar::PAGE_SIZE)?.context("no page size")?;
    let used = pages * page.cast_unsigned();
    limit(agent, libc::RLIMIT_AS.into(), Some(used + more))
}

/// Sets the limit of a resource of `agent`; without a number, to the highest it may have.
fn limit(agent: &Agent<'_>, resource: libc::c_long, to: Option<u64>) -> Result<()> {
    let pid = i32::try_from(agent.pid())?;
    let mut limits = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    let none = std::ptr::null_mut::<libc::rlimit64>();
    // By its number: C libraries don't agree on the type of a resource.
    // SAFETY: the kernel writes the limits there, which outlive the call.
    let asked = unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, none, &raw mut limits) };
    Errno::result(asked)?;
    limits.rlim_cur = to.unwrap_or(limits.rlim_max);
    // SAFETY: the kernel only reads the limits, which outlive the call.
    let set = unsafe { libc::syscall(libc::SYS_prlimit64, pid, resource, &raw const limits, none) };
    Errno::result(set)?;
    Ok(())
}

/// A cgroup whose memory is limited; gone when dropped.
pub struct MemoryCgroup {
    /// Where.
    pub path: PathBuf,
    /// The files of its limit and of what it uses.
    files: [&'static str; 2],
}

impl MemoryCgroup {
    /// One for `sandbox`, in whichever hierarchy has the memory controller.
    pub fn new(sandbox: &Sandbox) -> Result<Self> {
        let (hierarchy, files) = Self::hierarchy()?;
        let name = sandbox.cgroup_name();
        let path = hierarchy.join(format!("{}-memory", name.trim_start_matches('/')));
        fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Self { path, files })
    }

    fn hierarchy() -> Result<(PathBuf, [&'static str; 2])> {
        let old = host::mounts("cgroup")?.into_iter().map(|(_, point)| point);
        let mut old = old.filter(|point| point.ends_with("memory"));
        if let Some(point) = old.next() {
            return Ok((point, ["memory.limit_in_bytes", "memory.usage_in_bytes"]));
        }
        let root = host::cgroup2()?;
        let given = fs::read_to_string(root.join("cgroup.subtree_control"))?;
        if given.split_whitespace().any(|name| name == "memory") {
            return Ok((root.to_owned(), ["memory.max", "memory.current"]));
        }
        Err(skip("no cgroup here may limit memory"))
    }

    /// Leaves it room for so many bytes more.
    pub fn limit(&self, more: u64) -> Result<()> {
        let [limit, used] = self.files.map(|file| self.path.join(file));
        let used: u64 = fs::read_to_string(used)?.trim().parse()?;
        fs::write(limit, (used + more).to_string()).context("memory can't be limited")
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        cleanup::cgroup(&self.path);
    }
}
