//! Builds the eBPF object that the agent carries.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use portreeve_toolchain::kit::Target;
use portreeve_toolchain::object::{self, PACKAGE};
use portreeve_toolchain::route;

type Error = Box<dyn std::error::Error>;

/// For editors and lint runs: compile the agent, leave the object out.
const SKIP: &str = "PORTREEVE_SKIP_EBPF";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        // Cargo shows a failed build script's stderr, whole.
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Error> {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let root = root.parent().ok_or("the agent is not in the workspace")?;
    for source in ["ebpf", "common", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    for name in [SKIP, route::VARIABLE, "XDG_CACHE_HOME"] {
        println!("cargo::rerun-if-env-changed={name}");
    }

    println!("cargo::rustc-check-cfg=cfg(portreeve_no_object)");
    let out = PathBuf::from(variable("OUT_DIR")?);
    let embedded = out.join(PACKAGE);
    if env::var_os(SKIP).is_some_and(|value| !value.is_empty() && value != "0") {
        // Nothing stale may stay behind for the agent to find.
        if embedded.exists() {
            fs::remove_file(&embedded)?;
        }
        println!("cargo::rustc-cfg=portreeve_no_object");
        println!("cargo::rustc-env=PORTREEVE_EBPF_ROUTE=none");
        return Ok(());
    }

    let target = Target::new(
        &variable("CARGO_CFG_TARGET_ARCH")?,
        variable("CARGO_CFG_TARGET_ENDIAN")? == "big",
    );
    // Outside the profile's folder, so that debug and release share it; and a
    // target directory of its own, because cargo holds the lock on ours.
    let target_dir = target_dir(&out).join("ebpf");
    let features: &[&str] = match env::var_os("CARGO_FEATURE_OTHER_LAYOUT") {
        Some(_) => &["other-layout"],
        None => &[],
    };
    let object = object::build(root, &target_dir, &target, features, &embedded)
        .map_err(|error| format!("{error:#}"))?;

    for line in object.remarks.lines() {
        println!("cargo::warning={line}");
    }
    for tool in &object.tools {
        println!("cargo::rerun-if-changed={}", tool.display());
    }
    println!("cargo::rustc-env=PORTREEVE_EBPF_ROUTE={}", object.route);
    Ok(())
}

fn variable(name: &str) -> Result<String, Error> {
    env::var(name).map_err(|error| format!("{name}: {error}").into())
}

/// Cargo marks its target directory, and nothing inside it, as a cache.
fn target_dir(out: &Path) -> &Path {
    out.ancestors()
        .find(|folder| folder.join("CACHEDIR.TAG").is_file())
        .unwrap_or(out)
}
