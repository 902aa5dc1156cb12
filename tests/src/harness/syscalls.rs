//! Killing a process at a system call of our choice, so that every moment of a
//! start or an end can be the last one.

use std::{
    fs,
    mem::forget,
    os::unix::net::UnixStream,
    path::Path,
    process::Stdio,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context as _, Result, anyhow, bail};
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

use super::{Agent, launch::Launch};

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

    /// Whether the call, by process `pid`, can fail for want of something and is about
    /// files or BPF; what is about memory, time and talking is not.
    pub fn can_be_denied(self, pid: Pid) -> bool {
        let paths = [libc::SYS_bpf, libc::SYS_openat, libc::SYS_statx];
        let descriptors = [
            libc::SYS_read,
            libc::SYS_write,
            libc::SYS_fcntl,
            libc::SYS_getdents64,
        ];
        self.changes_something()
            || paths.contains(&self.number)
            || descriptors.contains(&self.number) && self.is_on_file(pid)
    }

    /// Whether the call, by process `pid`, changes something, or a file on the way to it.
    pub fn is_a_step(self, pid: Pid) -> bool {
        self.changes_something()
            || self.number == libc::SYS_openat
            || self.number == libc::SYS_write && self.is_on_file(pid)
    }

    /// Whether its first argument is the descriptor of a file: by others the threads of a
    /// process wake each other, which never fails.
    fn is_on_file(self, pid: Pid) -> bool {
        let file = fs::read_link(format!("/proc/{pid}/fd/{}", self.first));
        file.is_ok_and(|file| file.starts_with("/") && self.first > 2)
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
        match begun(pid)? {
            Some(call) if call.prints() => return Ok(End::Printed),
            Some(call) => entered = Some(call),
            None => {
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

/// What happens to a running agent at a system call of our choice.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// It is killed right behind it.
    Kill,
    /// It isn't made, but fails so.
    Fail(Errno),
}

/// Lets `fault` happen to `agent` at the `nth` call (from 0) of those that `counts`,
/// while it answers what `ask` asks. Returns the call, if there were so many, and what
/// came of `ask`.
pub fn strike<T: Send>(
    agent: &Agent<'_>,
    nth: usize,
    fault: Fault,
    counts: fn(Call, Pid) -> bool,
    ask: impl FnOnce() -> T + Send,
) -> Result<(Option<Call>, T)> {
    let pid = Pid::from_raw(i32::try_from(agent.pid())?);
    let socket = agent.sandbox.socket.as_path();
    // Only the thread that answers: who seizes it is the one who waits for it.
    ptrace::seize(pid, Options::PTRACE_O_TRACESYSGOOD).context("the agent can't be traced")?;
    ptrace::interrupt(pid)?;
    wait(pid)?;
    let answered = AtomicBool::new(false);
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let answer = ask();
            answered.store(true, Ordering::Release);
            // Lest it be waited for its next call.
            wake(socket);
            answer
        });
        let struck = watch(pid, nth, fault, counts, &answered);
        if !matches!((&struck, fault), (Ok(Some(_)), Fault::Kill)) {
            let _ = ptrace::detach(pid, None);
        }
        let answer = asking.join().map_err(|_| anyhow!("who asked panicked"))?;
        let struck = struck.with_context(|| format!("it logged: {}", agent.log()))?;
        Ok((struck, answer))
    })
}

fn wake(socket: &Path) {
    drop(UnixStream::connect(socket));
}

/// The call at whose begin the traced process stands; `None` at its end.
fn begun(pid: Pid) -> Result<Option<Call>> {
    let info = ptrace::syscall_info(pid)?;
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return Ok(None);
    }
    // SAFETY: the kernel has said that this is the entry's part.
    let entry = unsafe { info.u.entry };
    Ok(Some(Call {
        number: libc::c_long::try_from(entry.nr)?,
        first: entry.args[0],
    }))
}

