//! Running a command to its end, but not for ever.

use std::{
    io::Read,
    process::{Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::pace::patience;

/// A command that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Finished {
    /// The output as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("no JSON in {self:?}"))
    }

    /// The same if it ended with this status.
    pub fn ended_with(self, code: i32) -> Result<Self> {
        ensure!(
            self.code == Some(code),
            "exit status {:?}, not {code}\nstdout: {}\nstderr: {}",
            self.code,
            self.stdout,
            self.stderr
        );
        Ok(self)
    }
}

/// Runs `command` without input.
pub fn finish(command: &mut Command) -> Result<Finished> {
    finish_within(command, patience())
}

/// The same for one that may take `time` to end.
pub fn finish_within(command: &mut Command, time: Duration) -> Result<Finished> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{command:?} can't be run"))?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let outputs = stdout
        .recv_timeout(time)
        .and_then(|stdout| Ok((stdout, stderr.recv_timeout(time)?)));
    let Ok((stdout, stderr)) = outputs else {
        child.kill()?;
        child.wait()?;
        bail!("{command:?} did not end within {} s", time.as_secs());
    };
    Ok(Finished {
        code: child.wait()?.code(),
        stdout,
        stderr,
    })
}

/// The whole text of a stream when it ends.
fn collect(stream: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        // Nobody waits any more if it comes too late.
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    receiver
}
