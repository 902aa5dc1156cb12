//! The talker: an MPTCP connection of a process with itself, which lives long enough
//! for the kernel to look for further ways.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd as _,
    thread::sleep,
    time::Duration,
};

use anyhow::Result;
use nix::sys::socket::{SockaddrIn, connect, getsockname};

use super::{become_caller::become_caller, socket};
use crate::harness::{Caller, request::Kind, tcp};

const ROUNDS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(20);

/// Connects, talks for a while, and ends.
pub fn perform(caller: &Caller) -> Result<()> {
    become_caller(caller)?;
    let want = tcp(0).kind(Kind::Mptcp).listening();
    let server = socket::open(&want)?;
    socket::bind(&server, &want)?;
    let client = socket::open(&want)?;
    connect(
        client.as_raw_fd(),
        &getsockname::<SockaddrIn>(server.as_raw_fd())?,
    )?;
    let (mut served, _) = TcpListener::from(server).accept()?;
    let mut client = TcpStream::from(client);
    for _ in 0..ROUNDS {
        client.write_all(b"?")?;
        served.read_exact(&mut [0])?;
        served.write_all(b"!")?;
        client.read_exact(&mut [0])?;
        sleep(PAUSE);
    }
    Ok(())
}
