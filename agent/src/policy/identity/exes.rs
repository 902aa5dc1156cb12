//! The files that definitions name, as the kernel knows them.

use std::{
    fs, io,
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

/// Only whether the files are there, for policies that are not put in force:
/// nobody is recognised by their tables.
#[derive(Clone, Copy, Debug, Default)]
pub struct Presence;

impl Inodes for Presence {
    fn of(&self, path: &Path) -> io::Result<Vec<Inode>> {
        fs::metadata(path).map(|_| Vec::new())
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
