//! Programs that tests run, whose packages would start a service where systemd runs: this
//! machine's if it has them, else from a package that is only unpacked.

use std::env::{self, consts::ARCH};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use portreeve_toolchain::command::{in_path, output};

use super::apt::Mirror;
use super::tree::{self, LIBRARIES, LOADER};

/// The release whose C library is the newest; the programs bring theirs along.
const SUITES: [&str; 3] = ["trixie", "trixie-updates", "trixie-security"];
/// The folder of a tree from which its programs are started, whatever C library this
/// machine has.
const STARTERS: &str = "starters";

/// Some programs of one package.
#[derive(Clone, Copy, Debug)]
pub struct Programs {
    /// The package.
    pub package: &'static str,
    /// Their names, and their places in the package.
    pub files: &'static [(&'static str, &'static str)],
}

/// Who reads metrics, and the tool that checks them.
pub const PROMETHEUS: Programs = Programs {
    package: "prometheus",
    files: &[
        ("prometheus", "usr/bin/prometheus"),
        ("promtool", "usr/bin/promtool"),
    ],
};

/// The server that a benchmark restarts.
pub const NGINX: Programs = Programs {
    package: "nginx",
    files: &[("nginx", "usr/sbin/nginx")],
};

impl Programs {
    /// Whether this machine has them all, and nothing has to be fetched.
    pub fn are_here(&self) -> bool {
        self.files.iter().all(|(name, _)| in_path(name).is_some())
    }

    /// `PATH` with them: ours, and before it the folder of those that were fetched, if this
    /// machine hasn't got them.
    ///
    /// # Errors
    ///
    /// Says why they can't be had.
    pub fn path(&self) -> Result<OsString> {
        let path = env::var_os("PATH").unwrap_or_default();
        if self.are_here() {
            return Ok(path);
        }
        let folders = [self.fetch()?].into_iter().chain(env::split_paths(&path));
        Ok(env::join_paths(folders)?)
    }

    /// The folder from which those that were fetched are started.
    fn fetch(&self) -> Result<PathBuf> {
        ensure!(
            ARCH == "x86_64",
            "{} is fetched for x86-64 only, and this is {ARCH}: install it",
            self.package
        );
        let mirror = Mirror::of_this_machine();
        let tree = tree::get(&[self.package], &SUITES, &mirror, |folder| {
            self.make_starters(folder)
        })?;
        let folder = tree.folder.join(STARTERS);
        for (name, _) in self.files {
            let mut program = Command::new(folder.join(name));
            output(program.arg("-h")).with_context(|| format!("{name} doesn't run"))?;
        }
        eprintln!("fetched, not installed: {} {}", self.package, tree.version);
        Ok(folder)
    }

    fn make_starters(&self, folder: &Path) -> Result<()> {
        let starters = folder.join(STARTERS);
        let loaders = starters.join("loaders");
        fs::create_dir_all(&loaders)?;
        for (name, place) in self.files {
            ensure!(
                folder.join(place).is_file(),
                "{} has no {place}",
                self.package
            );
            // A process is called what its loader is called.
            symlink(format!("../../{LOADER}"), loaders.join(name))?;
            let starter = starters.join(name);
            fs::write(&starter, script(name, place))?;
            fs::set_permissions(&starter, fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    }
}

/// What starts a program with the libraries of its tree.
fn script(name: &str, place: &str) -> String {
    format!(
        "#!/bin/sh\nhere=${{0%/*}}\nexec \"$here/loaders/{name}\" --library-path \
         \"$here/../{LIBRARIES}\" \"$here/../{place}\" \"$@\"\n"
    )
}

#[cfg(test)]
mod tests {
    use std::process::id;

    use super::*;

    /// With this machine's loader and libraries in the place of a tree's.
    #[test]
    fn a_program_is_started_with_the_libraries_of_its_tree_and_keeps_its_name() {
        let machine = Path::new("/");
        if !machine.join(LOADER).exists() || !machine.join(LIBRARIES).is_dir() {
            eprintln!("not tried: this machine isn't Debian's on x86-64");
            return;
        }
        let folder = env::temp_dir().join(format!("portreeve-starters-{}", id()));
        for place in [LOADER, LIBRARIES, "usr/bin/cat"] {
            let place = Path::new(place);
            let above = place.parent().unwrap();
            fs::create_dir_all(folder.join(above)).unwrap();
            symlink(machine.join(place), folder.join(place)).unwrap();
        }
        let programs = Programs {
            package: "coreutils",
            files: &[("meow", "usr/bin/cat")],
        };
        programs.make_starters(&folder).unwrap();
        let mut meow = Command::new(folder.join(STARTERS).join("meow"));
        let said = output(meow.args(["/proc/self/comm", "/proc/self/cmdline"]));
        fs::remove_dir_all(&folder).unwrap();
        let said = said.unwrap();
        assert!(said.starts_with("meow\n"), "{said:?}");
        assert!(said.contains("--library-path"), "{said:?}");
    }
}
