//! Files to bytes, within bounds.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::lexer::Symbols;

/// Most bytes that a profile may have, included files counted.
pub const MAX_BYTES: usize = 64 << 20;

/// A file as an [`Opener`] hands it over.
pub struct OpenedFile {
    /// What tells the file from others whatever path leads to it.
    pub identity: PathBuf,
    /// All its bytes.
    pub bytes: Contents,
}

/// What a file holds: one copy for all who keep it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// UTF-8.
    Text(Arc<str>),
    /// Anything else.
    Other(Arc<[u8]>),
}

impl From<Vec<u8>> for Contents {
    fn from(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::Text(text.into()),
            Err(error) => Self::Other(error.into_bytes().into()),
        }
    }
}

impl Deref for Contents {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Other(bytes) => bytes,
        }
    }
}

/// Opens the files of a profile. What may be read as policy (owner, mode,
/// folder) is decided by whoever implements this.
pub trait Opener {
    /// Opens `path` once and reads all of it.
    fn open(&self, path: &Path) -> Result<OpenedFile, ReadError>;
}

/// Opens any file that the process may read.
pub struct AnyFile;

impl Opener for AnyFile {
    fn open(&self, path: &Path) -> Result<OpenedFile, ReadError> {
        let file = File::open(path).map_err(|error| ReadError::from_io(path, error))?;
        let bytes = read_bounded(path, file)?.into();
        let identity = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        Ok(OpenedFile { identity, bytes })
    }
}

/// All bytes of `file`, which was opened at `path`; at most [`MAX_BYTES`].
pub fn read_bounded(path: &Path, file: impl Read) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    file.take(MAX_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| ReadError::from_io(path, error))?;
    if bytes.len() > MAX_BYTES {
        let path = path.to_owned();
        return Err(ReadError::TooLarge { path });
    }
    Ok(bytes)
}

/// Why a file can't be read; one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such file.
    #[error("{} does not exist; check the path", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It is a directory.
    #[error("{} is a directory; name the file in it", path.display())]
    Directory {
        /// The file.
        path: PathBuf,
    },
    /// This user may not read it.
    #[error("{} may not be read by this user; run as root or change its mode", path.display())]
    Denied {
        /// The file.
        path: PathBuf,
    },
    /// It is larger than any profile.
    #[error("{} is larger than {} MiB; it can't be a profile, check the path", path.display(), MAX_BYTES >> 20)]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Somebody is at it.
    #[error("{} is being written by another process; try again when it is saved, and write it under another name and rename it to have it whole at any time", path.display())]
    BeingWritten {
        /// The file.
        path: PathBuf,
    },
    /// It is not trusted.
    #[error("{} is not read as policy: {why}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// Anything else.
    #[error("{} can't be read: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
}

impl ReadError {
    /// What went wrong with `path`.
    pub fn from_io(path: &Path, cause: io::Error) -> Self {
        let path = path.to_owned();
        match cause.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Missing { path },
            io::ErrorKind::IsADirectory => Self::Directory { path },
            io::ErrorKind::PermissionDenied => Self::Denied { path },
            _ => Self::Io { path, cause },
        }
    }
}

/// How to read a profile.
pub struct ReadOptions<'a> {
    /// Warn of what z/OS would not accept.
    pub strict: bool,
    /// System symbols; `None` leaves `&` alone.
    pub symbols: Option<&'a Symbols>,
    /// Opens the profile and what it includes.
    pub opener: &'a dyn Opener,
}

impl Default for ReadOptions<'_> {
    fn default() -> Self {
        Self {
            strict: false,
            symbols: None,
            opener: &AnyFile,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let missing = AnyFile.open(&folder.path().join("none")).err().unwrap();
        assert!(
            missing
                .to_string()
                .ends_with("does not exist; check the path")
        );
        let directory = AnyFile.open(folder.path()).err().unwrap();
        assert!(
            matches!(directory, ReadError::Directory { .. }),
            "{directory}"
        );
    }

    #[test]
    fn endless_files_are_refused() {
        let endless = AnyFile.open(Path::new("/dev/zero")).err().unwrap();
        assert!(matches!(endless, ReadError::TooLarge { .. }), "{endless}");
    }
}
