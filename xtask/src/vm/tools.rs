//! What a virtual machine takes of this one, installed if need be.

use std::env::consts::ARCH;

use anyhow::{Result, ensure};

use crate::tools::{self, Tool};

const TOOLS: [Tool; 5] = [
    ("busybox", "busybox-static"),
    ("cpio", "cpio"),
    ("xz", "xz-utils"),
    ("strip", "binutils"),
    ("setpriv", "util-linux"),
];

/// The packages that are missing.
pub fn missing() -> Vec<&'static str> {
    tools::missing(&TOOLS)
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
    tools::get(&TOOLS)
}
