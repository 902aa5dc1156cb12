//! The spinner: binds as fast as it can and counts how that ends.

use std::{
    io,
    io::BufRead as _,
    process,
    sync::atomic::{AtomicI32, AtomicU64, Ordering::Relaxed},
    thread,
};

use anyhow::Result;
use nix::errno::Errno;

use super::{become_caller::become_caller, socket};
use crate::harness::request::{Tally, Task};

static ALLOWED: AtomicU64 = AtomicU64::new(0);
static REFUSED: AtomicU64 = AtomicU64::new(0);
static OTHER: AtomicU64 = AtomicU64::new(0);
static ERRNO: AtomicI32 = AtomicI32::new(0);

/// Binds in turn what is wanted. Each line of input is answered with the tally,
/// the end of input ends it.
pub fn perform(task: Task) -> Result<()> {
    become_caller(&task.caller)?;
    thread::spawn(|| {
        for _ in io::stdin().lock().lines().map_while(io::Result::ok) {
            println!("{}", serde_json::to_string(&tally()).unwrap_or_default());
        }
        process::exit(0);
    });
    loop {
        for want in &task.wants {
            match socket::attempt(want)? {
                Ok(_) => &ALLOWED,
                Err(Errno::EACCES) => &REFUSED,
                Err(errno) => {
                    ERRNO.store(errno as i32, Relaxed);
                    &OTHER
                }
            }
            .fetch_add(1, Relaxed);
        }
    }
}

fn tally() -> Tally {
    Tally {
        allowed: ALLOWED.load(Relaxed),
        refused: REFUSED.load(Relaxed),
        other: OTHER.load(Relaxed),
        errno: ERRNO.load(Relaxed),
    }
}
