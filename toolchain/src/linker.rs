//! bpf-linker: found where we install it, or in `PATH` if it is that version.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::{self, output};
use crate::pins;

/// Our folder in the user's cache: nothing that a user installed is touched.
pub fn cache() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME").map(PathBuf::from) {
        // A relative one is invalid, says the specification.
        Some(path) if path.is_absolute() => path,
        _ => env::home_dir()
            .filter(|home| home.is_absolute())
            .context("neither XDG_CACHE_HOME nor a home folder is set")?
            .join(".cache"),
    };
    Ok(base.join("portreeve"))
}

fn root() -> Result<PathBuf> {
    Ok(cache()?.join(format!("bpf-linker-{}", pins::BPF_LINKER)))
}

/// Where our own bpf-linker is, or would be.
pub fn own() -> Result<PathBuf> {
    Ok(root()?.join("bin/bpf-linker"))
}

/// A bpf-linker of the pinned version: ours, else the one in `PATH`.
pub fn find() -> Option<PathBuf> {
    let candidates = [own().ok(), command::in_path("bpf-linker")];
    candidates
        .into_iter()
        .flatten()
        .find(|path| is_pinned(path))
}

fn is_pinned(path: &Path) -> bool {
    let wanted = format!("bpf-linker {}", pins::BPF_LINKER);
    path.is_file()
        && output(Command::new(path).arg("--version")).is_ok_and(|said| said.trim() == wanted)
}

/// The command that installs our own.
pub fn install() -> Result<Command> {
    let mut command = command::clean_cargo(&command::cargo());
    command.args(["install", "--locked", "--force", "--root"]);
    command.arg(root()?);
    // Debug information would cost a third of the build time.
    command.args(["--config", "profile.release.debug=false"]);
    command.args(["--version", pins::BPF_LINKER, "bpf-linker"]);
    // Away from the workspace, whose cargo settings are for the workspace.
    command.current_dir("/");
    Ok(command)
}
