//! Running things as root: directly, or through sudo.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use portreeve_toolchain::command;

pub use command::is_root;

/// Whether [`as_root`] can work at all.
pub fn available() -> bool {
    is_root() || command::in_path("sudo").is_some()
}

/// A command that will run as root, with these variables besides whatever sudo
/// leaves of the environment.
pub fn as_root(program: &Path, variables: &[(&str, &OsStr)]) -> Result<Command> {
    ensure!(
        available(),
        "this needs root, and there is no sudo: run it as root"
    );
    if is_root() {
        let mut command = Command::new(program);
        command.envs(variables.iter().copied());
        return Ok(command);
    }
    let mut command = Command::new("sudo");
    if !variables.is_empty() {
        // sudo drops variables set for itself; env, run by sudo, doesn't.
        command.arg("env");
        for (name, value) in variables {
            let mut assignment = OsStr::new(name).to_owned();
            assignment.push("=");
            assignment.push(value);
            command.arg(assignment);
        }
    }
    command.arg(program);
    Ok(command)
}

/// Starts over as root with these arguments; comes back only if it can't.
pub fn become_root(arguments: &[OsString]) -> Result<bool> {
    let mut command = as_root(&env::current_exe()?, &[])?;
    command.args(arguments);
    eprintln!("+ {}", command::show(&command));
    Err(command.exec()).context("sudo can't be run")
}
