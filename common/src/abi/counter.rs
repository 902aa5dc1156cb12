//! Indexes of the per-CPU counters.

use super::Mode;
use crate::reason::{REASONS, Reason};

/// Number of counters.
pub const COUNT: u32 = 2 * REASONS as u32 + 4;
/// Events of binds that went on and found the ring half full: the rest is for refusals.
pub const REPORTS_LOST: u32 = COUNT - 3;
/// Listeners that the agent can't destroy, because their ring had no room: they stay.
pub const LISTENERS_LEFT: u32 = COUNT - 4;
/// Events of refusals that found no room in the ring.
pub const EVENTS_LOST: u32 = COUNT - 1;
/// Refusals that repeat one of the same second and make no event of their own.
/// Events of refusals, these and those lost are all refusals there were.
pub const EVENTS_SUPPRESSED: u32 = COUNT - 2;

/// The counter of `reason` in `mode`; what was refused and what would have
/// been are never added up.
#[inline(always)]
pub const fn of(reason: Reason, mode: Mode) -> u32 {
    let base = match mode {
        Mode::Enforce => 0,
        Mode::Audit => REASONS as u32,
    };
    base + reason as u32
}
