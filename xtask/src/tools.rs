//! Programs that are installed where they are missing: none that starts a service, which
//! [`crate::debian::programs`] is for.

use anyhow::{Result, bail};
use portreeve_toolchain::command::in_path;
use portreeve_toolchain::packages;

/// A program, and Debian's package that has it.
pub type Tool = (&'static str, &'static str);

/// What the tests run besides the product.
pub const OF_TESTS: [Tool; 8] = [
    ("systemd-socket-activate", "systemd"),
    // By which the systemd of a test is asked.
    ("dbus-daemon", "dbus-daemon"),
    // Shows what the agent asks of the kernel.
    ("strace", "strace"),
    // Shows the status page.
    ("chromium", "chromium"),
    // What reads the manual pages and the completions.
    ("groff", "groff-base"),
    ("mandoc", "mandoc"),
    ("fish", "fish"),
    ("zsh", "zsh"),
];

/// The packages that are missing.
pub fn missing(tools: &[Tool]) -> Vec<&'static str> {
    let missing = tools
        .iter()
        .filter(|(program, _)| in_path(program).is_none());
    let mut packages: Vec<_> = missing.map(|(_, package)| *package).collect();
    packages.dedup();
    packages
}

/// Installs what is missing.
///
/// # Errors
///
/// If it can't be had.
pub fn get(tools: &[Tool]) -> Result<()> {
    let packages = missing(tools);
    if packages.is_empty() {
        return Ok(());
    }
    packages::get(&packages)?;
    match missing(tools).as_slice() {
        [] => Ok(()),
        still => bail!("{} can't be had", still.join(", ")),
    }
}
