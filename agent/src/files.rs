//! Files that are read as policy: whoever may write one decides who may bind.
//!
//! Root reads a profile or config only if nobody else may write the file or swap
//! it for another by writing its folder. Each file is opened once, and what was
//! read is hashed, so that what is in force can be compared with what is there.

mod lease;
#[cfg(test)]
mod tests;
mod trust;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use nix::libc;
use sha2::{Digest as _, Sha256};

pub use self::trust::Trust;
pub(crate) use self::trust::writable_by_others;
use self::trust::{check, refused};
use crate::diagnostics::Forgotten;
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

/// The hash that [`hex`] has written.
pub fn unhex(text: &str) -> Option<Hash> {
    let digits: Vec<u32> = text
        .chars()
        .map(|c| c.to_digit(16))
        .collect::<Option<_>>()?;
    let bytes = digits
        .chunks(2)
        .map(|pair| Some((pair[0] << 4 | pair.get(1)?) as u8));
    bytes.collect::<Option<Vec<u8>>>()?.try_into().ok()
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
    /// Of the bytes that were read.
    pub hash: Hash,
    /// What tells it from other files, whatever path leads to it.
    identity: PathBuf,
    bytes: Contents,
    /// The hash of `bytes`, where they have lost secrets.
    kept: Option<Hash>,
}

impl ReadFile {
    /// A file that held `bytes` when it was read.
    pub fn new(path: PathBuf, identity: PathBuf, bytes: Vec<u8>) -> Self {
        Self {
            path,
            hash: Sha256::digest(&bytes).into(),
            identity,
            bytes: bytes.into(),
            kept: None,
        }
    }

    /// A file of which these `bytes` were kept; when it was read, `hash` was its hash.
    pub fn kept_of(path: PathBuf, identity: PathBuf, hash: Hash, bytes: Vec<u8>) -> Self {
        let kept = Self::new(path, identity, bytes);
        Self {
            hash,
            kept: (kept.hash != hash).then_some(kept.hash),
            ..kept
        }
    }

    /// Loses what is secret in it.
    pub fn forget(&mut self, forgotten: &[Forgotten]) {
        let bytes: Contents = match &self.bytes {
            Contents::Text(text) => {
                let own = |one: &&Forgotten| Arc::ptr_eq(&one.before, text);
                let Some(own) = forgotten.iter().find(own) else {
                    return;
                };
                Contents::Text(Arc::clone(&own.after))
            }
            Contents::Other(bytes) => {
                let own = |one: &&Forgotten| one.path == self.path;
                let Some(own) = forgotten.iter().find(own) else {
                    return;
                };
                without_secrets(bytes, own.after.as_bytes()).into()
            }
        };
        self.kept = Some(Sha256::digest(&*bytes).into());
        self.bytes = bytes;
    }

    /// The hash of [`Self::bytes`]; that of the file, unless it had secrets.
    pub fn kept_hash(&self) -> Hash {
        self.kept.unwrap_or(self.hash)
    }

    /// What tells it from other files, whatever path leads to it.
    pub fn identity(&self) -> &Path {
        &self.identity
    }

    /// What it held, but for secrets.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the file holds something else now, or can't be read.
    pub fn differs(&self) -> bool {
        fs::read(&self.path).map_or(true, |bytes| Hash::from(Sha256::digest(bytes)) != self.hash)
    }
}

/// `bytes`, which are no text, as `shown` has them: a text in which a replacement character
/// stands for each stretch that is none, and stars for secrets.
fn without_secrets(bytes: &[u8], shown: &[u8]) -> Vec<u8> {
    let replacement = char::REPLACEMENT_CHARACTER.to_string();
    let mut kept = Vec::with_capacity(bytes.len());
    let mut shown = shown.iter().copied();
    for chunk in bytes.utf8_chunks() {
        kept.extend(shown.by_ref().take(chunk.valid().len()));
        if chunk.invalid().is_empty() {
            continue;
        }
        let instead: Vec<u8> = shown.by_ref().take(replacement.len()).collect();
        match instead == replacement.as_bytes() {
            true => kept.extend(chunk.invalid()),
            false => kept.extend(instead),
        }
    }
    kept
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
