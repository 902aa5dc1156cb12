//! Starting a program under conditions that only its own process can bring about.

use std::{env, path::PathBuf, process::Command};

use anyhow::Result;
use nix::{errno::Errno, libc};
use serde::{Deserialize, Serialize};

use crate::actors::LAUNCH;

/// What happens between fork and exec. Done by [`crate::actors::launch`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Folders it finds empty, in a mount namespace of its own.
    pub hidden: Vec<PathBuf>,
    /// Folders made for it, such as in hidden ones.
    pub made: Vec<PathBuf>,
    /// File systems it finds nowhere mounted, in a mount namespace of its own.
    pub unmounted: Vec<String>,
    /// The cgroups it joins, one of each hierarchy at most.
    pub cgroups: Vec<PathBuf>,
    /// Files that it finds in the place of others, in a mount namespace of its own: those
    /// first, in the place of the others.
    pub replaced: Vec<(PathBuf, PathBuf)>,
    /// Folders that it finds on a disk with room for so many bytes, likewise.
    pub small: Vec<(PathBuf, u32)>,
    /// Folders, file systems or not, that it may not write, likewise.
    pub read_only: Vec<PathBuf>,
    /// A folder that is a BPF file system of its own, likewise.
    pub bpffs: Option<PathBuf>,
    /// System calls that fail.
    pub failing: Vec<Failing>,
    /// Capabilities that neither it nor what it starts can have, by number.
    pub without: Vec<u8>,
    /// The user it runs as; root without.
    pub uid: Option<u32>,
    /// The only processor it runs on.
    pub cpu: Option<usize>,
    /// Its environment, which else is empty.
    pub environment: Vec<(String, String)>,
    /// Whether its parent traces its system calls.
    pub traced: bool,
}

/// A system call that fails.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Failing {
    /// Its number.
    pub call: u32,
    /// Its first argument, if it fails with that one only.
    pub first: Option<u32>,
    /// The number of its error.
    pub errno: i32,
}

impl Failing {
    /// This command of bpf(2).
    pub fn bpf(command: u32, errno: Errno) -> Self {
        Self {
            call: libc::SYS_bpf as u32,
            first: Some(command),
            errno: errno as i32,
        }
    }
}

impl Launch {
    /// The command that becomes the program.
    pub fn command(&self) -> Result<Command> {
        let mut command = Command::new(env::current_exe()?);
        // What the caller of the tests has set must not matter.
        command.env_clear();
        command.arg(LAUNCH).arg(serde_json::to_string(self)?);
        Ok(command)
    }
}
