//! Debian's systemd with all that it depends on, in the cache folder: what a virtual
//! machine needs whose first process it is.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use portreeve_toolchain::linker::cache;

use super::apt::{Apt, Mirror};

/// Where it is from; the suite of the newest C library, as the tests are built with
/// this machine's.
const SUITES: [&str; 3] = ["trixie", "trixie-updates", "trixie-security"];
const PACKAGE: &str = "systemd";
/// What nobody reads in a virtual machine.
const UNREAD: [&str; 4] = ["doc", "info", "locale", "man"];
/// Accounts that installing would make, and those that tests use.
const PASSWD: &str = "root:x:0:0::/root:/bin/sh\n\
                      daemon:x:1:1::/:/bin/false\n\
                      nobody:x:65534:65534::/:/bin/false\n";
const GROUP: &str = "root:x:0:\ndaemon:x:1:\ntty:x:5:\nnogroup:x:65534:\n";

/// A tree with systemd in it.
#[derive(Clone, Debug)]
pub struct Distribution {
    /// The version of its package.
    pub version: String,
    /// Where the tree is.
    pub folder: PathBuf,
}

/// The newest: fetched, or from the cache if that is the newest or nothing can be
/// fetched.
///
/// # Errors
///
/// Says why there is none.
pub fn get(mirror: &Result<Mirror>) -> Result<Distribution> {
    let place = cache()?.join(PACKAGE);
    let error = match newest(&place, mirror) {
        Ok(distribution) => return Ok(distribution),
        Err(error) => error,
    };
    let Some(distribution) = cached(&place) else {
        return Err(error.context("no systemd can be had"));
    };
    eprintln!(
        "warning: whether there is a newer systemd than {} can't be told: {error:#}",
        distribution.version
    );
    Ok(distribution)
}

fn newest(place: &Path, mirror: &Result<Mirror>) -> Result<Distribution> {
    let mirror = match mirror {
        Ok(mirror) => mirror,
        Err(error) => bail!("{error:#}"),
    };
    let apt = Apt::new(&place.join("apt"), mirror, &SUITES)?;
    apt.update()?;
    let packages = apt.closure(PACKAGE)?;
    let itself = packages.iter().find(|package| package.name == PACKAGE);
    let version = itself.context("apt leaves it out")?.version.clone();
    let folder = place.join(format!("{TREE}{version}"));
    let distribution = Distribution { version, folder };
    if distribution.folder.is_dir() {
        return Ok(distribution);
    }
    let unfinished = place.join("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    prepare(&unfinished)?;
    apt.unpack(&packages, &unfinished)?;
    finish(&unfinished)?;
    for old in trees(place) {
        let _ = fs::remove_dir_all(old);
    }
    fs::rename(&unfinished, &distribution.folder)?;
    Ok(distribution)
}

/// Names of trees begin so, followed by the version.
const TREE: &str = "tree_";

fn trees(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let is_tree = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy());
        name.is_some_and(|name| name.starts_with(TREE))
    };
    entries.map(|entry| entry.path()).filter(is_tree).collect()
}

fn cached(place: &Path) -> Option<Distribution> {
    let folder = trees(place).pop()?;
    let name = folder.file_name()?.to_str()?;
    let version = name.strip_prefix(TREE)?.to_owned();
    Some(Distribution { version, folder })
}

/// The links by which packages find the folders that moved to /usr.
fn prepare(folder: &Path) -> Result<()> {
    for name in ["bin", "lib", "lib64", "sbin"] {
        fs::create_dir_all(folder.join("usr").join(name))?;
        symlink(format!("usr/{name}"), folder.join(name))?;
    }
    Ok(())
}

/// What the packages' scripts would have made, as far as it matters.
fn finish(folder: &Path) -> Result<()> {
    for name in ["dev", "proc", "root", "run", "sys", "tmp"] {
        fs::create_dir_all(folder.join(name))?;
    }
    for (name, text) in [("passwd", PASSWD), ("group", GROUP), ("machine-id", "")] {
        fs::write(folder.join("etc").join(name), text)?;
    }
    for name in UNREAD {
        let _ = fs::remove_dir_all(folder.join("usr/share").join(name));
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
        fs::create_dir_all(place.join("tree_257.13-1~deb13u1")).unwrap();
        let found = cached(&place).unwrap();
        fs::remove_dir_all(&place).unwrap();
        assert_eq!(found.version, "257.13-1~deb13u1");
    }
}
