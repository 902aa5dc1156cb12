//! Debian's kernels, one per series, in the cache folder.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use portreeve_toolchain::linker::cache;

use crate::debian::apt::{Apt, Mirror, Package};

/// The kernels that matter: the floor, what stable releases have, and what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Series {
    /// Debian 11; below the floor
    #[value(name = "5.10")]
    V5_10,
    /// Debian 12; the floor
    #[value(name = "6.1")]
    V6_1,
    /// Debian 13
    #[value(name = "6.12")]
    V6_12,
    /// The newest that Debian 13 is offered
    #[value(name = "newest")]
    Newest,
}

impl Series {
    /// All of them, oldest first.
    pub const ALL: [Self; 4] = [Self::V5_10, Self::V6_1, Self::V6_12, Self::Newest];

    /// Where its kernels are.
    fn suites(self) -> &'static [&'static str] {
        match self {
            Self::V5_10 => &["bullseye", "bullseye-security"],
            Self::V6_1 => &["bookworm", "bookworm-updates", "bookworm-security"],
            Self::V6_12 => &["trixie", "trixie-updates", "trixie-security"],
            Self::Newest => &["trixie-backports"],
        }
    }

    /// Whether `release` belongs to it.
    fn has(self, release: &str) -> bool {
        match self {
            Self::Newest => true,
            _ => release
                .strip_prefix(self.name())
                .is_some_and(|rest| rest.starts_with('.')),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::Newest => "newest",
        }
    }
}

impl fmt::Display for Series {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// What it was asked for as.
    pub series: Series,
    /// `uname -r`
    pub release: String,
    /// The version of its package.
    pub version: String,
    /// Where its packages were unpacked.
    pub folder: PathBuf,
}

impl Kernel {
    /// The image to boot: since 7.2 it is with the modules.
    pub fn image(&self) -> Option<PathBuf> {
        let usual = self.folder.join(format!("boot/vmlinuz-{}", self.release));
        let newer = self.modules().map(|modules| modules.join("vmlinuz"));
        [Some(usual), newer]
            .into_iter()
            .flatten()
            .find(|image| image.is_file())
    }

    /// Where its modules are: the folder moved with /usr.
    pub fn modules(&self) -> Option<PathBuf> {
        ["lib/modules", "usr/lib/modules"]
            .map(|place| self.folder.join(place).join(&self.release))
            .into_iter()
            .find(|folder| folder.is_dir())
    }
}

/// The newest kernel of a series: fetched, or from the cache if that is the newest
/// or nothing can be fetched.
///
/// # Errors
///
/// Says why there is none.
pub fn get(series: Series, mirror: &Result<Mirror>) -> Result<Kernel> {
    let place = cache()?.join("kernels").join(series.name());
    let error = match newest(series, &place, mirror) {
        Ok(kernel) => return Ok(kernel),
        Err(error) => error,
    };
    let Some(kernel) = cached(series, &place) else {
        return Err(error.context(format!("no kernel {series} can be had")));
    };
    eprintln!(
        "warning: whether there is a newer kernel {series} than {} can't be told: {error:#}",
        kernel.version
    );
    Ok(kernel)
}

fn newest(series: Series, place: &Path, mirror: &Result<Mirror>) -> Result<Kernel> {
    let mirror = match mirror {
        Ok(mirror) => mirror,
        Err(error) => bail!("{error:#}"),
    };
    let apt = Apt::new(&place.join("apt"), mirror, series.suites())?;
    apt.update()?;
    let names = apt.names(PREFIX)?;
    let releases = names
        .iter()
        .filter(|name| release(name).is_some_and(|release| series.has(release)));
    let releases: Vec<&str> = releases.map(String::as_str).collect();
    let mut problem = None;
    // The newest may be in the list and not on the mirror yet, or no more.
    for package in newest_first(apt.versions(&releases)?).iter().take(3) {
        match fetch(series, &apt, package, place) {
            Ok(kernel) => return Ok(kernel),
            Err(error) => {
                eprintln!("warning: {} can't be had: {error:#}", package.name);
                problem = Some(error);
            }
        }
    }
    let suites = series.suites().join(", ");
    Err(problem.unwrap_or_else(|| anyhow::anyhow!("no kernel {series} is in {suites}")))
}

const PREFIX: &str = "linux-image-";
const FLAVOUR: &str = "-cloud-amd64";

/// The release whose package has this name: "linux-image-6.1.0-56-cloud-amd64" is
/// one, "linux-image-6.1-cloud-amd64" depends on one.
fn release(package: &str) -> Option<&str> {
    let name = package.strip_prefix(PREFIX)?;
    let release = name.strip_suffix("-unsigned").unwrap_or(name);
    let version = release.strip_suffix(FLAVOUR)?;
    let is_exact = version.split('.').count() > 2;
    (is_exact && version.starts_with(|c: char| c.is_ascii_digit())).then_some(release)
}

