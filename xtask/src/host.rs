//! What the kernel has mounted, and what we mount for ourselves.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use portreeve_toolchain::command;

use crate::privilege::as_root;

/// Where everybody expects the BPF file system.
pub const BPFFS: &str = "/sys/fs/bpf";

/// The mount point of the cgroup v2 hierarchy. Not always `/sys/fs/cgroup`:
/// with both hierarchies it is usually `/sys/fs/cgroup/unified`.
pub fn cgroup2() -> Result<PathBuf> {
    mounted("cgroup2")?
        .into_iter()
        .next()
        .context("cgroup v2 is not mounted: `mount -t cgroup2 none /sys/fs/cgroup` mounts it")
}

/// Mounts the BPF file system at its usual place if nobody has.
pub fn mount_bpffs() -> Result<()> {
    if mounted("bpf")?
        .iter()
        .any(|place| place == Path::new(BPFFS))
    {
        return Ok(());
    }
    let mut mount = as_root(Path::new("mount"), &[])?;
    command::run(mount.args(["-t", "bpf", "bpf", BPFFS]))
}

fn mounted(file_system: &str) -> Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("/proc/self/mountinfo")?;
    Ok(table
        .lines()
        .filter_map(|line| mount_point(line, file_system))
        .collect())
}

/// "31 23 0:28 / /sys/fs/cgroup rw shared:1 - cgroup2 cgroup2 rw": any number
/// of optional fields, then a dash.
fn mount_point(line: &str, file_system: &str) -> Option<PathBuf> {
    let (place, kind) = line.split_once(" - ")?;
    if kind.split(' ').next() != Some(file_system) {
        return None;
    }
    Some(unescape(place.split(' ').nth(4)?))
}

/// Blanks and the like are written as `\040`.
fn unescape(field: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = tail.get(..3).filter(|_| *first == b'\\').and_then(octal);
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[3..] } else { tail };
    }
    PathBuf::from(OsStr::from_bytes(&bytes))
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_point_is_the_fifth_field() {
        let line = r"41 31 0:38 / /sys/fs/c\040g rw,nosuid shared:9 master:1 - cgroup2 none rw";
        assert_eq!(
            mount_point(line, "cgroup2"),
            Some(PathBuf::from("/sys/fs/c g"))
        );
        assert_eq!(mount_point(line, "cgroup"), None);
        assert_eq!(mount_point("", "bpf"), None);
    }
}
