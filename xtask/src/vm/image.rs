//! The initial file system of a virtual machine: all there is in it.

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use portreeve_toolchain::command::{in_path, output, quote};

use super::kernels::Kernel;
use super::machine::UNIT;
use crate::debian::tree::Tree;
use crate::product::UnderTest;

/// Modules that tests need, with what those depend on. What a kernel has built in or
/// not at all is left out.
const MODULES: [&str; 9] = [
    "inet_diag",
    "tcp_diag",
    "udp_diag",
    "sctp",
    "dccp_ipv6",
    "smc",
    "veth",
    "dummy",
    "vxlan",
];

/// The programs of a virtual machine, the same for all kernels.
pub struct Programs {
    /// Where they are as they will be in the machine.
    folder: PathBuf,
}

impl Programs {
    /// Collects agents, tests and busybox, with their libraries, in `folder`.
    ///
    /// # Errors
    ///
    /// If one isn't there.
    pub fn collect(folder: &Path, under_test: &UnderTest) -> Result<Self> {
        for place in ["bin", "dev", "etc", "proc", "run", "sys", "tmp"] {
            fs::create_dir_all(folder.join(place))?;
        }
        let busybox = add_programs(folder, under_test)?;
        symlink("busybox", folder.join("bin/sh"))?;
        let mut libraries = BTreeSet::new();
        for program in [&under_test.agent, &under_test.tests, &busybox] {
            libraries.extend(libraries_of(program)?);
        }
        for library in libraries {
            let copy = folder.join(library.strip_prefix("/")?);
            fs::create_dir_all(copy.parent().unwrap_or(folder))?;
            fs::copy(&library, &copy).with_context(|| library.display().to_string())?;
        }
        // A policy may name root; nobody else is known there.
        fs::write(folder.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n")?;
        fs::write(folder.join("etc/group"), "root:x:0:\n")?;
        let init = folder.join("init");
        fs::write(&init, include_str!("init.sh"))?;
        fs::set_permissions(&init, Permissions::from_mode(0o755))?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Adds them in `folder` to a distribution, whose systemd runs the tests.
    ///
    /// # Errors
    ///
    /// If the distribution's C library is older than the one they were built with.
    pub fn among(distribution: &Tree, folder: &Path, under_test: &UnderTest) -> Result<Self> {
        let mut copy = Command::new("cp");
        copy.args(["-a", "--no-preserve=ownership"]);
        output(copy.arg(distribution.folder.join(".")).arg(folder))?;
        add_programs(folder, under_test)?;
        for name in PROGRAMS {
            // A static program is none of the loader's business.
            if !libraries_of(&folder.join("bin").join(name))?.is_empty() {
                can_run(folder, name)?;
            }
        }
        symlink("usr/lib/systemd/systemd", folder.join("init"))?;
        let units = folder.join("etc/systemd/system");
        fs::create_dir_all(&units)?;
        fs::write(units.join(UNIT), include_str!("tests.service"))?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }

    /// Writes the image in which `kernel` runs the tests with these arguments.
    ///
    /// # Errors
    ///
    /// What the file system or cpio say.
    pub fn image(
        &self,
        kernel: &Kernel,
        variables: &[(&str, String)],
        arguments: &[String],
        image: &Path,
    ) -> Result<()> {
        let mut script = String::new();
        for (name, value) in variables {
            script.push_str(&format!("export {name}={}\n", quote(value.as_ref())));
        }
        let words: Vec<String> = arguments.iter().map(|word| quote(word.as_ref())).collect();
        script.push_str(&format!(
            "portreeve-tests --color never {}\n",
            words.join(" ")
        ));
        fs::write(self.folder.join("tests"), script)?;
        self.set_modules(kernel)?;
        archive(&self.folder, image)
    }

    fn set_modules(&self, kernel: &Kernel) -> Result<()> {
        let place = self.folder.join("modules");
        if place.exists() {
            fs::remove_dir_all(&place)?;
        }
        fs::create_dir(&place)?;
        let folder = kernel.modules().context("the kernel has no modules")?;
        let mut files = Vec::new();
        find_modules(&folder, &mut files)?;
        let mut loaded = Vec::new();
        for name in MODULES {
            add(name, &files, &mut loaded)?;
        }
        for (number, (name, content)) in loaded.iter().enumerate() {
            fs::write(place.join(format!("{number:02}-{name}.ko")), content)?;
        }
        Ok(())
    }
}

/// The names of what is added to every machine.
const PROGRAMS: [&str; 3] = ["portreeve", "portreeve-tests", "busybox"];

/// The agent with another layout of its maps, where it is needed.
const OTHER_LAYOUT: &str = "portreeve-other-layout";

/// Adds the programs, and the script that runs the tests; where busybox is here.
fn add_programs(folder: &Path, under_test: &UnderTest) -> Result<PathBuf> {
    let UnderTest {
        agent,
        other,
        tests,
    } = under_test;
    let other = other.as_ref().map(|other| (other, OTHER_LAYOUT));
    let all = [agent, tests].into_iter().zip(PROGRAMS).chain(other);
    for (program, name) in all {
        // Debug information would fill most of the machine's memory.
        let mut strip = Command::new("strip");
        strip.arg("-o").arg(folder.join("bin").join(name));
        output(strip.arg(program))?;
    }
    let busybox = in_path("busybox").context("there is no busybox")?;
    fs::copy(&busybox, folder.join("bin/busybox"))?;
    fs::write(folder.join("tell"), include_str!("tell.sh"))?;
    Ok(busybox)
}

/// Whether a program finds its libraries, and in them what it needs, in `folder`.
fn can_run(folder: &Path, name: &str) -> Result<()> {
    let loader = Command::new(folder.join("lib64/ld-linux-x86-64.so.2"))
        .arg("--library-path")
        .arg(folder.join("lib/x86_64-linux-gnu"))
        .arg("--list")
        .arg(folder.join("bin").join(name))
        .output()
        .context("the distribution's loader can't be run")?;
    let said = [loader.stdout, loader.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(
        loader.status.success(),
        "{name} needs newer libraries than the distribution with systemd has: {said}"
    );
    Ok(())
}

/// The shared libraries of a program, the loader included.
fn libraries_of(program: &Path) -> Result<Vec<PathBuf>> {
    // With an error it says of a static program that it is one.
    let said = Command::new("ldd").arg(program).output().context("ldd")?;
    let text = String::from_utf8_lossy(&said.stdout);
    if text.contains("not found") {
        bail!("a library of {} is missing: {text}", program.display());
    }
    Ok(text.lines().filter_map(library).collect())
}

/// "libc.so.6 => /lib/libc.so.6 (0x…)" or "/lib64/ld-linux.so.2 (0x…)"
fn library(line: &str) -> Option<PathBuf> {
    let path = line.split_once("=>").map_or(line, |(_, path)| path).trim();
    let (path, _) = path.rsplit_once(" (")?;
    path.starts_with('/').then(|| PathBuf::from(path))
}

fn find_modules(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            find_modules(&entry.path(), files)?;
        } else if module_name(&entry.path()).is_some() {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// The name of the module that a file has, compressed or not.
fn module_name(file: &Path) -> Option<String> {
    let (name, rest) = file.file_name()?.to_str()?.split_once(".ko")?;
    ["", ".xz"].contains(&rest).then(|| name.replace('-', "_"))
}

/// Adds a module behind those that it depends on.
fn add(name: &str, files: &[PathBuf], loaded: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let is_it = |file: &&PathBuf| module_name(file).as_deref() == Some(name);
    if loaded.iter().any(|(other, _)| other == name) {
        return Ok(());
    }
    let Some(file) = files.iter().find(is_it) else {
        return Ok(());
    };
    let content = if file.extension().is_some_and(|extension| extension == "xz") {
        let unpacked = Command::new("xz").arg("-dc").arg(file).output();
        let unpacked = unpacked.context("xz can't be run")?;
        ensure!(unpacked.status.success(), "{} is damaged", file.display());
        unpacked.stdout
    } else {
        fs::read(file)?
    };
    for dependency in dependencies(&content) {
        add(&dependency, files, loaded)?;
    }
    loaded.push((name.to_owned(), content));
    Ok(())
}

/// What a module says it depends on: "depends=a,b" between two zeroes.
fn dependencies(module: &[u8]) -> Vec<String> {
    let entries = module.split(|&byte| byte == 0);
    let list = entries
        .filter_map(|entry| entry.strip_prefix(b"depends="))
        .next()
        .unwrap_or_default();
    let names = String::from_utf8_lossy(list).into_owned();
    let names = names.split(',').filter(|name| !name.is_empty());
    names.map(|name| name.replace('-', "_")).collect()
}

/// Not compressed: an emulated processor would take seconds to unpack it.
fn archive(folder: &Path, image: &Path) -> Result<()> {
    let mut names = Vec::new();
    list(folder, folder, &mut names)?;
    let mut cpio = Command::new("cpio")
        .args(["--create", "--format=newc", "--owner=0:0", "--quiet"])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(File::create(image)?)
        .spawn()
        .context("cpio can't be run")?;
    if let Some(mut input) = cpio.stdin.take() {
        input.write_all(names.join("\n").as_bytes())?;
    }
    ensure!(cpio.wait()?.success(), "cpio failed");
    Ok(())
}

/// Folders before what is in them.
fn list(root: &Path, folder: &Path, names: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        names.push(path.strip_prefix(root)?.display().to_string());
        if entry.file_type()?.is_dir() {
            list(root, &path, names)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_read_from_ldds_lines() {
        for (line, expected) in [
            (
                "\tlibc.so.6 => /lib/libc.so.6 (0x7f)",
                Some("/lib/libc.so.6"),
            ),
            (
                "\t/lib64/ld-linux.so.2 (0x7f)",
                Some("/lib64/ld-linux.so.2"),
            ),
            ("\tlinux-vdso.so.1 (0x7f)", None),
            ("\tstatically linked", None),
        ] {
            assert_eq!(library(line), expected.map(PathBuf::from), "{line}");
        }
    }

    #[test]
    fn a_module_is_named_by_its_file_and_names_what_it_needs() {
        for (file, expected) in [
            ("a/udp_diag.ko", Some("udp_diag")),
            ("a/crc-ccitt.ko.xz", Some("crc_ccitt")),
            ("a/modules.order", None),
            ("a/b.ko.sig", None),
        ] {
            assert_eq!(module_name(Path::new(file)).as_deref(), expected, "{file}");
        }
        let module = b"\x7fELF\0license=GPL\0depends=inet_diag,libcrc32c\0name=x\0";
        assert_eq!(dependencies(module), ["inet_diag", "libcrc32c"]);
        assert!(dependencies(b"\x7fELF\0depends=\0").is_empty());
        assert!(dependencies(b"\x7fELF").is_empty());
    }
}
