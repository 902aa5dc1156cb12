//! A real systemd: the first process where it is systemd, or a manager of a user's
//! units in a place of its own, which does the same with cgroups and sockets.

use std::{
    env,
    fs::{self, File},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sched::{CloneFlags, setns};

use super::{
    NOBODY, Sandbox, bus, cleanup,
    command::{self, Finished},
    host,
    launch::Launch,
    pace::patience,
    server::{Origin, words},
    skip,
};

/// Where Debian and everybody else has it.
const MANAGER: &str = "/usr/lib/systemd/systemd";
/// What a manager of a user's units finds there besides those of the tests: what
/// every unit depends on, and nothing that a distribution added to it.
const TARGETS: [&str; 4] = ["basic", "sockets", "shutdown", "default"];

/// A manager of units.
pub struct Systemd {
    /// The folder of the unit files.
    folder: PathBuf,
    /// The slice of the units as the kernel names it, from the cgroup root.
    pub slice: String,
    /// Below which everything it makes is.
    pub cgroup: PathBuf,
    /// Of a user's manager: where it is, its process, and what it made elsewhere.
    user: Option<User>,
    units: Mutex<Vec<String>>,
    _turn: Option<MutexGuard<'static, ()>>,
}

struct User {
    uid: u32,
    runtime: PathBuf,
    log: PathBuf,
    manager: Child,
    legacy: Option<PathBuf>,
}

/// Set in a machine that is there for the tests alone.
const OWN_MACHINE: &str = "PORTREEVE_TEST_OWN_MACHINE";

/// Whether the first process is systemd, of a machine whose root cgroup, network and
/// units are nobody else's.
fn is_first() -> bool {
    env::var_os(OWN_MACHINE).is_some()
        && Path::new("/run/systemd/system").is_dir()
        && fs::read_to_string("/proc/1/comm").is_ok_and(|comm| comm.trim_end() == "systemd")
}

/// A program of Debian's package systemd.
///
/// # Errors
///
/// A failure where it should be, which is wherever a distribution is installed; a
/// skip in a machine that was made of a kernel and these tests.
pub fn program(path: &str) -> Result<&Path> {
    if Path::new(path).is_file() {
        return Ok(Path::new(path));
    }
    ensure!(
        !Path::new("/etc/os-release").exists(),
        "{path} is not there; install systemd, as `cargo xtask test` does"
    );
    Err(skip(format!("this machine has no {path}")))
}

impl Systemd {
    /// The first process, one test at a time. The calling thread moves to its
    /// network, and so does what that starts from then on.
    ///
    /// # Errors
    ///
    /// A skip where the first process isn't systemd, or is that of a machine which is
    /// somebody's: it would be judged as a whole.
    pub fn first() -> Result<Self> {
        static TURN: Mutex<()> = Mutex::new(());
        if !is_first() {
            return Err(skip("there is no machine of their own with systemd"));
        }
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        setns(File::open("/proc/1/ns/net")?, CloneFlags::CLONE_NEWNET)?;
        let folder = PathBuf::from("/run/systemd/system");
        fs::create_dir_all(&folder)?;
        Ok(Self {
            folder,
            slice: "/system.slice".to_owned(),
            cgroup: host::cgroup2()?.to_owned(),
            user: None,
            units: Mutex::default(),
            _turn: Some(turn),
        })
    }

    /// A manager of its own in the sandbox's cgroup and the calling thread's network,
    /// root's.
    pub fn of_root(sandbox: &Sandbox) -> Result<Self> {
        Self::of(sandbox, 0)
    }

    /// The same, to be asked over a bus of its own.
    pub fn on_a_bus(sandbox: &Sandbox) -> Result<Self> {
        let systemd = Self::of(sandbox, 0)?;
        let texts = bus::units(systemd.runtime()?)?;
        let [service, socket] = [0, 1].map(|at| (bus::UNITS[at], texts[at].as_str()));
        systemd.set(&[service, socket])?;
        ensure!(systemd.start(bus::UNITS[0])?, "no bus can be started");
        Ok(systemd)
    }

    fn runtime(&self) -> Result<&Path> {
        let user = self.user.as_ref().context("it is the first process")?;
        Ok(&user.runtime)
    }

    /// The address of the bus that it is asked over.
    pub fn bus(&self) -> Result<String> {
        Ok(bus::address(self.runtime()?))
    }

    /// Takes its bus away.
    pub fn lose_bus(&self) -> Result<()> {
        self.stop(&bus::UNITS)
    }

    /// The same of a user without any privilege.
    pub fn of_a_user(sandbox: &Sandbox) -> Result<Self> {
        Self::of(sandbox, NOBODY)
    }

    fn of(sandbox: &Sandbox, uid: u32) -> Result<Self> {
        let program = program(MANAGER)?.to_owned();
        let folder = sandbox.dir.join("units");
        let runtime = sandbox.dir.join("runtime");
        for (folder, mode) in [(&folder, 0o755), (&runtime, 0o700)] {
            fs::create_dir(folder)?;
            fs::set_permissions(folder, fs::Permissions::from_mode(mode))?;
        }
        chown(&runtime, Some(uid), Some(uid))?;
        for target in TARGETS {
            fs::write(folder.join(format!("{target}.target")), "[Unit]\n")?;
        }
        let cgroup = sandbox.cgroup_below("user")?;
        let name = format!("{}/user", sandbox.cgroup_name());
        // Where both hierarchies are, systemd has its own in the first one, too.
        let legacy = host::named_cgroup()?.map(|root| root.join(&sandbox.cgroup_name()[1..]));
        if let Some(legacy) = &legacy {
            fs::create_dir_all(legacy.join("user"))?;
        }
        let mut cgroups = vec![cgroup];
        cgroups.extend(legacy.iter().map(|legacy| legacy.join("user")));
        for cgroup in &cgroups {
            chown(cgroup, Some(uid), Some(uid))?;
            for file in ["cgroup.procs", "cgroup.subtree_control"] {
                let file = cgroup.join(file);
                if file.exists() {
                    chown(&file, Some(uid), Some(uid))?;
                }
            }
        }
        let launch = Launch {
            program,
            arguments: vec!["--user".to_owned()],
            hidden: vec!["/run".into()],
            made: vec!["/run/systemd/system".into()],
            cgroups,
            uid: (uid != 0).then_some(uid),
            environment: environment(&runtime, &folder),
            ..Launch::default()
        };
        let log = sandbox.dir.join("systemd.log");
        let manager = launch
            .command()?
            .stdin(Stdio::null())
            .stdout(File::create(&log)?)
            .stderr(File::options().append(true).open(&log)?)
            .spawn()
            .context("no systemd can be started")?;
        let mut systemd = Self {
            folder,
            slice: format!("{name}/app.slice"),
            cgroup: sandbox.cgroup.clone(),
            user: Some(User {
                uid,
                runtime,
                log,
                manager,
                legacy,
            }),
            units: Mutex::default(),
            _turn: None,
        };
        systemd.wait_until_up()?;
        Ok(systemd)
    }

    fn wait_until_up(&mut self) -> Result<()> {
        let deadline = Instant::now() + patience();
        while self.ctl(&["is-active", "default.target"])?.code != Some(0) {
            let Some(user) = &mut self.user else {
                return Ok(());
            };
            let ended = user.manager.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(&user.log).unwrap_or_default();
                bail!("systemd is not up ({ended:?}): {log}");
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Runs `systemctl` to its end.
    pub fn ctl(&self, arguments: &[&str]) -> Result<Finished> {
        let mut command = Command::new(program("/usr/bin/systemctl")?);
        command
            .env_clear()
            .args(["--no-pager", "--no-ask-password"]);
        if let Some(user) = &self.user {
            // A user's manager listens to nobody else, root included.
            command.arg("--user").uid(user.uid).gid(user.uid);
            command.envs(environment(&user.runtime, &self.folder));
        }
        command::finish(command.args(arguments))
    }

    /// Writes unit files, by name, and has them read.
    pub fn set(&self, units: &[(&str, &str)]) -> Result<()> {
        for (name, text) in units {
            fs::write(self.folder.join(name), text)?;
            let mut units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
            units.push((*name).to_owned());
        }
        self.ctl(&["daemon-reload"])?.ended_with(0).map(drop)
    }

    /// Starts a unit, and says whether it did.
    pub fn start(&self, unit: &str) -> Result<bool> {
        Ok(self.ctl(&["start", unit])?.code == Some(0))
    }

    /// Stops units, and forgets how they ended.
    pub fn stop(&self, units: &[&str]) -> Result<()> {
        self.ctl(&[&["stop"], units].concat())?.ended_with(0)?;
        self.ctl(&[&["reset-failed"], units].concat()).map(drop)
    }

    /// A property of a unit.
    pub fn property(&self, unit: &str, name: &str) -> Result<String> {
        let said = self.ctl(&["show", "--value", "--property", name, unit])?;
        Ok(said.ended_with(0)?.stdout.trim_end().to_owned())
    }

    /// The cgroup of one of its units, from the cgroup root.
    pub fn cgroup_of(&self, unit: &str) -> String {
        format!("{}/{unit}", self.slice)
    }
}

/// The `ExecStart=` of a server.
pub fn exec(origin: Origin) -> Result<String> {
    let [program, part, task] = words(origin)?;
    // Of a text in single quotes, systemd leaves double ones alone.
    Ok(format!("ExecStart={program} {part} '{task}'\n"))
}

fn environment(runtime: &Path, units: &Path) -> Vec<(String, String)> {
    let pair = |name: &str, value: &Path| (name.to_owned(), value.display().to_string());
    vec![
        pair("XDG_RUNTIME_DIR", runtime),
        pair("HOME", runtime),
        pair("SYSTEMD_UNIT_PATH", units),
    ]
}

impl Drop for Systemd {
    fn drop(&mut self) {
        if let Some(user) = &mut self.user {
            let _ = user.manager.kill();
            let _ = user.manager.wait();
            // What it ran ends with the sandbox's cgroup; here are only the names.
            cleanup::cgroup(&self.cgroup.join("user"));
            if let Some(legacy) = &user.legacy {
                cleanup::cgroup(legacy);
            }
            return;
        }
        let units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
        for unit in units.iter() {
            let _ = self.ctl(&["stop", unit]);
            let _ = self.ctl(&["reset-failed", unit]);
            let _ = fs::remove_file(self.folder.join(unit));
        }
        let _ = self.ctl(&["daemon-reload"]);
    }
}
