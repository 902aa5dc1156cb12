//! What both sides of the kernel boundary agree on.
//!
//! The eBPF programs, the agent and the tests share this crate: the layout of
//! maps and events ([`abi`]), job names and their patterns ([`jobname`]), the
//! reason codes ([`reason`]), who is which job ([`identity`]) and the one function that decides whether a bind
//! is allowed ([`decide()`]). It holds no I/O, no allocation and no unsafe code,
//! so the rules run unchanged in the kernel, in `explain` and in unit tests.

#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

pub mod abi;
pub mod decide;
pub mod identity;
pub mod jobname;
pub mod reason;

pub use decide::{PolicyView, Request, Subject, Verdict, decide};
pub use reason::Reason;
