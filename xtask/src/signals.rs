//! Outliving Ctrl-C: the agent ends first, then we clean up after it.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use anyhow::{Context, Result};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::unistd::Pid;
use portreeve_toolchain::command::show;

/// The process to be ended in our place; 0 if none.
static CHILD: AtomicI32 = AtomicI32::new(0);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn pass_on(_: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
    let child = CHILD.load(Ordering::Relaxed);
    if child > 0 {
        // SIGTERM whatever we got: it is what the agent ends on properly.
        let _ = kill(Pid::from_raw(child), Signal::SIGTERM);
    }
}

/// From here on a signal to stop ends [`CHILD`] instead of us.
fn pass_on_signals() -> Result<()> {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let action = SigAction::new(
            SigHandler::Handler(pass_on),
            SaFlags::SA_RESTART,
            SigSet::empty(),
        );
        // SAFETY: the handler only uses atomics and calls kill(2), which a
        // signal handler may do.
        unsafe { sigaction(signal, &action) }.context("sigaction")?;
    }
    Ok(())
}

/// Whether somebody has asked us to stop.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Starts a command that a signal to us will end, with SIGTERM.
pub fn spawn(command: &mut Command) -> Result<Child> {
    let child = spawn_apart(command)?;
    CHILD.store(i32::try_from(child.id())?, Ordering::Relaxed);
    if interrupted() {
        terminate(&child);
    }
    Ok(child)
}

/// Starts a command that no signal reaches: who calls looks for [`interrupted`], and ends
/// it then.
pub fn spawn_apart(command: &mut Command) -> Result<Child> {
    // First, so that there is no moment in which Ctrl-C would kill us and leave
    // the child alone.
    pass_on_signals()?;
    eprintln!("+ {}", show(command));
    // A process group of its own, or the terminal's Ctrl-C would reach it
    // beside the signal that we pass on.
    command
        .process_group(0)
        .spawn()
        .with_context(|| format!("`{}` can't be run", show(command)))
}

/// Waits for what [`spawn`] started.
pub fn wait(child: &mut Child) -> Result<ExitStatus> {
    let status = child.wait();
    CHILD.store(0, Ordering::Relaxed);
    status.context("waiting for the agent")
}

/// Asks a child to end, the way it ends properly.
pub fn terminate(child: &Child) {
    if let Ok(pid) = i32::try_from(child.id()) {
        // It may have ended by itself.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
}
