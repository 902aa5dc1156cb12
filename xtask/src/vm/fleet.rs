//! The machines of a run, several at a time.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};

use crate::product::UnderTest;
use crate::signals;

use super::emulator::Emulator;
use super::image::Programs;
use super::kernels::Kernel;
use super::machine::{self, End, Equipment};
use super::plan::Plan;
use super::record::{Outcome, Record};
use super::report::Run;
use super::{Arguments, Ingredients};

/// How much longer things may take in an emulated machine, and how much less of what
/// is repeated many times is done.
const SLOWDOWN: &str = "10";

/// All machines of a run.
pub struct Fleet<'a> {
    arguments: &'a Arguments,
    ingredients: &'a Ingredients,
    scratch: Scratch,
    programs: Programs,
    with_systemd: Option<Programs>,
    /// Held while an image is written: they are made in the same folders.
    writing: Mutex<()>,
}

impl<'a> Fleet<'a> {
    /// Lays out what the machines have in common.
    pub fn new(
        arguments: &'a Arguments,
        ingredients: &'a Ingredients,
        under_test: &UnderTest,
    ) -> Result<Self> {
        let scratch = Scratch::new()?;
        let programs = Programs::collect(&scratch.folder("root")?, under_test)?;
        let with_systemd = match &ingredients.distribution {
            Some(distribution) => {
                let folder = scratch.folder("systemd")?;
                Some(Programs::among(distribution, &folder, under_test)?)
            }
            None => None,
        };
        Ok(Self {
            arguments,
            ingredients,
            scratch,
            programs,
            with_systemd,
            writing: Mutex::new(()),
        })
    }

    /// Boots a machine of each plan, as many at a time as there are processors: most of
    /// what a machine does is done by one of its own.
    pub fn run(&self, plans: &[Plan]) -> Result<Vec<Run>> {
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let next = AtomicUsize::new(0);
        let work = || {
            let mut runs = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(plan) = plans.get(number) else {
                    return Ok(runs);
                };
                runs.push((number, self.boot(number, plan)?));
            }
        };
        let runs: Result<Vec<_>> = thread::scope(|scope| {
            let workers: Vec<_> = (0..processors).map(|_| scope.spawn(work)).collect();
            let ended = workers.into_iter().map(|worker| match worker.join() {
                Ok(runs) => runs,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            ended.collect()
        });
        let mut runs: Vec<(usize, Run)> = runs?.into_iter().flatten().collect();
        runs.sort_by_key(|(number, _)| *number);
        Ok(runs.into_iter().map(|(_, run)| run).collect())
    }

    fn boot(&self, number: usize, plan: &Plan) -> Result<Run> {
        ensure!(!signals::interrupted(), "interrupted");
        let programs = if plan.equipment.systemd {
            let programs = self.with_systemd.as_ref();
            programs.context("systemd wasn't fetched")?
        } else {
            &self.programs
        };
        let kernels = &self.ingredients.kernels;
        let kernel = kernels.iter().find(|kernel| kernel.series == plan.series);
        let kernel = kernel.context("a kernel wasn't fetched")?;
        let (image, console) = self.scratch.files(number);
        let variables = [
            ("PORTREEVE_BIN", "/bin/portreeve".to_owned()),
            ("PORTREEVE_TEST_SLOWDOWN", SLOWDOWN.to_owned()),
            ("PORTREEVE_TEST_NOTES", "/tmp/notes".to_owned()),
            ("PORTREEVE_TEST_ONLY", self.arguments.only(plan)),
            ("PORTREEVE_TEST_OWN_MACHINE", "1".to_owned()),
        ];
        {
            // Who panicked while writing left nothing that the next one would not replace.
            let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            programs.image(kernel, &variables, &self.arguments.tests, &image)?;
        }
        let run = boot(
            &self.ingredients.emulator,
            kernel,
            plan.equipment,
            &image,
            &console,
            !self.arguments.tests.is_empty(),
        )?;
        tell(&run, &console);
        ensure!(run.end != End::Interrupted, "interrupted");
        Ok(run)
    }
}

fn boot(
    emulator: &Emulator,
    kernel: &Kernel,
    equipment: Equipment,
    image: &Path,
    console: &Path,
    selected: bool,
) -> Result<Run> {
    let with = match equipment {
        Equipment { systemd: true, .. } => " systemd",
        Equipment { bpf_lsm: true, .. } => "",
        Equipment { .. } => " no LSM",
    };
    let title = format!("{} x{}{with}", kernel.series, equipment.processors);
    eprintln!("{title}: {} ({})", kernel.release, kernel.version);
    let began = Instant::now();
    let mut record = Record::default();
    let mut told = BTreeSet::new();
    let end = machine::run(emulator, kernel, image, equipment, console, |line| {
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
            eprintln!("{title:<16} {seconds:>5} s  {done:>3}/{all}  {name}: {outcome}");
        } else if line.starts_with("@kernel") {
            eprintln!("{title:<16} {seconds:>5} s  {} is up", record.release);
        }
    })?;
    Ok(Run {
        series: kernel.series.to_string(),
        title,
        release: kernel.release.clone(),
        selected,
        version: kernel.version.clone(),
        equipment,
        record,
        end,
        complaints: machine::complaints(console),
        seconds: began.elapsed().as_secs(),
    })
}

/// Says at once what went wrong: what comes next may take long.
fn tell(run: &Run, console: &Path) {
    for line in &run.record.failures {
        eprintln!("{}: {line}", run.title);
    }
    for line in &run.complaints {
        eprintln!("{}: its kernel: {line}", run.title);
    }
    if !run.record.ended {
        eprintln!(
            "--- {}: the end of its console ---\n{}\n---",
            run.title,
            machine::tail(console)
        );
    }
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

    /// The image of a machine, and what its kernel writes on the console.
    fn files(&self, number: usize) -> (PathBuf, PathBuf) {
        (
            self.0.join(format!("image{number}")),
            self.0.join(format!("console{number}")),
        )
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
