//! Sockets and binds of every kind that is judged, and some that std can't make.

use std::{
    mem::size_of,
    net::IpAddr,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result};
use nix::{errno::Errno, libc};

use crate::harness::{Want, request::Kind};

/// A socket of the kind wanted.
pub fn open(want: &Want) -> Result<OwnedFd> {
    let socket = open_kind(want.kind, want.address.is_ipv6())?;
    if let Some(only) = want.v6_only {
        let value = libc::c_int::from(only);
        // SAFETY: `value` outlives the call and is as long as said.
        Errno::result(unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_IPV6,
                libc::IPV6_V6ONLY,
                std::ptr::from_ref(&value).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        })?;
    }
    Ok(socket)
}

/// A socket of this kind and family.
pub fn open_kind(kind: Kind, v6: bool) -> Result<OwnedFd> {
    let family = if v6 { libc::AF_INET6 } else { libc::AF_INET };
    let (form, protocol) = match kind {
        Kind::Tcp => (libc::SOCK_STREAM, 0),
        Kind::Udp => (libc::SOCK_DGRAM, 0),
        Kind::UdpLite => (libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE),
        Kind::Mptcp => (libc::SOCK_STREAM, libc::IPPROTO_MPTCP),
    };
    // SAFETY: the call takes three numbers.
    let fd = unsafe { libc::socket(family, form | libc::SOCK_CLOEXEC, protocol) };
    let fd = Errno::result(fd).with_context(|| format!("no {kind:?} socket"))?;
    // SAFETY: the kernel made this descriptor for us; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Binds `socket` as wanted, and listens if that is wanted too.
pub fn bind(socket: &OwnedFd, want: &Want) -> Result<(), Errno> {
    bind_only(socket, want)?;
    if want.listens {
        // SAFETY: the call takes two numbers.
        Errno::result(unsafe { libc::listen(socket.as_raw_fd(), 1) })?;
    }
    Ok(())
}

fn bind_only(socket: &OwnedFd, want: &Want) -> Result<(), Errno> {
    match want.address {
        IpAddr::V4(address) => {
            // SAFETY: a sockaddr_in is plain data, for which all zeroes is valid.
            let mut name: libc::sockaddr_in = unsafe { std::mem::zeroed() };
            name.sin_family = if want.no_family {
                libc::AF_UNSPEC
            } else {
                libc::AF_INET
            } as libc::sa_family_t;
            name.sin_port = want.port.to_be();
            name.sin_addr.s_addr = u32::from_ne_bytes(address.octets());
            bind_to(socket, &name)
        }
        IpAddr::V6(address) => {
            // SAFETY: as above.
            let mut name: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
            name.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            name.sin6_port = want.port.to_be();
            name.sin6_addr.s6_addr = address.octets();
            bind_to(socket, &name)
        }
    }
}

fn bind_to<T>(socket: &OwnedFd, name: &T) -> Result<(), Errno> {
    // SAFETY: `name` is a socket address that outlives the call, as long as said.
    Errno::result(unsafe {
        libc::bind(
            socket.as_raw_fd(),
            std::ptr::from_ref(name).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    })
    .map(drop)
}
