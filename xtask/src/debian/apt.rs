//! apt with a state of its own: packages of other Debian suites, from the mirror
//! that this machine's own sources name, and nothing of the machine is changed.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use portreeve_toolchain::command::{in_path, output, show};

/// Names another mirror, such as a machine without Debian sources needs.
pub const VARIABLE: &str = "PORTREEVE_DEBIAN_MIRROR";

/// Where Debian's archive keys are on Debian.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A list of packages is taken for fresh for this long.
const FRESH: Duration = Duration::from_secs(12 * 60 * 60);

/// Where Debian's packages come from.
#[derive(Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The archive.
    archive: String,
    /// The security updates.
    security: String,
}

impl Mirror {
    /// The one that this machine's apt sources name.
    ///
    /// # Errors
    ///
    /// If there is no apt, or no source of it is Debian's.
    pub fn of_this_machine() -> Result<Self> {
        ensure!(
            in_path("apt-get").is_some() && in_path("dpkg-deb").is_some(),
            "this is not Debian: there is no apt-get, with which packages are fetched"
        );
        if let Ok(archive) = env::var(VARIABLE) {
            return Ok(Self::at(&archive));
        }
        // apt reads its own files best: both formats, every folder.
        let mut targets = Command::new("apt-get");
        targets.args(["indextargets", "--format"]);
        targets.arg("$(REPO_URI) $(RELEASE) $(COMPONENT)");
        Self::among(&output(&mut targets)?).with_context(|| {
            format!("no apt source of this machine is Debian's; name a mirror in {VARIABLE}")
        })
    }

    fn at(archive: &str) -> Self {
        let archive = archive.trim_end_matches('/');
        Self {
            archive: archive.to_owned(),
            security: format!("{archive}-security"),
        }
    }

    /// Lines of address, suite and component.
    fn among(targets: &str) -> Option<Self> {
        let lines: Vec<(&str, &str)> = targets.lines().filter_map(debian).collect();
        let archives = lines.iter().filter(|(_, suite)| !is_security(suite));
        let is_usual = |address: &str| address.trim_end_matches('/').ends_with("/debian");
        let (archive, _) = archives
            .clone()
            .find(|(address, _)| is_usual(address))
            .or_else(|| archives.clone().next())?;
        let mut mirror = Self::at(archive);
        if let Some((security, _)) = lines.iter().find(|(_, suite)| is_security(suite)) {
            security
                .trim_end_matches('/')
                .clone_into(&mut mirror.security);
        }
        Some(mirror)
    }

    fn of_suite(&self, suite: &str) -> &str {
        if is_security(suite) {
            &self.security
        } else {
            &self.archive
        }
    }
}

fn is_security(suite: &str) -> bool {
    suite.ends_with("-security")
}

/// The address and suite of a line, if they are Debian's.
fn debian(line: &str) -> Option<(&str, &str)> {
    const RELEASES: [&str; 9] = [
        "bullseye",
        "bookworm",
        "trixie",
        "forky",
        "sid",
        "oldstable",
        "stable",
        "testing",
        "unstable",
    ];
    let mut fields = line.split_whitespace();
    let (address, suite, component) = (fields.next()?, fields.next()?, fields.next()?);
    let (release, part) = suite.split_once('-').unwrap_or((suite, ""));
    let is_debian =
        RELEASES.contains(&release) && ["", "updates", "security", "backports"].contains(&part);
    (is_debian && component == "main").then_some((address, suite))
}

/// A package in a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// An apt that knows a few suites only.
pub struct Apt {
    folder: PathBuf,
}

impl Apt {
    /// With its state in `folder`.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn new(folder: &Path, mirror: &Mirror, suites: &[&str]) -> Result<Self> {
        for part in ["lists/partial", "archives/partial", "parts"] {
            let part = folder.join(part);
            fs::create_dir_all(&part).with_context(|| part.display().to_string())?;
        }
        let signed = if Path::new(KEYRING).exists() {
            format!(",signed-by={KEYRING}")
        } else {
            // Whatever keys this machine trusts by itself.
            String::new()
        };
        let source = |suite: &&str| {
            let address = mirror.of_suite(suite);
            format!("deb [arch=amd64{signed}] {address} {suite} main\n")
        };
        let list = suites.iter().map(source).collect::<String>();
        let file = folder.join("sources.list");
        if fs::read_to_string(&file).is_ok_and(|before| before != list) {
            // Lists of another mirror say nothing of this one.
            let _ = fs::remove_file(folder.join(UPDATED));
        }
        fs::write(&file, list)?;
        File::create(folder.join("status"))?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Fetches the lists of packages unless that was done some hours ago.
    ///
    /// # Errors
    ///
    /// If they can't be had.
    pub fn update(&self) -> Result<()> {
        let mark = self.folder.join(UPDATED);
        let age = fs::metadata(&mark).and_then(|data| data.modified());
        let age = age.map(|time| SystemTime::now().duration_since(time).unwrap_or_default());
        if age.is_ok_and(|age| age < FRESH) {
            return Ok(());
        }
        let mut update = self.command("apt-get");
        // Without this a suite that can't be had is only a warning.
        update.args(["update", "--error-on=any"]);
        eprintln!("+ {}", show(&update));
        output(&mut update)?;
        File::create(&mark)?;
        Ok(())
    }

