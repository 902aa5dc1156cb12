//! The process itself: one thread that does what it is asked for, and one for each command,
//! which waits for its end.

use std::{
    env, fs,
    fs::File,
    io::{self, BufRead as _, BufReader, Write as _},
    os::{
        fd::AsFd as _,
        unix::{net::UnixStream, process::CommandExt as _},
    },
    path::Path,
    process::{Command, ExitCode, Stdio},
    thread,
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        signal::{self, SigHandler, Signal},
        stat::{Mode, umask},
    },
    unistd::{Pid, setsid},
};

use super::{Answer, NAME, Request, is_gone};

/// All that a command finds in its environment, with PATH as init systems set it.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Its name among processes: at most 15 characters.
const COMM: &str = "portreeve-start";

/// Whether this process was started to be it.
pub fn is_called() -> bool {
    env::args_os().next().is_some_and(|name| name == NAME)
}

/// Serves the agent, which is at the other end of standard input, until that ends.
pub fn main() -> ExitCode {
    close_inherited();
    // What a terminal sends to the agent is not meant for it.
    let _ = setsid();
    umask(Mode::S_IWGRP | Mode::S_IWOTH);
    let _ = fs::write("/proc/self/comm", COMM);
    // An agent that is to survive, or to give way, says nothing about its commands.
    let _ = fs::write("/proc/self/oom_score_adj", "0");
    not_nice();
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn serve() -> io::Result<()> {
    let agent = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let requests = BufReader::new(agent.try_clone()?);
    for line in requests.lines() {
        let answer: Answer = match serde_json::from_str(&line?) {
            Ok(request) => perform(request).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        let mut line = serde_json::to_string(&answer)?;
        line.push('\n');
        (&agent).write_all(line.as_bytes())?;
    }
    Ok(())
}

fn perform(request: Request) -> io::Result<()> {
    match request {
        Request::Start { cgroup, words } => start(Path::new(&cgroup), &words),
        Request::Terminate { cgroup } => signal_all(Path::new(&cgroup), Signal::SIGTERM),
        Request::Kill { cgroup } => kill(Path::new(&cgroup)),
        Request::Remove { cgroup } => remove(Path::new(&cgroup)),
    }
}

fn start(cgroup: &Path, words: &[String]) -> io::Result<()> {
    let Some((program, arguments)) = words.split_first() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    fs::create_dir_all(cgroup)?;
    let mut procs = File::options()
        .write(true)
        .open(cgroup.join("cgroup.procs"))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let prepare = move || {
        // It is in its cgroup before the program's first instruction.
        procs.write_all(b"0")?;
        setsid()?;
        default_signals();
        Ok(())
    };
    // SAFETY: between fork and exec it makes system calls only, and allocates nothing.
    unsafe { command.pre_exec(prepare) };
    let mut child = command.spawn().inspect_err(|_| {
        // What doesn't run leaves nothing, unless something else does there.
        let _ = fs::remove_dir(cgroup);
    })?;
    // Without the thread its entry in the process table stays until this process ends.
    let _ = thread::Builder::new().spawn(move || child.wait());
    Ok(())
}

/// What the agent's own starter ignored is nothing to a command.
fn default_signals() {
    for one in Signal::iterator() {
        // SAFETY: no handler is installed, so none can do what it must not.
        let _ = unsafe { signal::signal(one, SigHandler::SigDfl) };
    }
}

fn not_nice() {
    // SAFETY: the call takes numbers only.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 0) };
}

/// Whatever the agent was handed and left open would stay open in every command.
fn close_inherited() {
    const FIRST: libc::c_uint = 3;
    // SAFETY: nothing was opened yet by this process, so nothing owns what is closed. Not
    // every C library has a function for the call.
    unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, 0) };
}

/// Sends `what` to all processes in the cgroup and below; to a cgroup that is gone none.
fn signal_all(cgroup: &Path, what: Signal) -> io::Result<()> {
    for pid in fs::read_to_string(cgroup.join("cgroup.procs"))
        .or_else(gone)?
        .lines()
    {
        // 0 is one that this process can't see.
        let Some(pid) = pid.parse().ok().filter(|pid| *pid > 0) else {
            continue;
        };
        match signal::kill(Pid::from_raw(pid), what) {
            Err(Errno::ESRCH) | Ok(()) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    below(cgroup, &|child| signal_all(child, what))
}

/// Kills all in the cgroup and below, however fast they fork.
fn kill(cgroup: &Path) -> io::Result<()> {
    let write = |name: &str, value: &str| fs::write(cgroup.join(name), value);
    match write("cgroup.kill", "1") {
        // Before Linux 5.14: what is frozen forks no more.
        Err(error) if error.kind() == io::ErrorKind::NotFound && cgroup.is_dir() => {
            write("cgroup.freeze", "1")?;
            let killed = signal_all(cgroup, Signal::SIGKILL);
            write("cgroup.freeze", "0")?;
            killed
        }
        done => done.or_else(gone),
    }
}

fn remove(cgroup: &Path) -> io::Result<()> {
    below(cgroup, &remove)?;
    fs::remove_dir(cgroup).or_else(gone)
}

/// Does `what` to each cgroup that is right below.
fn below(cgroup: &Path, what: &dyn Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    let listed = match fs::read_dir(cgroup) {
        Err(error) => return gone(error),
        Ok(listed) => listed,
    };
    for entry in listed {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            what(&entry.path())?;
        }
    }
    Ok(())
}

/// What is gone has ended.
fn gone<T: Default>(error: io::Error) -> io::Result<T> {
    match is_gone(&error) {
        true => Ok(T::default()),
        false => Err(error),
    }
}
