//! That nobody writes a file while it is read.

use std::{fs::File, os::fd::AsRawFd as _};

use nix::{errno::Errno, libc};

/// `F_SETSIG` of fcntl(2), the same on every architecture.
const F_SETSIG: libc::c_int = 10;

/// As long as it lives nobody has the file open for writing; who opens it so waits. `None`
/// inside where there is no such thing: on some file systems, and with a file of somebody
/// else for who isn't root.
#[derive(Debug)]
pub struct Lease<'f>(Option<&'f File>);

/// Somebody has the file open for writing.
#[derive(Debug, PartialEq, Eq)]
pub struct Written;

/// Takes a lease on `file`, which is open for reading.
///
/// # Errors
///
/// [`Written`], if it is being written.
pub fn take(file: &File) -> Result<Lease<'_>, Written> {
    // Who wants to write is announced by SIGIO, which would end us; this one is ignored
    // unless somebody asks for it.
    let done = fcntl(file, F_SETSIG, libc::SIGURG)
        .and_then(|()| fcntl(file, libc::F_SETLEASE, libc::F_RDLCK));
    match done {
        Ok(()) => Ok(Lease(Some(file))),
        Err(Errno::EAGAIN) => Err(Written),
        Err(_) => Ok(Lease(None)),
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(file) = self.0 {
            // At the latest it ends with the descriptor.
            let _ = fcntl(file, libc::F_SETLEASE, libc::F_UNLCK);
        }
    }
}

fn fcntl(file: &File, command: libc::c_int, argument: libc::c_int) -> Result<(), Errno> {
    // SAFETY: both commands take a number, and nothing of ours is read or written.
    Errno::result(unsafe { libc::fcntl(file.as_raw_fd(), command, argument) }).map(drop)
}
