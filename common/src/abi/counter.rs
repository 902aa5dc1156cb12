//! Indexes of the per-CPU counters.

use super::{Mode, PROTOCOLS, Protocol};
use crate::reason::{REASONS, Reason};

/// Number of counters.
pub const COUNT: u32 = 2 * PROTOCOLS * REASONS as u32 + 5;
/// Events of binds that went on and found the ring half full: the rest is for refusals.
pub const REPORTS_LOST: u32 = COUNT - 3;
/// Listeners to destroy that their ring had no room for: the agent has to look for them.
pub const LISTENERS_LATE: u32 = COUNT - 4;
/// Listeners that the agent won't find so: they stay.
pub const LISTENERS_LOST: u32 = COUNT - 5;
/// Events of refusals that found no room in the ring.
pub const EVENTS_LOST: u32 = COUNT - 1;
/// Refusals that repeat one of the same second and make no event of their own.
/// Events of refusals, these and those lost are all refusals there were.
pub const EVENTS_SUPPRESSED: u32 = COUNT - 2;

/// The counter of `reason` for binds of `protocol` in `mode`; what was refused and what
/// would have been are never added up.
#[inline(always)]
pub const fn of(reason: Reason, mode: Mode, protocol: Protocol) -> u32 {
    let base = match mode {
        Mode::Enforce => 0,
        Mode::Audit => PROTOCOLS,
    };
    (base + protocol as u32) * REASONS as u32 + reason as u32
}
