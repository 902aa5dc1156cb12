//! QEMU: this machine's, or one in the cache folder. It isn't installed: what of it is here
//! already may be of another release, with which Debian's doesn't go together.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use portreeve_toolchain::command::{in_path, output};

use crate::debian::apt::Mirror;
use crate::debian::tree::{self, LIBRARIES, LOADER, Tree};

const PROGRAM: &str = "qemu-system-x86_64";
const SUITES: [&str; 3] = ["trixie", "trixie-updates", "trixie-security"];

/// A QEMU.
#[derive(Clone, Debug)]
pub enum Emulator {
    /// The one of this machine.
    Installed,
    /// One that runs with the libraries of its own tree.
    Fetched(Tree),
}

/// This machine's QEMU if it has one, else a fetched one.
///
/// # Errors
///
/// If there is none, or it doesn't run.
pub fn get(mirror: &Result<Mirror>) -> Result<Emulator> {
    let emulator = if in_path(PROGRAM).is_some() {
        Emulator::Installed
    } else {
        Emulator::Fetched(tree::get(
            &["qemu-system-x86"],
            &SUITES,
            mirror,
            |_| Ok(()),
        )?)
    };
    let said = output(emulator.command().arg("--version")).context("QEMU doesn't run")?;
    let version = said.lines().next().unwrap_or_default();
    ensure!(version.starts_with("QEMU"), "QEMU says {version:?}");
    eprintln!("emulator: {version}");
    Ok(emulator)
}

impl Emulator {
    /// What runs it; its own arguments come behind. However we end, it ends with us.
    pub fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        let Self::Fetched(tree) = self else {
            command.arg(PROGRAM);
            return command;
        };
        let place = |part: &str| tree.folder.join(part);
        command.arg(place(LOADER));
        command.arg("--library-path").arg(place(LIBRARIES));
        command.arg(place("usr/bin").join(PROGRAM));
        for firmware in ["usr/share/qemu", "usr/share/seabios"] {
            command.arg("-L").arg(place(firmware));
        }
        command.env("QEMU_MODULE_DIR", place(LIBRARIES).join(Path::new("qemu")));
        command
    }
}
