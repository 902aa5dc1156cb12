//! `cargo xtask soak`: agents under random operations, for long.

use anyhow::{Result, bail};
use clap::Args;
use portreeve_toolchain::command;

use crate::host;
use crate::privilege::as_root;
use crate::product;
use crate::setup;

/// Let agents live through much in little time, and watch what they take.
///
/// Two agents, optimised, each in a cgroup and a network of its own. Processes bind all
/// the time, some rightly and some not. Meanwhile, at random, others of every kind bind;
/// the policy changes between small and large ones, by reload and by change file, with
/// and without confirmation, is refused for errors, comes back when nobody confirms;
/// events are followed and left, questions asked. One agent is never restarted, so that
/// what it leaks adds up; the other is killed and restarted over and over, so that what
/// is left behind does.
///
/// Every ten seconds a line says how things are; at the end there is a table of memory,
/// descriptors, maps, programs, pins and remembered files: the first value, the least, the
/// median, the last and the highest. The exit status is 1 if a bind or an answer was not
/// as it must be, or if something grew: the least of the last third of the time exceeds
/// that of the middle third, for memory by more than a tenth and 4 MiB.
///
/// A short one is part of `cargo xtask test`. The same seed makes the same choices; what
/// is under way at the same time is not the same.
#[derive(Args)]
pub struct Arguments {
    /// For how long
    #[arg(long, default_value_t = 15, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// What the operations are drawn from [default: another one each time, which is said]
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

/// The verb.
pub fn run(arguments: &Arguments) -> Result<bool> {
    setup::toolchain()?;
    let agent = product::build("portreeve", true)?;
    let tests = product::build("portreeve-tests", false)?;
    host::cgroup2()?;
    host::mount_bpffs()?;
    let mut soak = as_root(&tests, &[("PORTREEVE_BIN", agent.as_os_str())])?;
    soak.arg("soak")
        .arg((arguments.minutes * 60).to_string())
        .args(arguments.seed.map(|seed| seed.to_string()));
    eprintln!("+ {}", command::show(&soak));
    match soak.status()?.code() {
        Some(0) => Ok(true),
        Some(1) => Ok(false),
        _ => bail!("the soak could not be run to its end"),
    }
}
