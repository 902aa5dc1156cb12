//! Refusals that were only counted, because the same second told enough like them.

use aya::maps::{HashMap, MapData};
use portreeve_common::abi::{MAX_REPEATS, RepeatKey, Repeats, names};

use super::{KernelError, error::chain, half_table::Bytes};

/// The counts of refusals by what they repeat; filled by the programs.
pub struct RepeatTable(HashMap<MapData, Bytes<RepeatKey>, Bytes<Repeats>>);

impl TryFrom<aya::maps::Map> for RepeatTable {
    type Error = aya::maps::MapError;

    fn try_from(map: aya::maps::Map) -> Result<Self, Self::Error> {
        HashMap::try_from(map).map(Self)
    }
}

impl RepeatTable {
    /// Takes out the counts of every second before `second`. What a program adds
    /// while they are taken out is missing in them; the counters have it.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`]; what was not taken out stays for the next time.
    pub fn take_before(&mut self, second: u32) -> Result<Vec<(RepeatKey, Repeats)>, KernelError> {
        let failed = |error| KernelError::Map {
            map: names::REPEATS,
            message: chain(&error),
        };
        // All first: a walk that removes what it stands on begins again. It does so
        // too when a key gives way to another, so it may see one twice, or not end.
        let keys = self.0.keys().take(2 * MAX_REPEATS as usize);
        let keys = keys.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let mut taken = Vec::new();
        for key in keys.into_iter().filter(|key| key.0.second < second) {
            // What isn't there any more gave way, or was met twice.
            if let Ok(repeats) = self.0.get(&key, 0) {
                taken.push((key.0, repeats.0));
                let _ = self.0.remove(&key);
            }
        }
        Ok(taken)
    }
}
