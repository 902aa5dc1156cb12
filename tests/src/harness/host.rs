//! What must be there before any test, and what earlier runs left behind.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    mount::{MsFlags, mount},
    sys::{
        resource::{RLIM_INFINITY, Resource, setrlimit},
        statfs::{BPF_FS_MAGIC, statfs},
    },
    unistd::geteuid,
};

use super::cleanup;

/// Where everybody expects the BPF file system.
pub const BPFFS: &str = "/sys/fs/bpf";

/// Names of everything a sandbox makes begin so, followed by the pid of the run.
pub const PREFIX: &str = "portreeve-test-";

/// Checks and mounts what the tests need.
pub fn prepare() -> Result<()> {
    ensure!(
        geteuid().is_root(),
        "these tests need root; `cargo xtask test` runs them with sudo"
    );
    // Before Linux 5.11 programs count as locked memory. Elsewhere it may be forbidden.
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    agent()?;
    cgroup2()?;
    mount_bpffs()?;
    sweep();
    Ok(())
}

/// The agent under test.
pub fn agent() -> Result<&'static Path> {
    static AGENT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = AGENT.get() {
        return Ok(path);
    }
    let path = match env::var_os("PORTREEVE_BIN") {
        Some(path) => PathBuf::from(path),
        // Where plain cargo puts it when both packages were built.
        None => env::current_exe()?.with_file_name("portreeve"),
    };
    ensure!(
        path.is_file(),
        "{} is not there; build the agent and name it in PORTREEVE_BIN, as `cargo xtask test` does",
        path.display()
    );
    Ok(AGENT.get_or_init(|| path))
}

/// The agent under test, but built with another layout of its maps.
pub fn other_agent() -> Result<PathBuf> {
    let path = match env::var_os("PORTREEVE_OTHER_BIN") {
        Some(path) => PathBuf::from(path),
        None => agent()?.with_file_name("portreeve-other-layout"),
    };
    ensure!(
        path.is_file(),
        "{} is not there; build the agent with `--features other-layout` and name it in PORTREEVE_OTHER_BIN, as `cargo xtask test` does",
        path.display()
    );
    Ok(path)
}

/// The root of the cgroup v2 hierarchy.
pub fn cgroup2() -> Result<&'static Path> {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    if let Some(path) = ROOT.get() {
        return Ok(path);
    }
    let path = mounts("cgroup2")?
        .into_iter()
        .find(|(root, _)| root == "/")
        .map(|(_, point)| point)
        .context("cgroup v2 is not mounted: `mount -t cgroup2 none /sys/fs/cgroup` mounts it")?;
    Ok(ROOT.get_or_init(|| path))
}

/// The root of systemd's own hierarchy, which is there where cgroup v1 is.
pub fn named_cgroup() -> Result<Option<PathBuf>> {
    let own = fs::read_to_string("/proc/self/cgroup").context("cgroups")?;
    if !own.lines().any(|line| line.contains(":name=systemd:")) {
        return Ok(None);
    }
    let mounts = mounts("cgroup")?.into_iter().map(|(_, point)| point);
    let mut named = mounts.filter(|point| point.ends_with("systemd"));
    named
        .next()
        .map(Some)
        .context("systemd's hierarchy is not mounted")
}

/// Everything of this file system type that is mounted: its root and where.
pub fn mounts(file_system: &str) -> Result<Vec<(String, PathBuf)>> {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").context("mountinfo")?;
    let mount = |line: &str| {
        let (left, right) = line.split_once(" - ")?;
        let mut fields = left.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        let matches = right.split(' ').next() == Some(file_system);
        matches.then(|| (root.to_owned(), PathBuf::from(point)))
    };
    Ok(table.lines().filter_map(mount).collect())
}

fn mount_bpffs() -> Result<()> {
    if statfs(BPFFS).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC) {
        return Ok(());
    }
    mount(
        Some("bpf"),
        BPFFS,
        Some("bpf"),
        MsFlags::empty(),
        None::<&str>,
    )
    .with_context(|| format!("no BPF file system can be mounted on {BPFFS}"))
}

/// Removes what runs left that were killed; those that are alive keep theirs.
fn sweep() {
    let places = [
        cgroup2().map(Path::to_owned).ok(),
        named_cgroup().ok().flatten(),
        Some(PathBuf::from(BPFFS)),
        Some(env::temp_dir()),
    ];
    for place in places.into_iter().flatten() {
        let Ok(entries) = fs::read_dir(&place) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(rest) = name.strip_prefix(PREFIX) else {
                continue;
            };
            let run = rest.split('-').next().unwrap_or_default();
            if !Path::new("/proc").join(run).exists() {
                cleanup::remove(&entry.path());
            }
        }
    }
}
