//! `cargo xtask vmtest`: the kernel tests on other kernels, in virtual machines.

mod distribution;
mod emulator;
mod fleet;
mod image;
mod kernels;
mod machine;
mod plan;
mod record;
mod report;
pub mod tools;

mod verified;

use std::env;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::debian::apt::Mirror;
use crate::debian::tree::Tree;
use crate::product::UnderTest;
use crate::setup;
use emulator::Emulator;
use fleet::Fleet;
use kernels::{Kernel, Series};
use plan::Plan;
use report::Run;
use verified::Verified;

/// Run the kernel tests on Debian's kernels, in virtual machines.
///
/// The kernels are the newest of each series on the mirror that this machine's apt
/// sources name, kept in your cache folder, as is QEMU if you have none; nothing of the
/// machine is changed, but busybox and cpio are installed if they are missing. As many
/// machines run at a time as there are processors. They are emulated: what takes a second
/// here takes many in there. Without a Debian
/// source, name a mirror in PORTREEVE_DEBIAN_MIRROR.
#[derive(Args)]
pub struct Arguments {
    /// Which kernels [default: all]
    #[arg(value_name = "KERNEL")]
    kernels: Vec<Series>,
    /// Only the floor and the newest, and no test that takes long or depends little on
    /// the kernel
    #[arg(long, conflicts_with_all = ["kernels", "smp", "systemd"])]
    quick: bool,
    /// Only machines with this many processors
    #[arg(long, value_name = "N")]
    smp: Option<u8>,
    /// Only the machine whose first process is systemd
    #[arg(long)]
    systemd: bool,
    /// Write down how far the verifier walks for each program on the kernel that is
    /// recorded, which later runs are compared with
    #[arg(long)]
    record: bool,
    /// Arguments for the tests, such as a part of their names
    #[arg(last = true)]
    tests: Vec<String>,
}

impl Arguments {
    fn plans(&self) -> Vec<Plan> {
        if self.quick {
            return plan::QUICK.to_vec();
        }
        let wanted = |plan: &&Plan| {
            (self.kernels.is_empty() || self.kernels.contains(&plan.series))
                && self.smp.is_none_or(|n| n == plan.equipment.processors)
                && (!self.systemd || plan.equipment.systemd)
        };
        plan::ALL.iter().filter(wanted).copied().collect()
    }

    /// The names, or their beginnings, of the tests that `plan` runs. Who asks for
    /// tests gets all of those.
    fn only(&self, plan: &Plan) -> String {
        if self.tests.is_empty() {
            plan.part.names().join(" ")
        } else {
            String::new()
        }
    }
}

/// The verb.
pub fn run(arguments: &Arguments) -> Result<bool> {
    setup::toolchain()?;
    let ingredients = get(arguments)?;
    test(arguments, &ingredients)
}

/// What `cargo xtask test` does of it. Where QEMU and kernels can't be had nothing is
/// tested, which is an error if `CI` is set to `true`.
pub fn quick() -> Result<Quick> {
    let arguments = Arguments {
        kernels: Vec::new(),
        quick: true,
        smp: None,
        systemd: false,
        record: false,
        tests: Vec::new(),
    };
    match get(&arguments) {
        Ok(ingredients) => {
            ensure!(test(&arguments, &ingredients)?, "see the table above");
            Ok(Quick::Passed)
        }
        Err(error) if env::var("CI").is_ok_and(|ci| ci == "true") => Err(error),
        Err(error) => Ok(Quick::Skipped(format!("{error:#}"))),
    }
}

/// How [`quick`] ended.
pub enum Quick {
    /// All is well.
    Passed,
    /// Nothing was tested; with the reason.
    Skipped(String),
}

/// Builds, boots, reports; whether all is well.
fn test(arguments: &Arguments, ingredients: &Ingredients) -> Result<bool> {
    // Optimized: emulated, the difference is minutes.
    let under_test = UnderTest::build(true, !arguments.quick)?;
    let began = Instant::now();
    let plans = arguments.plans();
    ensure!(!plans.is_empty(), "no machine is as you want it");
    let runs = Fleet::new(arguments, ingredients, &under_test)?.run(&plans)?;
    let seconds = began.elapsed().as_secs();
    println!("\n{}", report::render(&runs));
    if arguments.record {
        record_verified(&runs)?;
    }
    Ok(summarize(&runs, &Verified::read()?, seconds))
}

/// What machines are made of.
struct Ingredients {
    kernels: Vec<Kernel>,
    distribution: Option<Tree>,
    emulator: Emulator,
}

/// Gets what booting takes: programs of this machine, QEMU, kernels, and a systemd.
fn get(arguments: &Arguments) -> Result<Ingredients> {
    tools::get()?;
    let mirror = Mirror::of_this_machine();
    let emulator = emulator::get(&mirror)?;
    let mut kernels = Vec::new();
    for series in Series::ALL {
        if arguments.plans().iter().any(|plan| plan.series == series) {
            let kernel = kernels::get(series, &mirror)?;
            eprintln!("kernel {series}: {}", kernel.release);
            kernels.push(kernel);
        }
    }
    let distribution = if arguments.plans().iter().any(|plan| plan.equipment.systemd) {
        let distribution = distribution::get(&mirror)?;
        eprintln!("systemd: {}", distribution.version);
        Some(distribution)
    } else {
        None
    };
    Ok(Ingredients {
        kernels,
        distribution,
        emulator,
    })
}

/// Writes down what the verifier of the recorded series has walked.
fn record_verified(runs: &[Run]) -> Result<()> {
    let record = Verified::read()?;
    let is_recorded = |run: &&Run| run.series == record.series && !run.record.verified.is_empty();
    // Machines differ in which programs they load, not in what these are.
    let of_series: Vec<&Run> = runs.iter().filter(is_recorded).collect();
    let last = of_series.last().with_context(|| {
        let series = &record.series;
        format!("the counts of Linux {series} are recorded, and no such machine told any")
    })?;
    let version = last.version.clone();
    let counts = of_series.iter().flat_map(|run| run.record.verified.clone());
    record.update(&version, &counts.collect())
}

fn summarize(runs: &[Run], record: &Verified, seconds: u64) -> bool {
    let mut good = true;
    for run in runs {
        let mut problems = run.problems();
        if run.series == record.series {
            let found = record.compare(&run.version, &run.record.verified);
            problems.extend(found.problems);
            for remark in found.remarks {
                eprintln!("  note    {}: {remark}", run.title);
            }
        }
        for problem in problems {
            good = false;
            eprintln!("  FAILED  {}: {problem}", run.title);
        }
    }
    let (machines, word) = (runs.len(), if good { "passed" } else { "FAILED" });
    eprintln!("cargo xtask vmtest: {word}, {machines} machines in {seconds} s");
    good
}
