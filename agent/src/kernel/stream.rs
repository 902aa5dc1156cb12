//! Waiting for what programs write, and reading it.

use std::{io, os::fd::AsRawFd};

use tokio::io::{Interest, unix::AsyncFd};

use super::mapping;
pub use super::mapping::Element;

/// What a program wrote into a ring as one element; `None` if it is not of this layout.
pub fn element<T: Element>(bytes: &[u8]) -> Option<T> {
    mapping::of_bytes(bytes)
}

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
