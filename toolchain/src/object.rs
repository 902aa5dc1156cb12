//! Building the eBPF object, from the agent's build script.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};

use crate::command::show;
use crate::kit::{Kit, Target};
use crate::route::Route;

/// The package, and the name of its object.
pub const PACKAGE: &str = "portreeve-ebpf";

/// An object that was built.
#[derive(Debug)]
pub struct Object {
    /// Which route built it.
    pub route: Route,
    /// The tools whose change makes the object stale.
    pub tools: Vec<PathBuf>,
    /// What compiler and linker had to say, warnings for instance.
    pub remarks: String,
}

/// Builds [`PACKAGE`] of the workspace at `root`, for `target`, below
/// `target_dir`, into the file `object`. The error has the compiler's own
/// words.
pub fn build(
    root: &Path,
    target_dir: &Path,
    target: &Target,
    features: &[&str],
    object: &Path,
) -> Result<Object> {
    let kit = Kit::find()?;
    let route = kit.compiler.route;
    // A folder each, or every change of route would rebuild everything.
    let target_dir = target_dir.join(format!("{route}-{}", target.arch));
    // Held until the object is copied: another workspace may share the target
    // directory, and would put its own object in the same place.
    let _lock = lock(&target_dir)?;
    let mut cargo = kit.cargo_build(&target_dir, target)?;
    cargo
        .args(["--quiet", "--locked", "--package", PACKAGE])
        .args(["--features", &features.join(",")])
        .current_dir(root)
        .stdin(Stdio::null());
    let shown = show(&cargo);
    println!("+ {shown}");
    let output = cargo
        .output()
        .with_context(|| format!("`{shown}` can't be run"))?;
    let remarks = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        bail!(
            "the eBPF object doesn't build ({route} toolchain)\n\n{}\n\n`{shown}`: {}",
            remarks.trim(),
            output.status
        );
    }
    let built = target_dir
        .join(target.triple())
        .join("release")
        .join(PACKAGE);
    check(&built)?;
    fs::copy(&built, object).with_context(|| format!("{} can't be written", object.display()))?;
    Ok(Object {
        route,
        tools: vec![kit.compiler.rustc, kit.linker],
        remarks,
    })
}

fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(".lock");
    fs::create_dir_all(folder)
        .and_then(|()| File::create(&path))
        .and_then(|file| file.lock().map(|()| file))
        .with_context(|| format!("{} can't be locked", path.display()))
}

/// An ELF file for BPF, with BTF: anything else would fail at run time only.
pub fn check(path: &Path) -> Result<()> {
    const EM_BPF: u16 = 247;
    let shown = path.display();
    let bytes = fs::read(path).with_context(|| format!("{shown} can't be read"))?;
    let machine = bytes.get(18..20).map(|field| [field[0], field[1]]);
    ensure!(
        bytes.starts_with(b"\x7fELF")
            && machine
                .is_some_and(|m| [u16::from_le_bytes(m), u16::from_be_bytes(m)].contains(&EM_BPF)),
        "{shown} is no eBPF object"
    );
    // The name of the section; it may be the end of a longer one, ".rel.BTF".
    ensure!(
        bytes.windows(5).any(|name| name == b".BTF\0"),
        "{shown} has no BTF"
    );
    Ok(())
}
