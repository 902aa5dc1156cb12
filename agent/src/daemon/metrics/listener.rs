//! The socket that metrics are served from.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::AsRawFd as _,
        unix::{
            fs::{FileTypeExt as _, MetadataExt as _},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::{
        socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket},
        stat::{Mode, umask},
    },
};

use crate::config::Listen;

/// A socket that listens, on its way to the thread that serves it.
pub enum Listener {
    /// At an address.
    Tcp(TcpListener, SocketAddr),
    /// At a path.
    Unix(UnixListener, SocketFile),
}

/// The file of a Unix socket; removed when this is dropped, unless it is another's by then.
pub struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = |metadata: fs::Metadata| metadata.ino() == self.inode;
        if fs::symlink_metadata(&self.path).is_ok_and(is_ours) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Binds, judged by the policy like everybody, and listens.
///
/// # Errors
///
/// What the kernel says; of a path, also that something else than a socket that nobody
/// serves is there.
pub fn open(place: &Listen) -> io::Result<Listener> {
    match place {
        Listen::Tcp(address) => {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(Listener::Tcp(listener, *address))
        }
        Listen::Unix(path) => unix(path),
    }
}

fn unix(path: &Path) -> io::Result<Listener> {
    if let Ok(metadata) = fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "what is there is no socket",
            ));
        }
        if is_served(path)? {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        // Left behind by an agent that was killed.
        fs::remove_file(path)?;
    }
    // A mode can't be changed any more: the agent has given that up. What another thread
    // makes in this moment is for its owner only, too.
    let before = umask(Mode::from_bits_truncate(0o177));
    let bound = UnixListener::bind(path);
    umask(before);
    let listener = bound?;
    listener.set_nonblocking(true)?;
    let file = SocketFile {
        path: path.to_owned(),
        inode: fs::symlink_metadata(path)?.ino(),
    };
    Ok(Listener::Unix(listener, file))
}

/// Whether somebody listens there. Who doesn't accept isn't waited for.
fn is_served(path: &Path) -> io::Result<bool> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let probe = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let connected = connect(probe.as_raw_fd(), &UnixAddr::new(path)?);
    Ok(connected != Err(Errno::ECONNREFUSED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_from_the_dead_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.sock");
        let place = Listen::Unix(path.clone());
        let first = open(&place).unwrap();
        let mode = fs::symlink_metadata(&path).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        let second = open(&place).err().unwrap();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        let Listener::Unix(socket, file) = first else {
            panic!("it is one");
        };
        drop(socket);
        // Killed: its file stays.
        std::mem::forget(file);
        let third = open(&place).unwrap();
        drop(third);
        assert!(!path.exists());
        fs::write(&path, "precious").unwrap();
        assert!(open(&place).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}
