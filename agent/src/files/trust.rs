//! Who besides us could write a file that becomes policy.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use nix::{
    sys::statvfs::{FsFlags, statvfs},
    unistd::geteuid,
};

use crate::profile::read::ReadError;

/// Whether the files' writers matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// They become policy: others may not be able to write them.
    Policy,
    /// They are only looked at.
    Inspection,
}

pub(super) fn refused(path: &Path, why: String) -> ReadError {
    ReadError::Refused {
        path: path.into(),
        why,
    }
}

/// Refuses a file that others may write or replace.
///
/// On a mount that is read-only for us only the resolved folder counts: a
/// Kubernetes ConfigMap volume is a 0777 folder of symlinks into a dated one
/// that is root's.
pub(super) fn check(
    path: &Path,
    resolved: &Path,
    metadata: &fs::Metadata,
) -> Result<(), ReadError> {
    if let Some(why) = writable_by_others(metadata) {
        return Err(refused(
            path,
            format!("{why}; make it root's with mode 0644"),
        ));
    }
    let read_only = statvfs(resolved).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_RDONLY));
    let named = if path.is_absolute() {
        path.to_owned()
    } else {
        Path::new(".").join(path)
    };
    let folders = [
        resolved.parent(),
        if read_only { None } else { named.parent() },
    ];
    for folder in folders.into_iter().flatten() {
        let metadata = fs::metadata(folder).map_err(|error| ReadError::from_io(path, error))?;
        if let Some(why) = writable_by_others(&metadata) {
            return Err(refused(
                path,
                format!(
                    "its folder {} could be used to replace it: {why}; make the folder root's with mode 0755",
                    folder.display()
                ),
            ));
        }
    }
    Ok(())
}

/// Who besides us may write a file or folder; `None` if nobody.
pub(crate) fn writable_by_others(metadata: &fs::Metadata) -> Option<String> {
    let owner = metadata.uid();
    let mode = metadata.mode();
    if owner != 0 && owner != geteuid().as_raw() && Some(owner) != sudo_user() {
        return Some(format!("it belongs to user {owner}"));
    }
    // In a sticky folder only the owner of a file may replace it.
    let sticky_folder = metadata.is_dir() && mode & 0o1000 != 0;
    if mode & 0o022 != 0 && !sticky_folder {
        return Some(format!("its mode {:04o} lets others write", mode & 0o7777));
    }
    None
}

/// The user who became root by sudo to start us. He has root already; refusing
/// his files would only make him copy them.
fn sudo_user() -> Option<u32> {
    std::env::var("SUDO_UID").ok()?.parse().ok()
}
