//! `cargo xtask setup`: the toolchain for the eBPF object.

use anyhow::Result;
use clap::Args;
use portreeve_toolchain::install;

use crate::debian::programs::{NGINX, PROMETHEUS, SNMP};
use crate::tools;
use crate::vm;

/// Install what building the eBPF object takes, and prove that it works.
///
/// That is a compiler for BPF and bpf-linker. The compiler is a pinned rustup
/// nightly, or where that can't be had Debian's rustc-web; to force one, set
/// PORTREEVE_EBPF_TOOLCHAIN to `nightly` or `debian`. bpf-linker goes into
/// your cache folder, so one that you installed yourself is left alone. Run
/// again, it finds everything and changes nothing.
#[derive(Args)]
pub struct Arguments {
    /// Only say what is here and what would be run; exit status 1 if
    /// something is missing
    #[arg(long)]
    check: bool,
}

/// The verb.
pub fn run(arguments: &Arguments) -> Result<bool> {
    if arguments.check {
        let complete = install::check()?;
        for (verb, missing) in [
            ("test", tools::missing(&tools::OF_TESTS)),
            ("vmtest", vm::tools::missing()),
        ] {
            match missing.as_slice() {
                [] => println!("{verb}: what it takes is here"),
                missing => println!("{verb}: would install {}", missing.join(", ")),
            }
        }
        for (verb, programs) in [("test", PROMETHEUS), ("test", SNMP), ("bench cycle", NGINX)] {
            if !programs.are_here() {
                println!(
                    "{verb}: would fetch {}, and not install it",
                    programs.title()
                );
            }
        }
        return Ok(complete);
    }
    toolchain()?;
    Ok(true)
}

/// What every verb that builds begins with.
pub fn toolchain() -> Result<()> {
    let kit = install::setup()?;
    eprintln!(
        "eBPF toolchain: {} ({})",
        kit.compiler.route,
        kit.compiler.title()
    );
    Ok(())
}
