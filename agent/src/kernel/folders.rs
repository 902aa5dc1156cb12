//! The folders in which a change can make a path lead to another file, or one that holds
//! something else.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    ffi::OsString,
    fs, io,
    os::fd::{AsFd as _, AsRawFd, RawFd},
    path::{Component, Path, PathBuf},
};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::io::unix::AsyncFd;

use super::stream;

/// Links on one path that are followed, as in the kernel.
const MAX_LINKS: u32 = 40;

/// What is to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// That a name comes, goes or becomes another file's.
    Names,
    /// The same, and that a file is written to or made another user's.
    Contents,
}

impl What {
    fn events(self) -> AddWatchFlags {
        let names = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF;
        match self {
            Self::Names => names,
            // Who still writes is told of too, not to be taken for done.
            Self::Contents => {
                names
                    | AddWatchFlags::IN_MODIFY
                    | AddWatchFlags::IN_CLOSE_WRITE
                    | AddWatchFlags::IN_ATTRIB
            }
        }
    }
}

/// Tells when something happens to a name in a folder, or to what it is of.
#[derive(Debug)]
pub struct Folders {
    what: What,
    inotify: AsyncFd<Descriptor>,
    names: RefCell<HashMap<WatchDescriptor, BTreeSet<OsString>>>,
}

#[derive(Debug)]
struct Descriptor(Inotify);

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Folders {
    /// Watches nothing yet.
    ///
    /// # Errors
    ///
    /// `EMFILE` if the user has as many as `fs.inotify.max_user_instances` allows.
    pub fn new(what: What) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        Ok(Self {
            what,
            inotify: stream::watched(Descriptor(inotify))?,
            names: RefCell::default(),
        })
    }

    /// Watches what `paths` depend on now, and nothing else.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if `fs.inotify.max_user_watches` is reached. What could be watched is.
    pub fn watch<'p>(&self, paths: impl IntoIterator<Item = &'p Path>) -> io::Result<()> {
        let mut wanted: BTreeMap<PathBuf, BTreeSet<OsString>> = BTreeMap::new();
        for (folder, name) in paths.into_iter().flat_map(places) {
            wanted.entry(folder).or_default().insert(name);
        }
        let inotify = &self.inotify.get_ref().0;
        let events = self.what.events() | AddWatchFlags::IN_ONLYDIR;
        let mut watched: HashMap<WatchDescriptor, BTreeSet<OsString>> = HashMap::new();
        let mut result = Ok(());
        for (folder, names) in wanted {
            match inotify.add_watch(&folder, events) {
                // Two paths can be one folder.
                Ok(watch) => watched.entry(watch).or_default().extend(names),
                Err(errno) => result = Err(errno.into()),
            }
        }
        let before = self.names.replace(watched);
        let watched = self.names.borrow();
        for watch in before.keys().filter(|watch| !watched.contains_key(watch)) {
            // The folder may be gone, and its watch with it.
            let _ = inotify.rm_watch(*watch);
        }
        result
    }

    /// Returns when something happened to one of the names.
    ///
    /// # Errors
    ///
    /// If the kernel can't be asked any more.
    pub async fn changed(&self) -> io::Result<()> {
        loop {
            let mut ready = self.inotify.readable().await?;
            if self.take()? {
                return Ok(());
            }
            ready.clear_ready();
        }
    }

    /// Takes what was told so far: whether some of it matters.
    ///
    /// # Errors
    ///
    /// If the kernel can't be asked any more.
    pub fn take(&self) -> io::Result<bool> {
        let mut matters = false;
        loop {
            match self.inotify.get_ref().0.read_events() {
                Ok(events) => matters |= events.iter().any(|event| self.matters(event)),
                Err(nix::errno::Errno::EAGAIN) => return Ok(matters),
                Err(nix::errno::Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    fn matters(&self, event: &InotifyEvent) -> bool {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            return true;
        }
        let names = self.names.borrow();
        let Some(names) = names.get(&event.wd) else {
            return false;
        };
        // Without a name it is the folder itself.
        event.name.as_ref().is_none_or(|name| names.contains(name))
    }
}

/// The folders, without links, that decide where `path` leads, each with the name
/// in it that does: those of links on the way and that of the file; if something is
/// missing, the folder in which it is.
fn places(path: &Path) -> Vec<(PathBuf, OsString)> {
    let mut places = Vec::new();
    let mut folder = PathBuf::from("/");
    let mut names: VecDeque<OsString> = names(path).collect();
    let mut links = 0;
    while let Some(name) = names.pop_front() {
        if name == ".." {
            folder.pop();
            continue;
        }
        let place = folder.join(&name);
        let found = fs::symlink_metadata(&place);
        if found.as_ref().is_ok_and(|file| file.is_dir()) && !names.is_empty() {
            folder = place;
            continue;
        }
        places.push((folder.clone(), name));
        links += 1;
        let target = match found {
            Ok(file) if file.is_symlink() && links <= MAX_LINKS => fs::read_link(&place),
            _ => break,
        };
        let Ok(target) = target else { break };
        if target.is_absolute() {
            folder = PathBuf::from("/");
        }
        for name in self::names(&target).rev() {
            names.push_front(name);
        }
    }
    places
}

fn names(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Every link on the way, and the first thing that is missing.
    #[test]
    fn places_are_where_a_change_matters() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        let at = |name: &str| root.join(name);
        fs::create_dir_all(at("v1/bin")).unwrap();
        fs::write(at("v1/bin/server"), "").unwrap();
        symlink("v1", at("current")).unwrap();
        symlink(at("current/bin/../bin/server"), at("server")).unwrap();
        symlink("circle", at("circle")).unwrap();
        let found = |path: &str| -> Vec<(PathBuf, String)> {
            let places = places(&at(path)).into_iter();
            let text = |name: OsString| name.into_string().unwrap();
            places.map(|(folder, name)| (folder, text(name))).collect()
        };
        let is = |folder: &str, name: &str| (at(folder), name.to_owned());
        let is_here = |name: &str| (root.clone(), name.to_owned());
        assert_eq!(found("v1/bin/server"), [is("v1/bin", "server")]);
        let all = [
            is_here("server"),
            is_here("current"),
            is("v1/bin", "server"),
        ];
        assert_eq!(found("server"), all);
        assert_eq!(found("v1/sbin/deep/server"), [is("v1", "sbin")]);
        assert_eq!(found("v1/bin/server/not"), [is("v1/bin", "server")]);
        assert_eq!(found("circle").len() as u32, MAX_LINKS + 1);
    }
}
