//! How many binds were judged, by reason.

use std::collections::BTreeMap;

use aya::maps::{Map, MapData, PerCpuArray};
use portreeve_common::{
    Reason,
    abi::{Mode, Protocol, counter, names},
};
use serde::Serialize;

use super::{KernelError, error::chain, pins::Pins};

/// The counters at one moment, summed over the CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Binds of reserved ports judged in enforce mode, by the reason's id.
    pub enforced: BTreeMap<&'static str, u64>,
    /// The same in audit mode: what would have happened.
    pub audited: BTreeMap<&'static str, u64>,
    /// Both, apart for each protocol.
    #[serde(skip)]
    pub judged: Vec<Judged>,
    /// Events of refusals that found no room in the ring.
    pub events_lost: u64,
    /// Refusals that were only counted, because the same second told enough like them.
    pub events_suppressed: u64,
    /// Events of binds that went on and found the ring half full.
    pub reports_lost: u64,
    /// Listeners to destroy that their ring had no room for.
    pub listeners_late: u64,
    /// Those of them that the agent won't find: they stay.
    pub listeners_lost: u64,
}

/// Binds of one protocol that were judged for one reason in one mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// In audit mode a refusal was not made.
    pub mode: Mode,
    /// Of the sockets.
    pub protocol: Protocol,
    /// What came out.
    pub reason: Reason,
    /// How many there were.
    pub count: u64,
}

/// Reads the counters.
///
/// # Errors
///
/// [`KernelError::Map`].
pub fn read(map: &PerCpuArray<MapData, u64>) -> Result<Counters, KernelError> {
    let sum = |index| sum(map, index);
    let mut counters = Counters {
        events_lost: sum(counter::EVENTS_LOST)?,
        events_suppressed: sum(counter::EVENTS_SUPPRESSED)?,
        reports_lost: sum(counter::REPORTS_LOST)?,
        listeners_late: late(map)?,
        listeners_lost: sum(counter::LISTENERS_LOST)?,
        ..Counters::default()
    };
    for mode in [Mode::Enforce, Mode::Audit] {
        for reason in Reason::ALL.iter().copied() {
            let mut all = 0;
            for protocol in Protocol::ALL {
                let count = sum(counter::of(reason, mode, protocol))?;
                all += count;
                counters.judged.push(Judged {
                    mode,
                    protocol,
                    reason,
                    count,
                });
            }
            let sums = match mode {
                Mode::Enforce => &mut counters.enforced,
                Mode::Audit => &mut counters.audited,
            };
            sums.insert(reason.id(), all);
        }
    }
    Ok(counters)
}

/// How many listeners to destroy their ring had no room for.
///
/// # Errors
///
/// [`KernelError::Map`].
pub fn late(map: &PerCpuArray<MapData, u64>) -> Result<u64, KernelError> {
    sum(map, counter::LISTENERS_LATE)
}

fn sum(map: &PerCpuArray<MapData, u64>, index: u32) -> Result<u64, KernelError> {
    let values = map.get(&index, 0).map_err(|error| KernelError::Map {
        map: names::COUNTERS,
        message: chain(&error),
    })?;
    Ok(values.iter().sum())
}

/// Opens the counters pinned at `pins`.
///
/// # Errors
///
/// [`KernelError::Map`].
pub fn open(pins: &Pins) -> Result<PerCpuArray<MapData, u64>, KernelError> {
    let map = MapData::from_pin(pins.map(names::COUNTERS));
    let counters = map.and_then(|map| PerCpuArray::try_from(Map::PerCpuArray(map)));
    counters.map_err(|error| KernelError::Map {
        map: names::COUNTERS,
        message: chain(&error),
    })
}
