//! A long life in little time: agents under random operations, whose verdicts are checked
//! and whose resources are watched.
//!
//! There are two, each in a sandbox of its own: one that is never restarted, so that what
//! it leaks adds up, and one that is killed and restarted over and over, so that what is
//! left behind does.

mod binds;
mod operations;
pub mod random;
mod samples;

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, ScopedJoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};

use self::{operations::Life, random::Random, samples::Samples};
use crate::harness::{Sandbox, host};

/// The first argument that asks for it.
pub const SOAK: &str = "soak";

/// How often resources are looked at, in a long run.
const INTERVAL: Duration = Duration::from_secs(2);
/// How often it is said how things are.
const TOLD: Duration = Duration::from_secs(10);

/// How long, and with which chances.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How long the operations go on.
    pub duration: Duration,
    /// What the operations are drawn from: the same ones in the same order.
    pub seed: u64,
    /// By how many percent memory may seem to grow: within seconds it depends on the
    /// policies that come by chance.
    pub percent: u64,
    /// Whether it is said meanwhile how things are.
    pub tells: bool,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Report {
    /// The table of resources.
    pub table: String,
    /// What grew, one sentence each.
    pub grown: Vec<String>,
}

/// How both are doing, in words.
type Progress = Mutex<[String; 2]>;

/// Runs both agents, each with a network of its own.
///
/// # Errors
///
/// The first verdict or answer that was wrong, and with which operation of which seed.
pub fn run(plan: Plan) -> Result<Report> {
    let (progress, is_over) = (Progress::default(), AtomicBool::new(false));
    let began = Instant::now();
    thread::scope(|scope| {
        let lives = [("never restarted", false), ("killed and restarted", true)];
        let lives = [0, 1].map(|number| {
            let (name, restarts) = lives[number];
            let (progress, is_over) = (&progress, &is_over);
            scope.spawn(move || {
                let tell = |text| {
                    progress.lock().unwrap_or_else(PoisonError::into_inner)[number] = text;
                };
                let report = live(plan, name, restarts, is_over, tell);
                // What is wrong with one is not waited for with the other.
                is_over.fetch_or(report.is_err(), Ordering::Relaxed);
                report
            })
        });
        let mut told = began;
        while plan.tells && !lives.iter().all(ScopedJoinHandle::is_finished) {
            thread::sleep(Duration::from_millis(100));
            if told.elapsed() >= TOLD {
                told = Instant::now();
                let lines = progress.lock().unwrap_or_else(PoisonError::into_inner);
                tell(began.elapsed(), &lines.join("; "))?;
            }
        }
        let mut whole = Report::default();
        for life in lives {
            let Report { table, grown } = life.join().map_err(|_| anyhow!("a panic"))??;
            whole.table += &table;
            whole.grown.extend(grown);
        }
        Ok(whole)
    })
}

/// One agent's life.
fn live(
    plan: Plan,
    name: &'static str,
    restarts: bool,
    is_over: &AtomicBool,
    tell: impl Fn(String),
) -> Result<Report> {
    portreeve_sandbox::isolate()?;
    let sandbox = Sandbox::new()?;
    let mut random = Random::new(plan.seed);
    let mut life = Life::begin(&sandbox, restarts)?;
    let mut samples = Samples::default();
    let interval = INTERVAL.min(plan.duration / 30);
    let (began, mut sampled) = (Instant::now(), Instant::now());
    let mut operations = 0u64;
    while began.elapsed() < plan.duration && !is_over.load(Ordering::Relaxed) {
        let operation = random.among(life.operations());
        operations += 1;
        life.perform(operation, &mut random)
            .and_then(|()| life.check_spinners())
            .with_context(|| {
                let seed = plan.seed;
                format!("operation {operations} of seed {seed}, {operation:?} on the agent that is {name}")
            })?;
        if sampled.elapsed() >= interval {
            sampled = Instant::now();
            samples.take(&mut life)?;
            let binds = life.binds();
            let last = samples.last();
            tell(format!(
                "{name}: {operations} operations, {binds} binds, {last}"
            ));
        }
    }
    let (counts, binds) = (life.counts(), life.binds());
    let table = format!(
        "the agent that is {name}: {operations} operations and {binds} binds, all answered rightly\n  {counts}\n{}",
        samples.table()
    );
    let grown = samples.grown(plan.percent).into_iter();
    let grown = grown.map(|what| format!("the agent that is {name}: {what}"));
    let report = Report {
        table,
        grown: grown.collect(),
    };
    life.end()?;
    sandbox.close()?;
    Ok(report)
}

/// One line; on a terminal always the same one.
fn tell(elapsed: Duration, text: &str) -> Result<()> {
    let seconds = elapsed.as_secs();
    let mut out = io::stdout();
    if out.is_terminal() {
        write!(out, "\r\x1b[K{seconds:>5} s  {text}")?;
    } else {
        writeln!(out, "{seconds:>5} s  {text}")?;
    }
    Ok(out.flush()?)
}

/// `portreeve-tests soak SECONDS [SEED]`, which `cargo xtask soak` runs. `None` if that
/// isn't what the command line asks for.
pub fn play() -> Option<ExitCode> {
    let mut arguments = env::args().skip(1);
    arguments.next().filter(|first| first == SOAK)?;
    let arguments: Vec<String> = arguments.collect();
    Some(match soak(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    })
}

fn soak(arguments: &[String]) -> Result<bool> {
    let usage = "usage: portreeve-tests soak SECONDS [SEED]";
    ensure!(matches!(arguments.len(), 1 | 2), usage);
    let seconds = arguments[0].parse().context(usage)?;
    let seed = match arguments.get(1) {
        Some(seed) => seed.parse().context(usage)?,
        None => Random::seed(),
    };
    host::prepare()?;
    let plan = Plan {
        duration: Duration::from_secs(seconds),
        seed,
        percent: if seconds < 120 { 50 } else { 10 },
        tells: true,
    };
    println!("soaking for {seconds} s with seed {seed}");
    let report = match run(plan) {
        Ok(report) => report,
        Err(error) => {
            println!();
            eprintln!("WRONG: {error:#}");
            return Ok(false);
        }
    };
    println!("\n{}", report.table);
    for grown in &report.grown {
        println!("GREW: {grown}");
    }
    if report.grown.is_empty() {
        println!("nothing grew");
    }
    Ok(report.grown.is_empty())
}
