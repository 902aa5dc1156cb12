//! The folder, and what is written to it when.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use nix::fcntl::Flock;
use serde::{Deserialize, Serialize};

use super::{
    Moment, Record, StateError,
    folder::{beside, check, io_error, lock, replace},
    patch::Patch,
    record::FileRecord,
};
use crate::{
    files::{Hash, ReadFile, hex},
    policy::source::Files,
};

/// Where what is in force is remembered unless the agent is told otherwise.
pub const DEFAULT: &str = "/var/lib/portreeve";
/// The newest format that this agent reads. It is written if a file has lost secrets, which
/// older agents take for damage.
const FORMAT: u32 = 3;
/// What is written if there are patches, which agents before don't understand.
const WITH_PATCHES: u32 = 2;
/// What is written without either.
const WHOLE: u32 = 1;

/// The file that says what was made of the others.
const INDEX: &str = "state.json";
/// The folder of files as they were read.
pub(super) const FILES: &str = "files";

/// What is written down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    format: u32,
    /// Version of the agent that wrote it.
    agent: String,
    /// By their hashes; those that are named below.
    pub(super) policies: BTreeMap<String, Record>,
    /// Their files that are not kept whole, by their hashes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) patches: BTreeMap<String, Patch>,
    /// The policy in force, unless that is `next` already.
    in_force: Option<String>,
    /// A policy that is just coming into force.
    next: Option<String>,
    /// A change that waits to be confirmed.
    confirm: Option<Confirm>,
    /// The agent was told to end.
    ended: bool,
}

/// A change that waits to be confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// The policy that waits.
    pub policy: String,
    /// The one that comes back unless it is confirmed.
    pub back_to: String,
    /// How long it waits.
    pub until: Moment,
}

/// The folder of one agent, which nobody else writes.
#[derive(Debug)]
pub struct Store {
    pub(super) folder: PathBuf,
    pub(super) state: RefCell<State>,
    /// What was written down before a change that isn't made yet.
    before: RefCell<Option<State>>,
    _lock: Flock<File>,
}

