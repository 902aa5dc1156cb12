//! The spinner: binds as fast as it can and counts how that ends.

use std::{
    io,
    io::BufRead as _,
    process,
    sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

use anyhow::Result;
use nix::errno::Errno;

use super::{become_caller::become_caller, socket};
use crate::harness::request::{Tally, Task};

static ALLOWED: AtomicU64 = AtomicU64::new(0);
static REFUSED: AtomicU64 = AtomicU64::new(0);
static OTHER: AtomicU64 = AtomicU64::new(0);
static ERRNO: AtomicI32 = AtomicI32::new(0);

/// The line that ends it with a last tally.
pub const STOP: &str = "stop";

static STOPPED: AtomicBool = AtomicBool::new(false);

/// Binds in turn what is wanted. Each line of input is answered with the tally;
/// [`STOP`] and the end of input end it.
pub fn perform(task: Task) -> Result<()> {
    become_caller(&task.caller)?;
    thread::spawn(|| {
        for line in io::stdin().lock().lines().map_while(io::Result::ok) {
            if line == STOP {
                STOPPED.store(true, Relaxed);
            } else {
                tell();
            }
        }
        process::exit(0);
    });
    while !STOPPED.load(Relaxed) {
        for want in &task.wants {
            match socket::bind(&socket::open(want)?, want) {
                Ok(()) => &ALLOWED,
                // The other one where the kernel lets a program choose none.
                Err(Errno::EACCES | Errno::EPERM) => &REFUSED,
                Err(errno) => {
                    ERRNO.store(errno as i32, Relaxed);
                    &OTHER
                }
            }
            .fetch_add(1, Relaxed);
        }
        if task.rest > 0 {
            thread::sleep(Duration::from_micros(task.rest));
        }
    }
    tell();
    Ok(())
}

fn tell() {
    println!("{}", serde_json::to_string(&tally()).unwrap_or_default());
}

fn tally() -> Tally {
    Tally {
        allowed: ALLOWED.load(Relaxed),
        refused: REFUSED.load(Relaxed),
        other: OTHER.load(Relaxed),
        errno: ERRNO.load(Relaxed),
    }
}
