//! `cargo xtask bind`: a process that is whoever it says and binds one port.

use std::ffi::CString;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrIn6, bind, listen, socket,
};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

/// Try one bind under any process name; exit status 1 if it is refused.
///
/// Inside `cargo xtask shell` the development agent judges it; a process name
/// is a job, in upper case.
#[derive(Args)]
pub struct Arguments {
    /// Protocol and port, such as tcp/21
    port: Port,
    /// Be a process of this name, which is the job [default: xtask]
    #[arg(long = "as", value_name = "NAME")]
    name: Option<String>,
    /// Be this user; takes root
    #[arg(long, value_name = "UID")]
    user: Option<u32>,
    /// Bind this address
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    address: IpAddr,
    /// Keep the port until Ctrl-C
    #[arg(long)]
    hold: bool,
    /// Move to this cgroup first
    #[arg(long, hide = true)]
    cgroup: Option<PathBuf>,
}

/// A port of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// TCP, or else UDP.
    pub tcp: bool,
    /// The number.
    pub number: u16,
}

impl FromStr for Port {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (protocol, number) = text.split_once('/').context("write it as tcp/21")?;
        let tcp = match protocol {
            "tcp" => true,
            "udp" => false,
            _ => bail!("`{protocol}` is neither tcp nor udp"),
        };
        let number = number.parse().context("the port is a number up to 65535")?;
        Ok(Self { tcp, number })
    }
}

/// The verb. The first word it prints is `bound` or the name of the errno.
pub fn run(arguments: &Arguments) -> Result<bool> {
    // Before there is a socket: the programs that judge a bind are those of the
    // cgroup in which the socket was made.
    if let Some(cgroup) = &arguments.cgroup {
        fs::write(cgroup.join("cgroup.procs"), process::id().to_string())
            .with_context(|| format!("{} can't be joined", cgroup.display()))?;
    }
    if let Some(name) = &arguments.name {
        // The kernel would cut it without a word.
        ensure!(name.len() <= 15, "a process name has at most 15 characters");
        prctl::set_name(&CString::new(name.as_str())?).context("the process can't be renamed")?;
    }
    if let Some(user) = arguments.user {
        become_user(user).with_context(|| format!("user {user} can't be assumed"))?;
    }
    match attempt(arguments) {
        Ok(()) => Ok(true),
        Err(errno) => {
            println!("{errno:?} ({})", errno.desc());
            Ok(false)
        }
    }
}

fn become_user(user: u32) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
    setgroups(&[])?;
    setresgid(gid, gid, gid)?;
    // From root to anybody else this drops every capability.
    setresuid(uid, uid, uid)?;
    Ok(())
}

fn attempt(arguments: &Arguments) -> Result<(), Errno> {
    let Port { tcp, number } = arguments.port;
    let kind = if tcp {
        SockType::Stream
    } else {
        SockType::Datagram
    };
    let open = |family| socket(family, kind, SockFlag::SOCK_CLOEXEC, None);
    let socket = match SocketAddr::new(arguments.address, number) {
        SocketAddr::V4(address) => {
            let socket = open(AddressFamily::Inet)?;
            bind(socket.as_raw_fd(), &SockaddrIn::from(address))?;
            socket
        }
        SocketAddr::V6(address) => {
            let socket = open(AddressFamily::Inet6)?;
            bind(socket.as_raw_fd(), &SockaddrIn6::from(address))?;
            socket
        }
    };
    if tcp {
        listen(&socket, Backlog::new(1)?)?;
    }
    println!("bound");
    if arguments.hold {
        // Until a signal ends the process.
        nix::unistd::pause();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_written_with_their_protocol() {
        let port: Port = "udp/53".parse().unwrap();
        assert_eq!(
            port,
            Port {
                tcp: false,
                number: 53
            }
        );
        for wrong in ["53", "sctp/53", "tcp/65536", "tcp/"] {
            assert!(wrong.parse::<Port>().is_err(), "{wrong}");
        }
    }
}
