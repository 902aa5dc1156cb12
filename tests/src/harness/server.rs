//! Servers that say who they are to whoever connects.

use std::{
    env, fs,
    io::Read as _,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process,
    time::Instant,
};

use anyhow::{Context as _, Result};
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};

use super::pace::{limit, patience};
use crate::actors::SERVE;

/// Where a server has its socket from.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Origin {
    /// It binds this TCP port on 127.0.0.1.
    Bound(u16),
    /// It was handed a listener, as systemd does it.
    Handed,
    /// It was born with a listener of this number.
    Inherited(i32),
    /// It was handed a connection as its standard input, as inetd does it.
    Connected,
}

/// A server as it sees itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Server {
    /// Its process id.
    pub pid: u32,
    /// Its process name.
    pub comm: String,
    /// Its cgroup v2, from the root.
    pub cgroup: String,
    /// Its effective user.
    pub uid: u32,
    /// Whether it has any capability.
    pub is_privileged: bool,
}

impl Server {
    /// The calling process.
    pub fn this() -> Result<Self> {
        let own = |file: &str| {
            let text = fs::read_to_string(format!("/proc/self/{file}"));
            text.with_context(|| file.to_owned())
        };
        let cgroups = own("cgroup")?;
        let cgroup = cgroups.lines().find_map(|line| line.strip_prefix("0::"));
        let status = own("status")?;
        let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        Ok(Self {
            pid: process::id(),
            comm: own("comm")?.trim_end().to_owned(),
            cgroup: cgroup.context("no cgroup v2")?.to_owned(),
            uid: geteuid().as_raw(),
            is_privileged: effective
                .context("no CapEff")?
                .contains(|c| !"0\t".contains(c)),
        })
    }

    /// What answers on this TCP port of 127.0.0.1.
    pub fn at(port: u16) -> Result<Self> {
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let deadline = Instant::now() + patience();
        // Who starts a server often says so before it listens.
        let mut connection = loop {
            match TcpStream::connect_timeout(&address, limit(5)) {
                Ok(connection) => break connection,
                Err(error) if Instant::now() > deadline => {
                    return Err(error).with_context(|| format!("nobody is at {address}"));
                }
                Err(_) => std::thread::sleep(limit(1) / 100),
            }
        };
        connection.set_read_timeout(Some(patience()))?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        serde_json::from_str(&answer).with_context(|| format!("{address} answers {answer:?}"))
    }
}

/// The words of a command that becomes a server: the program is the tests' own.
pub fn words(origin: Origin) -> Result<[String; 3]> {
    let program = env::current_exe()?.display().to_string();
    Ok([program, SERVE.to_owned(), serde_json::to_string(&origin)?])
}
