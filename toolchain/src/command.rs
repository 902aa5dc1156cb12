//! Running other tools: shown before they run, with an environment of ours.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// `CARGO_*` variables that say how to reach the outside, not how to compile.
const KEPT: [&str; 10] = [
    "CARGO_BUILD_JOBS",
    "CARGO_CACHE_",
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_MAKEFLAGS",
    "CARGO_NET_",
    "CARGO_REGISTRIES_",
    "CARGO_REGISTRY_",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
];

/// What a build script or `cargo run` adds, besides `CARGO_*` and `RUSTC*`.
const DROPPED: [&str; 10] = [
    "DEBUG",
    "HOST",
    "LD_LIBRARY_PATH",
    "NUM_JOBS",
    "OPT_LEVEL",
    "OUT_DIR",
    "PROFILE",
    // bpf-linker would log, and rustc would show that as a warning.
    "RUST_LOG",
    "RUSTFLAGS",
    "TARGET",
];

/// A cargo that knows nothing of the cargo we run under: neither its flags,
/// its compiler, nor its target directory.
pub fn clean_cargo(cargo: &Path) -> Command {
    let mut command = Command::new(cargo);
    for (name, _) in env::vars_os() {
        if inherited_from_cargo(&name) {
            command.env_remove(&name);
        }
    }
    command
}

fn inherited_from_cargo(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    if name == "CARGO" || name.starts_with("CARGO_") {
        return !KEPT.iter().any(|kept| name.starts_with(kept));
    }
    DROPPED.contains(&name) || name.starts_with("RUSTC") || name.starts_with("RUSTDOC")
}

/// The cargo we run under, or else the one in `PATH`.
pub fn cargo() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// The first executable of this name in `PATH`.
pub fn in_path(name: &str) -> Option<PathBuf> {
    env::split_paths(&env::var_os("PATH")?)
        .map(|folder| folder.join(name))
        .find(|file| {
            fs::metadata(file)
                .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
        })
}

/// Whether this process may do what only root may.
pub fn is_root() -> bool {
    // "Uid:  real  effective  saved  filesystem"
    fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:"))
            .and_then(|ids| ids.split_whitespace().nth(1))
            == Some("0")
    })
}

/// What a program prints on stdout; an error if it can't run or fails.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("`{shown}` can't be run"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{shown}` failed ({}): {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Prints the command, then runs it with our terminal as its own.
pub fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    eprintln!("+ {shown}");
    let status = command
        .status()
        .with_context(|| format!("`{shown}` can't be run"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// The command as one would type it.
pub fn show(command: &Command) -> String {
    let mut words = vec![quote(command.get_program())];
    words.extend(command.get_args().map(quote));
    words.join(" ")
}

/// A word as a shell has to see it.
pub fn quote(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_outer_cargo_sets_is_not_passed_on() {
        for name in [
            "CARGO",
            "CARGO_TARGET_DIR",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_CFG_TARGET_ARCH",
            "CARGO_PROFILE_RELEASE_LTO",
            "RUSTC",
            "RUSTC_WRAPPER",
            "RUSTC_BOOTSTRAP",
            "RUSTFLAGS",
            "TARGET",
            "LD_LIBRARY_PATH",
        ] {
            assert!(inherited_from_cargo(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn how_to_reach_the_registry_is_passed_on() {
        for name in [
            "CARGO_HOME",
            "CARGO_HTTP_PROXY",
            "CARGO_NET_OFFLINE",
            "CARGO_REGISTRIES_CRATES_IO_PROTOCOL",
            "CARGOES",
            "RUSTUP_HOME",
            "PATH",
        ] {
            assert!(!inherited_from_cargo(OsStr::new(name)), "{name}");
        }
    }

    #[test]
    fn a_shown_command_can_be_pasted() {
        let mut command = Command::new("env");
        command.args(["A=b", "two words", "it's", ""]);
        assert_eq!(show(&command), r"env A=b 'two words' 'it'\''s' ''");
    }
}
