//! How many binds were judged, by reason.

use std::collections::BTreeMap;

use aya::maps::{MapData, PerCpuArray};
use portreeve_common::{
    Reason,
    abi::{Mode, counter, names},
};
use serde::Serialize;

use super::{KernelError, error::chain};

/// The counters at one moment, summed over the CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Binds of reserved ports judged in enforce mode, by the reason's id.
    pub enforced: BTreeMap<&'static str, u64>,
    /// The same in audit mode: what would have happened.
    pub audited: BTreeMap<&'static str, u64>,
    /// Events of refusals that found no room in the ring.
    pub events_lost: u64,
    /// Refusals that were only counted, because the same second told enough like them.
    pub events_suppressed: u64,
    /// Events of binds that went on and found the ring half full.
    pub reports_lost: u64,
    /// Listeners that stay, because the ring of those to destroy had no room.
    pub listeners_left: u64,
}

/// Reads the counters.
///
/// # Errors
///
/// [`KernelError::Map`].
pub fn read(map: &PerCpuArray<MapData, u64>) -> Result<Counters, KernelError> {
    let sum = |index: u32| -> Result<u64, KernelError> {
        let values = map.get(&index, 0).map_err(|error| KernelError::Map {
            map: names::COUNTERS,
            message: chain(&error),
        })?;
        Ok(values.iter().sum())
    };
    let mut counters = Counters {
        events_lost: sum(counter::EVENTS_LOST)?,
        events_suppressed: sum(counter::EVENTS_SUPPRESSED)?,
        reports_lost: sum(counter::REPORTS_LOST)?,
        listeners_left: sum(counter::LISTENERS_LEFT)?,
        ..Counters::default()
    };
    for reason in Reason::ALL {
        counters
            .enforced
            .insert(reason.id(), sum(counter::of(*reason, Mode::Enforce))?);
        counters
            .audited
            .insert(reason.id(), sum(counter::of(*reason, Mode::Audit))?);
    }
    Ok(counters)
}
