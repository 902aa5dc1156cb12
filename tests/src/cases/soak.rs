//! A short one of what `cargo xtask soak` does for long, so that it stays true.

use std::{env, time::Duration};

use anyhow::{Result, ensure};

use crate::{
    harness::{Sandbox, pace::limit},
    soak::{Plan, run},
    tests,
};

tests![nothing_grows_within_seconds];

fn nothing_grows_within_seconds(_: &Sandbox) -> Result<()> {
    let long = env::var("PORTREEVE_LONG").is_ok();
    let plan = Plan {
        duration: if long {
            Duration::from_secs(120)
        } else {
            limit(20)
        },
        seed: 1,
        percent: 50,
        tells: false,
    };
    let report = run(plan)?;
    ensure!(
        report.grown.is_empty(),
        "{:?}\n{}",
        report.grown,
        report.table
    );
    Ok(())
}
