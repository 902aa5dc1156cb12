//! The files that definitions of jobs name, kept open.
//!
//! A file that is open can't be freed, so its inode is nobody else's as long as the
//! policy names it. Open for the path only (`O_PATH`), it hinders nobody: it can be
//! written, replaced and removed, but its file system can't be unmounted.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt, fs,
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use nix::{
    libc,
    sys::resource::{Resource, getrlimit, setrlimit},
};
use portreeve_common::abi::jobs::MAX_EXES;

use super::identify::Identifier;
use crate::policy::identity::exes::{Inode, Inodes};

/// How long a file that was replaced stays known if nobody is seen to run it: it may
/// just be being started.
const LINGER: Duration = Duration::from_secs(2);

/// Descriptors that the agent needs besides those of executables.
const OTHERS: u64 = 1024;

/// Lets this process have as many files open as there can be executables, as far as
/// its hard limit goes; what is beyond it says itself when it can't be opened.
pub fn make_room() {
    let wanted = u64::from(MAX_EXES) + OTHERS;
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < wanted
        && let Err(errno) = setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard)
    {
        log::warn!("the limit of open files can't be raised: {errno}");
    }
}

/// What the kernel appends to the path of a running file that was removed.
const DELETED: &str = " (deleted)";

/// Device and number by `stat`. While the files are open, equal for the same one only.
type StatKey = (u64, u64);

/// A file, open for its path.
#[derive(Debug)]
struct Held {
    inode: Inode,
    stat: StatKey,
    _file: File,
}

impl Held {
    fn open(path: &Path, identifier: &Identifier) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH)
            .open(path)?;
        Ok(Self {
            inode: identifier.inode(&file)?,
            stat: stat_key(&file.metadata()?),
            _file: file,
        })
    }
}

fn stat_key(metadata: &fs::Metadata) -> StatKey {
    (metadata.dev(), metadata.ino())
}

/// What one path leads to.
#[derive(Clone, Debug)]
struct Found {
    now: Result<Arc<Held>, Missing>,
    /// Files that it led to before, and since when it doesn't.
    former: Vec<(Arc<Held>, Instant)>,
}

impl Found {
    fn inodes(&self) -> impl Iterator<Item = &Arc<Held>> {
        let former = self.former.iter().map(|(held, _)| held);
        self.now.iter().chain(former)
    }
}

/// Why a path leads nowhere.
#[derive(Clone, Debug)]
struct Missing {
    kind: io::ErrorKind,
    message: String,
}

/// What the paths of a policy lead to, and what they led to before as long as it runs.
#[derive(Clone, Debug, Default)]
pub struct Executables {
    files: BTreeMap<PathBuf, Found>,
}

