//! The maps of one layout, and what can be told of them whatever the layout is.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
};

use aya::maps::{Map, MapData, RingBuf};
use portreeve_common::abi::{ABI_VERSION, Active, HANDOVER, Head, names};

use super::{
    KernelError,
    error::chain,
    mapping::{Element, Mapping},
    tables::text,
};

/// What the names of the folders begin with; the layout's number follows.
const PREFIX: &str = "maps-";

/// The maps of one layout, as they are pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MapSet {
    base: PathBuf,
    folder: PathBuf,
    abi: u32,
}

/// A set of another layout by which a policy is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// Its layout.
    pub abi: u32,
    /// Version of the agent that made it.
    pub agent: String,
    /// What tells the policy from every other.
    pub policy_hash: [u8; 32],
    /// The policy's number, as in [`Active::generation`].
    pub generation: u32,
}

impl MapSet {
    /// The set of layout `abi` in the directory of pins `base`; it need not exist.
    pub fn new(base: &Path, abi: u32) -> Self {
        Self {
            base: base.into(),
            folder: base.join(format!("{PREFIX}{abi}")),
            abi,
        }
    }

    /// All that there are.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn all(base: &Path) -> Result<Vec<Self>, KernelError> {
        let entries = match fs::read_dir(base) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(reading(base))?,
        };
        let mut sets = Vec::new();
        for entry in entries {
            let name = entry.map_err(reading(base))?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            if let Some(abi) = number.and_then(|number| number.parse().ok()) {
                sets.push(Self::new(base, abi));
            }
        }
        Ok(sets)
    }

    /// Its layout.
    pub fn abi(&self) -> u32 {
        self.abi
    }

    /// The folder of its pins.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where map `name` is pinned.
    pub fn map(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// What every layout begins with; `None` until the set is complete.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`] if it can't be read.
    pub fn head(&self) -> Result<Option<Head>, KernelError> {
        let head = self.first::<Head>(names::INFO, false)?;
        Ok(head.map(|head| head.read(0)).filter(|head| head.abi != 0))
    }

    /// The policy that is in force by it.
    ///
    /// # Errors
    ///
    /// [`KernelError::Damaged`] if one is, and nothing says which;
    /// [`KernelError::NoHandover`] if nobody but an agent of its own can tell.
    pub fn in_force(&self) -> Result<Option<Other>, KernelError> {
        let active = match self.first::<u64>(names::ACTIVE, false)? {
            Some(word) => Active::from_word(word.atomic(0).load(Ordering::Acquire)),
            None => Active::NONE,
        };
        if active == Active::NONE {
            return Ok(None);
        }
        let head = self.head()?.ok_or_else(|| KernelError::Damaged {
            path: self.base.clone(),
            what: names::INFO,
        })?;
        if head.handover != HANDOVER {
            return Err(KernelError::NoHandover {
                path: self.base.clone(),
                agent: text(&head.agent),
                found: head.abi,
                ours: ABI_VERSION,
            });
        }
        Ok(Some(Other {
            abi: head.abi,
            agent: text(&head.agent),
            policy_hash: head.policy_hashes[active.half() as usize],
            generation: active.generation(),
        }))
    }

    /// Takes its policy out of force.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`] if the word can't be written.
    pub fn withdraw(&self) -> Result<(), KernelError> {
        if let Some(word) = self.first::<u64>(names::ACTIVE, true)? {
            word.atomic(0).store(Active::NONE.word(), Ordering::Release);
        }
        Ok(())
    }

    /// Events in its ring that nobody has taken in; they are taken out of it.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`] if it can't be read.
    pub fn drain_events(&self) -> Result<usize, KernelError> {
        let failed = |message: String| KernelError::Map {
            map: names::EVENTS,
            message,
        };
        let map =
            MapData::from_pin(self.map(names::EVENTS)).map_err(|error| failed(chain(&error)))?;
        let mut ring =
            RingBuf::try_from(Map::RingBuf(map)).map_err(|error| failed(chain(&error)))?;
        let mut count = 0;
        while ring.next().is_some() {
            count += 1;
        }
        Ok(count)
    }

    /// Removes its pins. What runs by it goes on.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn remove(&self) -> Result<(), KernelError> {
        remove_folder(&self.folder)
    }

    /// The first element of array map `name`; `None` if it isn't pinned.
    fn first<T: Element>(
        &self,
        name: &'static str,
        writable: bool,
    ) -> Result<Option<Mapping<T>>, KernelError> {
        let path = self.map(name);
        if !path.exists() {
            return Ok(None);
        }
        let failed = |message: String| KernelError::Map { map: name, message };
        let map = MapData::from_pin(&path).map_err(|error| failed(chain(&error)))?;
        Mapping::new(map.fd(), 1, writable)
            .map(Some)
            .map_err(|error| failed(error.to_string()))
    }
}

/// Removes a folder of pins, if there is one.
pub(super) fn remove_folder(folder: &Path) -> Result<(), KernelError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(reading(folder))?,
    };
    for entry in entries {
        let path = entry.map_err(reading(folder))?.path();
        fs::remove_file(&path).map_err(removing(&path))?;
    }
    fs::remove_dir(folder).map_err(removing(folder))
}

fn reading(path: &Path) -> impl Fn(io::Error) -> KernelError {
    let what = format!("can't read {}", path.display());
    move |source| KernelError::io(what.clone())(source)
}

fn removing(path: &Path) -> impl FnOnce(io::Error) -> KernelError {
    KernelError::io(format!("can't remove {}", path.display()))
}
