//! `cargo xtask vmtest`: the kernel tests on other kernels, in virtual machines.

mod distribution;
mod emulator;
mod image;
mod kernels;
mod machine;
mod plan;
mod record;
mod report;
pub mod tools;

mod verified;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::debian::apt::Mirror;
use crate::debian::tree::Tree;
use crate::product::UnderTest;
use crate::setup;
use emulator::Emulator;
use image::Programs;
use kernels::{Kernel, Series};
use machine::{End, Equipment};
use plan::Plan;
use record::{Outcome, Record};
use report::Run;
use verified::Verified;

/// Run the kernel tests on Debian's kernels, in virtual machines.
///
/// The kernels are the newest of each series on the mirror that this machine's apt
/// sources name, kept in your cache folder, as is QEMU if you have none; nothing of the
/// machine is changed, but busybox and cpio are installed if they are missing. The
/// machines are emulated: what takes a second here takes many in there. Without a Debian
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

/// How much longer things may take in an emulated machine, and how much less of what
/// is repeated many times is done.
const SLOWDOWN: &str = "10";

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
    let runs = matrix(arguments, ingredients, &under_test)?;
    println!("\n{}", report::render(&runs));
    if arguments.record {
        record_verified(&runs)?;
    }
    Ok(summarize(&runs, &Verified::read()?))
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

fn matrix(
    arguments: &Arguments,
    ingredients: &Ingredients,
    under_test: &UnderTest,
) -> Result<Vec<Run>> {
    let plans = arguments.plans();
    ensure!(!plans.is_empty(), "no machine is as you want it");
    let scratch = Scratch::new()?;
    let programs = Programs::collect(&scratch.folder("root")?, under_test)?;
    let with_systemd = match &ingredients.distribution {
        Some(distribution) => {
            let folder = scratch.folder("systemd")?;
            Some(Programs::among(distribution, &folder, under_test)?)
        }
        None => None,
    };
    let mut runs = Vec::new();
    for (number, plan) in plans.iter().enumerate() {
        let programs = if plan.equipment.systemd {
            with_systemd.as_ref().context("systemd wasn't fetched")?
        } else {
            &programs
        };
        let kernel = ingredients
            .kernels
            .iter()
            .find(|kernel| kernel.series == plan.series);
        let kernel = kernel.context("a kernel wasn't fetched")?;
        eprintln!(
            "\nmachine {} of {}: {} ({}), processors: {}, BPF LSM: {}, systemd: {}",
            number + 1,
            plans.len(),
            kernel.release,
            kernel.version,
            plan.equipment.processors,
            plan.equipment.bpf_lsm,
            plan.equipment.systemd
        );
        let run = boot(
            &scratch,
            &ingredients.emulator,
            programs,
            kernel,
            plan.equipment,
            &arguments.only(plan),
            &arguments.tests,
        )?;
        tell(&run, &scratch);
        let interrupted = run.end == End::Interrupted;
        runs.push(run);
        if interrupted {
            bail!("interrupted");
        }
    }
    Ok(runs)
}

fn boot(
    scratch: &Scratch,
    emulator: &Emulator,
    programs: &Programs,
    kernel: &Kernel,
    equipment: Equipment,
    only: &str,
    tests: &[String],
) -> Result<Run> {
    let selected = !tests.is_empty();
    let image = scratch.0.join("image");
    let variables = [
        ("PORTREEVE_BIN", "/bin/portreeve".to_owned()),
        ("PORTREEVE_TEST_SLOWDOWN", SLOWDOWN.to_owned()),
        ("PORTREEVE_TEST_NOTES", "/tmp/notes".to_owned()),
        ("PORTREEVE_TEST_ONLY", only.to_owned()),
        ("PORTREEVE_TEST_OWN_MACHINE", "1".to_owned()),
    ];
    programs.image(kernel, &variables, tests, &image)?;
    let began = Instant::now();
    let mut record = Record::default();
    let mut told = BTreeSet::new();
    let console = scratch.console();
    let end = machine::run(emulator, kernel, &image, equipment, &console, |line| {
        let seconds = began.elapsed().as_secs();
        if let Some((name, outcome)) = record.read(line) {
            let done = record.outcomes.len();
            let all = record.expected.unwrap_or_default();
            let outcome = match outcome {
                Outcome::Passed => "pass".to_owned(),
                Outcome::NotHere(reason) if told.insert(reason.clone()) => {
                    format!("not on this kernel: {reason}")
                }
                Outcome::NotHere(_) => "not on this kernel".to_owned(),
                Outcome::Failed => "FAIL".to_owned(),
            };
            eprintln!("{seconds:>5} s  {done:>3}/{all}  {name}: {outcome}");
        } else if line.starts_with("@kernel") {
            eprintln!("{seconds:>5} s  {} is up", record.release);
        }
    })?;
    let with = match equipment {
        Equipment { systemd: true, .. } => " systemd",
        Equipment { bpf_lsm: true, .. } => "",
        Equipment { .. } => " no LSM",
    };
    Ok(Run {
        series: kernel.series.to_string(),
        title: format!("{} x{}{with}", kernel.series, equipment.processors),
        release: kernel.release.clone(),
        selected,
        version: kernel.version.clone(),
        equipment,
        record,
        end,
        complaints: machine::complaints(&console),
        seconds: began.elapsed().as_secs(),
    })
}

/// Says at once what went wrong: what comes next may take long.
fn tell(run: &Run, scratch: &Scratch) {
    for line in &run.record.failures {
        eprintln!("  {line}");
    }
    for line in &run.complaints {
        eprintln!("  its kernel: {line}");
    }
    if !run.record.ended {
        eprintln!(
            "--- the end of its console ---\n{}\n---",
            machine::tail(&scratch.console())
        );
    }
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

fn summarize(runs: &[Run], record: &Verified) -> bool {
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
    let seconds: u64 = runs.iter().map(|run| run.seconds).sum();
    let (machines, word) = (runs.len(), if good { "passed" } else { "FAILED" });
    eprintln!("cargo xtask vmtest: {word}, {machines} machines in {seconds} s");
    good
}

/// A folder that is gone afterwards.
struct Scratch(PathBuf);

impl Scratch {
    const PREFIX: &str = "portreeve-vmtest-";

    fn new() -> Result<Self> {
        Self::sweep();
        let path = env::temp_dir().join(format!("{}{}", Self::PREFIX, process::id()));
        fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }

    /// Removes what was left by those who were killed.
    fn sweep() {
        let entries = fs::read_dir(env::temp_dir()).into_iter().flatten();
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let run = name.strip_prefix(Self::PREFIX);
            if run.is_some_and(|run| !Path::new("/proc").join(run).exists()) {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.0.join(name);
        fs::create_dir(&path)?;
        Ok(path)
    }

    fn console(&self) -> PathBuf {
        self.0.join("console")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
