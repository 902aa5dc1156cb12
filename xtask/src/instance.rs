//! An agent of our own beside any other on the host: its own cgroup, pins and
//! control socket, and no trace of them afterwards.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use portreeve_toolchain::command;

use crate::host;

/// The instance of `cargo xtask run`, of which there is one.
pub const DEVELOPMENT: &str = "portreeve-dev";

/// Where an agent enforces and what it leaves there while it runs.
pub struct Instance {
    /// The agent's executable.
    pub agent: PathBuf,
    /// The cgroup it enforces on; without one, the whole host.
    pub cgroup: Option<PathBuf>,
    bpffs: PathBuf,
    folder: PathBuf,
}

impl Instance {
    /// An instance that enforces on a scratch cgroup of this name.
    pub fn scratch(name: &str, agent: &Path) -> Result<Self> {
        Ok(Self {
            cgroup: Some(host::cgroup2()?.join(name)),
            ..Self::host(name, agent)
        })
    }

    /// An instance that enforces on the whole host, under this name.
    pub fn host(name: &str, agent: &Path) -> Self {
        Self {
            agent: agent.to_owned(),
            cgroup: None,
            bpffs: Path::new(host::BPFFS).join(name),
            folder: Path::new("/run").join(name),
        }
    }

    /// A folder with a `portreeve` that means this instance; see
    /// [`Self::add_command`].
    pub fn bin(&self) -> PathBuf {
        self.folder.join("bin")
    }

    /// Writes a `portreeve` that needs no options to find this instance, and
    /// becomes root by itself where that is needed.
    pub fn add_command(&self) -> Result<()> {
        let file = self.bin().join("portreeve");
        let mut words = vec![self.agent.as_os_str().to_owned()];
        words.extend(self.options());
        let command = words
            .iter()
            .map(|word| command::quote(word))
            .collect::<Vec<_>>()
            .join(" ");
        let script = format!(
            "#!/bin/sh\n\
             case $(id -u),$1 in\n\
             0,* | *,check | *,help | *,-* | *,) exec {command} \"$@\" ;;\n\
             *) exec sudo {command} \"$@\" ;;\n\
             esac\n"
        );
        create_dir(&self.bin())?;
        fs::write(&file, script)
            .and_then(|()| fs::set_permissions(&file, Permissions::from_mode(0o755)))
            .with_context(|| format!("{} can't be written", file.display()))
    }

    /// A folder for what belongs to this instance.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A verb of the agent, told which instance is meant.
    pub fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.agent);
        command.arg(verb).args(self.options());
        command
    }

    /// The agent's options for all its verbs.
    fn options(&self) -> Vec<OsString> {
        let socket = self.folder.join("control.sock");
        let state = self.folder.join("state");
        let mut options: Vec<OsString> = Vec::new();
        for (option, path) in [
            ("--cgroup", self.cgroup.as_ref()),
            ("--bpffs", Some(&self.bpffs)),
            ("--socket", Some(&socket)),
            ("--state", Some(&state)),
        ] {
            if let Some(path) = path {
                options.extend([option.into(), path.into()]);
            }
        }
        options
    }

    /// What has to be there before the agent starts; whatever an instance that
    /// was killed left behind is removed first.
    pub fn create(&self) -> Result<()> {
        host::mount_bpffs()?;
        if self.bpffs.exists() {
            eprintln!(
                "removing what an earlier run left in {}",
                self.bpffs.display()
            );
            self.detach()?;
        }
        create_dir(&self.folder)?;
        match &self.cgroup {
            Some(cgroup) => create_dir(cgroup),
            None => Ok(()),
        }
    }

    /// Takes everything away again.
    pub fn remove(&self) -> Result<()> {
        self.detach()?;
        if let Some(cgroup) = &self.cgroup {
            remove_cgroup(cgroup)?;
        }
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{} stays", self.folder.display()))
            }
            _ => Ok(()),
        }
    }

    fn detach(&self) -> Result<()> {
        if !self.bpffs.exists() {
            return Ok(());
        }
        let mut detach = self.command("detach");
        detach.arg("--yes").stdin(Stdio::null());
        command::run(&mut detach)?;
        ensure!(
            !self.bpffs.exists(),
            "{} is still there after `detach`",
            self.bpffs.display()
        );
        Ok(())
    }
}

fn create_dir(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("{} can't be created", path.display()))
        }
        _ => Ok(()),
    }
}

/// A cgroup with processes in it can't be removed: they go to its parent.
fn remove_cgroup(cgroup: &Path) -> Result<()> {
    let parent = cgroup.parent().context("the cgroup has no parent")?;
    for _ in 0..50 {
        match fs::remove_dir(cgroup) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() != ErrorKind::ResourceBusy => {
                return Err(error).with_context(|| cgroup.display().to_string());
            }
            Err(_) => {}
        }
        let processes = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
        for process in processes.lines() {
            // It may have ended just now.
            let _ = fs::write(parent.join("cgroup.procs"), process);
        }
        // The dying count as members for a moment longer.
        sleep(Duration::from_millis(20));
    }
    anyhow::bail!("{} can't be emptied", cgroup.display())
}
