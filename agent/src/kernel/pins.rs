//! The bpffs directory that holds everything: `maps/NAME` and `links/NAME`.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use aya::maps::MapData;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use portreeve_common::abi::{Active, names};

use super::{KernelError, mapping::Mapping};

/// Where an agent's pins are unless it is told otherwise.
pub const DEFAULT: &str = "/sys/fs/bpf/portreeve";

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
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing, or what a killed agent left before anything was in force.
    Nothing,
    /// A complete set of this agent's layout.
    Complete,
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

    /// Where map `name` is pinned.
    pub fn map(&self, name: &str) -> PathBuf {
        self.base.join("maps").join(name)
    }

    /// Where the link of program `name` is pinned.
    pub fn link(&self, name: &str) -> PathBuf {
        self.base.join("links").join(name)
    }

    /// Whether the directories for maps and links are there.
    pub fn has_directories(&self) -> bool {
        self.directories().iter().all(|path| path.is_dir())
    }

    fn directories(&self) -> [PathBuf; 3] {
        [
            self.base.clone(),
            self.base.join("maps"),
            self.base.join("links"),
        ]
    }

    /// Makes the directories, readable by root only.
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
        for directory in self.directories() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&directory)
                .map_err(KernelError::io(format!(
                    "can't make {}",
                    directory.display()
                )))?;
        }
        Ok(())
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

    /// What is pinned, and whether it may be adopted.
    ///
    /// # Errors
    ///
    /// [`KernelError::OtherAbi`] and [`KernelError::Damaged`]: a policy is in
    /// force that this agent must not touch.
    pub fn inspect(&self) -> Result<Found, KernelError> {
        let in_force = match self.first_word(names::ACTIVE)? {
            Some(word) => Active::from_word(word) != Active::NONE,
            None => false,
        };
        let abi = self.first_word(names::INFO)?.map_or(0, |word| word as u32);
        if abi == 0 {
            return if in_force {
                Err(KernelError::Damaged {
                    path: self.base.clone(),
                    what: names::INFO,
                })
            } else {
                Ok(Found::Nothing)
            };
        }
        if abi != portreeve_common::abi::ABI_VERSION {
            return Err(KernelError::OtherAbi {
                path: self.base.clone(),
                found: abi,
                ours: portreeve_common::abi::ABI_VERSION,
                agent: "of another version".into(),
            });
        }
        for name in names::PINNED_MAPS {
            if !self.map(name).exists() {
                return Err(KernelError::Damaged {
                    path: self.base.clone(),
                    what: name,
                });
            }
        }
        Ok(Found::Complete)
    }

    /// The first eight bytes of an array map of any layout; `None` if it isn't pinned.
    fn first_word(&self, name: &'static str) -> Result<Option<u64>, KernelError> {
        let path = self.map(name);
        if !path.exists() {
            return Ok(None);
        }
        let map = MapData::from_pin(&path).map_err(|error| KernelError::Map {
            map: name,
            message: super::error::chain(&error),
        })?;
        let mapping =
            Mapping::<u64>::new(map.fd(), 1, false).map_err(|error| KernelError::Map {
                map: name,
                message: error.to_string(),
            })?;
        Ok(Some(mapping.read(0)))
    }

    /// Removes every pin; the directory stays, and with it the lock on it. Links
    /// go first: removing a pin is what detaches the hook.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn clear(&self) -> Result<(), KernelError> {
        for directory in [self.base.join("links"), self.base.join("maps")] {
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(KernelError::io(format!(
                        "can't read {}",
                        directory.display()
                    ))(error));
                }
            };
            for entry in entries {
                let path = entry
                    .map_err(KernelError::io(format!(
                        "can't read {}",
                        directory.display()
                    )))?
                    .path();
                fs::remove_file(&path)
                    .map_err(KernelError::io(format!("can't remove {}", path.display())))?;
            }
            fs::remove_dir(&directory).map_err(KernelError::io(format!(
                "can't remove {}",
                directory.display()
            )))?;
        }
        Ok(())
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
