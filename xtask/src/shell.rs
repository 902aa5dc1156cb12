//! `cargo xtask shell`: a shell where the development agent enforces.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{self, Command};

use anyhow::{Context, Result, bail};
use clap::Args;
use portreeve_toolchain::command;

use crate::instance::Instance;
use crate::privilege::{as_root, is_root};
use crate::run::Claim;

/// Start a shell, as you, inside the scratch cgroup of a running
/// `cargo xtask run`: whatever binds in there is judged.
#[derive(Args)]
pub struct Arguments {
    /// Run this instead of an interactive shell
    #[arg(short, long, value_name = "COMMAND")]
    command: Option<OsString>,
}

/// The verb; comes back only if there is no shell.
pub fn run(arguments: &Arguments) -> Result<bool> {
    let Some(instance) = Claim::current()? else {
        bail!("no `cargo xtask run` is active: start one in another terminal first");
    };
    let Some(cgroup) = &instance.cgroup else {
        bail!("the active `cargo xtask run` enforces on the host: any shell will do");
    };
    enter(cgroup)?;

    let shell = env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    let mut command = Command::new(&shell);
    environment(&mut command, &instance)?;
    match &arguments.command {
        Some(line) => {
            command.arg("-c").arg(line);
        }
        None => introduce(&instance),
    }
    let error = command.exec();
    Err(error).with_context(|| format!("{} can't be run", shell.display()))
}

/// Moves this process, so that the shell is born inside.
fn enter(cgroup: &Path) -> Result<()> {
    let members = cgroup.join("cgroup.procs");
    let context = || format!("{} can't be joined", cgroup.display());
    if is_root() {
        return fs::write(&members, process::id().to_string()).with_context(context);
    }
    // Only moving takes root; the shell stays yours.
    let mut sudo = as_root(Path::new("sh"), &[])?;
    sudo.args(["-c", "echo \"$1\" > \"$2\"", "sh"])
        .arg(process::id().to_string())
        .arg(&members);
    command::run(&mut sudo).with_context(context)
}

/// What makes `portreeve status` in the shell mean this agent.
fn environment(command: &mut Command, instance: &Instance) -> Result<()> {
    let mut path = vec![instance.bin()];
    path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    command
        .env("PATH", env::join_paths(path)?)
        .env("PS1", "portreeve-dev $ ")
        // A shell's own start-up file replaces PS1; bash runs this after it.
        .env(
            "PROMPT_COMMAND",
            "PS1=\"(portreeve-dev) ${PS1#(portreeve-dev) }\"",
        );
    // What cargo and rustup set for us isn't meant for what you do in there.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_of_cargo) {
            command.env_remove(&name);
        }
    }
    Ok(())
}

fn is_of_cargo(name: &str) -> bool {
    const NAMES: [&str; 5] = [
        "CARGO",
        "LD_LIBRARY_PATH",
        "RUSTUP_TOOLCHAIN",
        "RUSTUP_TOOLCHAIN_SOURCE",
        "RUST_RECURSION_COUNT",
    ];
    NAMES.contains(&name) || name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

fn introduce(instance: &Instance) {
    eprintln!(
        "\nThis shell, and whatever it starts, is judged by the development agent.\n\
         \x20 portreeve status                     what is in force\n\
         \x20 portreeve ports                      which port is whose\n\
         \x20 cargo xtask bind tcp/21              try one; refused\n\
         \x20 cargo xtask bind tcp/21 --as ftpd1   as the right job\n\
         \x20 exit                                 leaves\n\
         `portreeve` is {}, told which agent is meant.\n",
        instance.agent.display()
    );
}
