//! The network namespace that the policy governs.

use std::{io, os::fd::AsRawFd};

use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Cookie of the agent's own network namespace: what a program is told of a
/// socket's namespace. Its value means nothing and must be asked for.
///
/// # Errors
///
/// What the kernel says; `ENOPROTOOPT` before Linux 5.14.
pub fn own_cookie() -> io::Result<u64> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    u64_option(&socket, libc::SO_NETNS_COOKIE)
}

/// Cookie of `socket`, the same number that a program sees for it.
///
/// # Errors
///
/// What the kernel says.
pub fn socket_cookie(socket: &impl AsRawFd) -> io::Result<u64> {
    u64_option(socket, libc::SO_COOKIE)
}

fn u64_option(socket: &impl AsRawFd, option: libc::c_int) -> io::Result<u64> {
    let mut value = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: `value` has the `length` bytes that the kernel may write, and both
    // outlive the call.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            std::ptr::from_mut(&mut value).cast(),
            &raw mut length,
        )
    };
    if result == 0 {
        Ok(value)
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_given_and_differ_by_socket() {
        assert_eq!(own_cookie().unwrap(), own_cookie().unwrap());
        let first = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let second = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let cookie = socket_cookie(&first).unwrap();
        assert_eq!(cookie, socket_cookie(&first).unwrap());
        assert_ne!(cookie, socket_cookie(&second).unwrap());
        assert!(first.as_raw_fd() >= 0);
    }
}
