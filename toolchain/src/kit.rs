//! A compiler and a linker that fit: all it takes to build for BPF.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use anyhow::{Context, Result, bail};

use crate::command;
use crate::linker;
use crate::pins;
use crate::probe;
use crate::route::{Compiler, Route};

/// A usable route: its compiler, and a linker to go with it.
#[derive(Debug)]
pub struct Kit {
    /// The compiler.
    pub compiler: Compiler,
    /// The bpf-linker to use.
    pub linker: PathBuf,
}

impl Kit {
    /// The best route that is here, a proven one before others; the error
    /// says what each of them lacks.
    pub fn find() -> Result<Self> {
        let mut kits = Vec::new();
        let mut missing = Vec::new();
        for route in Route::candidates()? {
            match (Compiler::find(route), linker::find()) {
                (Ok(compiler), Some(linker)) => kits.push(Self { compiler, linker }),
                (Ok(_), None) => missing.push(format!("{route}: {}", no_linker())),
                (Err(error), _) => missing.push(format!("{route}: {error:#}")),
            }
        }
        let best = kits.iter().position(probe::is_proven).unwrap_or(0);
        if best < kits.len() {
            return Ok(kits.swap_remove(best));
        }
        bail!(
            "the toolchain for the eBPF object is missing\n  {}\nrun `cargo xtask setup`",
            missing.join("\n  ")
        )
    }

    /// A release build for BPF into `target_dir`; of what, the caller adds.
    pub fn cargo_build(&self, target_dir: &Path, target: &Target) -> Result<Command> {
        let llvm = only_llvm(&self.compiler.llvm, &target_dir.join("llvm"))?;
        let flags = [
            // aya-ebpf picks the layout of the kernel's registers by it.
            format!("--cfg=bpf_target_arch=\"{}\"", target.arch),
            // BTF is made from the debug information.
            "-Cdebuginfo=2".to_owned(),
            "-Clink-arg=--btf".to_owned(),
            format!("-Clinker={}", self.linker.display()),
        ];
        let mut cargo = command::clean_cargo(&self.compiler.cargo);
        cargo
            .args(["build", "--release", "--target", target.triple()])
            .arg("--target-dir")
            .arg(target_dir)
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
            .env("RUSTC", &self.compiler.rustc)
            .env("LD_LIBRARY_PATH", llvm);
        match self.compiler.route {
            Route::Nightly => {
                cargo.args(["-Z", "build-std=core"]);
            }
            // aya-ebpf uses features that only a nightly admits to having.
            Route::Debian => {
                cargo.env("RUSTC_BOOTSTRAP", "1");
            }
        }
        Ok(cargo)
    }
}

/// What is said of a route that lacks nothing but the linker.
pub fn no_linker() -> String {
    format!("bpf-linker {} is not installed", pins::BPF_LINKER)
}

/// The machine that the programs will run on.
#[derive(Clone, Debug)]
pub struct Target {
    /// The architecture, as in `target_arch`.
    pub arch: String,
    /// Whether it is a big-endian machine.
    pub big_endian: bool,
}

impl Target {
    /// This machine.
    pub fn host() -> Self {
        Self::new(std::env::consts::ARCH, cfg!(target_endian = "big"))
    }

    /// A machine of this `target_arch`.
    pub fn new(arch: &str, big_endian: bool) -> Self {
        let arch = if arch.starts_with("riscv64") {
            "riscv64"
        } else {
            arch
        };
        Self {
            arch: arch.to_owned(),
            big_endian,
        }
    }

    /// BPF has the byte order of its machine.
    pub fn triple(&self) -> &'static str {
        if self.big_endian {
            "bpfeb-unknown-none"
        } else {
            "bpfel-unknown-none"
        }
    }
}

/// A folder with that one library in it: bpf-linker opens the first LLVM it
/// sees in the library path, and machines have others.
fn only_llvm(library: &Path, folder: &Path) -> Result<PathBuf> {
    let link = folder.join("libLLVM.so");
    if fs::read_link(&link).is_ok_and(|target| target == library) {
        return Ok(folder.to_owned());
    }
    let context = || format!("{} can't be written", link.display());
    fs::create_dir_all(folder).with_context(context)?;
    // Renamed into place: another build may be using it.
    let fresh = folder.join(format!(".{}", process::id()));
    symlink(library, &fresh)
        .and_then(|()| fs::rename(&fresh, &link))
        .with_context(context)?;
    Ok(folder.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_picks_the_target() {
        assert_eq!(Target::new("s390x", true).triple(), "bpfeb-unknown-none");
        assert_eq!(Target::new("x86_64", false).triple(), "bpfel-unknown-none");
        assert_eq!(Target::new("riscv64gc", false).arch, "riscv64");
    }
}
