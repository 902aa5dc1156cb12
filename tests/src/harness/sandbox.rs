//! A test's own place: cgroup, pins, socket and files.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{self, Command},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    agent::Start,
    cleanup,
    command::{self, Finished},
    host, needs,
    request::{Caller, Thread},
    settings::Settings,
};

/// Where one agent enforces, and everything it leaves there.
pub struct Sandbox {
    name: String,
    /// The cgroup the hooks are attached to.
    pub cgroup: PathBuf,
    /// The directory of the pins; made by the agent.
    pub bpffs: PathBuf,
    /// A folder for files, which only root may write.
    pub dir: PathBuf,
    /// The agent's control socket.
    pub socket: PathBuf,
}

impl Sandbox {
    /// A new one, with nothing in it. Its network is the calling thread's.
    pub fn new() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{}-{number}", host::PREFIX, process::id());
        let dir = env::temp_dir().join(&name);
        let sandbox = Self {
            cgroup: host::cgroup2()?.join(&name),
            bpffs: Path::new(host::BPFFS).join(&name),
            socket: dir.join("control.sock"),
            dir,
            name,
        };
        fs::create_dir(&sandbox.dir)?;
        // Whoever may write the folder could replace a profile in it.
        fs::set_permissions(&sandbox.dir, fs::Permissions::from_mode(0o755))?;
        fs::create_dir(&sandbox.cgroup).with_context(|| sandbox.cgroup.display().to_string())?;
        Ok(sandbox)
    }

    /// The sandbox's cgroup as events show it.
    pub fn cgroup_name(&self) -> String {
        format!("/{}", self.name)
    }

    /// Makes a cgroup below the one the hooks are attached to.
    pub fn cgroup_below(&self, name: &str) -> Result<PathBuf> {
        let path = self.cgroup.join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// A process of this name, root's, in the sandbox's cgroup.
    pub fn caller(&self, name: &str) -> Caller {
        Caller {
            name: name.to_owned(),
            job: Some(name.to_ascii_uppercase()),
            thread: Thread::Leader,
            uids: None,
            cgroup: self.cgroup.clone(),
            elsewhere: false,
            own_users: false,
            exe: None,
            gids: None,
            groups: Vec::new(),
            capabilities: None,
            own_network: false,
            thread_cgroup: None,
            cpu: None,
            nice: 0,
            started_by: None,
        }
    }

    /// Writes a file that may be read as policy. A config accepts what this kernel
    /// lacks, unless it says itself what it accepts.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.dir.join(name);
        let mut content = content.as_ref().to_owned();
        if path == self.config() && !String::from_utf8_lossy(&content).contains("[degraded]") {
            content.extend(needs::accepting(&[]).as_bytes());
        }
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        Ok(path)
    }

    /// The profile of the sandbox's agent.
    pub fn profile(&self) -> PathBuf {
        self.dir.join("profile.tcpip")
    }

    /// The config of the sandbox's agent.
    pub fn config(&self) -> PathBuf {
        self.dir.join("portreeve.toml")
    }

    /// Where the sandbox's agent remembers what is in force.
    pub fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Writes profile and config for the sandbox's agent.
    pub fn set_policy(&self, profile: &str, settings: Settings) -> Result<()> {
        self.write("profile.tcpip", profile)?;
        self.write("portreeve.toml", settings.toml())?;
        Ok(())
    }

    /// The same, with more text behind the settings in the config.
    pub fn set_policy_with(&self, profile: &str, settings: Settings, more: &str) -> Result<()> {
        self.set_policy(profile, settings)?;
        self.write("portreeve.toml", settings.toml() + more)?;
        Ok(())
    }

    /// An agent for this policy, to be started.
    pub fn agent(&self, profile: &str, settings: Settings) -> Result<Start<'_>> {
        self.set_policy(profile, settings)?;
        Start::new(self)
    }

    /// An agent for this profile and this config, to be started.
    pub fn agent_with(&self, profile: &str, config: &str) -> Result<Start<'_>> {
        self.write("profile.tcpip", profile)?;
        self.write("portreeve.toml", config)?;
        self.agent_again()
    }

    /// An agent for the policy that the sandbox's files hold, to be started.
    pub fn agent_again(&self) -> Result<Start<'_>> {
        Start::new(self)
    }

    /// The options that say where everything is.
    pub fn places(&self) -> [String; 8] {
        let text = |path: &Path| path.display().to_string();
        [
            "--cgroup".into(),
            text(&self.cgroup),
            "--bpffs".into(),
            text(&self.bpffs),
            "--socket".into(),
            text(&self.socket),
            "--state".into(),
            text(&self.state()),
        ]
    }

    /// Runs a verb of the agent's command line.
    pub fn portreeve(&self, arguments: &[&str]) -> Result<Finished> {
        self.run(host::agent()?, arguments)
    }

    /// The same, of the agent that was built with another layout of its maps.
    pub fn other_portreeve(&self, arguments: &[&str]) -> Result<Finished> {
        self.run(&host::other_agent()?, arguments)
    }

    fn run(&self, program: &Path, arguments: &[&str]) -> Result<Finished> {
        let mut command = Command::new(program);
        command.env_clear().args(arguments).args(self.places());
        command::finish(&mut command)
    }

    /// Whether there is anything of an agent in the kernel.
    pub fn is_pinned(&self) -> bool {
        self.bpffs.exists()
    }

    /// Ends enforcement and makes sure that it leaves nothing behind.
    pub fn close(self) -> Result<()> {
        if self.is_pinned() {
            self.portreeve(&["detach", "--yes"])?.ended_with(0)?;
            ensure!(
                !self.is_pinned(),
                "{} is still there after `detach`",
                self.bpffs.display()
            );
        }
        Ok(())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Pins first: nothing here is judged any more, whatever state it is in.
        cleanup::remove(&self.bpffs);
        cleanup::cgroup(&self.cgroup);
        cleanup::remove(&self.dir);
    }
}
