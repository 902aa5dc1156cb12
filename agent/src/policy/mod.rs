//! From statements to tables: what a profile means, and how the kernel is told.

pub mod accounts;
pub mod bits;
pub mod build;
pub mod compile;
pub mod diff;
pub mod explain;
pub mod ibmi;
pub mod identity;
pub mod image;
pub mod jobs;
pub mod lacking;
pub mod lint;
mod listeners;
pub mod lists;
mod operands;
pub mod permits;
pub mod pool;
pub mod reservations;
pub mod restrictions;
pub mod servauth;
mod sharing;
pub mod source;
pub mod specificity;
mod story;
mod unreserved;
pub mod unsupported;
