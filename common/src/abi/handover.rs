//! What the maps of every layout have in common, so that an agent of one layout can take
//! over from an agent of another: the same policy is filled into a set of its own, and the
//! links are given programs that read it.

use super::info::VERSION_LEN;

/// The version of what is said here. An agent takes nothing over from a layout that
/// follows another one.
///
/// It covers, besides [`Head`]: that `ACTIVE` is one word, which is 0 if nothing is in
/// force and has the generation's number and the half as [`super::Active`] has; the names of the
/// links; and all of [`super::names::SHARED_MAPS`], which one set hands to the other.
pub const HANDOVER: u32 = 3;

/// What `INFO` begins with in every layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Head {
    /// The layout: [`super::ABI_VERSION`] of the agent that made the maps; 0 until they
    /// are complete.
    pub abi: u32,
    /// [`HANDOVER`] of that agent.
    pub handover: u32,
    /// What tells the policy of each half from every other: of all that it was made from.
    pub policy_hashes: [[u8; 32]; 2],
    /// Version of the agent that loaded the programs, padded with NULs.
    pub agent: [u8; VERSION_LEN],
}
