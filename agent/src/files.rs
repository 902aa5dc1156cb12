//! Files that are read as policy: whoever may write one decides who may bind.
//!
//! Root reads a profile or config only if nobody else may write the file or swap
//! it for another by writing its folder. Each file is opened once, and what was
//! read is hashed, so that what is in force can be compared with what is there.

mod lease;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    libc,
    sys::statvfs::{FsFlags, statvfs},
    unistd::geteuid,
};
use sha2::{Digest as _, Sha256};

use crate::profile::read::{Contents, OpenedFile, Opener, ReadError, read_bounded};

/// How long a file may be being written before it is an error: some save a file in many
/// small steps.
const PATIENCE: Duration = Duration::from_secs(1);

/// SHA-256 of a file's bytes.
pub type Hash = [u8; 32];

/// A hash as hexadecimal digits.
pub fn hex(hash: &Hash) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// One hash that stands for several.
pub fn combined(hashes: impl IntoIterator<Item = Hash>) -> Hash {
    let mut all = Sha256::new();
    for hash in hashes {
        all.update(hash);
    }
    all.finalize().into()
}

/// A file that was read, and what it held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadFile {
    /// As it was named.
    pub path: PathBuf,
    /// Of its bytes.
    pub hash: Hash,
    /// What tells it from other files, whatever path leads to it.
    identity: PathBuf,
    bytes: Contents,
}

impl ReadFile {
    /// A file that held `bytes` when it was read.
    pub fn new(path: PathBuf, identity: PathBuf, bytes: Vec<u8>) -> Self {
        Self {
            path,
            hash: Sha256::digest(&bytes).into(),
            identity,
            bytes: bytes.into(),
        }
    }

    /// What tells it from other files, whatever path leads to it.
    pub fn identity(&self) -> &Path {
        &self.identity
    }

    /// What it held.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the file holds something else now, or can't be read.
    pub fn differs(&self) -> bool {
        fs::read(&self.path).map_or(true, |bytes| Hash::from(Sha256::digest(bytes)) != self.hash)
    }
}

/// What files held when they were to be read: the hash, or `None` if they were not to be
/// had. By the paths that they were asked for by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen(BTreeMap<PathBuf, Option<Hash>>);

impl Seen {
    /// The paths.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.keys().map(PathBuf::as_path)
    }

    /// Whether there is no such file any more. From now on that is what was seen.
    pub fn misses(&mut self, path: &Path) -> bool {
        let is_missing = fs::metadata(path).is_err();
        if is_missing {
            self.0.insert(path.to_owned(), None);
        }
        is_missing
    }

    /// Whether the files hold the same now, or still can't be had.
    pub fn is_current(&self, trust: Trust) -> bool {
        self.0
            .iter()
            .all(|(path, hash)| from_disk(path, trust).ok().map(|file| file.hash) == *hash)
    }
}

impl<'f> Extend<&'f ReadFile> for Seen {
    fn extend<I: IntoIterator<Item = &'f ReadFile>>(&mut self, files: I) {
        let files = files.into_iter();
        self.0
            .extend(files.map(|file| (file.path.clone(), Some(file.hash))));
    }
}

/// Whether the files' writers matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// They become policy: others may not be able to write them.
    Policy,
    /// They are only looked at.
    Inspection,
}

/// Opens files and remembers what was read.
pub struct PolicyFiles<'a> {
    from: Origin<'a>,
    read: RefCell<Vec<ReadFile>>,
    seen: Option<&'a RefCell<Seen>>,
}

/// Where the bytes come from.
enum Origin<'a> {
    Disk(Trust),
    Memory(&'a [ReadFile]),
}

impl<'a> PolicyFiles<'a> {
    /// Nothing read yet.
    pub fn new(trust: Trust) -> Self {
        Self {
            from: Origin::Disk(trust),
            read: RefCell::new(Vec::new()),
            seen: None,
        }
    }

    /// The same, noting in `seen` which files are asked for and what they hold.
    pub fn noting(trust: Trust, seen: &'a RefCell<Seen>) -> Self {
        Self {
            seen: Some(seen),
            ..Self::new(trust)
        }
    }

    /// Files as they were when they were read before, whatever is there now. No
    /// other file exists.
    pub fn again(files: &'a [ReadFile]) -> Self {
        Self {
            from: Origin::Memory(files),
            read: RefCell::new(Vec::new()),
            seen: None,
        }
    }

    /// What was read, in order.
    pub fn into_read(self) -> Vec<ReadFile> {
        self.read.into_inner()
    }
}

impl Opener for PolicyFiles<'_> {
    fn open(&self, path: &Path) -> Result<OpenedFile, ReadError> {
        let file = match self.from {
            Origin::Disk(trust) => {
                let file = from_disk(path, trust);
                if let Some(seen) = self.seen {
                    let hash = file.as_ref().ok().map(|file| file.hash);
                    seen.borrow_mut().0.insert(path.to_owned(), hash);
                }
                file?
            }
            Origin::Memory(files) => {
                let known = files.iter().find(|file| file.path == path);
                known
                    .cloned()
                    .ok_or_else(|| ReadError::Missing { path: path.into() })?
            }
        };
        let opened = OpenedFile {
            identity: file.identity.clone(),
            bytes: file.bytes.clone(),
        };
        self.read.borrow_mut().push(file);
        Ok(opened)
    }
}

/// Reads a file when nobody is writing it: half a policy can look like a whole one.
fn from_disk(path: &Path, trust: Trust) -> Result<ReadFile, ReadError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match at_this_moment(path, trust) {
            Err(ReadError::BeingWritten { .. }) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            read => return read,
        }
    }
}

