//! Changes what another process has mounted, from within its mount namespace.

use std::fs::File;

use anyhow::{Context as _, Result};
use nix::{
    mount::{MntFlags, umount2},
    sched::{CloneFlags, setns},
};

use super::launch::forbid_writing;
use crate::harness::meddle::{Deed, Meddling};

/// Does it, and ends.
pub fn perform(task: &Meddling) -> Result<()> {
    let namespace = File::open(format!("/proc/{}/ns/mnt", task.pid)).context("no such process")?;
    setns(namespace, CloneFlags::CLONE_NEWNS).context("its mounts can't be entered")?;
    match &task.deed {
        Deed::Unmount(point) => umount2(point, MntFlags::MNT_DETACH)
            .with_context(|| format!("{} can't be unmounted", point.display())),
        Deed::ForbidWriting(folder) => forbid_writing(folder),
    }
}
