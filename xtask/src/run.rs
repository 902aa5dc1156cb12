//! `cargo xtask run`: an agent in the foreground, on a cgroup of its own.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::instance::{DEVELOPMENT, Instance};
use crate::privilege::{become_root, is_root};
use crate::product;
use crate::setup;
use crate::signals;

/// Build the agent and run it in the foreground until Ctrl-C, showing every
/// bind it judges.
///
/// It enforces on a scratch cgroup only, so nothing else on the machine notices:
/// `cargo xtask shell` opens a shell in there. Ctrl-C stops it and takes away
/// everything it made.
#[derive(Args)]
pub struct Arguments {
    /// Enforce on the whole host instead of a scratch cgroup
    #[arg(long)]
    host: bool,
    /// The profile [default: examples/classic.tcpip]
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// The config [default: examples/classic.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Take this agent, don't build one
    #[arg(long, hide = true)]
    agent: Option<PathBuf>,
    /// More for `portreeve run`, after `--`
    #[arg(last = true, value_name = "AGENT ARGUMENTS")]
    rest: Vec<OsString>,
}

/// The verb.
pub fn run(mut arguments: Arguments) -> Result<bool> {
    let agent = match arguments.agent.take() {
        Some(agent) => agent,
        None => {
            setup::toolchain()?;
            product::build("portreeve", true)?
        }
    };
    let profile = absolute(arguments.profile.take(), "examples/classic.tcpip")?;
    let config = absolute(arguments.config.take(), "examples/classic.toml")?;
    if !is_root() {
        let mut same: Vec<OsString> = vec!["run".into()];
        for (option, path) in [
            ("--agent", &agent),
            ("--profile", &profile),
            ("--config", &config),
        ] {
            same.extend([option.into(), path.into()]);
        }
        if arguments.host {
            same.push("--host".into());
        }
        same.push("--".into());
        same.extend(arguments.rest);
        return become_root(&same);
    }

    let instance = if arguments.host {
        Instance::host(DEVELOPMENT, &agent)
    } else {
        Instance::scratch(DEVELOPMENT, &agent)?
    };
    let claim = Claim::make(&instance)?;
    let outcome = serve(&instance, &profile, &config, &arguments.rest);
    // Whatever happened, nothing stays behind.
    let removed = instance.remove();
    drop(claim);
    let ended_well = outcome?;
    removed?;
    Ok(ended_well)
}

fn serve(instance: &Instance, profile: &Path, config: &Path, rest: &[OsString]) -> Result<bool> {
    instance.create()?;
    instance.add_command()?;
    introduce(instance, profile);
    let mut agent = instance.command("run");
    agent.arg("--profile").arg(profile);
    agent.arg("--config").arg(config);
    agent.arg("--print-events").args(rest);
    if instance.cgroup.is_some() {
        // There is one pool of ephemeral ports for the whole machine.
        agent.arg("--leave-pool");
    }
    let status = signals::wait(&mut signals::spawn(&mut agent)?)?;
    eprintln!("the agent has ended ({status})");
    Ok(status.success())
}

fn introduce(instance: &Instance, profile: &Path) {
    let portreeve = instance.bin().join("portreeve");
    match &instance.cgroup {
        Some(cgroup) => eprintln!(
            "\nThe agent enforces on {} only; the rest of the machine won't notice.\n\
             \x20 try it          cargo xtask shell        a shell that is judged\n\
             \x20 on the host     cargo xtask run --host",
            cgroup.display()
        ),
        None => eprintln!("\nThe agent enforces on the WHOLE HOST: every bind on it is judged."),
    }
    eprintln!(
        "  the rules       {}\n  ask the agent   {} status\n  stop            Ctrl-C\n",
        profile.display(),
        portreeve.display()
    );
}

fn absolute(path: Option<PathBuf>, default: &str) -> Result<PathBuf> {
    match path {
        None => Ok(product::root().join(default)),
        Some(path) => path
            .canonicalize()
            .with_context(|| format!("{} can't be read", path.display())),
    }
}

/// The lock that says a run is going on, and with what. The kernel releases it
/// however the run ends.
pub struct Claim {
    _file: File,
}

impl Claim {
    const PATH: &str = "/run/portreeve-dev.run";

    fn make(instance: &Instance) -> Result<Self> {
        let mut file = Self::lock()?;
        file.set_len(0)?;
        let cgroup = instance.cgroup.as_deref().unwrap_or(Path::new(""));
        writeln!(file, "{}\n{}", instance.agent.display(), cgroup.display())?;
        Ok(Self { _file: file })
    }

    fn lock() -> Result<File> {
        loop {
            let file = File::options()
                .create(true)
                .write(true)
                .truncate(false)
                .open(Self::PATH)
                .context(Self::PATH)?;
            if file.try_lock().is_err() {
                bail!("a `cargo xtask run` is active already: stop that one first");
            }
            // A run that was just ending may have removed the file that we
            // opened; nobody would find our lock on it.
            let still_there = fs::metadata(Self::PATH)
                .is_ok_and(|there| file.metadata().is_ok_and(|ours| ours.ino() == there.ino()));
            if still_there {
                return Ok(file);
            }
        }
    }

    /// The instance of the run that is going on, if one is.
    pub fn current() -> Result<Option<Instance>> {
        let Ok(file) = File::open(Self::PATH) else {
            return Ok(None);
        };
        if file.try_lock_shared().is_ok() {
            return Ok(None);
        }
        let text = std::io::read_to_string(file).context(Self::PATH)?;
        let mut lines = text.lines();
        let agent = Path::new(lines.next().context("the run is just starting")?);
        match lines.next() {
            None | Some("") => Ok(Some(Instance::host(DEVELOPMENT, agent))),
            Some(_) => Instance::scratch(DEVELOPMENT, agent).map(Some),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Left behind it says nothing: unlocked means that no run is active.
        let _ = fs::remove_file(Self::PATH);
    }
}
