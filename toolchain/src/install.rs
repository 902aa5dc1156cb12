//! `cargo xtask setup`: getting a toolchain that works, by the best route.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::command::{self, run, show};
use crate::kit::{Kit, no_linker};
use crate::linker;
use crate::packages;
use crate::pins;
use crate::probe;
use crate::route::{Compiler, Route, VARIABLE};

/// Makes sure that a route is usable, installing what is missing, and proves
/// it by building with it. The error says what failed for each route.
pub fn setup() -> Result<Kit> {
    let mut routes = Route::candidates()?;
    // What is here already is preferred to what could be fetched.
    routes.sort_by_key(|&route| Compiler::find(route).is_err());
    if linker::find().is_none() {
        install_linker()?;
    }
    let mut failed = Vec::new();
    for &route in &routes {
        match attempt(route) {
            Ok(kit) => return Ok(kit),
            Err(error) => {
                eprintln!("the {route} toolchain can't be had: {error:#}");
                failed.push(format!("{route}: {error:#}"));
            }
        }
    }
    bail!(
        "no toolchain for the eBPF object can be had ({}); make one of them work, \
         then run `cargo xtask setup` again",
        failed.join("; ")
    )
}

fn attempt(route: Route) -> Result<Kit> {
    let compiler = Compiler::find(route).or_else(|_| install_compiler(route))?;
    let linker = linker::find().context("bpf-linker has gone")?;
    let kit = Kit { compiler, linker };
    let Err(error) = probe::prove(&kit) else {
        return Ok(kit);
    };
    // Somebody's bpf-linker may have the right version and another LLVM.
    if kit.linker == linker::own()? {
        return Err(error);
    }
    eprintln!("{} doesn't work: {error:#}", kit.linker.display());
    let linker = install_linker()?;
    let kit = Kit { linker, ..kit };
    probe::prove(&kit)?;
    Ok(kit)
}

fn install_compiler(route: Route) -> Result<Compiler> {
    for step in steps(route)? {
        let mut command = step.command;
        match run(&mut command) {
            Err(error) if !step.optional => return Err(error),
            Err(error) => eprintln!("{error:#}; going on"),
            Ok(()) => {}
        }
    }
    Compiler::find(route).context("it is installed, yet not usable")
}

/// Something that installs a part of a route.
struct Step {
    command: Command,
    /// Whether the next step may succeed even if this one fails.
    optional: bool,
}

impl Step {
    fn needed(command: Command) -> Self {
        Self {
            command,
            optional: false,
        }
    }
}

fn steps(route: Route) -> Result<Vec<Step>> {
    match route {
        Route::Nightly => {
            ensure!(
                command::in_path("rustup").is_some(),
                "rustup is not installed"
            );
            let mut rustup = Command::new("rustup");
            rustup.args(["toolchain", "install", pins::NIGHTLY]);
            rustup.args(["--profile", "minimal"]);
            rustup.args(["--component", pins::NIGHTLY_COMPONENT]);
            rustup.arg("--no-self-update");
            Ok(vec![Step::needed(rustup)])
        }
        Route::Debian => Ok(vec![
            Step {
                command: packages::update()?,
                optional: true,
            },
            Step::needed(packages::install(&pins::DEBIAN_PACKAGES)?),
        ]),
    }
}

fn install_linker() -> Result<PathBuf> {
    let own = linker::own()?;
    fs::create_dir_all(linker::cache()?).context("no folder for bpf-linker")?;
    eprintln!(
        "building bpf-linker {} for ourselves, a minute or two; it needn't be in PATH",
        pins::BPF_LINKER
    );
    run(&mut linker::install()?)
        .context("bpf-linker can't be had, and no route works without it")?;
    ensure!(
        linker::find() == Some(own.clone()),
        "{} is installed but doesn't run",
        own.display()
    );
    Ok(own)
}

/// `cargo xtask setup --check`: what is here and what would be done. Changes
/// nothing. True if nothing is left to do.
pub fn check() -> Result<bool> {
    let routes = Route::candidates()?;
    let found: Vec<_> = routes.iter().map(|&r| (r, Compiler::find(r))).collect();
    for (route, compiler) in &found {
        match compiler {
            Ok(compiler) => println!(
                "{route}: {} at {}",
                compiler.title(),
                compiler.rustc.display()
            ),
            Err(error) => println!("{route}: {error:#}"),
        }
    }
    let linker = linker::find();
    match &linker {
        Some(linker) => println!(
            "linker: bpf-linker {} at {}",
            pins::BPF_LINKER,
            linker.display()
        ),
        None => println!("linker: {}", no_linker()),
    }

    let compiler = found.into_iter().find_map(|(_, compiler)| compiler.ok());
    if compiler.is_none() {
        would_install(&routes);
    }
    if linker.is_none() {
        println!("would run: {}", show(&linker::install()?));
    }
    let (Some(compiler), Some(linker)) = (compiler, linker) else {
        return Ok(false);
    };
    let kit = Kit { compiler, linker };
    let proof = if probe::is_proven(&kit) {
        "has built before"
    } else {
        "not tried yet: `cargo xtask setup` does"
    };
    println!("usable: {} ({proof})", kit.compiler.route);
    Ok(true)
}

/// The routes are tried in turn, the next only if one fails.
fn would_install(routes: &[Route]) {
    for (position, &route) in routes.iter().enumerate() {
        let when = if position == 0 { "" } else { ", if that fails" };
        match steps(route) {
            Ok(steps) => {
                for step in steps {
                    println!("would run{when}: {}", show(&step.command));
                }
            }
            Err(error) => println!("{route} can't be had: {error:#}"),
        }
    }
    if routes.len() == 1 {
        println!("({VARIABLE} leaves only this route)");
    }
}