impl Executables {
    /// Looks at `paths` after `before`.
    pub fn look<'p>(
        identifier: &Identifier,
        paths: impl IntoIterator<Item = &'p Path>,
        before: &Self,
    ) -> Self {
        let mut running = Running::default();
        let mut look = |path: &Path| {
            let now = Held::open(path, identifier);
            let mut former = Vec::new();
            let mut now = now.map(Arc::new).map_err(|error| Missing {
                kind: error.kind(),
                message: error.to_string(),
            });
            if let Some(before) = before.files.get(path) {
                former.clone_from(&before.former);
                match (&mut now, &before.now) {
                    (Ok(new), Ok(old)) if new.inode == old.inode => *new = Arc::clone(old),
                    (_, Ok(old)) => former.push((Arc::clone(old), Instant::now())),
                    (_, Err(_)) => {}
                }
            }
            let inode = now.as_ref().ok().map(|held| held.inode);
            former.retain(|(held, since)| {
                Some(held.inode) != inode && (since.elapsed() < LINGER || running.has(held.stat))
            });
            Found { now, former }
        };
        let paths = paths.into_iter().collect::<BTreeSet<_>>();
        let files = paths.into_iter().map(|path| (path.to_owned(), look(path)));
        Self {
            files: files.collect(),
        }
    }

    /// The files among `known` that processes run and that were removed or replaced
    /// on one of `paths`: what an agent that starts doesn't know of itself.
    pub fn recover<'p>(
        identifier: &Identifier,
        paths: impl IntoIterator<Item = &'p Path>,
        known: &HashSet<Inode>,
    ) -> Self {
        let mut found = Self::default();
        if known.is_empty() {
            return found;
        }
        let paths: Vec<(&Path, PathBuf)> = paths
            .into_iter()
            .map(|path| (path, resolved(path)))
            .collect();
        for link in running_files() {
            let Ok(text) = fs::read_link(&link) else {
                continue;
            };
            let text = text.to_string_lossy();
            let Some(was) = text.strip_suffix(DELETED).map(Path::new) else {
                continue;
            };
            for (path, _) in paths.iter().filter(|(_, resolved)| resolved == was) {
                // The text alone proves nothing: any file can have been at that path,
                // seen from somewhere.
                let held = Held::open(&link, identifier);
                let Some(held) = held.ok().filter(|held| known.contains(&held.inode)) else {
                    continue;
                };
                let file = found.files.entry((*path).to_owned());
                let file = file.or_insert_with(|| Found {
                    now: Err(Missing {
                        kind: io::ErrorKind::NotFound,
                        message: String::new(),
                    }),
                    former: Vec::new(),
                });
                if file
                    .former
                    .iter()
                    .all(|(other, _)| other.inode != held.inode)
                {
                    file.former.push((Arc::new(held), Instant::now()));
                }
            }
        }
        found
    }

    /// The path of a definition that `file` is, or was, the file of.
    pub fn path_of(&self, file: &Path) -> Option<&Path> {
        let stat = stat_key(&fs::metadata(file).ok()?);
        let is_it = |found: &Found| found.inodes().any(|held| held.stat == stat);
        let mut files = self.files.iter();
        files.find_map(|(path, found)| is_it(found).then_some(path.as_path()))
    }

    /// What is different from `before`; nothing if its inodes are the same.
    pub fn changes_since(&self, before: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        for (path, found) in &self.files {
            let Some(before) = before.files.get(path) else {
                continue;
            };
            let mut add = |what| {
                let path = path.clone();
                changes.push(Change { path, what });
            };
            match (&before.now, &found.now) {
                (Ok(old), Ok(new)) if old.inode == new.inode => {}
                (Ok(_), Ok(_)) => add(What::Replaced),
                (Ok(_), Err(why)) => add(What::Gone(why.message.clone())),
                (Err(_), Ok(_)) => add(What::Appeared),
                (Err(_), Err(_)) => {}
            }
            let inodes: HashSet<Inode> = found.inodes().map(|held| held.inode).collect();
            if before
                .former
                .iter()
                .any(|(old, _)| !inodes.contains(&old.inode))
            {
                add(What::Ended);
            }
        }
        changes
    }
}

impl Inodes for Executables {
    fn of(&self, path: &Path) -> io::Result<Vec<Inode>> {
        let Some(found) = self.files.get(path) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        match &found.now {
            Err(missing) if found.former.is_empty() => {
                Err(io::Error::new(missing.kind, missing.message.clone()))
            }
            _ => Ok(found.inodes().map(|held| held.inode).collect()),
        }
    }
}

/// Something that happened to an executable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    path: PathBuf,
    what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Replaced,
    Gone(String),
    Appeared,
    Ended,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.what {
            What::Replaced => write!(
                f,
                "the executable {path} was replaced: the new file is recognised, and the former one as long as it runs"
            ),
            What::Gone(why) => write!(
                f,
                "the executable {path} is gone ({why}): the former file is recognised as long as it runs"
            ),
            What::Appeared => write!(f, "the executable {path} is there now"),
            What::Ended => write!(f, "a former file of the executable {path} runs no more"),
        }
    }
}

/// The files that processes run, looked up when first asked for.
#[derive(Default)]
struct Running(Option<HashSet<StatKey>>);

impl Running {
    fn has(&mut self, stat: StatKey) -> bool {
        let all = || {
            let files = running_files().filter_map(|link| fs::metadata(link).ok());
            files.map(|metadata| stat_key(&metadata)).collect()
        };
        self.0.get_or_insert_with(all).contains(&stat)
    }
}

/// `/proc/PID/exe` of every process.
fn running_files() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter(|entry| {
        let name = entry.file_name();
        name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
    });
    processes.map(|entry| entry.path().join("exe"))
}

/// `path` without links, also if there is no such file.
fn resolved(path: &Path) -> PathBuf {
    if let Ok(resolved) = fs::canonicalize(path) {
        return resolved;
    }
    let folder = path
        .parent()
        .and_then(|folder| fs::canonicalize(folder).ok());
    match (folder, path.file_name()) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}
