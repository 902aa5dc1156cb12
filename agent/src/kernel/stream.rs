//! Waiting for what programs write.

use std::{io, os::fd::AsRawFd};

use tokio::io::{Interest, unix::AsyncFd};

/// Lets the event loop say when `ring`, a ring buffer's reader, has something.
///
/// # Errors
///
/// If the event loop can't watch it.
pub fn watched<T: AsRawFd>(ring: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: the readers own their map's descriptor and give out no way to
    // replace or close it, so it stays the same and open as long as `ring` lives.
    unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }.map_err(Into::into)
}