fn at_this_moment(path: &Path, trust: Trust) -> Result<ReadFile, ReadError> {
    let resolved = path
        .canonicalize()
        .map_err(|error| ReadError::from_io(path, error))?;
    // Not to be held up by a FIFO; a regular file doesn't care.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(&resolved)
        .map_err(|error| ReadError::from_io(path, error))?;
    let metadata = file
        .metadata()
        .map_err(|error| ReadError::from_io(path, error))?;
    if metadata.is_dir() {
        return Err(ReadError::Directory { path: path.into() });
    }
    if !metadata.is_file() {
        return Err(refused(path, "it is not a regular file".into()));
    }
    if trust == Trust::Policy {
        check(path, &resolved, &metadata)?;
    }
    let being_written = || ReadError::BeingWritten { path: path.into() };
    let lease = lease::take(&file).map_err(|lease::Written| being_written())?;
    let bytes = read_bounded(path, &file)?;
    drop(lease);
    // Where there are no leases, this is what can be seen of a writer.
    let after = file
        .metadata()
        .map_err(|error| ReadError::from_io(path, error))?;
    if stamp(&metadata) != stamp(&after) {
        return Err(being_written());
    }
    Ok(ReadFile::new(path.into(), resolved, bytes))
}

/// What a write changes.
fn stamp(metadata: &fs::Metadata) -> (u64, i64, i64) {
    (metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

fn refused(path: &Path, why: String) -> ReadError {
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
fn check(path: &Path, resolved: &Path, metadata: &fs::Metadata) -> Result<(), ReadError> {
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn open(path: &Path) -> Result<OpenedFile, ReadError> {
        PolicyFiles::new(Trust::Policy).open(path)
    }

    #[test]
    fn what_others_may_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        mode(folder.path(), 0o755);
        let file = folder.path().join("profile");
        fs::write(&file, "PORT\n").unwrap();
        mode(&file, 0o644);
        assert_eq!(*open(&file).unwrap().bytes, *b"PORT\n");
        mode(&file, 0o664);
        assert!(open(&file).is_err());
        mode(&file, 0o602);
        assert!(open(&file).is_err());
        assert!(PolicyFiles::new(Trust::Inspection).open(&file).is_ok());
    }

    #[test]
    fn a_folder_that_others_may_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("profile");
        fs::write(&file, "").unwrap();
        mode(&file, 0o644);
        mode(folder.path(), 0o777);
        assert!(open(&file).is_err());
        mode(folder.path(), 0o1777);
        assert!(open(&file).is_ok(), "a sticky folder protects root's files");
    }

    #[test]
    fn a_symlink_is_judged_at_both_ends() {
        let folder = tempfile::tempdir().unwrap();
        mode(folder.path(), 0o755);
        let (safe, open_to_all) = (folder.path().join("safe"), folder.path().join("open"));
        fs::create_dir(&safe).unwrap();
        fs::create_dir(&open_to_all).unwrap();
        mode(&safe, 0o755);
        fs::write(safe.join("profile"), "").unwrap();
        mode(&safe.join("profile"), 0o644);
        symlink(safe.join("profile"), open_to_all.join("link")).unwrap();
        mode(&open_to_all, 0o755);
        assert!(open(&open_to_all.join("link")).is_ok());
        mode(&open_to_all, 0o777);
        assert!(open(&open_to_all.join("link")).is_err());
    }

    #[test]
    fn a_changed_file_differs() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("profile");
        fs::write(&file, "a").unwrap();
        let files = PolicyFiles::new(Trust::Inspection);
        files.open(&file).unwrap();
        let read = files.into_read();
        assert!(!read[0].differs());
        fs::write(&file, "b").unwrap();
        assert!(read[0].differs());
        fs::remove_file(&file).unwrap();
        assert!(read[0].differs());
    }

    /// What is in force can be read again when the files are others, or gone.
    #[test]
    fn what_was_read_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let (file, other) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&file, "old").unwrap();
        let files = PolicyFiles::new(Trust::Inspection);
        let first = files.open(&file).unwrap();
        let read = files.into_read();
        fs::write(&file, "new").unwrap();
        fs::write(&other, "new").unwrap();
        let files = PolicyFiles::again(&read);
        let again = files.open(&file).unwrap();
        assert_eq!((again.bytes, again.identity), (first.bytes, first.identity));
        let missing = files.open(&other).err();
        assert!(matches!(missing, Some(ReadError::Missing { .. })));
        assert_eq!(files.into_read(), read);
    }

    /// Half a file is not read, also if it doesn't change for a while.
    #[test]
    fn a_file_that_is_being_written_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("profile");
        fs::write(&path, "PORT 21 TCP FTPD1\n").unwrap();
        let writer = File::options().append(true).open(&path).unwrap();
        let read = || from_disk(&path, Trust::Inspection);
        let refused = read().err().map(|error| error.to_string());
        assert!(refused.is_some_and(|text| text.contains("being written")));
        drop(writer);
        assert_eq!(read().unwrap().bytes(), b"PORT 21 TCP FTPD1\n");
        // Who only reads is no obstacle, nor is the reading itself.
        let _reader = File::open(&path).unwrap();
        assert!(read().is_ok() && read().is_ok());
        let new = folder.path().join("new");
        fs::write(&new, "").unwrap();
        fs::rename(new, &path).unwrap();
        assert_eq!(read().unwrap().bytes(), b"");
    }

    #[test]
    fn special_files_are_refused_at_once() {
        assert!(matches!(
            open(Path::new("/dev/null")),
            Err(ReadError::Refused { .. })
        ));
        assert!(matches!(
            open(Path::new("/dev")),
            Err(ReadError::Directory { .. })
        ));
    }
}
