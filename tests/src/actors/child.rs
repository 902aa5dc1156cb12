//! Children that are born as `fork(2)` doesn't have it.

use std::{
    fs::File,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    libc,
    sched::{CloneFlags, unshare},
    sys::wait::{WaitStatus, waitpid},
    unistd::Pid,
};

use super::become_caller::NO_USER_NAMESPACE;

/// The kernel's; libc's has too few bits.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// What a child ends with when it has no socket; descriptors are lower.
const NOTHING: i32 = 255;

/// Starts a child that ends with what `act` returns, in `cgroup`.
/// Only for processes of one thread: the child could find the locks of others taken.
pub fn start(cgroup: &File, act: impl FnOnce() -> i32) -> Result<Pid> {
    let cgroup = u64::try_from(cgroup.as_raw_fd())?;
    clone(CLONE_INTO_CGROUP, cgroup, act).context("no child can be born into the cgroup")
}

/// Starts a child that ends with what `act` returns. Only for processes of one thread.
pub fn fork(act: impl FnOnce() -> i32) -> Result<Pid> {
    clone(0, 0, act).context("no child can be made")
}

fn clone(flags: u64, cgroup: u64, act: impl FnOnce() -> i32) -> Result<Pid> {
    // SAFETY: clone_args is plain data, for which all zeroes is valid.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = flags;
    arguments.exit_signal = libc::SIGCHLD as u64;
    arguments.cgroup = cgroup;
    // SAFETY: memory is not shared, and there is no other thread.
    let pid = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            std::ptr::from_mut(&mut arguments),
            size_of::<libc::clone_args>(),
        )
    };
    let pid = Errno::result(pid)?;
    if pid == 0 {
        let code = act();
        // SAFETY: ends the process without what its parent has left to do.
        unsafe { libc::_exit(code) };
    }
    Ok(Pid::from_raw(i32::try_from(pid)?))
}

/// What `open` makes as root of a user namespace, in a network namespace that belongs
/// to it; the child that is both has ended then.
pub fn socket_of_child(open: impl FnOnce() -> Result<OwnedFd>) -> Result<OwnedFd> {
    let make = || -> Result<i32> {
        unshare(CloneFlags::CLONE_NEWUSER).context(NO_USER_NAMESPACE)?;
        portreeve_sandbox::isolate()?;
        let socket = open()?;
        let fd = socket.as_raw_fd();
        std::mem::forget(socket);
        Ok(fd)
    };
    // Descriptors are shared: the child's is ours.
    let pid = clone(libc::CLONE_FILES as u64, 0, || match make() {
        Ok(fd) => fd,
        Err(error) => {
            eprintln!("{error:#}");
            NOTHING
        }
    })?;
    match waitpid(pid, None)? {
        // SAFETY: the child opened this descriptor and left it to us.
        WaitStatus::Exited(_, fd) if fd != NOTHING => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        status => bail!("the child made no socket: {status:?}"),
    }
}
