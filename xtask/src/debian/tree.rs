//! Debian packages with all that they depend on, unpacked in the cache folder: nothing of
//! this machine is changed.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use portreeve_toolchain::linker::cache;

use super::apt::{Apt, Mirror};

/// What nobody reads there.
const UNREAD: [&str; 4] = ["doc", "info", "locale", "man"];

/// The loader of a tree's programs, which takes the tree's C library.
pub const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";
/// Where packages for x86-64 have their libraries.
pub const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";

/// A tree of packages.
#[derive(Clone, Debug)]
pub struct Tree {
    /// The version of the first of them.
    pub version: String,
    /// Where it is.
    pub folder: PathBuf,
}

/// The tree of the newest `packages` of `suites`: fetched and `finish`ed, or from the cache
/// if that is the newest or nothing can be fetched.
///
/// # Errors
///
/// Says why there is none.
pub fn get(
    packages: &[&str],
    suites: &[&str],
    mirror: &Result<Mirror>,
    finish: impl Fn(&Path) -> Result<()>,
) -> Result<Tree> {
    let name = packages.join("+");
    let place = cache()?.join(&name);
    let error = match newest(&place, packages, suites, mirror, finish) {
        Ok(tree) => return Ok(tree),
        Err(error) => error,
    };
    let Some(tree) = cached(&place) else {
        return Err(error.context(format!("no {name} can be had")));
    };
    eprintln!(
        "warning: whether there is a newer {name} than {} can't be told: {error:#}",
        tree.version
    );
    Ok(tree)
}

fn newest(
    place: &Path,
    wanted: &[&str],
    suites: &[&str],
    mirror: &Result<Mirror>,
    finish: impl Fn(&Path) -> Result<()>,
) -> Result<Tree> {
    let mirror = match mirror {
        Ok(mirror) => mirror,
        Err(error) => bail!("{error:#}"),
    };
    let apt = Apt::new(&place.join("apt"), mirror, suites)?;
    apt.update()?;
    let packages = apt.closure(wanted)?;
    let is_first = |name: &str| wanted.first().is_some_and(|first| *first == name);
    let itself = packages.iter().find(|one| is_first(&one.name));
    let version = itself.context("apt leaves it out")?.version.clone();
    let folder = place.join(format!("{TREE}{}", version.replace(':', "_")));
    let tree = Tree { version, folder };
    if tree.folder.is_dir() {
        return Ok(tree);
    }
    let unfinished = place.join("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    prepare(&unfinished)?;
    apt.unpack(&packages, &unfinished)?;
    for name in UNREAD {
        let _ = fs::remove_dir_all(unfinished.join("usr/share").join(name));
    }
    finish(&unfinished)?;
    for old in trees(place) {
        let _ = fs::remove_dir_all(old);
    }
    fs::rename(&unfinished, &tree.folder)?;
    Ok(tree)
}

/// Names of trees begin so, followed by the version, whose colon would part the folders
/// of a search path.
const TREE: &str = "tree_";

fn trees(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let is_tree = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy());
        name.is_some_and(|name| name.starts_with(TREE))
    };
    entries.map(|entry| entry.path()).filter(is_tree).collect()
}

fn cached(place: &Path) -> Option<Tree> {
    let folder = trees(place).pop()?;
    let name = folder.file_name()?.to_str()?;
    let version = name.strip_prefix(TREE)?.replace('_', ":");
    Some(Tree { version, folder })
}

/// The links by which packages find the folders that moved to /usr.
fn prepare(folder: &Path) -> Result<()> {
    for name in ["bin", "lib", "lib64", "sbin"] {
        fs::create_dir_all(folder.join("usr").join(name))?;
        symlink(format!("usr/{name}"), folder.join(name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_fetched_is_found_by_its_name() {
        let place = std::env::temp_dir().join(format!("portreeve-trees-{}", std::process::id()));
        fs::create_dir_all(place.join("apt")).unwrap();
        assert!(cached(&place).is_none());
        fs::create_dir_all(place.join("tree_1_257.13-1~deb13u1")).unwrap();
        let found = cached(&place).unwrap();
        fs::remove_dir_all(&place).unwrap();
        assert_eq!(found.version, "1:257.13-1~deb13u1");
    }
}
