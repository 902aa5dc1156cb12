//! Kernel and end-to-end tests: a real agent, real processes, real binds.
//!
//! `cargo xtask test` builds and runs this as root, with `PORTREEVE_BIN` naming the
//! agent. [`cases`] has one file per subject, [`harness`] what they share, and
//! [`actors`] the processes that bind: this very executable under hidden arguments.
//! With `soak` as its first argument it does what [`soak`] is about,
//! with `bench` what [`bench`] is.

mod actors;
mod bench;
mod cases;
mod harness;
mod soak;

use std::process::ExitCode;

use libtest_mimic::Arguments;

fn main() -> ExitCode {
    if let Some(code) = actors::play().or_else(soak::play).or_else(bench::play) {
        return code;
    }
    let arguments = Arguments::from_args();
    if !arguments.list
        && let Err(error) = harness::host::prepare()
    {
        eprintln!("error: {error:#}");
        return ExitCode::from(2);
    }
    match cases::trials() {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}
