//! The bpffs directory that holds everything: `links/NAME`, and maps as
//! `maps-LAYOUT/NAME` or, what all layouts share, `shared/NAME`.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use portreeve_common::abi::{ABI_VERSION, names};

use super::{
    KernelError,
    map_set::{MapSet, Other, remove_folder},
};

/// Where an agent's pins are unless it is told otherwise.
pub const DEFAULT: &str = "/sys/fs/bpf/portreeve";

/// The folder of the links.
const LINKS: &str = "links";
/// The folder of [`names::SHARED_MAPS`].
const SHARED: &str = "shared";

/// One agent's directory of pins. It need not exist.
#[derive(Clone, Debug)]
pub struct Pins {
    base: PathBuf,
}

/// The right to change the pins; held by a running agent, gone with its process.
#[derive(Debug)]
pub struct Lock {
    directory: Flock<File>,
}

impl Lock {
    /// Whether it is on the directory that is at `path` now, not on one that was removed.
    pub fn is_on(&self, path: &Path) -> bool {
        let (Ok(held), Ok(there)) = (self.directory.metadata(), fs::metadata(path)) else {
            return false;
        };
        (held.dev(), held.ino()) == (there.dev(), there.ino())
    }
}

/// What a starting agent finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing, or what a killed agent left before anything was in force.
    Nothing,
    /// A complete set of this agent's layout.
    Complete,
    /// A policy is in force by a set of another layout, from which this agent can take
    /// over.
    Other(Other),
}

impl Pins {
    /// The pins under `base`.
    pub fn new(base: &Path) -> Self {
        Self { base: base.into() }
    }

    /// The directory.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// Where map `name` of this agent's layout is pinned.
    pub fn map(&self, name: &str) -> PathBuf {
        if names::SHARED_MAPS.contains(&name) {
            return self.base.join(SHARED).join(name);
        }
        self.own_set().map(name)
    }

    /// Where the link of program `name` is pinned.
    pub fn link(&self, name: &str) -> PathBuf {
        self.base.join(LINKS).join(name)
    }

    /// Whether it and the folders in it are there.
    pub fn has_directories(&self) -> bool {
        let folders = self.folders();
        self.base.is_dir() && folders.iter().all(|path| path.is_dir())
    }

    fn folders(&self) -> [PathBuf; 3] {
        [
            self.own_set().folder().into(),
            self.base.join(SHARED),
            self.base.join(LINKS),
        ]
    }

    /// Makes the directory, readable by root only.
    ///
    /// # Errors
    ///
    /// [`KernelError::NoBpffs`] if they would not be on a BPF file system.
    pub fn create(&self) -> Result<(), KernelError> {
        let existing = self
            .base
            .ancestors()
            .find(|path| path.exists())
            .unwrap_or(Path::new("/"));
        let on_bpffs = statfs(existing).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC);
        if !on_bpffs {
            return Err(KernelError::NoBpffs {
                path: existing.into(),
            });
        }
        make(&self.base)
    }

    /// Makes the folders in it.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn create_folders(&self) -> Result<(), KernelError> {
        self.folders().iter().try_for_each(|folder| make(folder))
    }

    /// Takes the right to change the pins.
    ///
    /// # Errors
    ///
    /// [`KernelError::AlreadyRunning`] if another process has it,
    /// [`KernelError::NothingPinned`] if there is no directory.
    pub fn lock(&self) -> Result<Lock, KernelError> {
        let directory = File::open(&self.base).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => KernelError::NothingPinned {
                path: self.base.clone(),
            },
            _ => KernelError::io(format!("can't open {}", self.base.display()))(source),
        })?;
        match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
            Ok(directory) => Ok(Lock { directory }),
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Err(KernelError::AlreadyRunning {
                path: self.base.clone(),
            }),
            Err((_, errno)) => Err(KernelError::io(format!(
                "can't lock {}",
                self.base.display()
            ))(errno.into())),
        }
    }

    /// What is pinned, and whether it may be adopted or taken over from.
    ///
    /// # Errors
    ///
    /// [`KernelError::NoHandover`] and [`KernelError::Damaged`]: a policy is in
    /// force that this agent must not touch.
    pub fn inspect(&self) -> Result<Found, KernelError> {
        for set in self.other_sets()? {
            if let Some(other) = set.in_force()? {
                return Ok(Found::Other(other));
            }
        }
        let set = self.own_set();
        let Some(head) = set.head()? else {
            // Complete or not: what is in force must be readable.
            set.in_force()?;
            return Ok(Found::Nothing);
        };
        if head.abi != ABI_VERSION {
            return Err(KernelError::Damaged {
                path: self.base.clone(),
                what: names::INFO,
            });
        }
        let pinned = names::SHARED_MAPS.iter().chain(&names::PINNED_MAPS);
        for name in pinned {
            if !self.map(name).exists() {
                return Err(KernelError::Damaged {
                    path: self.base.clone(),
                    what: name,
                });
            }
        }
        Ok(Found::Complete)
    }

    /// The set of maps of this agent's layout; it need not exist.
    pub(super) fn own_set(&self) -> MapSet {
        MapSet::new(&self.base, ABI_VERSION)
    }

    /// The sets of maps of other layouts.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub(super) fn other_sets(&self) -> Result<Vec<MapSet>, KernelError> {
        let mut sets = MapSet::all(&self.base)?;
        sets.retain(|set| set.abi() != ABI_VERSION);
        Ok(sets)
    }

    /// Takes the policy out of force, whatever the layout of its tables.
    pub fn withdraw(&self) {
        // What can't be reached so goes with the links.
        for set in MapSet::all(&self.base).unwrap_or_default() {
            let _ = set.withdraw();
        }
    }

    /// Removes every pin; the directory stays, and with it the lock on it. Links
    /// go first: removing a pin is what detaches the hook.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn clear(&self) -> Result<(), KernelError> {
        remove_folder(&self.base.join(LINKS))?;
        for set in MapSet::all(&self.base)? {
            set.remove()?;
        }
        remove_folder(&self.base.join(SHARED))
    }

    /// Removes every pin and the directory. The caller has switched the hooks off.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn remove(&self) -> Result<(), KernelError> {
        self.clear()?;
        match fs::remove_dir(&self.base) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(KernelError::io(format!(
                "can't remove {}",
                self.base.display()
            ))(error)),
            _ => Ok(()),
        }
    }
}

fn make(directory: &Path) -> Result<(), KernelError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(KernelError::io(format!(
            "can't make {}",
            directory.display()
        )))
}