    /// The names that begin with `prefix`.
    ///
    /// # Errors
    ///
    /// If apt fails.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let names = output(self.command("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Every version of these packages.
    ///
    /// # Errors
    ///
    /// If apt fails.
    pub fn versions(&self, names: &[&str]) -> Result<Vec<Package>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let table = output(self.command("apt-cache").arg("madison").args(names))?;
        Ok(table.lines().filter_map(package).collect())
    }

    /// The names of what a package depends on.
    ///
    /// # Errors
    ///
    /// If apt fails.
    pub fn dependencies(&self, package: &Package) -> Result<Vec<String>> {
        let text = output(self.command("apt-cache").args(["show", &exactly(package)]))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Depends:"));
        let names = line.unwrap_or_default().split([',', '|']);
        let names = names.filter_map(|name| name.split_whitespace().next());
        Ok(names.map(str::to_owned).collect())
    }

    /// Everything that installing `names` on a machine without anything would install.
    ///
    /// # Errors
    ///
    /// If apt fails.
    pub fn closure(&self, names: &[&str]) -> Result<Vec<Package>> {
        let mut install = self.command("apt-get");
        install.args(["install", "--simulate", "--no-install-recommends"]);
        install.args(names);
        let said = output(&mut install)?;
        Ok(said.lines().filter_map(installed).collect())
    }

    /// Fetches packages and unpacks them in `folder`.
    ///
    /// # Errors
    ///
    /// If they can't be had.
    pub fn unpack(&self, packages: &[Package], folder: &Path) -> Result<()> {
        let download = self.folder.join("download");
        let _ = fs::remove_dir_all(&download);
        fs::create_dir_all(&download)?;
        let mut fetch = self.command("apt-get");
        fetch.arg("download").args(packages.iter().map(exactly));
        eprintln!("+ {}", show(&fetch));
        output(fetch.current_dir(&download))?;
        for file in fs::read_dir(&download)? {
            let mut unpack = Command::new("dpkg-deb");
            output(unpack.arg("-x").arg(file?.path()).arg(folder))?;
        }
        fs::remove_dir_all(&download)?;
        Ok(())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let place = |name: &str, part: &str| format!("{name}={}", self.folder.join(part).display());
        for option in [
            place("Dir::State", ""),
            place("Dir::State::status", "status"),
            place("Dir::Cache", ""),
            place("Dir::Etc::sourcelist", "sources.list"),
            place("Dir::Etc::sourceparts", "parts"),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64".to_owned(),
            // As root, apt would become a user who may not read a cache folder.
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "Acquire::IndexTargets::deb::CNF::DefaultEnabled=false".to_owned(),
            "Acquire::Retries=3".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
        command.stderr(Stdio::inherit());
        command
    }
}

/// Says when the lists were fetched.
const UPDATED: &str = "updated";

fn exactly(package: &Package) -> String {
    format!("{}={}", package.name, package.version)
}

/// "name | version | where"
fn package(line: &str) -> Option<Package> {
    let mut fields = line.split('|').map(str::trim);
    let (name, version) = (fields.next()?, fields.next()?);
    Some(Package {
        name: name.to_owned(),
        version: version.to_owned(),
    })
}

/// "Inst name (version where [architecture]) []"
fn installed(line: &str) -> Option<Package> {
    let mut words = line.strip_prefix("Inst ")?.split(' ');
    let (name, version) = (words.next()?, words.next()?.strip_prefix('(')?);
    Some(Package {
        name: name.to_owned(),
        version: version.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_one_of_the_debian_sources() {
        let targets = "https://a.test/apt bookworm-pgdg main\n\
                       https://b.test/nodesource nodistro main\n\
                       https://c.test/tool bookworm main\n\
                       http://d.test/debian/ bookworm main\n\
                       http://d.test/debian/ bookworm-updates main\n\
                       http://e.test/debian-security/ bookworm-security main\n";
        let mirror = Mirror::among(targets).unwrap();
        assert_eq!(mirror.of_suite("trixie"), "http://d.test/debian");
        assert_eq!(
            mirror.of_suite("trixie-security"),
            "http://e.test/debian-security"
        );
    }

    #[test]
    fn the_security_updates_are_beside_the_archive_unless_said_otherwise() {
        let mirror = Mirror::among("http://d.test/debian/ sid main\n").unwrap();
        assert_eq!(
            mirror.of_suite("bookworm-security"),
            "http://d.test/debian-security"
        );
    }

    #[test]
    fn sources_of_others_are_no_mirror() {
        for targets in [
            "",
            "http://d.test/ubuntu noble main\n",
            "http://d.test/debian bookworm contrib\n",
            "http://d.test/debian bookworm\n",
        ] {
            assert_eq!(Mirror::among(targets), None, "{targets:?}");
        }
    }

    #[test]
    fn versions_are_read_from_apts_table() {
        let line = " linux-image-7.2.12+deb13 | 7.2.12-1~bpo13+1 | http://d.test trixie/main";
        let expected = Package {
            name: "linux-image-7.2.12+deb13".into(),
            version: "7.2.12-1~bpo13+1".into(),
        };
        assert_eq!(package(line), Some(expected));
        assert_eq!(package("nothing"), None);
    }

    #[test]
    fn what_would_be_installed_is_read_from_a_simulation() {
        let line = "Inst libc6 (2.41-12 Debian:13.1/stable [amd64]) [libgcc-s1 ]";
        let expected = Package {
            name: "libc6".into(),
            version: "2.41-12".into(),
        };
        assert_eq!(installed(line), Some(expected));
        for line in ["Conf libc6 (2.41-12 Debian)", "0 upgraded", "Inst libc6"] {
            assert_eq!(installed(line), None, "{line}");
        }
    }
}
