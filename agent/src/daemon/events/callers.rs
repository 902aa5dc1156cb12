//! Who made an event, in the words of the config: cgroup and job.

use std::{
    collections::HashMap,
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
};

use portreeve_common::{abi::Event, jobname::Name};
use procfs::process::Process;

use super::decode::{comm_bytes, text_of};
use crate::{
    config::KERNEL,
    kernel::cgroup::path_of,
    policy::jobs::{Caller, Jobs},
};

/// Paths of cgroups that are remembered.
const CGROUPS: usize = 4096;

/// The callers' cgroups.
pub struct Cgroups {
    known: HashMap<u64, String>,
    /// Root of the cgroup v2 hierarchy.
    hierarchy: Option<(PathBuf, File)>,
}

impl Cgroups {
    /// Those of the hierarchy whose root is at `hierarchy`.
    pub fn new(hierarchy: Option<PathBuf>) -> Self {
        let open = |path: PathBuf| File::open(&path).ok().map(|file| (path, file));
        Self {
            known: HashMap::new(),
            hierarchy: hierarchy.and_then(open),
        }
    }

    /// The path of the cgroup with this id, in which process `pid` was. Ids are
    /// never used twice, so a path once found stays right.
    pub fn path(&mut self, id: u64, pid: Option<u32>) -> Option<String> {
        if let Some(path) = self.known.get(&id) {
            return Some(path.clone());
        }
        let path = self.by_id(id).or_else(|| self.by_process(id, pid?))?;
        if self.known.len() >= CGROUPS {
            self.known.clear();
        }
        self.known.insert(id, path.clone());
        Some(path)
    }

    fn by_id(&self, id: u64) -> Option<String> {
        let (root, directory) = self.hierarchy.as_ref()?;
        let path = path_of(directory, id).ok()?;
        let below = path.strip_prefix(root).ok()?;
        Some(format!("/{}", below.display()))
    }

    /// Where handles may not be opened, it is looked up while the process is there.
    fn by_process(&self, id: u64, pid: u32) -> Option<String> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
        // The process may have moved, or another may have its number by now.
        let (root, _) = self.hierarchy.as_ref()?;
        let metadata = fs::metadata(root.join(path.trim_start_matches('/'))).ok()?;
        (metadata.ino() == id).then(|| path.to_owned())
    }
}

/// The job that the caller was to a policy with these `jobs`. `None` if it is none,
/// as a process is that calls itself like a defined job, or if that depends on what
/// can't be told any more.
pub fn job(jobs: &Jobs, event: &Event, cgroup: Option<&str>) -> Option<String> {
    if event.flags & Event::KERNEL != 0 {
        return Some(KERNEL.to_owned());
    }
    let mut caller = Caller {
        comm: Some(text_of(comm_bytes(event.comm))),
        cgroup: cgroup.map(str::to_owned),
        exe: None,
        uid: Some(event.uid),
        proven_jobs: Vec::new(),
    };
    let found = jobs.of_known(&caller).or_else(|| {
        caller.exe = Some(exe(event)?);
        jobs.of_known(&caller)
    })?;
    jobs.called(&found, &text_of(Name::from_comm(event.comm).bytes()))
}

/// The file that the caller runs, if it still does.
fn exe(event: &Event) -> Option<PathBuf> {
    let process = Process::new(event.pid.cast_signed()).ok()?;
    let stat = process.stat().ok()?;
    // Another may have its number by now, or it may have become another program.
    let started = stat.starttime.checked_mul(1_000_000_000)? / procfs::ticks_per_second();
    let is_it = started <= event.time && stat.comm == text_of(comm_bytes(event.comm));
    let exe = process.exe().ok().filter(|_| is_it)?;
    // The kernel shows a file that was replaced so; what it was can't be told.
    (!exe.to_string_lossy().ends_with(" (deleted)")).then_some(exe)
}
