//! Sockets and binds of every kind that is judged, and some that std can't make.

use std::{
    mem::{size_of, zeroed},
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
};

use anyhow::{Context as _, Result};
use nix::{errno::Errno, libc};

use super::ring::Ring;
use crate::harness::{
    Want,
    request::{Kind, Through},
    servant::{SocketOption, name},
};

/// A socket of the kind wanted, with the options wanted.
pub fn open(want: &Want) -> Result<OwnedFd> {
    let socket = open_kind(want.kind, want.address.is_ipv6())?;
    let only = want.v6_only.map(|only| (SocketOption::V6Only, only.into()));
    for &(option, value) in only.iter().chain(&want.options) {
        set(socket.as_raw_fd(), option, value).with_context(|| format!("{option:?}"))?;
    }
    Ok(socket)
}

/// A socket of this kind and family.
pub fn open_kind(kind: Kind, v6: bool) -> Result<OwnedFd> {
    // Which the libc crate doesn't have.
    const AF_SMC: libc::c_int = 43;
    const SMCPROTO_SMC: libc::c_int = 0;
    const SMCPROTO_SMC6: libc::c_int = 1;
    let family = match kind {
        Kind::Smc => AF_SMC,
        _ if v6 => libc::AF_INET6,
        _ => libc::AF_INET,
    };
    let (form, protocol) = match kind {
        Kind::Tcp => (libc::SOCK_STREAM, 0),
        Kind::Udp => (libc::SOCK_DGRAM, 0),
        Kind::UdpLite => (libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE),
        Kind::Mptcp => (libc::SOCK_STREAM, libc::IPPROTO_MPTCP),
        Kind::Dccp => (libc::SOCK_DCCP, libc::IPPROTO_DCCP),
        Kind::Sctp => (libc::SOCK_STREAM, libc::IPPROTO_SCTP),
        Kind::Smc if v6 => (libc::SOCK_STREAM, SMCPROTO_SMC6),
        Kind::Smc => (libc::SOCK_STREAM, SMCPROTO_SMC),
    };
    // SAFETY: the call takes three numbers.
    let fd = unsafe { libc::socket(family, form | libc::SOCK_CLOEXEC, protocol) };
    let fd = Errno::result(fd).with_context(|| format!("no {kind:?} socket"))?;
    // SAFETY: the kernel made this descriptor for us; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The kernel's level and number of an option.
pub fn numbers(option: SocketOption) -> (libc::c_int, libc::c_int) {
    // Which the headers of the libc crate don't have.
    const TCP_DELACK_MAX_US: libc::c_int = 46;
    const IP_LOCAL_PORT_RANGE: libc::c_int = 51;
    const SO_BINDTOIFINDEX: libc::c_int = 62;
    match option {
        SocketOption::ReusePort => (libc::SOL_SOCKET, libc::SO_REUSEPORT),
        SocketOption::ReuseAddress => (libc::SOL_SOCKET, libc::SO_REUSEADDR),
        SocketOption::V6Only => (libc::IPPROTO_IPV6, libc::IPV6_V6ONLY),
        SocketOption::MostDelay => (libc::IPPROTO_TCP, TCP_DELACK_MAX_US),
        SocketOption::Device => (libc::SOL_SOCKET, SO_BINDTOIFINDEX),
        SocketOption::FreeBind => (libc::IPPROTO_IP, libc::IP_FREEBIND),
        SocketOption::Transparent => (libc::IPPROTO_IP, libc::IP_TRANSPARENT),
        SocketOption::Repair => (libc::IPPROTO_TCP, libc::TCP_REPAIR),
        SocketOption::FastOpen => (libc::IPPROTO_TCP, libc::TCP_FASTOPEN),
        SocketOption::NoPort => (libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT),
        SocketOption::PortRange => (libc::IPPROTO_IP, IP_LOCAL_PORT_RANGE),
        SocketOption::Family => (libc::IPPROTO_IPV6, libc::IPV6_ADDRFORM),
    }
}

/// setsockopt
pub fn set(socket: RawFd, option: SocketOption, value: i32) -> Result<(), Errno> {
    let (level, option) = numbers(option);
    // SAFETY: `value` outlives the call and is as long as said.
    Errno::result(unsafe {
        libc::setsockopt(
            socket,
            level,
            option,
            std::ptr::from_ref(&value).cast(),
            size_of::<i32>() as libc::socklen_t,
        )
    })
    .map(drop)
}

/// Binds `socket` as wanted, and listens if that is wanted too.
pub fn bind(socket: &OwnedFd, want: &Want) -> Result<(), Errno> {
    let mut name = name((want.address, want.port).into());
    if want.no_family {
        let family = libc::AF_UNSPEC as libc::sa_family_t;
        name[..2].copy_from_slice(&family.to_ne_bytes());
    }
    let socket = socket.as_raw_fd();
    if want.through != Through::Call {
        let mut ring = Ring::new(want.through)?;
        ring.bind(socket, &name)?;
        return if want.listens {
            ring.listen(socket)
        } else {
            Ok(())
        };
    }
    bind_to(socket, &name)?;
    if want.listens {
        // SAFETY: the call takes two numbers.
        Errno::result(unsafe { libc::listen(socket, 1) })?;
    }
    Ok(())
}

/// Binds a socket to a name as the kernel gets it.
pub fn bind_to(socket: RawFd, name: &[u8]) -> Result<(), Errno> {
    // SAFETY: `name` is readable and as long as said; the kernel checks what is in it.
    Errno::result(unsafe {
        libc::bind(socket, name.as_ptr().cast(), name.len() as libc::socklen_t)
    })
    .map(drop)
}

/// The name of a socket of IPv4 or IPv6.
pub fn address_of(socket: RawFd) -> Result<SocketAddr, Errno> {
    // SAFETY: a sockaddr_in6 is plain data, for which all zeroes is valid.
    let mut name: libc::sockaddr_in6 = unsafe { zeroed() };
    let mut length = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
    // SAFETY: the kernel writes no more than `length` bytes, which `name` has.
    Errno::result(unsafe {
        libc::getsockname(
            socket,
            std::ptr::from_mut(&mut name).cast(),
            &raw mut length,
        )
    })?;
    if libc::c_int::from(name.sin6_family) == libc::AF_INET6 {
        let address = IpAddr::from(name.sin6_addr.s6_addr);
        return Ok(SocketAddr::new(address, u16::from_be(name.sin6_port)));
    }
    // SAFETY: it is the name of an IPv4 socket, which is shorter and aligned alike.
    let name = unsafe { *std::ptr::from_ref(&name).cast::<libc::sockaddr_in>() };
    let address = IpAddr::from(name.sin_addr.s_addr.to_ne_bytes());
    Ok(SocketAddr::new(address, u16::from_be(name.sin_port)))
}
