//! The network namespace that the policy governs.

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    os::{fd::AsRawFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    thread,
};

use nix::libc;
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// What tells this thread's network namespace from every other one, as the programs
/// see it of a socket: its cookie, before Linux 5.14 its inode number. Neither is the
/// same after a boot.
///
/// # Errors
///
/// What the kernel says.
pub fn own() -> io::Result<u64> {
    match own_cookie() {
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {
            Ok(fs::metadata("/proc/thread-self/ns/net")?.ino())
        }
        cookie => cookie,
    }
}

/// Whether the kernel tells the cookie of a network namespace.
pub fn has_cookies() -> bool {
    own_cookie().is_ok()
}

fn own_cookie() -> io::Result<u64> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    u64_option(&socket, libc::SO_NETNS_COOKIE)
}

/// Does `work` in the network namespace that [`own`] tells so, on a thread of its own.
/// `None` if no thread is in it and `ip netns` has no name for it.
pub fn in_namespace<T: Send>(namespace: u64, work: impl FnOnce() -> T + Send) -> Option<T> {
    let file = namespaces().find(|file| {
        on_thread_in(file, own).is_some_and(|found| found.is_ok_and(|found| found == namespace))
    })?;
    on_thread_in(&file, work)
}

fn children(folder: impl AsRef<Path>) -> impl Iterator<Item = fs::DirEntry> {
    fs::read_dir(folder).into_iter().flatten().flatten()
}

/// Every network namespace that can be found, once.
fn namespaces() -> impl Iterator<Item = File> {
    // A thread may be in another one than the leader of its process.
    let threads = children("/proc").flat_map(|entry| children(entry.path().join("task")));
    let of_threads = threads.map(|entry| entry.path().join("ns/net"));
    let named = children("/run/netns").map(|entry| entry.path());
    let paths: Vec<PathBuf> = of_threads.chain(named).collect();
    let mut seen = HashSet::new();
    paths.into_iter().filter_map(move |path| {
        let file = File::open(path).ok()?;
        seen.insert(file.metadata().ok()?.ino()).then_some(file)
    })
}

/// `None` if the thread can't get there.
fn on_thread_in<T: Send>(namespace: &File, work: impl FnOnce() -> T + Send) -> Option<T> {
    let there = || {
        setns(namespace, CloneFlags::CLONE_NEWNET)
            .ok()
            .map(|()| work())
    };
    thread::scope(|scope| scope.spawn(there).join().ok().flatten())
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
        assert_eq!(own().unwrap(), own().unwrap());
        let first = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let second = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let cookie = socket_cookie(&first).unwrap();
        assert_eq!(cookie, socket_cookie(&first).unwrap());
        assert_ne!(cookie, socket_cookie(&second).unwrap());
        assert!(first.as_raw_fd() >= 0);
    }

    #[test]
    fn a_namespace_that_nobody_has_is_not_found() {
        assert_eq!(in_namespace(u64::MAX, || ()), None);
    }
}
