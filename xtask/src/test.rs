//! `cargo xtask test`: every test, those that need the kernel included.

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use portreeve_toolchain::command::run as succeed;

use crate::debian::programs::{PROMETHEUS, SNMP};
use crate::host;
use crate::privilege::{as_root, available};
use crate::product::{self, UnderTest};
use crate::setup;
use crate::tools;
use crate::vm::{self, Quick};

/// Run every test: unit, property and document tests as you, then the tests
/// with real processes and the real kernel as root, then `cargo xtask vmtest --quick`.
///
/// Each kernel test has its own cgroup and network namespace; nothing on the
/// host is changed, except that /sys/fs/bpf is mounted if it isn't, and that systemd
/// (to bind, not to run the machine), strace, Chromium, groff, mandoc, fish and zsh are
/// installed if they can be. Prometheus, QEMU and kernels for it are only unpacked, in your
/// cache folder. Without QEMU or kernels that part is skipped, and said to be; with CI=true
/// it fails. With a filter only this machine is tested.
#[derive(Args)]
pub struct Arguments {
    /// Also the tests that take minutes
    #[arg(long)]
    long: bool,
    /// Also rustfmt and clippy
    #[arg(long)]
    lint: bool,
    /// Only tests whose name contains this
    filter: Option<String>,
}

/// The verb.
pub fn run(arguments: &Arguments) -> Result<bool> {
    let start = Instant::now();
    setup::toolchain()?;

    let mut steps = Vec::new();
    if arguments.lint {
        steps.push((
            "format",
            succeed(product::cargo().args(["fmt", "--all", "--check"])),
        ));
        steps.push(("clippy", clippy()));
    }
    if let Err(error) = tools::get(&tools::OF_TESTS) {
        eprintln!("{WARNING}: {error:#}");
    }
    let mut path = env::var_os("PATH").unwrap_or_default();
    for programs in [PROMETHEUS, SNMP] {
        match programs.before(&path) {
            Ok(with_them) => path = with_them,
            Err(error) => eprintln!("{WARNING}: {error:#}"),
        }
    }
    // All of them, whatever fails first: one run should tell everything.
    steps.push(("unit tests", unit(arguments)));
    steps.push(("kernel tests", kernel(arguments, &path)));
    let mut skipped = None;
    // A part of the tests is wanted for what it says of this machine.
    if arguments.filter.is_none() {
        let result = vm::quick().map(|quick| {
            if let Quick::Skipped(reason) = quick {
                skipped = Some(reason);
            }
        });
        steps.push((OTHER, result));
    }

    eprintln!();
    let mut failed = 0;
    for (name, result) in &steps {
        match result {
            Ok(()) if *name == OTHER && skipped.is_some() => {}
            Ok(()) => eprintln!("  ok      {name}"),
            Err(error) => {
                failed += 1;
                eprintln!("  FAILED  {name}: {error:#}");
            }
        }
    }
    if let Some(reason) = skipped {
        eprintln!("  SKIPPED {OTHER}: `cargo xtask vmtest` can't boot them here: {reason}");
    }
    let seconds = start.elapsed().as_secs();
    match failed {
        0 => eprintln!("cargo xtask test: passed, in {seconds} s"),
        _ => eprintln!(
            "cargo xtask test: FAILED, {failed} of {} steps, in {seconds} s",
            steps.len()
        ),
    }
    Ok(failed == 0)
}

/// The step that takes virtual machines.
const OTHER: &str = "other kernels";

const WARNING: &str = "warning: the tests that need it will fail, or say less";

/// Tells property and kernel tests to take their time.
const LONG: &str = "PORTREEVE_LONG";

fn clippy() -> Result<()> {
    let mut clippy = product::cargo();
    clippy.args(["clippy", "--workspace", "--exclude", "portreeve-ebpf"]);
    succeed(clippy.args(["--all-targets", "--", "-D", "warnings"]))
}

fn unit(arguments: &Arguments) -> Result<()> {
    let mut cargo = product::cargo();
    cargo.args(["test", "--no-fail-fast", "--workspace"]);
    cargo.args([
        "--exclude",
        "portreeve-ebpf",
        "--exclude",
        "portreeve-tests",
    ]);
    if arguments.long {
        cargo.env(LONG, "1");
    }
    cargo.arg("--");
    selection(&mut cargo, arguments);
    succeed(&mut cargo)
}

/// As root, with this `PATH`.
fn kernel(arguments: &Arguments, path: &OsStr) -> Result<()> {
    let UnderTest {
        agent,
        other,
        tests,
    } = UnderTest::build(false, true)?;
    if !available() {
        list(&tests);
    }
    host::cgroup2()?;
    host::mount_bpffs()?;
    let mut variables = vec![("PORTREEVE_BIN", agent.as_os_str())];
    if let Some(other) = &other {
        variables.push(("PORTREEVE_OTHER_BIN", other.as_os_str()));
    }
    if arguments.long {
        variables.push((LONG, OsStr::new("1")));
    }
    variables.push(("PATH", path));
    let mut command = as_root(&tests, &variables)?;
    selection(&mut command, arguments);
    succeed(&mut command)
}

/// Both harnesses take libtest's arguments.
fn selection(command: &mut Command, arguments: &Arguments) {
    if arguments.long {
        command.arg("--include-ignored");
    }
    command.args(&arguments.filter);
}

/// Says which tests are about to be missed.
fn list(tests: &Path) {
    eprintln!("these need root, and there is no sudo:");
    // What matters follows: the step fails for want of root.
    let _ = Command::new(tests).arg("--list").status();
}
