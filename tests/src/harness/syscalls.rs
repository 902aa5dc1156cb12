//! Killing a process at a system call of our choice, so that every moment of a
//! start or an end can be the last one.

use std::{mem::forget, process::Stdio};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    libc,
    sys::{
        ptrace::{self, Options},
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use super::launch::Launch;

/// A system call that a traced process makes.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Its number.
    pub number: libc::c_long,
    /// Its first argument.
    pub first: u64,
}

/// How a traced run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Right behind the call in question.
    Killed,
    /// When it printed something: it had done all it was started for.
    Printed,
    /// By itself, with this exit status.
    Ended(i32),
}

const BPF_MAP_UPDATE_ELEM: u64 = 2;
const BPF_OBJ_PIN: u64 = 6;
const BPF_LINK_CREATE: u64 = 28;
const BPF_LINK_UPDATE: u64 = 29;

impl Call {
    /// Whether the call changes what the kernel holds for an agent.
    pub fn changes_something(self) -> bool {
        let bpf = [
            BPF_MAP_UPDATE_ELEM,
            BPF_OBJ_PIN,
            BPF_LINK_CREATE,
            BPF_LINK_UPDATE,
        ];
        // pwrite is how settings of the kernel are set.
        let files = [
            libc::SYS_mkdirat,
            libc::SYS_unlinkat,
            libc::SYS_flock,
            libc::SYS_fdatasync,
            libc::SYS_pwrite64,
        ];
        self.number == libc::SYS_bpf && bpf.contains(&self.first)
            || files.contains(&self.number)
            || is_legacy_file_call(self.number)
    }

    fn prints(self) -> bool {
        self.number == libc::SYS_write && self.first == 1
    }
}

#[cfg(target_arch = "x86_64")]
fn is_legacy_file_call(number: libc::c_long) -> bool {
    let calls = [
        libc::SYS_mkdir,
        libc::SYS_rename,
        libc::SYS_rmdir,
        libc::SYS_unlink,
    ];
    calls.contains(&number)
}

#[cfg(not(target_arch = "x86_64"))]
fn is_legacy_file_call(_: libc::c_long) -> bool {
    false
}

/// Runs the program and kills it right behind the `nth` call (from 0) that
/// changes something.
pub fn kill_behind(launch: &Launch, nth: usize) -> Result<End> {
    let launch = Launch {
        traced: true,
        ..launch.clone()
    };
    let child = launch
        .command()?
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("the program can't be run")?;
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    // It is waited for here.
    forget(child);
    let end = trace(pid, nth);
    if !matches!(end, Ok(End::Ended(_))) {
        finish_off(pid)?;
    }
    end
}

fn trace(pid: Pid, nth: usize) -> Result<End> {
    // The stop at its exec; what came before was the launcher's.
    if let WaitStatus::Exited(_, code) = wait(pid)? {
        return Ok(End::Ended(code));
    }
    ptrace::setoptions(
        pid,
        Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL,
    )?;
    let mut seen = 0;
    let mut pending = None;
    let mut entered: Option<Call> = None;
    loop {
        ptrace::syscall(pid, pending.take())?;
        match wait(pid)? {
            WaitStatus::PtraceSyscall(_) => {}
            WaitStatus::Stopped(_, signal) => {
                pending = Some(signal);
                continue;
            }
            WaitStatus::Exited(_, code) => return Ok(End::Ended(code)),
            status => bail!("the traced process ended so: {status:?}"),
        }
        let info = ptrace::syscall_info(pid)?;
        match info.op {
            libc::PTRACE_SYSCALL_INFO_ENTRY => {
                // SAFETY: the kernel has said that this is the entry's part.
                let entry = unsafe { info.u.entry };
                let call = Call {
                    number: libc::c_long::try_from(entry.nr)?,
                    first: entry.args[0],
                };
                if call.prints() {
                    return Ok(End::Printed);
                }
                entered = Some(call);
            }
            _ => {
                if entered.take().is_some_and(Call::changes_something) {
                    if seen == nth {
                        return Ok(End::Killed);
                    }
                    seen += 1;
                }
            }
        }
    }
}

fn wait(pid: Pid) -> Result<WaitStatus> {
    Ok(waitpid(pid, Some(WaitPidFlag::__WALL))?)
}

/// Kills the process and waits until nothing of it is left.
fn finish_off(pid: Pid) -> Result<()> {
    match kill(pid, Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => return Err(errno.into()),
    }
    loop {
        match wait(pid) {
            Ok(WaitStatus::Signaled(..) | WaitStatus::Exited(..)) | Err(_) => return Ok(()),
            Ok(_) => {}
        }
    }
}
