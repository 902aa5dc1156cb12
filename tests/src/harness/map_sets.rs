//! The sets of maps that agents pin, one for each layout.

use std::{
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use portreeve_common::{
    Reason,
    abi::{Mode, Protocol, counter},
};

use super::{Sandbox, neighbour};

/// The folders of all sets that are pinned, by the numbers of their layouts.
pub fn map_sets(s: &Sandbox) -> Result<Vec<PathBuf>> {
    let folders = fs::read_dir(&s.bpffs).with_context(|| s.bpffs.display().to_string())?;
    let mut sets: Vec<PathBuf> = folders
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().contains("/maps-"))
        .collect();
    sets.sort();
    Ok(sets)
}

/// The only set that is pinned.
pub fn map_set(s: &Sandbox) -> Result<PathBuf> {
    let sets = map_sets(s)?;
    ensure!(sets.len() == 1, "{sets:?}");
    sets.into_iter().next().context("no set")
}

/// The counters of one set, kept open: they count on when the set is no longer pinned.
pub struct CounterMap {
    map: OwnedFd,
}

impl CounterMap {
    /// Of the set in `folder`.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("COUNTERS");
        let map = neighbour::open(&path).with_context(|| path.display().to_string())?;
        Ok(Self { map })
    }

    /// What was enforced for `reason`.
    pub fn of(&self, reason: Reason) -> Result<u64> {
        let of_protocol = |protocol| -> Result<u64> {
            let index = counter::of(reason, Mode::Enforce, protocol);
            Ok(neighbour::per_cpu(&self.map, index)?.iter().sum())
        };
        Protocol::ALL.into_iter().map(of_protocol).sum()
    }
}
