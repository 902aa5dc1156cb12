//! The proof that a kit works: a program of three lines, built with it.
//!
//! Versions that look right may still not build: a linker made for another
//! LLVM, a toolchain installed halfway.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::command;
use crate::kit::{Kit, Target};
use crate::linker;
use crate::object;

const MANIFEST: &str = r#"[package]
name = "probe"
edition = "2024"

[workspace]
"#;

const PROGRAM: &str = r#"#![no_std]
#![no_main]

#[unsafe(no_mangle)]
#[unsafe(link_section = "cgroup/bind4")]
extern "C" fn probe(_: *mut core::ffi::c_void) -> i32 {
    1
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
"#;

/// Builds the probe, unless this very kit has been seen to work before.
pub fn prove(kit: &Kit) -> Result<()> {
    let stamp = stamp(kit)?;
    let description = describe(kit);
    if fs::read_to_string(&stamp).is_ok_and(|proven| proven == description) {
        return Ok(());
    }
    let folder = linker::cache()?.join(format!("probe-{}", kit.compiler.route));
    let written = || format!("the probe in {} can't be written", folder.display());
    fs::create_dir_all(folder.join("src")).with_context(written)?;
    fs::write(folder.join("Cargo.toml"), MANIFEST).with_context(written)?;
    fs::write(folder.join("src/main.rs"), PROGRAM).with_context(written)?;

    let target = Target::host();
    let target_dir = folder.join("target");
    let mut cargo = kit.cargo_build(&target_dir, &target)?;
    command::run(cargo.current_dir(&folder)).context("a program of three lines doesn't build")?;
    object::check(&target_dir.join(target.triple()).join("release/probe"))?;

    // Only a saving of time next time, so its failure is none.
    let _ = fs::write(&stamp, description);
    let _ = fs::remove_dir_all(&folder);
    Ok(())
}

/// Whether [`prove`] has been through for this kit.
pub fn is_proven(kit: &Kit) -> bool {
    stamp(kit)
        .and_then(|stamp| Ok(fs::read_to_string(stamp)?))
        .is_ok_and(|proven| proven == describe(kit))
}

fn stamp(kit: &Kit) -> Result<PathBuf> {
    Ok(linker::cache()?.join(format!("proven-{}", kit.compiler.route)))
}

fn describe(kit: &Kit) -> String {
    format!(
        "{}{}\n{}\n{}\n",
        kit.compiler.version,
        kit.compiler.cargo.display(),
        kit.compiler.llvm.display(),
        kit.linker.display()
    )
}
