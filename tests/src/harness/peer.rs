//! Programs of others that run beside a test.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};

use super::pace::patience;

/// One of them; killed when dropped.
pub struct Peer {
    child: Child,
    log: PathBuf,
}

impl Peer {
    /// Starts `command`, and what it says goes to `log`.
    pub fn start(command: &mut Command, log: PathBuf) -> Result<Self> {
        let file = File::create(&log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("{command:?} can't be run"))?;
        Ok(Self { child, log })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Sends it a signal.
    pub fn signal(&self, what: Signal) -> Result<()> {
        Ok(signal::kill(Pid::from_raw(self.pid().cast_signed()), what)?)
    }

    /// What it has said when it ends by itself.
    pub fn end(mut self) -> Result<String> {
        let deadline = Instant::now() + patience();
        while self.child.try_wait()?.is_none() {
            ensure!(
                Instant::now() < deadline,
                "it does not end: {}",
                self.said()
            );
            thread::sleep(Duration::from_millis(5));
        }
        Ok(self.said())
    }

    /// Waits until `holds` of what it has said.
    pub fn wait_until(&mut self, what: &str, holds: impl Fn(&str) -> bool) -> Result<String> {
        let deadline = Instant::now() + patience();
        loop {
            let said = self.said();
            if holds(&said) {
                return Ok(said);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("it has ended ({status}):\n{said}");
            }
            ensure!(Instant::now() < deadline, "{what} never came:\n{said}");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
