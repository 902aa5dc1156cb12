//! Ports that the kernel chooses, and the settings it chooses by.

use std::{
    env, fs,
    io::Read as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{Caller, command};
use crate::actors::DRAW;

/// How a socket comes by a port it did not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Way {
    /// Bind to port 0.
    BindTcp,
    /// Bind to port 0.
    BindUdp,
    /// Listen without bind.
    Listen,
    /// Connect without bind.
    ConnectTcp,
    /// Connect without bind.
    ConnectUdp,
    /// Send without bind.
    Send,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::BindTcp,
        Self::BindUdp,
        Self::Listen,
        Self::ConnectTcp,
        Self::ConnectUdp,
        Self::Send,
    ];
}

/// What a drawer is told.
#[derive(Debug, Serialize, Deserialize)]
pub struct Draw {
    /// Who to be.
    pub caller: Caller,
    /// How to come by ports.
    pub way: Way,
    /// On the loopback of IPv6.
    pub v6: bool,
}

/// What it drew until there was nothing left.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drawn {
    /// The ports, ascending.
    pub ports: Vec<u16>,
    /// The errno that ended it.
    pub errno: i32,
}

/// All the ports that `caller` can come by in this way.
pub fn draw(caller: &Caller, way: Way, v6: bool) -> Result<Drawn> {
    let task = Draw {
        caller: caller.clone(),
        way,
        v6,
    };
    let mut command = Command::new(env::current_exe()?);
    command.arg(DRAW).arg(serde_json::to_string(&task)?);
    let done = command::finish(command.stdin(Stdio::null()))?.ended_with(0)?;
    serde_json::from_value(done.json()?).context("a drawer's answer")
}

fn setting(name: &str) -> String {
    format!("/proc/sys/net/ipv4/{name}")
}

fn value(name: &str) -> Result<String> {
    // The kernel gives it out in one read only.
    let mut text = vec![0; 1 << 18];
    let length = fs::File::open(setting(name))?.read(&mut text)?;
    text.truncate(length);
    Ok(String::from_utf8(text)?.trim().to_owned())
}

/// `ip_local_reserved_ports` of the test's network namespace.
pub fn kept_out() -> Result<String> {
    value("ip_local_reserved_ports")
}

/// Sets it, as any other program would.
pub fn keep_out(ports: &str) -> Result<()> {
    fs::write(setting("ip_local_reserved_ports"), format!("{ports}\n")).context("the list of ports")
}

/// `ip_local_port_range` of the test's network namespace.
pub fn range() -> Result<String> {
    Ok(value("ip_local_port_range")?.replace('\t', "-"))
}

/// Sets it.
pub fn set_range(first: u16, last: u16) -> Result<()> {
    fs::write(setting("ip_local_port_range"), format!("{first} {last}\n"))
        .context("the range of ports")
}
