//! The drawer: takes ports that the kernel chooses, until there is none.

use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::Result;
use nix::{
    errno::Errno,
    libc::linger,
    sys::socket::{
        AddressFamily, Backlog, MsgFlags, SockFlag, SockType, SockaddrIn, SockaddrIn6,
        SockaddrLike, bind, connect, getsockname, listen, sendto, setsockopt, socket, sockopt,
    },
};

use super::become_caller::become_caller;
use crate::harness::draw::{Draw, Drawn, Way};

/// More than any test's pool has.
const MOST: usize = 300;
/// Where connections go; outside of every test's pool.
const DESTINATION: u16 = 9000;

/// Draws, tells, and ends: what it got is free again.
pub fn perform(task: &Draw) -> Result<()> {
    become_caller(&task.caller)?;
    let drawn = match task.v6 {
        false => draw(
            task,
            AddressFamily::Inet,
            |port| SockaddrIn::new(127, 0, 0, 1, port),
            SockaddrIn::port,
        )?,
        true => draw(
            task,
            AddressFamily::Inet6,
            |port| std::net::SocketAddrV6::new(std::net::Ipv6Addr::LOCALHOST, port, 0, 0).into(),
            SockaddrIn6::port,
        )?,
    };
    println!("{}", serde_json::to_string(&drawn)?);
    Ok(())
}

fn draw<A: SockaddrLike>(
    task: &Draw,
    family: AddressFamily,
    address: impl Fn(u16) -> A,
    port: impl Fn(&A) -> u16,
) -> Result<Drawn> {
    let open = || -> Result<OwnedFd> {
        let kind = match task.way.is_udp() {
            true => SockType::Datagram,
            false => SockType::Stream,
        };
        Ok(socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?)
    };
    let target = open()?;
    if task.way == Way::ConnectTcp {
        bind(target.as_raw_fd(), &address(DESTINATION))?;
        listen(&target, Backlog::new(MOST as i32)?)?;
    }
    let mut held = Vec::new();
    let mut drawn = Drawn::default();
    while held.len() < MOST {
        let socket = open()?;
        let fd = socket.as_raw_fd();
        let taken = match task.way {
            Way::BindTcp | Way::BindUdp => bind(fd, &address(0)),
            Way::Listen => listen(&socket, Backlog::new(1)?),
            Way::ConnectTcp => {
                // Closed without lingering, or the port would stay taken for a minute.
                let reset = linger {
                    l_onoff: 1,
                    l_linger: 0,
                };
                setsockopt(&socket, sockopt::Linger, &reset)?;
                connect(fd, &address(DESTINATION))
            }
            Way::ConnectUdp => connect(fd, &address(DESTINATION)),
            Way::Send => sendto(fd, b"x", &address(DESTINATION), MsgFlags::empty()).map(drop),
        };
        match taken {
            Ok(()) => drawn.ports.push(port(&getsockname::<A>(fd)?)),
            Err(errno) => {
                drawn.errno = errno as i32;
                break;
            }
        }
        held.push(socket);
    }
    drawn.ports.sort_unstable();
    Ok(drawn)
}

impl Way {
    const fn is_udp(self) -> bool {
        matches!(self, Self::BindUdp | Self::ConnectUdp | Self::Send)
    }

    /// What the call says when there is no port left.
    pub const fn exhausted(self) -> Errno {
        match self {
            Self::BindTcp | Self::BindUdp | Self::Listen => Errno::EADDRINUSE,
            Self::ConnectTcp => Errno::EADDRNOTAVAIL,
            Self::ConnectUdp | Self::Send => Errno::EAGAIN,
        }
    }
}
