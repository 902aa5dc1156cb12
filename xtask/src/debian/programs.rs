//! Programs that tests run, whose packages would start a service where systemd runs: this
//! machine's if it has them, else from a package that is only unpacked.

use std::env::{self, consts::ARCH};
use std::ffi::{OsStr, OsString};
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

/// Some programs of packages that are unpacked together.
#[derive(Clone, Copy, Debug)]
pub struct Programs {
    /// The packages; of several the first one's version is said.
    pub packages: &'static [&'static str],
    /// Their names, their places in the packages, and what they answer to when they run.
    pub files: &'static [(&'static str, &'static str, &'static str)],
}

/// Who reads metrics, and the tool that checks them.
pub const PROMETHEUS: Programs = Programs {
    packages: &["prometheus"],
    files: &[
        ("prometheus", "usr/bin/prometheus", "-h"),
        ("promtool", "usr/bin/promtool", "-h"),
    ],
};

/// The server that a benchmark restarts.
pub const NGINX: Programs = Programs {
    packages: &["nginx"],
    files: &[("nginx", "usr/sbin/nginx", "-h")],
};

/// The SNMP agent that the subagent answers for, managers that ask it, one that is notified,
/// and who checks the module.
pub const SNMP: Programs = Programs {
    packages: &["snmpd", "snmp", "snmptrapd", "smitools"],
    files: &[
        ("snmpd", "usr/sbin/snmpd", "-v"),
        ("snmpget", "usr/bin/snmpget", "-V"),
        ("snmpwalk", "usr/bin/snmpwalk", "-V"),
        ("snmpbulkwalk", "usr/bin/snmpbulkwalk", "-V"),
        ("snmpset", "usr/bin/snmpset", "-V"),
        ("snmptrapd", "usr/sbin/snmptrapd", "-v"),
        ("smilint", "usr/bin/smilint", "-V"),
    ],
};

impl Programs {
    /// Whether this machine has them all, and nothing has to be fetched.
    pub fn are_here(&self) -> bool {
        self.files.iter().all(|(name, ..)| in_path(name).is_some())
    }

    /// The packages, for people.
    pub fn title(&self) -> String {
        self.packages.join(", ")
    }

    /// `path` with them: the folder of those that were fetched before it, if this machine
    /// hasn't got them.
    ///
    /// # Errors
    ///
    /// Says why they can't be had.
    pub fn before(&self, path: &OsStr) -> Result<OsString> {
        if self.are_here() {
            return Ok(path.to_owned());
        }
        let folders = [self.fetch()?].into_iter().chain(env::split_paths(path));
        Ok(env::join_paths(folders)?)
    }

    /// The folder from which those that were fetched are started.
    fn fetch(&self) -> Result<PathBuf> {
        ensure!(
            ARCH == "x86_64",
            "{} is fetched for x86-64 only, and this is {ARCH}: install it",
            self.title()
        );
        let mirror = Mirror::of_this_machine();
        let tree = tree::get(self.packages, &SUITES, &mirror, |folder| {
            self.make_starters(folder)
        })?;
        let folder = tree.folder.join(STARTERS);
        for (name, _, asked) in self.files {
            let mut program = Command::new(folder.join(name));
            output(program.arg(asked)).with_context(|| format!("{name} doesn't run"))?;
        }
        eprintln!("fetched, not installed: {} {}", self.title(), tree.version);
        Ok(folder)
    }

    fn make_starters(&self, folder: &Path) -> Result<()> {
        let starters = folder.join(STARTERS);
        let loaders = starters.join("loaders");
        fs::create_dir_all(&loaders)?;
        for (name, place, _) in self.files {
            ensure!(
                folder.join(place).is_file(),
                "{} has no {place}",
                self.title()
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
            packages: &["coreutils"],
            files: &[("meow", "usr/bin/cat", "--version")],
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