/// Comes back when `answered` or killed, with the agent standing still.
fn watch(
    pid: Pid,
    nth: usize,
    fault: Fault,
    counts: fn(Call, Pid) -> bool,
    answered: &AtomicBool,
) -> Result<Option<Call>> {
    let (mut seen, mut struck) = (0, None);
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
            WaitStatus::PtraceEvent(..) => continue,
            status => bail!("the agent ended so: {status:?}"),
        }
        if let Some(call) = begun(pid)? {
            if struck.is_none() && counts(call, pid) {
                if seen == nth {
                    entered = Some(call);
                    if let Fault::Fail(_) = fault {
                        leave_out(pid)?;
                    }
                }
                seen += 1;
            }
            continue;
        }
        if let Some(call) = entered.take() {
            struck = Some(call);
            match fault {
                Fault::Kill => {
                    kill(pid, Signal::SIGKILL)?;
                    return Ok(struck);
                }
                Fault::Fail(errno) => answer(pid, errno)?,
            }
        }
        if answered.load(Ordering::Acquire) {
            return Ok(struck);
        }
    }
}

/// Lets `agent` make the system call `number` instead of one of its own, and tells how that
/// ends. Its own fails as if a signal had come.
pub fn substitute(agent: &Agent<'_>, number: libc::c_long) -> Result<Result<(), Errno>> {
    let pid = Pid::from_raw(i32::try_from(agent.pid())?);
    ptrace::seize(pid, Options::PTRACE_O_TRACESYSGOOD).context("the agent can't be traced")?;
    ptrace::interrupt(pid)?;
    wait(pid)?;
    wake(&agent.sandbox.socket);
    let ended = trace_one(pid, number);
    ptrace::detach(pid, None)?;
    ended
}

/// The next call that waits for something becomes `number`.
fn trace_one(pid: Pid, number: libc::c_long) -> Result<Result<(), Errno>> {
    let mut is_ours = false;
    loop {
        ptrace::syscall(pid, None)?;
        match wait(pid)? {
            WaitStatus::PtraceSyscall(_) => {}
            WaitStatus::PtraceEvent(..) => continue,
            status => bail!("the agent ended so: {status:?}"),
        }
        match begun(pid)? {
            Some(call) if call.number == libc::SYS_epoll_wait => {
                become_call(pid, number)?;
                is_ours = true;
            }
            None if is_ours => {
                let result = result(pid)?;
                answer(pid, Errno::EINTR)?;
                return Ok(result);
            }
            _ => {}
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn become_call(pid: Pid, number: libc::c_long) -> Result<()> {
    let mut registers = ptrace::getregs(pid)?;
    registers.orig_rax = number.cast_unsigned();
    // No argument can do harm, should it be let through.
    (registers.rdi, registers.rsi, registers.rdx) = (0, 0, 0);
    Ok(ptrace::setregs(pid, registers)?)
}

#[cfg(target_arch = "x86_64")]
fn result(pid: Pid) -> Result<Result<(), Errno>> {
    let result = ptrace::getregs(pid)?.rax.cast_signed();
    Ok(match i32::try_from(result) {
        Ok(errno @ ..0) => Err(Errno::from_raw(-errno)),
        _ => Ok(()),
    })
}

#[cfg(not(target_arch = "x86_64"))]
fn become_call(_: Pid, _: libc::c_long) -> Result<()> {
    Err(super::skip("a system call can be changed on x86-64 only"))
}

#[cfg(not(target_arch = "x86_64"))]
fn result(_: Pid) -> Result<Result<(), Errno>> {
    Err(super::skip("a system call can be changed on x86-64 only"))
}

/// Lets the call that the process is about to make be none.
#[cfg(target_arch = "x86_64")]
fn leave_out(pid: Pid) -> Result<()> {
    let mut registers = ptrace::getregs(pid)?;
    registers.orig_rax = u64::MAX;
    Ok(ptrace::setregs(pid, registers)?)
}

/// Lets the call that the process has made be one that failed.
#[cfg(target_arch = "x86_64")]
fn answer(pid: Pid, errno: Errno) -> Result<()> {
    let mut registers = ptrace::getregs(pid)?;
    registers.rax = i64::from(-(errno as i32)).cast_unsigned();
    Ok(ptrace::setregs(pid, registers)?)
}

#[cfg(not(target_arch = "x86_64"))]
fn leave_out(_: Pid) -> Result<()> {
    Err(super::skip(
        "a system call can be made to fail on x86-64 only",
    ))
}

#[cfg(not(target_arch = "x86_64"))]
fn answer(_: Pid, _: Errno) -> Result<()> {
    Err(super::skip(
        "a system call can be made to fail on x86-64 only",
    ))
}
