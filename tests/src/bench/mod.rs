//! What portreeve costs, measured. `cargo xtask bench` builds and runs this as root, and
//! shows what it finds.
//!
//! Everything happens in a network namespace made for it and in cgroups of its own. What
//! is compared is measured in turns within one run, each round in another order: ratios
//! hold on a machine whose speed drifts, times don't.

mod baseline;
mod cycle;
mod policies;
mod publish;
mod resources;
mod rounds;
mod verdict;
mod watch;

use std::{
    cell::Cell,
    env, fs,
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{sched::sched_getaffinity, sys::utsname::uname, unistd::Pid};
use portreeve_bench::{Case, Machine, Results};
use serde::{Deserialize, Serialize};

use crate::harness::host;

/// The first argument that asks for it; the second is a [`Plan`] in JSON.
pub const BENCH: &str = "bench";

/// What is to be measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct Plan {
    /// What.
    pub cases: Vec<Case>,
    /// How often.
    pub rounds: u32,
}

/// The processors that timers run on.
#[derive(Clone, Copy, Debug)]
pub struct Processors {
    /// Shared with everything else where there are two at least.
    pub first: usize,
    /// The one that is measured on.
    pub last: usize,
    /// How many there are.
    pub count: usize,
}

/// Those that this process may use.
pub fn processors() -> Processors {
    static PROCESSORS: OnceLock<Processors> = OnceLock::new();
    *PROCESSORS.get_or_init(|| {
        let allowed = sched_getaffinity(Pid::from_raw(0)).ok();
        let is_allowed = |cpu: &usize| allowed.is_some_and(|set| set.is_set(*cpu).unwrap_or(false));
        let all: Vec<usize> = (0..nix::sched::CpuSet::count())
            .filter(is_allowed)
            .collect();
        Processors {
            first: all.first().copied().unwrap_or(0),
            last: all.last().copied().unwrap_or(0),
            count: all.len().max(1),
        }
    })
}

/// Says on standard error how far it is: on a terminal in one line, elsewhere seldom.
pub struct Progress {
    told: Cell<Instant>,
}

impl Progress {
    fn new() -> Self {
        Self {
            told: Cell::new(Instant::now()),
        }
    }

    /// Says that `done` of `all` steps are.
    pub fn tell(&self, case: Case, done: u32, all: u32, elapsed: Duration) {
        let is_terminal = io::stderr().is_terminal();
        let pause = Duration::from_millis(if is_terminal { 100 } else { 10_000 });
        let is_last = done == all;
        if self.told.get().elapsed() < pause && !is_last {
            return;
        }
        self.told.set(Instant::now());
        let (case, seconds) = (case.name(), elapsed.as_secs());
        let mut err = io::stderr();
        // Nobody to tell is no reason to stop.
        let _ = match (is_terminal, is_last) {
            (false, _) => writeln!(err, "{case}: {done} of {all}, {seconds} s"),
            (true, false) => write!(err, "\r\x1b[K{case}: {done} of {all}, {seconds} s"),
            (true, true) => writeln!(err, "\r\x1b[K{case}: {done} of {all}, {seconds} s"),
        };
        let _ = err.flush();
    }
}

/// `portreeve-tests bench PLAN`. `None` if that isn't what the command line asks for.
pub fn play() -> Option<ExitCode> {
    let mut arguments = env::args().skip(1);
    arguments.next().filter(|first| first == BENCH)?;
    let plan = arguments.next();
    Some(match perform(plan.as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    })
}

fn perform(plan: Option<&str>) -> Result<()> {
    let plan = plan.context("usage: portreeve-tests bench PLAN")?;
    let plan: Plan = serde_json::from_str(plan).context("the plan")?;
    ensure!(plan.rounds > 0, "no rounds");
    host::prepare()?;
    // Before anything is started: what is started lives in it too.
    processors();
    let results = thread::spawn(move || -> Result<Results> {
        portreeve_sandbox::isolate()?;
        run(&plan)
    });
    let results = results.join().map_err(|_| anyhow::anyhow!("a panic"))??;
    println!("{}", serde_json::to_string(&results)?);
    Ok(())
}

fn run(plan: &Plan) -> Result<Results> {
    let progress = Progress::new();
    let mut rows = Vec::new();
    let mut remarks = Vec::new();
    for case in Case::ALL {
        if !plan.cases.contains(&case) {
            continue;
        }
        rows.extend(match case {
            Case::Verdict => verdict::run(plan.rounds, &progress)?,
            Case::Cycle => {
                let (rows, remark) = cycle::run(plan.rounds, &progress)?;
                remarks.extend(remark);
                rows
            }
            Case::Watch => watch::run(plan.rounds, &progress)?,
            Case::Publish => publish::run(plan.rounds, &progress)?,
            Case::Agent => resources::run(&progress)?,
        });
    }
    Ok(Results {
        version: Results::VERSION,
        machine: machine()?,
        rounds: plan.rounds,
        rows,
        remarks,
    })
}

fn machine() -> Result<Machine> {
    let processors = fs::read_to_string("/proc/cpuinfo")?;
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let jit = fs::read_to_string("/proc/sys/net/core/bpf_jit_enable");
    Ok(Machine {
        kernel: uname()?.release().to_string_lossy().into_owned(),
        processor: model.map_or("unknown", |(_, name)| name).trim().to_owned(),
        processors: self::processors().count,
        // A kernel that can only compile them has no such file to say so.
        jit: jit.map_or(true, |text| text.trim() != "0"),
    })
}
