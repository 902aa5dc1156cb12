//! `cargo xtask demo`: real processes try the example profile.

mod cases;
mod events;
mod table;

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::instance::Instance;
use crate::privilege::{become_root, is_root};
use crate::product;
use crate::setup;
use crate::signals;
use cases::Case;
use events::Event;

/// Show who gets which port under examples/classic.tcpip: processes bind, and
/// a table says what came of it and why.
///
/// All of it happens in a network namespace and a cgroup made for it, which are
/// gone afterwards. Exit status 1 if an outcome isn't the expected one.
#[derive(Args)]
pub struct Arguments {
    /// Take this agent, don't build one
    #[arg(long, hide = true)]
    agent: Option<PathBuf>,
}

/// What a case came to.
struct Outcome {
    case: &'static Case,
    /// The binder's own last word: `bound`, or the name of an errno.
    result: String,
    /// What the agent says of it.
    event: Option<Event>,
}

impl Outcome {
    fn is_expected(&self) -> bool {
        // Both must tell it: the caller's errno and the agent's event.
        self.result == self.case.result()
            && self
                .event
                .as_ref()
                .is_some_and(|event| event.refused == self.case.refused_by_agent())
    }
}

/// The verb.
pub fn run(arguments: Arguments) -> Result<bool> {
    let agent = match arguments.agent {
        Some(agent) => agent,
        None => {
            setup::toolchain()?;
            product::build("portreeve", true)?
        }
    };
    if !is_root() {
        let same: [OsString; 3] = ["demo".into(), "--agent".into(), agent.into()];
        return become_root(&same);
    }
    // Before the agent starts: it judges the namespace that it finds itself in.
    portreeve_sandbox::isolate()?;
    let instance = Instance::scratch(&format!("portreeve-demo-{}", process::id()), &agent)?;
    let outcomes = show(&instance);
    // Whatever happened, nothing stays behind.
    let removed = instance.remove();
    let outcomes = outcomes?;
    removed?;

    println!("{}", table::render(&outcomes));
    let unexpected = outcomes.iter().filter(|o| !o.is_expected()).count();
    match unexpected {
        0 => println!(
            "{} binds, each with the outcome it should have",
            outcomes.len()
        ),
        _ => println!(
            "{unexpected} of {} outcomes are NOT the expected ones",
            outcomes.len()
        ),
    }
    Ok(unexpected == 0)
}

fn show(instance: &Instance) -> Result<Vec<Outcome>> {
    instance.create()?;
    let mut agent = start(instance)?;
    let mut outcomes = Vec::new();
    let result = cases::ALL.iter().try_for_each(|case| {
        ensure!(!signals::interrupted(), "stopped");
        outcomes.push(attempt(instance, case)?);
        Ok(())
    });
    signals::terminate(&agent);
    signals::wait(&mut agent)?;
    result.map(|()| outcomes)
}

/// Starts the agent and waits for its proof that it enforces.
fn start(instance: &Instance) -> Result<Child> {
    const PATIENCE: Duration = Duration::from_secs(30);
    let log = instance.folder().join("agent.log");
    let examples = product::root().join("examples");
    let mut command = instance.command("run");
    command
        .arg("--profile")
        .arg(examples.join("classic.tcpip"))
        .arg("--config")
        .arg(examples.join("classic.toml"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(&log).context("no log for the agent")?);
    let mut agent = signals::spawn(&mut command)?;
    let stdout = agent.stdout.take().context("the agent has no stdout")?;
    let (sender, ready) = mpsc::channel();
    thread::spawn(move || {
        // Read to the end, or the agent would find its stdout closed.
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if line.starts_with("ready") {
                // Nobody waits any more if it comes too late.
                let _ = sender.send(());
            }
        }
    });
    if ready.recv_timeout(PATIENCE).is_err() {
        signals::terminate(&agent);
        let status = signals::wait(&mut agent)?;
        bail!(
            "the agent didn't get ready ({status}):\n{}",
            fs::read_to_string(&log).unwrap_or_default()
        );
    }
    Ok(agent)
}

fn attempt(instance: &Instance, case: &'static Case) -> Result<Outcome> {
    let cgroup = instance.cgroup.as_deref().unwrap_or(Path::new("/"));
    let mut binder = Command::new(env::current_exe()?);
    binder.args(case.arguments()).arg("--cgroup").arg(cgroup);
    let binder = binder
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("the binder can't be run")?;
    let process = binder.id();
    let output = binder.wait_with_output()?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    let result = stdout.split_whitespace().next().with_context(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("the binder for {} failed: {said}", case.port)
    })?;
    Ok(Outcome {
        case,
        result: result.to_owned(),
        event: events::of(instance, process)?,
    })
}
