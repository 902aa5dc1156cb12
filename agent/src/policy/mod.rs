//! From statements to tables: what a profile means, and how the kernel is told.

mod bits;
pub mod compile;
pub mod diff;
pub mod explain;
pub mod image;
pub mod lint;
pub mod reservations;
pub mod source;
mod unreserved;
mod unsupported;
