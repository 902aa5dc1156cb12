//! Which cgroup the hooks are attached to, and whether it covers the host.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, openat},
    libc,
    sys::{
        stat::Mode,
        statfs::{CGROUP2_SUPER_MAGIC, statfs},
    },
};
use thiserror::Error;

/// The cgroup v2 directory that the hooks are, or will be, attached to.
#[derive(Debug)]
pub struct AttachPoint {
    /// Its path.
    pub path: PathBuf,
    /// Its id: the inode number, as the kernel reports it.
    pub id: u64,
    directory: File,
}

/// Why there is nothing to attach to.
#[derive(Debug, Error)]
pub enum CgroupError {
    /// No cgroup v2 hierarchy is mounted.
    #[error(
        "no cgroup v2 hierarchy is mounted here; mount one (`mount -t cgroup2 none /sys/fs/cgroup`) or boot with systemd.unified_cgroup_hierarchy=1"
    )]
    NotMounted,
    /// What is mounted shows only a part of the hierarchy.
    #[error(
        "the cgroup v2 hierarchy at {path} is not the host's root but that of a cgroup namespace, so binds outside it would not be judged; mount the host's hierarchy, or name a cgroup with --cgroup if that part is what you mean"
    )]
    Namespaced {
        /// Where it is mounted.
        path: PathBuf,
    },
    /// The path given is not a cgroup v2 directory.
    #[error(
        "{path} is not a directory of the cgroup v2 hierarchy; see `grep cgroup2 /proc/mounts`"
    )]
    NotCgroup2 {
        /// The path given.
        path: PathBuf,
    },
    /// The file system says no.
    #[error("the cgroup {path} can't be used")]
    Io {
        /// The path that was looked at.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

impl AttachPoint {
    /// The cgroup at `path`, or the root of the hierarchy when none is given.
    ///
    /// # Errors
    ///
    /// See [`CgroupError`].
    pub fn find(path: Option<&Path>) -> Result<Self, CgroupError> {
        match path {
            Some(path) => Self::open(path),
            None => {
                let mounts = Path::new("/proc/self/mountinfo");
                let text = fs::read_to_string(mounts).map_err(|source| CgroupError::Io {
                    path: mounts.into(),
                    source,
                })?;
                Self::open(&root_of(&text)?)
            }
        }
    }

    fn open(path: &Path) -> Result<Self, CgroupError> {
        let at = |source: io::Error| CgroupError::Io {
            path: path.into(),
            source,
        };
        let directory = File::open(path).map_err(at)?;
        let metadata = directory.metadata().map_err(at)?;
        let filesystem = statfs(path).map_err(|errno| at(errno.into()))?;
        if !metadata.is_dir() || filesystem.filesystem_type() != CGROUP2_SUPER_MAGIC {
            return Err(CgroupError::NotCgroup2 { path: path.into() });
        }
        Ok(Self {
            path: path.into(),
            id: metadata.ino(),
            directory,
        })
    }

    /// Whether the cgroup was removed.
    pub fn is_gone(&self) -> bool {
        let procs = openat(
            &self.directory,
            "cgroup.procs",
            OFlag::O_PATH | OFlag::O_CLOEXEC,
            Mode::empty(),
        );
        matches!(procs, Err(Errno::ENOENT | Errno::ENODEV))
    }

    /// The open directory, for attaching to.
    pub const fn directory(&self) -> &File {
        &self.directory
    }
}

/// The path of the cgroup with this `id`, in the hierarchy that `root` is the root
/// of; for every cgroup that is there, whether a process is in it or not.
///
/// # Errors
///
/// `ESTALE` when there is no such cgroup any more, `EPERM` without
/// `CAP_DAC_READ_SEARCH`.
pub fn path_of(root: &File, id: u64) -> io::Result<PathBuf> {
    /// The `struct file_handle` of kernfs.
    #[repr(C)]
    struct Handle {
        bytes: u32,
        kind: i32,
        id: u64,
    }
    /// `FILEID_KERNFS`
    const KERNFS: i32 = 0xfe;
    let mut handle = Handle {
        bytes: size_of::<u64>() as u32,
        kind: KERNFS,
        id,
    };
    // SAFETY: the kernel reads a header and as many bytes behind it as that says,
    // which is what `handle` has, and it outlives the call.
    let opened = unsafe {
        libc::open_by_handle_at(
            root.as_raw_fd(),
            std::ptr::from_mut(&mut handle).cast(),
            libc::O_PATH | libc::O_CLOEXEC,
        )
    };
    if opened < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel made this descriptor for us; nobody else has it.
    let opened = unsafe { OwnedFd::from_raw_fd(opened) };
    fs::read_link(format!("/proc/self/fd/{}", opened.as_raw_fd()))
}

/// Where the root of the cgroup v2 hierarchy is mounted, from the text of
/// `/proc/self/mountinfo`. Hybrid hosts have it at `/sys/fs/cgroup/unified`.
fn root_of(mountinfo: &str) -> Result<PathBuf, CgroupError> {
    let mut namespaced = None;
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        if right.split(' ').next() != Some("cgroup2") {
            continue;
        }
        let mut fields = left.split(' ').skip(3);
        let (Some(root), Some(point)) = (fields.next(), fields.next()) else {
            continue;
        };
        let point = PathBuf::from(unescape(point));
        if root == "/" {
            // A cgroup namespace's root shows as "/" too, but the kernel's own
            // root is the one cgroup without a type.
            if point.join("cgroup.type").exists() {
                namespaced = Some(point);
                continue;
            }
            return Ok(point);
        }
        namespaced = Some(point);
    }
    Err(
        namespaced.map_or(CgroupError::NotMounted, |path| CgroupError::Namespaced {
            path,
        }),
    )
}

/// mountinfo writes blank, tab, newline and backslash as three octal digits.
fn unescape(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    let mut rest = field;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let code = rest
            .get(at + 1..at + 4)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                text.push(char::from(code));
                rest = &rest[at + 4..];
            }
            None => {
                text.push('\\');
                rest = &rest[at + 1..];
            }
        }
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_hybrid_mount() {
        let text = "30 25 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
                    31 30 0:27 / /nowhere/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(root_of(text).unwrap(), Path::new("/nowhere/unified"));
    }

    #[test]
    fn a_part_of_the_hierarchy_is_not_the_root() {
        let text = "31 30 0:27 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert!(matches!(root_of(text), Err(CgroupError::Namespaced { .. })));
        assert!(matches!(
            root_of("1 2 0:1 / / rw - ext4 /dev/vda rw\n"),
            Err(CgroupError::NotMounted)
        ));
    }

    #[test]
    fn escapes_are_undone() {
        assert_eq!(unescape("/a\\040b\\134c\\"), "/a b\\c\\");
    }

    #[test]
    fn an_ordinary_directory_is_refused() {
        assert!(matches!(
            AttachPoint::find(Some(Path::new("/proc"))),
            Err(CgroupError::NotCgroup2 { .. })
        ));
    }

    #[test]
    fn an_id_leads_to_its_cgroup() {
        let Ok(root) = AttachPoint::find(None) else {
            return;
        };
        match path_of(root.directory(), root.id) {
            Ok(path) => assert_eq!(path, root.path),
            // Without the right to open files by their handle.
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied),
        }
        assert!(path_of(root.directory(), u64::MAX).is_err());
    }
}
