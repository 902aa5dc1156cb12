//! What both sides of the kernel boundary agree on.
//!
//! The eBPF programs, the agent and the tests share this crate: the layout of
//! maps and events ([`abi`]), job names and their patterns ([`jobname`]), the
//! reason codes ([`reason`]), who is which job ([`identity`]), the one function that
//! decides whether a bind is allowed ([`decide()`]) and its answer ([`Verdict`]). It holds
//! no I/O, no allocation and no unsafe code, so the rules run unchanged in the kernel, in
//! `explain` and in unit tests.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod abi;
pub mod decide;
pub mod identity;
pub mod jobname;
pub mod reason;
pub mod verdict;

pub use decide::{PolicyView, Request, Subject, decide};
pub use reason::Reason;
pub use verdict::{Rewrite, Verdict};
