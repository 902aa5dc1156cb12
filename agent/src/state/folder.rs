//! The folder's files: who may have them, and how one takes the place of another.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use super::StateError;

/// Takes the folder for this agent.
pub(super) fn lock(folder: &Path) -> Result<Flock<File>, StateError> {
    let failed = |error| io_error("open the state folder", folder, error);
    let directory = File::open(folder).map_err(failed)?;
    Flock::lock(directory, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => StateError::InUse {
            path: folder.into(),
        },
        errno => io_error("lock the state folder", folder, errno.into()),
    })
}

/// Who writes there decides who may bind.
pub(super) fn check(folder: &Path) -> Result<(), StateError> {
    let metadata = fs::metadata(folder).map_err(|error| io_error("look at", folder, error))?;
    let why = if metadata.uid() != nix::unistd::geteuid().as_raw() {
        format!("it belongs to user {}", metadata.uid())
    } else if metadata.mode() & 0o022 != 0 {
        format!(
            "its mode {:04o} lets others write",
            metadata.mode() & 0o7777
        )
    } else {
        return Ok(());
    };
    let path = folder.into();
    Err(StateError::NotTrusted { path, why })
}

/// Where the file is written that takes the place of `path`.
pub(super) fn beside(path: &Path) -> PathBuf {
    path.with_added_extension("new")
}

/// Puts `bytes` in the place of what is at `path`, all or nothing.
pub(super) fn replace(path: &Path, bytes: &[u8], sync: bool) -> Result<(), StateError> {
    let new = beside(path);
    let write = || -> io::Result<()> {
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(bytes)?;
        if sync {
            file.sync_data()?;
        }
        fs::rename(&new, path)
    };
    write().map_err(|error| {
        // Room for others, on a disk that is full.
        let _ = fs::remove_file(&new);
        io_error("write", path, error)
    })
}

pub(super) fn io_error(what: &'static str, path: &Path, source: io::Error) -> StateError {
    let path = path.into();
    StateError::Io { what, path, source }
}
