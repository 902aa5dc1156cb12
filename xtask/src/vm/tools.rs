//! What a virtual machine takes of this one, installed if need be.

use std::env::consts::ARCH;

use anyhow::{Result, bail, ensure};
use portreeve_toolchain::command::in_path;
use portreeve_toolchain::packages;

/// Programs, and Debian's packages that have them.
const TOOLS: [(&str, &str); 6] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("cpio", "cpio"),
    ("xz", "xz-utils"),
    ("strip", "binutils"),
    ("setpriv", "util-linux"),
];

/// The packages that are missing.
pub fn missing() -> Vec<&'static str> {
    let missing = TOOLS
        .iter()
        .filter(|(program, _)| in_path(program).is_none());
    missing.map(|(_, package)| *package).collect()
}

/// Installs what is missing.
///
/// # Errors
///
/// If it can't be had.
pub fn get() -> Result<()> {
    ensure!(
        ARCH == "x86_64",
        "the machines are x86-64 ones, and this is {ARCH}: they can't run what is built here"
    );
    let packages = missing();
    if packages.is_empty() {
        return Ok(());
    }
    packages::get(&packages)?;
    match missing().as_slice() {
        [] => Ok(()),
        still => bail!("{} can't be had", still.join(", ")),
    }
}
