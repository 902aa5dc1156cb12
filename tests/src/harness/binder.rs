//! Processes that bind, as a test sees them.

use std::{
    env,
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    libc,
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};
use serde::Serialize;

use super::{
    pace::{limit, patience},
    request::{Answer, Caller, Tally, Task, Want},
    servant::INHERITED,
};
use crate::actors::{BIND, SPIN, spin::STOP};

/// A process of ours and the lines it prints.
pub(super) struct Actor {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Actor {
    /// A process that plays `part`, running the file that `caller` runs.
    pub(super) fn start(part: &str, caller: &Caller, task: &impl Serialize) -> Result<Self> {
        Self::start_with(part, caller, task, None)
    }

    /// The same; it inherits a socket.
    pub(super) fn start_with(
        part: &str,
        caller: &Caller,
        task: &impl Serialize,
        socket: Option<OwnedFd>,
    ) -> Result<Self> {
        let exe = match &caller.exe {
            Some(exe) => exe.clone(),
            None => env::current_exe()?,
        };
        let mut command = Command::new(exe);
        if let Some(user) = caller.started_by {
            let procs = File::options()
                .write(true)
                .open(caller.cgroup.join("cgroup.procs"))?;
            let (user, group) = (Uid::from_raw(user), Gid::from_raw(user));
            // SAFETY: between fork and exec only system calls are made.
            unsafe {
                command.pre_exec(move || {
                    // Who runs the file can't join by itself.
                    (&procs).write_all(b"0")?;
                    setgroups(&[])?;
                    setresgid(group, group, group)?;
                    Ok(setresuid(user, user, user)?)
                });
            }
        }
        if let Some(socket) = socket {
            // SAFETY: between fork and exec only system calls are made.
            unsafe {
                command.pre_exec(move || {
                    // The copy, unlike the socket itself, outlives the exec.
                    match libc::dup2(socket.as_raw_fd(), INHERITED) {
                        -1 => Err(io::Error::last_os_error()),
                        _ => Ok(()),
                    }
                });
            }
        }
        let mut child = command
            .arg(part)
            .arg(serde_json::to_string(task)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("an actor can't be run")?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("an actor has no output")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            child,
            stdin,
            lines,
        })
    }

    /// Says a line to it and returns its answer.
    pub(super) fn ask(&mut self, line: &str) -> Result<String> {
        self.say(line)?;
        self.line()
    }

    /// Says a line to it.
    pub(super) fn say(&mut self, line: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("an actor is deaf")?;
        // If it has ended, its own words say why.
        let _ = writeln!(stdin, "{line}");
        Ok(())
    }

    pub(super) fn line(&mut self) -> Result<String> {
        if let Ok(line) = self.lines.recv_timeout(patience()) {
            return Ok(line);
        }
        // It ended, or hangs.
        let _ = self.child.kill();
        let mut complaint = String::new();
        if let Some(stderr) = &mut self.child.stderr {
            stderr.read_to_string(&mut complaint)?;
        }
        bail!("an actor failed: {complaint}")
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // The end of its input ends it; what hangs is killed.
        drop(self.stdin.take());
        let deadline = Instant::now() + limit(5);
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(Duration::from_micros(500));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn task(caller: &Caller, wants: &[Want]) -> Task {
    Task {
        caller: caller.clone(),
        wants: wants.to_vec(),
        one_socket: false,
        rest: 0,
    }
}

/// A process that has made its binds and holds what it got until dropped.
pub struct Binder {
    _actor: Actor,
    /// Its process id.
    pub pid: u32,
    /// How each bind ended.
    pub results: Vec<Result<(), Errno>>,
}

impl Binder {
    /// Starts `caller` and waits until it has tried each of `wants`.
    pub fn start(caller: &Caller, wants: &[Want]) -> Result<Self> {
        Self::perform(&task(caller, wants))
    }

    /// The same, with all binds on one and the same socket.
    pub fn start_on_one_socket(caller: &Caller, wants: &[Want]) -> Result<Self> {
        Self::perform(&Task {
            one_socket: true,
            ..task(caller, wants)
        })
    }

    fn perform(task: &Task) -> Result<Self> {
        let mut actor = Actor::start(BIND, &task.caller, task)?;
        let answer: Answer = serde_json::from_str(&actor.line()?)?;
        let result = |errno| match errno {
            0 => Ok(()),
            errno => Err(Errno::from_raw(errno)),
        };
        Ok(Self {
            _actor: actor,
            pid: answer.pid,
            results: answer.errnos.into_iter().map(result).collect(),
        })
    }

    /// How one bind by `caller` ends; what it got is given back.
    pub fn attempt(caller: &Caller, want: &Want) -> Result<Result<(), Errno>> {
        let binder = Self::start(caller, std::slice::from_ref(want))?;
        binder
            .results
            .first()
            .copied()
            .context("a binder gave no answer")
    }
}

/// A process that binds over and over until dropped.
pub struct Spinner {
    actor: Actor,
}

impl Spinner {
    /// Starts `caller` on `wants`, in turn.
    pub fn start(caller: &Caller, wants: &[Want]) -> Result<Self> {
        Self::perform(&task(caller, wants))
    }

    /// The same, with a rest of so many microseconds each time.
    pub fn start_resting(caller: &Caller, wants: &[Want], rest: u64) -> Result<Self> {
        Self::perform(&Task {
            rest,
            ..task(caller, wants)
        })
    }

    fn perform(task: &Task) -> Result<Self> {
        let actor = Actor::start(SPIN, &task.caller, task)?;
        let mut spinner = Self { actor };
        // It is at it only when it has answered with something.
        spinner.wait_for(1)?;
        Ok(spinner)
    }

    /// What it has seen so far.
    pub fn tally(&mut self) -> Result<Tally> {
        self.ask("")
    }

    /// Ends it: all it has seen.
    pub fn stop(mut self) -> Result<Tally> {
        self.ask(STOP)
    }

    fn ask(&mut self, line: &str) -> Result<Tally> {
        Ok(serde_json::from_str(&self.actor.ask(line)?)?)
    }

    /// Waits until it has made `more` binds from now on.
    pub fn wait_for(&mut self, more: u64) -> Result<Tally> {
        let target = self.tally()?.total() + more;
        let deadline = Instant::now() + patience();
        loop {
            let tally = self.tally()?;
            if tally.total() >= target {
                return Ok(tally);
            }
            if Instant::now() > deadline {
                bail!("a spinner stands still at {tally:?}");
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}
