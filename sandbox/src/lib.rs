//! A network of its own for whatever binds ports on a developer's machine: the
//! demo and the kernel tests. No port of the host is taken or missed.

use std::os::fd::{AsRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    libc,
    sched::{CloneFlags, unshare},
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};

/// Moves this thread, and whatever it starts from then on, into a new network
/// namespace with nothing but a loopback.
///
/// # Errors
///
/// Without the right to make one; what the kernel says.
pub fn isolate() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET).context("no network namespace can be made")?;
    raise_loopback().context("the loopback can't be raised")
}

/// By ioctl: `ip` isn't installed everywhere.
fn raise_loopback() -> Result<()> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // SAFETY: an ifreq is plain data, for which all zeroes is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = libc::c_char::from_ne_bytes([*from]);
    }
    request_flags(&socket, libc::SIOCGIFFLAGS, &mut request)?;
    // SAFETY: SIOCGIFFLAGS has just filled in this member of the union.
    unsafe { request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short };
    request_flags(&socket, libc::SIOCSIFFLAGS, &mut request)?;
    Ok(())
}

fn request_flags(
    socket: &OwnedFd,
    code: libc::Ioctl,
    request: &mut libc::ifreq,
) -> Result<(), Errno> {
    // SAFETY: both requests take a pointer to an ifreq, which outlives the call.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), code, request) }).map(drop)
}
