//! What every test stands on.
//!
//! A test runs on a thread of its own in a network namespace of its own and is
//! handed a [`Sandbox`]. Whatever it starts is gone when it ends, also by a panic.

pub mod agent;
pub mod assembler;
pub mod binder;
pub mod bus;
pub mod churn;
pub mod cleanup;
pub mod command;
pub mod control;
pub mod draw;
pub mod endpoints;
pub mod expect;
pub mod host;
pub mod http;
pub mod launch;
pub mod links;
pub mod map_sets;
pub mod meddle;
pub mod needs;
pub mod neighbour;
pub mod pace;
pub mod peer;
pub mod procedures;
pub mod puppet;
pub mod request;
pub mod sabotage;
pub mod sandbox;
pub mod servant;
pub mod server;
pub mod settings;
pub mod snapshot;
pub mod snmp;
pub mod strace;
pub mod swarm;
pub mod syscalls;
pub mod systemd;
pub mod terminal;
pub mod timer;
pub mod tools;
pub mod watch;

use std::{fmt, panic, thread};

use anyhow::{Context as _, Result};
use libtest_mimic::{Completion, Failed, Trial};

pub use agent::Agent;
pub use binder::{Binder, Spinner};
pub use expect::Case;
pub use needs::{Need, refusal};
pub use request::{Caller, Want, tcp, udp};
pub use sandbox::Sandbox;
pub use servant::Servant;
pub use server::{Origin, Server};
pub use settings::Settings;
pub use systemd::Systemd;
pub use watch::Watch;

/// A user without any privilege, whether there is an account for it or not.
pub const NOBODY: u32 = 65534;

/// What a test does.
pub type Body = fn(&Sandbox) -> Result<()>;

/// The tests of one subject by their names.
#[macro_export]
macro_rules! tests {
    ($($name:ident),+ $(,)?) => {
        $crate::tests!(TESTS: $($name),+);
    };
    ($list:ident: $($name:ident),+ $(,)?) => {
        /// The tests, each by its name.
        pub const $list: &[(&str, $crate::harness::Body)] = &[$((stringify!($name), $name)),+];
    };
}

/// Fails unless both are equal, and shows both.
#[macro_export]
macro_rules! ensure_eq {
    ($found:expr, $expected:expr, $($what:tt)+) => {{
        let (found, expected) = (&$found, &$expected);
        anyhow::ensure!(
            found == expected,
            "{}\n  expected {expected:?}\n  found    {found:?}",
            format_args!($($what)+)
        );
    }};
}

/// The reason why a test can't say anything on this machine.
#[derive(Debug)]
pub struct Skipped(String);

impl fmt::Display for Skipped {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Skipped {}

/// Ends a test without a result; the reason is printed. Only for what the kernel
/// itself lacks, never for what the product needs.
pub fn skip(reason: impl Into<String>) -> anyhow::Error {
    Skipped(reason.into()).into()
}

/// The test `name` of `subject`, where the kernel has what it needs.
pub fn trial(subject: &str, needs: &'static [Need], name: &'static str, body: Body) -> Trial {
    Trial::ignorable_test(format!("{subject}::{name}"), move || {
        perform(needs, name, body)
    })
}

/// Runs a test on its own thread: a network namespace belongs to a thread, and
/// children are born into that of the thread that starts them.
fn perform(needs: &'static [Need], name: &'static str, body: Body) -> Result<Completion, Failed> {
    let whole = move || -> Result<()> {
        portreeve_sandbox::isolate()?;
        needs.iter().try_for_each(|need| need.check())?;
        let sandbox = Sandbox::new()?;
        body(&sandbox)?;
        sandbox.close()
    };
    let thread = thread::Builder::new()
        .name(name.to_owned())
        .spawn(whole)
        .context("no thread for the test")?;
    match thread.join() {
        Ok(Ok(())) => Ok(Completion::Completed),
        Ok(Err(error)) => match error.downcast_ref::<Skipped>() {
            Some(Skipped(reason)) => Ok(Completion::ignored_with(reason)),
            None => Err(Failed::from(causes(&error))),
        },
        Err(payload) => panic::resume_unwind(payload),
    }
}

/// An error with its causes, one per line.
fn causes(error: &anyhow::Error) -> String {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    causes.join("\n  because ")
}
