//! The proof that the hooks are alive: real binds by a real process.
//!
//! A helper process binds an address that no host may have, on sockets whose
//! cookies the programs are told beforehand. A live hook notes those, and only
//! those, and in enforce mode refuses them with an errno that nothing else gives (with
//! EPERM where the kernel lets it choose none); a dead one leaves the kernel's own
//! EADDRNOTAVAIL. Nothing is ever held, and no counter moves.

use std::{
    cell::RefCell,
    fs,
    io::{self, BufRead as _, Write as _},
    net::{Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, socket},
};
use portreeve_common::abi::{
    Feature, Hook, Mode, Protocol, SELFTEST_ERRNO, SELFTEST_PORT, SELFTEST_V4, SELFTEST_V6,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{ChildStdin, Command},
    time::timeout,
};

use crate::kernel::{features::Features, netns, tables::Tables};

/// Longest time for the whole test.
const LIMIT: Duration = Duration::from_secs(10);

/// What is tried: each hook with each protocol.
const CASES: [(Hook, Protocol); 4] = [
    (Hook::Bind4, Protocol::Tcp),
    (Hook::Bind4, Protocol::Udp),
    (Hook::Bind6, Protocol::Tcp),
    (Hook::Bind6, Protocol::Udp),
];

/// What a live hook does with the test's binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The errno that it refuses them with; `None` if they go on.
    errno: Option<u16>,
}

impl Answer {
    /// In this mode, on a kernel that has these features.
    pub fn expected(mode: Mode, features: Features) -> Self {
        let chosen = features.has(Feature::Errno);
        Self {
            errno: match mode {
                Mode::Audit => None,
                Mode::Enforce if chosen => Some(SELFTEST_ERRNO),
                Mode::Enforce => Some(Errno::EPERM as u16),
            },
        }
    }
}

/// Runs the self-test below the cgroup that the hooks are attached to.
///
/// # Errors
///
/// Says which hook did not answer, or why the test could not be made.
pub async fn run(tables: &RefCell<Tables>, answer: Answer, attach: &Path) -> Result<()> {
    let test = timeout(LIMIT, cases(tables, answer, attach)).await;
    tables.borrow().expect_selftest(0);
    test.with_context(|| format!("no result within {} s", LIMIT.as_secs()))?
}

async fn cases(tables: &RefCell<Tables>, answer: Answer, attach: &Path) -> Result<()> {
    let place = Place::below(attach)?;
    let mut command = Command::new("/proc/self/exe");
    command.arg(HELPER_VERB);
    if let Some(cgroup) = place.cgroup() {
        command.arg("--join").arg(cgroup);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .context("can't start the process that binds")?;
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        bail!("the process that binds has no pipes");
    };
    let mut lines = BufReader::new(stdout).lines();
    for (hook, protocol) in CASES {
        let cookie: u64 = next_number(&mut lines).await?;
        tables.borrow().expect_selftest(cookie);
        go(&mut stdin).await?;
        let errno: u16 = next_number(&mut lines).await?;
        let (hook, protocol) = (hook.name(), protocol.name());
        if answer.errno.is_some_and(|expected| expected != errno) {
            let how = Errno::from_raw(i32::from(errno)).desc();
            bail!("hook {hook} did not refuse a {protocol} bind: it ended with {how}");
        }
        if tables.borrow().seen_selftest() != cookie {
            bail!("hook {hook} did not see a {protocol} bind");
        }
    }
    child
        .wait()
        .await
        .context("the process that binds was lost")?;
    Ok(())
}

async fn next_number<T: std::str::FromStr>(
    lines: &mut tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
) -> Result<T> {
    let line = lines
        .next_line()
        .await?
        .context("the process that binds ended early")?;
    line.parse()
        .ok()
        .with_context(|| format!("the process that binds said {line:?}"))
}

async fn go(stdin: &mut ChildStdin) -> Result<()> {
    stdin
        .write_all(b"\n")
        .await
        .context("the process that binds ended early")
}

/// Name of the helper's cgroup, before the agent's process id.
const CGROUP_PREFIX: &str = "portreeve-selftest-";

/// Removes what agents that were killed during a self-test left below `attach`.
pub fn remove_stale(attach: &Path) {
    let entries = fs::read_dir(attach).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let agent = name
            .to_str()
            .and_then(|name| name.strip_prefix(CGROUP_PREFIX));
        if agent.is_some_and(|agent| !Path::new("/proc").join(agent).exists()) {
            // Busy while the helper is still ending; the next one takes it.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Where the helper binds: any cgroup at or below the one the hooks are on.
enum Place {
    /// The agent is there itself.
    Here,
    /// A cgroup of our own, removed again.
    Made(PathBuf),
}

impl Place {
    fn below(attach: &Path) -> Result<Self> {
        if own_cgroup().is_some_and(|own| own.starts_with(attach)) {
            return Ok(Self::Here);
        }
        remove_stale(attach);
        let path = attach.join(format!("{CGROUP_PREFIX}{}", std::process::id()));
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(error).with_context(|| format!("can't make {}", path.display()))
            }
            _ => Ok(Self::Made(path)),
        }
    }

    fn cgroup(&self) -> Option<&Path> {
        match self {
            Self::Here => None,
            Self::Made(path) => Some(path),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Self::Made(path) = self {
            // Busy if the helper is just being killed; then it is used again next time.
            let _ = fs::remove_dir(path);
        }
    }
}

/// The directory of the agent's own cgroup v2.
fn own_cgroup() -> Option<PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let root = crate::kernel::cgroup::AttachPoint::find(None).ok()?;
    Some(root.path.join(path))
}

/// The hidden verb that [`helper`] is run by.
pub const HELPER_VERB: &str = "selftest-binder";

/// The process that binds: says a socket's cookie, waits for a line, binds, says
/// the errno; once per case.
///
/// # Errors
///
/// When it can't join the cgroup, make a socket, or is left alone.
pub fn helper(join: Option<&Path>) -> Result<()> {
    if let Some(cgroup) = join {
        // The hooks that judge a socket are those of the cgroup it was made in.
        fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string())
            .with_context(|| format!("can't join {}", cgroup.display()))?;
    }
    let stdin = io::stdin();
    let mut stdout = io::stdout();
    for (hook, protocol) in CASES {
        let family = if hook.is_v6() {
            AddressFamily::Inet6
        } else {
            AddressFamily::Inet
        };
        let kind = match protocol {
            Protocol::Tcp => SockType::Stream,
            Protocol::Udp => SockType::Datagram,
        };
        let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
        writeln!(stdout, "{}", netns::socket_cookie(&socket)?)?;
        stdout.flush()?;
        if stdin.lock().read_line(&mut String::new())? == 0 {
            bail!("the agent is gone");
        }
        let errno = match bind(socket.as_raw_fd(), &address(hook)) {
            Ok(()) => 0,
            Err(errno) => errno as i32,
        };
        writeln!(stdout, "{errno}")?;
        stdout.flush()?;
    }
    Ok(())
}

fn address(hook: Hook) -> SockaddrStorage {
    let address = if hook.is_v6() {
        let ip = Ipv6Addr::from(SELFTEST_V6);
        SocketAddr::V6(SocketAddrV6::new(ip, SELFTEST_PORT, 0, 0))
    } else {
        SocketAddr::V4(SocketAddrV4::new(SELFTEST_V4.into(), SELFTEST_PORT))
    };
    SockaddrStorage::from(address)
}