/// Sorted by version; of the same version the one that is signed, as users have it,
/// comes first. Candidates of a release are left out.
fn newest_first(mut packages: Vec<Package>) -> Vec<Package> {
    packages.retain(|package| !package.version.contains("~rc"));
    packages.sort_by(|a, b| {
        let versions = numbers(&b.version).cmp(&numbers(&a.version));
        versions.then_with(|| a.name.len().cmp(&b.name.len()))
    });
    packages.dedup();
    packages
}

/// Kernel versions differ in their numbers only.
fn numbers(version: &str) -> Vec<u64> {
    let numbers = version.split(|c: char| !c.is_ascii_digit());
    numbers.filter_map(|number| number.parse().ok()).collect()
}

fn fetch(series: Series, apt: &Apt, package: &Package, place: &Path) -> Result<Kernel> {
    let release = release(&package.name).context("not a kernel")?;
    let folder = place.join(format!("{release}_{}", package.version));
    let kernel = Kernel {
        series,
        release: release.to_owned(),
        version: package.version.clone(),
        folder,
    };
    if kernel.folder.is_dir() {
        return Ok(kernel);
    }
    let unfinished = place.join("unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    fs::create_dir_all(&unfinished)?;
    apt.unpack(std::slice::from_ref(package), &unfinished)?;
    // Newer ones have image and modules in packages of their own.
    for name in apt.dependencies(package)? {
        if name.starts_with("linux-") && name.ends_with(&format!("-{release}")) {
            let version = package.version.clone();
            apt.unpack(&[Package { name, version }], &unfinished)?;
        }
    }
    let complete = Kernel {
        folder: unfinished.clone(),
        ..kernel.clone()
    };
    ensure!(
        complete.image().is_some() && complete.modules().is_some(),
        "{} has no image or no modules",
        package.name
    );
    for old in kernels(place) {
        let _ = fs::remove_dir_all(old);
    }
    fs::rename(&unfinished, &kernel.folder)?;
    Ok(kernel)
}

/// The folders of kernels that were fetched.
fn kernels(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place).into_iter().flatten().flatten();
    let folders = entries.map(|entry| entry.path());
    folders
        .filter(|path| path.to_string_lossy().contains(FLAVOUR))
        .collect()
}

fn cached(series: Series, place: &Path) -> Option<Kernel> {
    let folder = kernels(place).pop()?;
    let name = folder.file_name()?.to_str()?;
    let (release, version) = name.split_once('_')?;
    Some(Kernel {
        series,
        release: release.to_owned(),
        version: version.to_owned(),
        folder: folder.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str) -> Package {
        Package {
            name: name.into(),
            version: version.into(),
        }
    }

    #[test]
    fn releases_are_told_from_what_depends_on_them() {
        for (name, expected) in [
            (
                "linux-image-6.1.0-56-cloud-amd64",
                Some("6.1.0-56-cloud-amd64"),
            ),
            (
                "linux-image-6.1.0-56-cloud-amd64-unsigned",
                Some("6.1.0-56-cloud-amd64"),
            ),
            (
                "linux-image-7.2.12+deb13-cloud-amd64",
                Some("7.2.12+deb13-cloud-amd64"),
            ),
            ("linux-image-6.1-cloud-amd64", None),
            ("linux-image-cloud-amd64", None),
            ("linux-image-6.1.0-56-cloud-amd64-dbg", None),
            ("linux-image-6.1.0-56-amd64", None),
        ] {
            assert_eq!(release(name), expected, "{name}");
        }
    }

    #[test]
    fn a_series_is_a_whole_number() {
        assert!(Series::V6_1.has("6.1.0-56-cloud-amd64"));
        assert!(!Series::V6_1.has("6.12.117+deb13-cloud-amd64"));
        assert!(Series::Newest.has("7.2.12+deb13-cloud-amd64"));
    }

    #[test]
    fn the_newest_is_the_newest_by_number_and_the_signed_one() {
        let packages = vec![
            package("linux-image-6.1.0-9-cloud-amd64", "6.1.99-1"),
            package("linux-image-6.1.0-56-cloud-amd64-unsigned", "6.1.192-2"),
            package("linux-image-6.1.0-56-cloud-amd64", "6.1.192-2"),
            package("linux-image-6.1.0-56-cloud-amd64", "6.1.192-1"),
            package("linux-image-6.1.0-56-cloud-amd64", "6.1.192-2"),
            package("linux-image-6.2.0-1-cloud-amd64", "6.2~rc1-1"),
        ];
        let sorted = newest_first(packages);
        let found: Vec<_> = sorted
            .iter()
            .map(|package| (package.name.ends_with("signed"), package.version.as_str()))
            .collect();
        let expected = [
            (false, "6.1.192-2"),
            (true, "6.1.192-2"),
            (false, "6.1.192-1"),
            (false, "6.1.99-1"),
        ];
        assert_eq!(found, expected);
    }
}
