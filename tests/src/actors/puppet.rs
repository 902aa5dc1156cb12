//! A process that becomes another one for each bind, as it is told.

use std::{
    fs,
    io::{self, BufRead as _, Write as _},
    net::IpAddr,
    os::fd::AsRawFd,
};

use anyhow::Result;
use nix::{
    libc,
    sys::socket::{
        SockaddrIn, SockaddrIn6, getsockname, getsockopt, setsockopt, sockopt::ReusePort,
    },
    unistd::{Gid, Uid, setgroups, setresgid, setresuid},
};

use super::{
    become_caller::{join, name_thread},
    socket,
};
use crate::harness::{
    Want,
    puppet::{Act, Outcome},
};

/// A group that no policy of the tests knows.
const NO_GROUP: u32 = 65533;

/// Acts until its standard input is closed; each line is an [`Act`].
pub fn perform() -> Result<()> {
    // Nobody else's sockets are in the way here.
    portreeve_sandbox::isolate()?;
    // Many of them must not keep an agent from its work.
    // SAFETY: the call takes a number.
    unsafe { libc::nice(10) };
    // Addresses of BIND needn't be the host's.
    for family in ["ipv4", "ipv6"] {
        fs::write(format!("/proc/sys/net/{family}/ip_nonlocal_bind"), "1")?;
    }
    let mut stdout = io::stdout();
    for line in io::stdin().lock().lines() {
        let outcome = act(&serde_json::from_str(&line?)?)?;
        writeln!(stdout, "{}", serde_json::to_string(&outcome)?)?;
        stdout.flush()?;
    }
    Ok(())
}

fn act(act: &Act) -> Result<Outcome> {
    become_root()?;
    if let Some(cgroup) = &act.cgroup {
        join(cgroup)?;
    }
    name_thread(&act.name)?;
    let groups: Vec<Gid> = act.groups.iter().copied().map(Gid::from_raw).collect();
    let (own, others) = match groups.split_first() {
        Some((own, others)) => (*own, others),
        None => (Gid::from_raw(NO_GROUP), &[][..]),
    };
    setgroups(others)?;
    setresgid(own, own, own)?;
    // The way back stays open; without it the effective user is all there is.
    setresuid(
        Uid::from_raw(act.uid),
        Uid::from_raw(act.uid),
        Uid::from_raw(0),
    )?;
    let want = &act.want;
    let socket = socket::open(want)?;
    if act.shares {
        setsockopt(&socket, ReusePort, &true)?;
    }
    let errno = socket::bind(&socket, want).err();
    let shared = getsockopt(&socket, ReusePort)?;
    Ok(Outcome {
        errno: errno.map_or(0, |errno| errno as i32),
        address: bound_to(&socket, want)?,
        shared,
    })
}

fn become_root() -> Result<()> {
    let (user, group) = (Uid::from_raw(0), Gid::from_raw(0));
    setresuid(user, user, user)?;
    Ok(setresgid(group, group, group)?)
}

fn bound_to(socket: &impl AsRawFd, want: &Want) -> Result<IpAddr> {
    let fd = socket.as_raw_fd();
    Ok(match want.address {
        IpAddr::V4(_) => getsockname::<SockaddrIn>(fd)?.ip().into(),
        IpAddr::V6(_) => getsockname::<SockaddrIn6>(fd)?.ip().into(),
    })
}
