//! The files that definitions name, as the kernel knows them.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// A file's inode as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Inode {
    /// `super_block.s_dev`; `stat` tells another number on some file systems.
    pub device: u32,
    /// `inode.i_ino`
    pub inode: u64,
    /// `inode.i_generation`
    pub generation: u32,
}

/// Where executables are looked up.
pub trait Inodes {
    /// The file that `path` leads to, and files that it led to before and that
    /// still run.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is no such file; else the file can't be looked at.
    fn of(&self, path: &Path) -> io::Result<Vec<Inode>>;
}

/// The files as `stat` tells them: enough to say which are missing and how many there
/// are, not to recognise anybody. A policy's tables are made again when it is put in
/// force, with the files as the kernel knows them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Presence;

impl Inodes for Presence {
    fn of(&self, path: &Path) -> io::Result<Vec<Inode>> {
        let file = fs::metadata(path)?;
        Ok(vec![Inode {
            device: file.dev() as u32,
            inode: file.ino(),
            generation: 0,
        }])
    }
}

/// Files from a list, whatever the host has: for tests and demonstrations.
#[derive(Clone, Debug, Default)]
pub struct FixedInodes(pub Vec<(PathBuf, Inode)>);

impl Inodes for FixedInodes {
    fn of(&self, path: &Path) -> io::Result<Vec<Inode>> {
        let of_path = self.0.iter().filter(|(known, _)| known == path);
        let found: Vec<Inode> = of_path.map(|(_, inode)| *inode).collect();
        if found.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(found)
    }
}
