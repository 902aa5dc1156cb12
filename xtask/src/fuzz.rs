//! `cargo xtask fuzz`: throws hostile text at the parsers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use clap::Args;
use portreeve_toolchain::command::{cargo, clean_cargo, run as succeed};
use portreeve_toolchain::{linker, pins};

use crate::product::root;

/// cargo-fuzz's version.
const CARGO_FUZZ: &str = "0.13.2";
/// The targets in `fuzz/`.
const TARGETS: [&str; 4] = ["profile", "config", "commands", "agentx"];

/// Fuzz what reads what others wrote: profile, config, command files, messages of AgentX
///
/// Needs the pinned nightly compiler, and installs cargo-fuzz beside bpf-linker in
/// your cache folder. A finding is left in fuzz/artifacts/ and fails the command.
#[derive(Args)]
pub struct Arguments {
    /// What to fuzz [default: all, one after the other]
    #[arg(value_parser = TARGETS)]
    target: Option<String>,
    /// For how long each
    #[arg(long, default_value_t = 60, value_name = "N")]
    seconds: u32,
}

pub fn run(arguments: &Arguments) -> Result<bool> {
    let fuzzer = fuzzer()?;
    let wanted = |target: &&&str| {
        arguments
            .target
            .as_deref()
            .is_none_or(|name| name == **target)
    };
    for target in TARGETS.iter().filter(wanted) {
        fs::create_dir_all(root().join("fuzz/corpus").join(target))?;
        let mut command = Command::new("rustup");
        command
            .args(["run", pins::NIGHTLY])
            .arg(&fuzzer)
            .args(["fuzz", "run", target]);
        // What is found goes to the first folder; the second is kept in the tree.
        command.args(["corpus", "seeds"].map(|folder| format!("fuzz/{folder}/{target}")));
        command.arg("--");
        command.arg(format!("-max_total_time={}", arguments.seconds));
        // A single input may take a second and 2 GiB; more is a finding.
        command.args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]);
        command.env("PORTREEVE_SKIP_EBPF", "1").current_dir(root());
        succeed(&mut command)?;
    }
    Ok(true)
}

/// cargo-fuzz, installed if need be.
fn fuzzer() -> Result<PathBuf> {
    let folder = linker::cache()?.join(format!("cargo-fuzz-{CARGO_FUZZ}"));
    let fuzzer = folder.join("bin/cargo-fuzz");
    if !fuzzer.is_file() {
        install(&folder)?;
    }
    if !fuzzer.is_file() {
        bail!("cargo-fuzz was not installed in {}", folder.display());
    }
    Ok(fuzzer)
}

fn install(folder: &Path) -> Result<()> {
    let mut command = clean_cargo(&cargo());
    command.args(["install", "--locked", "--root"]).arg(folder);
    command
        .args(["--version", CARGO_FUZZ, "cargo-fuzz"])
        .current_dir("/");
    succeed(&mut command)
}
