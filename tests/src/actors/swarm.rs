//! The swarm: a child for each visit, born into its cgroup.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::fd::AsRawFd as _,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    libc,
    sys::wait::{WaitStatus, waitpid},
    unistd::{Pid, pipe},
};

use super::{become_caller::become_caller, socket};
use crate::harness::{
    Want,
    swarm::{Swarm, Visit},
};

/// The kernel's; libc's has too few bits.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Makes all visits and tells the errnos of each.
pub fn perform(task: &Swarm) -> Result<()> {
    let visits: Vec<Visit> = serde_json::from_reader(File::open(&task.visits)?)?;
    become_caller(&task.caller)?;
    let errnos: Result<Vec<Vec<u8>>> = visits.iter().map(visit).collect();
    println!("{}", serde_json::to_string(&errnos?)?);
    Ok(())
}

fn visit(visit: &Visit) -> Result<Vec<u8>> {
    if visit.is_fresh {
        fs::create_dir(&visit.cgroup)?;
    }
    let cgroup = File::open(&visit.cgroup)
        .with_context(|| format!("{} can't be opened", visit.cgroup.display()))?;
    let (read, write) = pipe()?;
    // SAFETY: clone_args is plain data, for which all zeroes is valid.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = CLONE_INTO_CGROUP;
    arguments.exit_signal = libc::SIGCHLD as u64;
    arguments.cgroup = u64::try_from(cgroup.as_raw_fd())?;
    // SAFETY: without more flags this is fork(2), and there is no other thread whose
    // locks the child could find taken.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            std::ptr::from_mut(&mut arguments),
            size_of::<libc::clone_args>(),
        )
    };
    let pid = Errno::result(pid).context("no child can be born into the cgroup")?;
    if pid == 0 {
        let told =
            errnos(&visit.wants).and_then(|errnos| Ok(File::from(write).write_all(&errnos)?));
        // SAFETY: ends the process without what its parent has left to do.
        unsafe { libc::_exit(i32::from(told.is_err())) };
    }
    drop(write);
    let mut errnos = Vec::new();
    File::from(read).read_to_end(&mut errnos)?;
    let status = waitpid(Pid::from_raw(i32::try_from(pid)?), None)?;
    ensure!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
    if visit.is_fresh {
        fs::remove_dir(&visit.cgroup)?;
    }
    Ok(errnos)
}

fn errnos(wants: &[Want]) -> Result<Vec<u8>> {
    let attempt = |want: &Want| {
        Ok(match socket::bind(&socket::open(want)?, want) {
            Ok(()) => 0,
            Err(errno) => u8::try_from(errno as i32)?,
        })
    };
    wants.iter().map(attempt).collect()
}
