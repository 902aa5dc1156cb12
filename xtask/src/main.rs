//! Everything a contributor types: `cargo xtask --help`.

mod bench;
mod bind;
mod debian;
mod demo;
mod fuzz;
mod host;
mod instance;
mod privilege;
mod product;
mod run;
mod setup;
mod shell;
mod signals;
mod soak;
mod test;
mod tools;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// What to type when working on portreeve.
///
/// Each verb sets up what it needs, prints the commands it runs, and builds as
/// you; only what has to be root runs under sudo.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    Setup(setup::Arguments),
    Run(run::Arguments),
    Shell(shell::Arguments),
    Demo(demo::Arguments),
    Bind(bind::Arguments),
    Test(test::Arguments),
    Vmtest(vm::Arguments),
    Fuzz(fuzz::Arguments),
    Soak(soak::Arguments),
    Bench(bench::Arguments),
}

/// Whether a verb's answer is yes; an error is one that couldn't be had.
fn dispatch(verb: Verb) -> Result<bool> {
    match verb {
        Verb::Setup(arguments) => setup::run(&arguments),
        Verb::Run(arguments) => run::run(arguments),
        Verb::Shell(arguments) => shell::run(&arguments),
        Verb::Demo(arguments) => demo::run(arguments),
        Verb::Bind(arguments) => bind::run(&arguments),
        Verb::Test(arguments) => test::run(&arguments),
        Verb::Vmtest(arguments) => vm::run(&arguments),
        Verb::Fuzz(arguments) => fuzz::run(&arguments),
        Verb::Soak(arguments) => soak::run(&arguments),
        Verb::Bench(arguments) => bench::run(&arguments),
    }
}

fn main() -> ExitCode {
    match dispatch(Arguments::parse().verb) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