impl Store {
    /// Opens the folder, or makes it.
    ///
    /// # Errors
    ///
    /// See [`StateError`]. What can't be read because it is nonsense is only logged: the
    /// agent then knows as much as one that was never there.
    pub fn open(folder: &Path) -> Result<Self, StateError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| io_error("make the state folder", folder, error))?;
        let lock = lock(folder)?;
        check(folder)?;
        let state = match read(&folder.join(INDEX)) {
            Err(error @ StateError::Damaged { .. }) => {
                log::error!("{error}; what was in force is not known");
                State::default()
            }
            state => state?,
        };
        let store = Self {
            folder: folder.into(),
            state: RefCell::new(state),
            before: RefCell::new(None),
            _lock: lock,
        };
        // What an agent that was killed had begun to write.
        store.sweep();
        let _ = fs::remove_file(beside(&folder.join(INDEX)));
        Ok(store)
    }

    /// The policy that the kernel has, if its hash is `held`; without it, the one that
    /// was in force last.
    pub fn remembered(&self, held: Option<&Hash>) -> Option<(String, Record)> {
        let state = self.state.borrow();
        let hash = match held {
            Some(hash) => hex(hash),
            None => state.in_force.clone()?,
        };
        let record = state.policies.get(&hash)?.clone();
        Some((hash, record))
    }

    /// The policy that was remembered as `hash`.
    pub fn record(&self, hash: &str) -> Option<Record> {
        self.state.borrow().policies.get(hash).cloned()
    }

    /// The change of the policy `hash` that waits to be confirmed, if it does.
    pub fn confirm_of(&self, hash: &str) -> Option<Confirm> {
        let state = self.state.borrow();
        let confirm = state.confirm.as_ref();
        confirm.filter(|confirm| confirm.policy == hash).cloned()
    }

    /// Whether the agent was told to end, so that it was somebody's will.
    pub fn has_ended(&self) -> bool {
        self.state.borrow().ended
    }

    /// The files of `record` as they were read.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`] and [`StateError::Damaged`] if one is not there as it was.
    pub fn files(&self, record: &Record) -> Result<Files, StateError> {
        let read = |files: &[FileRecord]| -> Result<Vec<ReadFile>, StateError> {
            files.iter().map(|file| self.read(file)).collect()
        };
        let changes = record.changes.iter().map(|files| read(files));
        Ok(Files {
            profile: read(&record.profile)?,
            changes: changes.collect::<Result<_, _>>()?,
            config: read(&record.config)?,
        })
    }

    /// Writes down that the policy of `record` is about to come into force; with `until`,
    /// that it waits then to be confirmed. `files` are its own, then those of the policies
    /// it may have to give way to.
    ///
    /// # Errors
    ///
    /// [`StateError`]; then nothing has changed.
    pub fn prepare(
        &self,
        record: Record,
        files: &[&Files],
        until: Option<Moment>,
    ) -> Result<Hash, StateError> {
        let hash = record.hash()?;
        let name = hex(&hash);
        let before = self.state.borrow().clone();
        let mut state = before.clone();
        for (index, own) in files.iter().enumerate().rev() {
            self.keep(own, &files[index + 1..], &mut state.patches)?;
        }
        state.confirm = until.and_then(|until| {
            // What was never confirmed is nothing to go back to.
            let waiting = before.confirm.as_ref().map(|waiting| &waiting.back_to);
            let back_to = waiting.or(before.in_force.as_ref())?.clone();
            let policy = name.clone();
            Some(Confirm {
                policy,
                back_to,
                until,
            })
        });
        state.policies.insert(name.clone(), record);
        state.next = Some(name);
        state.ended = false;
        self.write(&state, true)?;
        *self.state.borrow_mut() = state;
        *self.before.borrow_mut() = Some(before);
        Ok(hash)
    }

    /// Writes down that what was prepared is in force.
    ///
    /// # Errors
    ///
    /// [`StateError`]; then the next agent still finds out.
    pub fn settle(&self) -> Result<(), StateError> {
        let Some(before) = self.before.take() else {
            return Ok(());
        };
        let mut state = self.state.borrow().clone();
        state.in_force = state.next.take();
        state.forget_unnamed();
        let written = self.write(&state, false);
        *self.state.borrow_mut() = state;
        if written.is_ok() && before.policies != self.state.borrow().policies {
            self.sweep();
        }
        written
    }

    /// Writes down that what was prepared did not come into force.
    pub fn give_up(&self) {
        let Some(before) = self.before.take() else {
            return;
        };
        if let Err(error) = self.write(&before, false) {
            // As long as the kernel has the policy before, its hash says so.
            log::warn!("{error}");
        }
        *self.state.borrow_mut() = before;
        self.sweep();
    }

    /// Writes down that the policy in force is `hash`, as the kernel says, and no change
    /// of it waits to be confirmed unless that is `waiting`.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub fn found(&self, hash: &str, waiting: bool) -> Result<(), StateError> {
        self.change(|state| {
            state.in_force = Some(hash.to_owned());
            state.next = None;
            if !waiting {
                state.confirm = None;
            }
            state.forget_unnamed();
        })
    }

    /// Writes down that the policy in force is confirmed.
    ///
    /// # Errors
    ///
    /// [`StateError`]; then it still waits.
    pub fn confirm(&self) -> Result<(), StateError> {
        self.change(|state| {
            state.confirm = None;
            state.forget_unnamed();
        })
    }

    /// Writes down that the agent ends because it was told to.
    ///
    /// # Errors
    ///
    /// [`StateError`]
    pub fn end(&self) -> Result<(), StateError> {
        self.change(|state| state.ended = true)
    }

    /// Forgets everything that `folder` remembers, whatever wrote it.
    ///
    /// # Errors
    ///
    /// [`StateError::InUse`] and [`StateError::Io`].
    pub fn forget(folder: &Path) -> Result<(), StateError> {
        if !folder.exists() {
            return Ok(());
        }
        let store = Self {
            folder: folder.into(),
            state: RefCell::default(),
            before: RefCell::default(),
            _lock: lock(folder)?,
        };
        store.clear()
    }

    /// Forgets everything, because nothing is in force any more.
    ///
    /// # Errors
    ///
    /// [`StateError::Io`]
    pub fn clear(&self) -> Result<(), StateError> {
        let index = self.folder.join(INDEX);
        match fs::remove_file(&index) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io_error("remove", &index, error));
            }
            _ => {}
        }
        *self.state.borrow_mut() = State::default();
        self.sweep();
        Ok(())
    }

    fn change(&self, change: impl FnOnce(&mut State)) -> Result<(), StateError> {
        let mut state = self.state.borrow().clone();
        change(&mut state);
        if state == *self.state.borrow() {
            return Ok(());
        }
        self.write(&state, true)?;
        *self.state.borrow_mut() = state;
        self.sweep();
        Ok(())
    }

    fn write(&self, state: &State, sync: bool) -> Result<(), StateError> {
        let state = State {
            format: state.needed_format(),
            agent: env!("CARGO_PKG_VERSION").into(),
            ..state.clone()
        };
        let mut text = serde_json::to_vec_pretty(&state).map_err(StateError::Unspeakable)?;
        text.push(b'\n');
        replace(&self.folder.join(INDEX), &text, sync)
    }
}

impl State {
    /// The oldest format that says it all.
    fn needed_format(&self) -> u32 {
        let mut files = self.policies.values().flat_map(Record::files);
        match (files.any(|file| file.kept.is_some()), &self.patches) {
            (true, _) => FORMAT,
            (false, patches) if patches.is_empty() => WHOLE,
            (false, _) => WITH_PATCHES,
        }
    }

    fn forget_unnamed(&mut self) {
        let confirm = self.confirm.as_ref();
        let waiting = confirm.map(|confirm| [&confirm.policy, &confirm.back_to]);
        let named: BTreeSet<String> = [&self.in_force, &self.next]
            .into_iter()
            .flatten()
            .chain(waiting.into_iter().flatten())
            .cloned()
            .collect();
        self.policies.retain(|hash, _| named.contains(hash));
        let files = self.policies.values().flat_map(Record::files);
        let files: BTreeSet<&str> = files.map(FileRecord::kept).collect();
        let is_needed = |hash: &String, _: &mut Patch| files.contains(hash.as_str());
        self.patches.retain(is_needed);
    }
}

/// What is written in `index`; nothing if there is none.
fn read(index: &Path) -> Result<State, StateError> {
    /// What every format has.
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let damaged = |error: serde_json::Error| StateError::Damaged {
        path: index.into(),
        why: error.to_string(),
    };
    let text = match fs::read(index) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
        text => text.map_err(|error| io_error("read", index, error))?,
    };
    let Format { format } = serde_json::from_slice(&text).map_err(damaged)?;
    if format > FORMAT {
        return Err(StateError::Newer {
            path: index.into(),
            found: format,
            ours: FORMAT,
        });
    }
    serde_json::from_slice(&text).map_err(damaged)
}

#[cfg(test)]
mod tests;
