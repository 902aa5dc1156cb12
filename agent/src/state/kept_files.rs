//! The files that policies were made from, as they were read: whole, or as what tells one
//! from another.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt as _,
};

use super::{
    Record, StateError, Store,
    folder::{io_error, replace},
    patch::Patch,
    record::FileRecord,
    store::FILES,
};
use crate::{
    files::{ReadFile, hex, unhex},
    policy::source::Files,
};

impl Store {
    /// Copies what isn't there yet of `files`, or adds to `patches` what tells it from a
    /// file of the `others`, all of which are kept already.
    pub(super) fn keep(
        &self,
        files: &Files,
        others: &[&Files],
        patches: &mut BTreeMap<String, Patch>,
    ) -> Result<(), StateError> {
        let folder = self.folder.join(FILES);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|error| io_error("make", &folder, error))?;
        for file in files.all() {
            let hash = hex(&file.kept_hash());
            if self.is_whole(&hash, file.bytes().len() as u64) {
                patches.remove(&hash);
                continue;
            }
            let known = patches.get(&hash);
            if known.is_some_and(|patch| self.is_whole(&patch.base, patch.length)) {
                continue;
            }
            let mut before = others.iter().flat_map(|files| files.all());
            let before = before.find(|before| before.path == file.path);
            let patch = before.and_then(|before| {
                let name = hex(&before.kept_hash());
                let of_before = patches.get(&name);
                Patch::new(&name, before.bytes(), of_before, file.bytes())
            });
            match patch {
                Some(patch) => drop(patches.insert(hash, patch)),
                None => {
                    replace(&folder.join(&hash), file.bytes(), true)?;
                    patches.remove(&hash);
                }
            }
        }
        Ok(())
    }

    /// Whether the file of this hash and so many bytes is kept whole.
    fn is_whole(&self, hash: &str, length: u64) -> bool {
        let path = self.folder.join(FILES).join(hash);
        path.metadata().is_ok_and(|found| found.len() == length)
    }

    pub(super) fn read(&self, file: &FileRecord) -> Result<ReadFile, StateError> {
        let state = self.state.borrow();
        let patch = state.patches.get(file.kept());
        let name = patch.map_or(file.kept(), |patch| &patch.base);
        let path = self.folder.join(FILES).join(name);
        let bytes = fs::read(&path).map_err(|error| io_error("read", &path, error))?;
        let bytes = match patch {
            Some(patch) => patch.apply(&bytes).unwrap_or_default(),
            None => bytes,
        };
        let hash = unhex(&file.sha256).unwrap_or_default();
        let read = ReadFile::kept_of(file.path.clone(), file.identity.clone(), hash, bytes);
        if hex(&read.kept_hash()) != file.kept() {
            let why = "it is not what was written".to_owned();
            return Err(StateError::Damaged { path, why });
        }
        Ok(read)
    }

    /// Removes the files that no policy needs any more. What stays does no harm.
    pub(super) fn sweep(&self) {
        let state = self.state.borrow();
        let files = state.policies.values().flat_map(Record::files);
        let files = files.map(FileRecord::kept);
        let bases = state.patches.values().map(|patch| patch.base.as_str());
        let needed: BTreeSet<&str> = files.chain(bases).collect();
        let found = fs::read_dir(self.folder.join(FILES));
        for entry in found.into_iter().flatten().flatten() {
            let name = entry.file_name();
            if name.to_str().is_none_or(|name| !needed.contains(name)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}
