//! The two ways to compile for BPF, and whether this machine can go them.
//!
//! - *nightly*: a pinned rustup nightly that builds `core` itself.
//! - *debian*: Debian's `rustc-web`, which has a ready-made `core` for BPF;
//!   for machines that reach Debian's packages but not the nightly.
//!
//! Both give an object with the same programs and maps, so the agent says
//! which one made its object but doesn't behave differently.

use std::env;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::command::{self, output};
use crate::pins;

/// Forces a route instead of taking the first usable one.
pub const VARIABLE: &str = "PORTREEVE_EBPF_TOOLCHAIN";

/// A way to compile for BPF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The pinned nightly, by rustup.
    Nightly,
    /// Debian's compiler and its `core` for BPF.
    Debian,
}

impl Route {
    /// The routes to consider, best first: all, or the one that
    /// [`VARIABLE`] asks for.
    pub fn candidates() -> Result<Vec<Self>> {
        match env::var(VARIABLE) {
            Err(env::VarError::NotPresent) => Ok(vec![Self::Nightly, Self::Debian]),
            Ok(name) if name.is_empty() => Ok(vec![Self::Nightly, Self::Debian]),
            Ok(name) => Ok(vec![Self::from_name(&name)?]),
            Err(error) => Err(error).with_context(|| VARIABLE.to_owned()),
        }
    }

    fn from_name(name: &str) -> Result<Self> {
        match name {
            "nightly" => Ok(Self::Nightly),
            "debian" => Ok(Self::Debian),
            _ => bail!("{VARIABLE}={name}: it must be `nightly` or `debian`"),
        }
    }

    /// The name [`VARIABLE`] has for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nightly => "nightly",
            Self::Debian => "debian",
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A compiler that is here and can build for BPF, given a linker.
#[derive(Debug)]
pub struct Compiler {
    /// The route it belongs to.
    pub route: Route,
    /// The cargo to run. Never a rustup proxy: that would put another LLVM
    /// first in the library path.
    pub cargo: PathBuf,
    /// The compiler itself.
    pub rustc: PathBuf,
    /// The LLVM library that bpf-linker has to open.
    pub llvm: PathBuf,
    /// What `rustc -vV` says.
    pub version: String,
}

impl Compiler {
    /// Finds the compiler of a route; the error says what is missing.
    pub fn find(route: Route) -> Result<Self> {
        match route {
            Route::Nightly => nightly(),
            Route::Debian => debian(),
        }
    }

    /// The first line of `rustc -vV`.
    pub fn title(&self) -> &str {
        self.version.lines().next().unwrap_or_default()
    }
}

fn nightly() -> Result<Compiler> {
    ensure!(
        command::in_path("rustup").is_some(),
        "rustup is not installed"
    );
    let mut which = Command::new("rustup");
    which.args(["which", "--toolchain", pins::NIGHTLY, "rustc"]);
    // Looking must not install anything.
    which.env("RUSTUP_AUTO_INSTALL", "0");
    let Ok(rustc) = output(&mut which) else {
        bail!("the toolchain {} is not installed", pins::NIGHTLY);
    };
    let rustc = PathBuf::from(rustc.trim());
    let bin = rustc.parent().context("rustc has no folder")?;
    let sysroot = bin.parent().context("rustc has no sysroot")?;
    let version = llvm_checked_version(&rustc)?;
    ensure!(
        sysroot
            .join("lib/rustlib/src/rust/library/core/Cargo.toml")
            .is_file(),
        "the toolchain {} lacks its component {}",
        pins::NIGHTLY,
        pins::NIGHTLY_COMPONENT
    );
    Ok(Compiler {
        route: Route::Nightly,
        cargo: bin.join("cargo"),
        llvm: llvm_in(&[sysroot.join("lib")])?,
        rustc,
        version,
    })
}

fn debian() -> Result<Compiler> {
    let rustc = PathBuf::from(pins::DEBIAN_RUSTC);
    ensure!(
        rustc.is_file(),
        "Debian's {} is not installed",
        pins::DEBIAN_PACKAGES[0]
    );
    let version = llvm_checked_version(&rustc)?;
    let core = Path::new("/usr/lib/rustlib/bpfel-unknown-none/lib");
    ensure!(
        core.is_dir(),
        "Debian's {} is not installed",
        pins::DEBIAN_PACKAGES[1]
    );
    Ok(Compiler {
        route: Route::Debian,
        cargo: command::cargo(),
        llvm: llvm_in(&library_folders())?,
        rustc,
        version,
    })
}

/// Where Debian keeps shared libraries: `/usr/lib/<triplet>`.
fn library_folders() -> Vec<PathBuf> {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    folders
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains("-linux-gnu"))
        .collect()
}

fn llvm_checked_version(rustc: &Path) -> Result<String> {
    let version = output(Command::new(rustc).arg("-vV"))?;
    let llvm = version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))
        .unwrap_or("unknown");
    ensure!(
        llvm.split('.').next() == Some(&pins::LLVM_MAJOR.to_string()),
        "{} has LLVM {llvm}; bpf-linker {} needs {}",
        rustc.display(),
        pins::BPF_LINKER,
        pins::LLVM_MAJOR
    );
    Ok(version)
}

/// The LLVM library itself, not one of its aliases: rustup's are linker
/// scripts, which can't be opened.
fn llvm_in(folders: &[PathBuf]) -> Result<PathBuf> {
    let wanted = format!("libLLVM.so.{}", pins::LLVM_MAJOR);
    for folder in folders {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&wanted) {
                return Ok(entry.path());
            }
        }
    }
    bail!("there is no {wanted}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for route in [Route::Nightly, Route::Debian] {
            assert_eq!(Route::from_name(route.name()).unwrap(), route);
        }
        let error = Route::from_name("stable").unwrap_err().to_string();
        assert!(error.contains(VARIABLE), "{error}");
    }
}
