//! A virtual machine: booted, watched, and always ended.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::signals;

use super::emulator::Emulator;
use super::kernels::Kernel;

/// What the machine is given besides its kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Equipment {
    /// Processors.
    pub processors: u8,
    /// Whether BPF programs may be security modules.
    pub bpf_lsm: bool,
    /// Whether its first process is systemd, which starts the tests, and not theirs.
    pub systemd: bool,
}

/// The unit that runs the tests where systemd is the first process.
pub const UNIT: &str = "portreeve-tests.service";

/// How long a machine may be silent: longer than a test waits in vain.
const SILENCE: Duration = Duration::from_secs(420);
/// How long all may take.
const LIMIT: Duration = Duration::from_secs(40 * 60);

/// Emulated, so that it is the same everywhere: not every machine that has KVM can
/// use it.
fn command(
    emulator: &Emulator,
    kernel: &Kernel,
    image: &Path,
    equipment: Equipment,
    console: &Path,
) -> Result<Command> {
    let mut qemu = emulator.command();
    qemu.args([
        "-machine",
        "pc",
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        "max",
    ]);
    qemu.args(["-m", "2048", "-smp", &equipment.processors.to_string()]);
    qemu.args(["-no-user-config", "-nodefaults", "-display", "none"]);
    qemu.args(["-monitor", "none", "-no-reboot"]);
    qemu.arg("-serial")
        .arg(format!("file:{}", console.display()));
    qemu.args(["-serial", "stdio"]);
    let boot = kernel.image().context("the kernel has no image")?;
    qemu.arg("-kernel").arg(boot);
    qemu.arg("-initrd").arg(image);
    let lsm = if equipment.bpf_lsm {
        "lockdown,yama,apparmor,bpf"
    } else {
        "lockdown,yama,apparmor"
    };
    // What goes wrong ends the machine instead of being lost in its log.
    let mut append = format!("console=ttyS0 panic=-1 oops=panic loglevel=5 quiet lsm={lsm}");
    if equipment.systemd {
        append.push_str(" systemd.unit=");
        append.push_str(UNIT);
    }
    qemu.arg("-append").arg(append);
    Ok(qemu)
}

/// How a machine ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// It switched itself off.
    Off,
    /// It was silent or busy for too long, and was killed.
    Hung(String),
    /// Somebody has asked us to stop.
    Interrupted,
}

/// Boots a machine and hands over every line of its tests until it ends.
///
/// # Errors
///
/// If QEMU can't be run.
pub fn run(
    emulator: &Emulator,
    kernel: &Kernel,
    image: &Path,
    equipment: Equipment,
    console: &Path,
    mut line: impl FnMut(&str),
) -> Result<End> {
    let mut qemu = command(emulator, kernel, image, equipment, console)?;
    qemu.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut machine = Machine(signals::spawn_apart(&mut qemu)?);
    let stdout = machine.0.stdout.take().context("QEMU has no stdout")?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut bytes = Vec::new();
        // Not `lines`: what is no UTF-8 mustn't end it.
        while stdout.read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&bytes);
            if sender.send(text.trim_end().to_owned()).is_err() {
                break;
            }
            bytes.clear();
        }
    });
    let began = Instant::now();
    let mut heard = Instant::now();
    loop {
        match lines.recv_timeout(Duration::from_secs(1)) {
            Ok(text) => {
                heard = Instant::now();
                line(&text);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if signals::interrupted() {
            return Ok(End::Interrupted);
        }
        for (since, limit, what) in [(heard, SILENCE, "silent"), (began, LIMIT, "busy")] {
            if since.elapsed() > limit {
                let what = format!("{what} for {} s, and killed", limit.as_secs());
                return Ok(End::Hung(what));
            }
        }
    }
    machine.0.wait().context("waiting for QEMU")?;
    Ok(if signals::interrupted() {
        End::Interrupted
    } else {
        End::Off
    })
}

/// A QEMU that doesn't outlive us.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The end of what the kernel wrote on its console.
pub fn tail(console: &Path) -> String {
    const LENGTH: u64 = 3000;
    let read = || -> Result<String> {
        let mut file = File::open(console)?;
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(size.saturating_sub(LENGTH)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).replace('\r', ""))
    };
    read().unwrap_or_else(|error| format!("{}: {error:#}", console.display()))
}

/// Lines of the console in which the kernel complains of itself.
pub fn complaints(console: &Path) -> Vec<String> {
    let text = std::fs::read(console).unwrap_or_default();
    complaints_in(&String::from_utf8_lossy(&text))
}

fn complaints_in(text: &str) -> Vec<String> {
    const WORDS: [&str; 6] = [
        "Kernel panic",
        "WARNING: ",
        "BUG: ",
        "Oops: ",
        "rcu: INFO: ",
        "Out of memory",
    ];
    let lines = text.lines().map(str::trim);
    let is_one = |line: &&str| WORDS.iter().any(|word| line.contains(word));
    lines.filter(is_one).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_complains_of_is_found() {
        let text = "[    0.1] fine\r\n[    1.2] BUG: unable to handle page fault\r\n";
        assert_eq!(
            complaints_in(text),
            ["[    1.2] BUG: unable to handle page fault"]
        );
    }
}
