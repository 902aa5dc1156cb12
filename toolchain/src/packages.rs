//! Debian's packages, installed where a tool of theirs is missing.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::command::{self, run};

/// `apt-get`, as root, without questions.
///
/// # Errors
///
/// Where there is no apt-get, or no way to become root.
pub fn apt_get() -> Result<Command> {
    const QUIET: &str = "DEBIAN_FRONTEND=noninteractive";
    ensure!(
        command::in_path("apt-get").is_some(),
        "this is not Debian: there is no apt-get"
    );
    let mut command;
    if command::is_root() {
        command = Command::new("env");
    } else {
        ensure!(
            command::in_path("sudo").is_some(),
            "installing Debian packages needs root, and there is no sudo"
        );
        command = Command::new("sudo");
    }
    command.args([QUIET, "apt-get"]);
    Ok(command)
}

/// What fetches the lists of packages. May fail: one source that can't be
/// reached fails it as a whole.
///
/// # Errors
///
/// See [`apt_get`].
pub fn update() -> Result<Command> {
    let mut update = apt_get()?;
    update.arg("update");
    Ok(update)
}

/// What installs `packages`.
///
/// # Errors
///
/// See [`apt_get`].
pub fn install(packages: &[&str]) -> Result<Command> {
    let mut install = apt_get()?;
    // --no-remove: what conflicts with something that is here isn't ours to
    // settle.
    install.args(["install", "-y", "--no-install-recommends", "--no-remove"]);
    install.args(packages);
    Ok(install)
}

/// Fetches the lists and installs `packages`.
///
/// # Errors
///
/// Where that fails.
pub fn get(packages: &[&str]) -> Result<()> {
    if let Err(error) = run(&mut update()?) {
        eprintln!("{error:#}; going on");
    }
    run(&mut install(packages)?)
}
