//! The break-glass: what keeps an agent from enforcing anything, for whoever has locked
//! himself out and can reach the boot loader or a file.

use std::{fs, path::Path};

/// The word on the kernel's command line.
pub const WORD: &str = "portreeve=off";
/// The file, unless the agent is told another one.
pub const FILE: &str = "/etc/portreeve/off";

/// Why nothing is to be enforced; `None` if nobody said so.
pub fn broken(file: &Path) -> Option<String> {
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    if line.split_whitespace().any(|word| word == WORD) {
        return Some(format!("the kernel was booted with {WORD}"));
    }
    // Whatever it is, and even if it can't be read.
    let is_there = fs::symlink_metadata(file).is_ok();
    is_there.then(|| format!("{} exists", file.display()))
}
