//! The swarm: a child for each visit, born into its cgroup.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::wait::{WaitStatus, waitpid},
    unistd::pipe,
};

use super::{become_caller::become_caller, child, socket};
use crate::harness::{
    Want,
    swarm::{Swarm, Visit},
};

/// Makes all visits and tells the errnos of each.
pub fn perform(task: &Swarm) -> Result<()> {
    let visits: Vec<Visit> = serde_json::from_reader(File::open(&task.visits)?)?;
    become_caller(&task.caller)?;
    let errnos: Result<Vec<Vec<u8>>> = visits.iter().map(visit).collect();
    println!("{}", serde_json::to_string(&errnos?)?);
    Ok(())
}

fn visit(visit: &Visit) -> Result<Vec<u8>> {
    if visit.is_fresh {
        fs::create_dir(&visit.cgroup)?;
    }
    let cgroup = File::open(&visit.cgroup)
        .with_context(|| format!("{} can't be opened", visit.cgroup.display()))?;
    let (read, write) = pipe()?;
    let pid = child::start(&cgroup, || {
        let told =
            errnos(&visit.wants).and_then(|errnos| Ok(File::from(write).write_all(&errnos)?));
        i32::from(told.is_err())
    })?;
    let mut errnos = Vec::new();
    File::from(read).read_to_end(&mut errnos)?;
    let status = waitpid(pid, None)?;
    ensure!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
    if visit.is_fresh {
        fs::remove_dir(&visit.cgroup)?;
    }
    Ok(errnos)
}

fn errnos(wants: &[Want]) -> Result<Vec<u8>> {
    let attempt = |want: &Want| {
        Ok(match socket::bind(&socket::open(want)?, want) {
            Ok(()) => 0,
            Err(errno) => u8::try_from(errno as i32)?,
        })
    };
    wants.iter().map(attempt).collect()
}
