//! What the pinned maps are and who filled them.

use super::handover::Head;

/// Bytes of a path in [`Generation`]; longer ones are cut at the front.
pub const PATH_LEN: usize = 256;
/// Bytes of the agent's version in [`Head`].
pub const VERSION_LEN: usize = 32;

/// What filled one half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Generation {
    /// When it was published, in seconds since 1970.
    pub published: u64,
    /// SHA-256 of the profile as read.
    pub profile_hash: [u8; 32],
    /// Path of the profile, padded with NULs.
    pub profile: [u8; PATH_LEN],
    /// Entries in use.
    pub entries: u32,
    /// Those of them that are in audit, on one of their ports at least.
    pub audited: u32,
    /// Its number, as in [`Active::generation`].
    pub number: u32,
    /// 0, so that nothing of this layout is undefined.
    pub reserved: u32,
}

/// What the pinned maps are: the single element of `INFO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Info {
    /// What every layout begins with.
    pub head: Head,
    /// Cookie of the network namespace the programs judge; 0 for all.
    pub scope_netns: u64,
    /// What filled each half.
    pub halves: [Generation; 2],
}
