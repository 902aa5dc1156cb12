//! Hash maps with two halves: the key says which half an element is of.

use aya::{
    Pod,
    maps::{HashMap, Map, MapData},
};
use portreeve_common::abi::jobs::{
    ExeKey, IdentityKey, JobNameKey, PermitKey, PlaceKey, StepKey, UserKey, WildKey,
};

use super::{KernelError, error::chain, mapping::Element, pins::Pins};

/// A key that says which half it is of.
pub trait HalfKey: Element {
    /// The half.
    fn half(&self) -> u32;

    /// The same key of `half`.
    #[must_use]
    fn in_half(self, half: u32) -> Self;
}

macro_rules! half_keys {
    ($($key:ty),+) => {$(
        impl HalfKey for $key {
            fn half(&self) -> u32 {
                self.half
            }

            fn in_half(self, half: u32) -> Self {
                Self { half, ..self }
            }
        }
    )+};
}

half_keys!(
    StepKey,
    WildKey,
    ExeKey,
    UserKey,
    JobNameKey,
    IdentityKey,
    PlaceKey,
    PermitKey
);

/// An element as the map has it: its bytes.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Bytes<T: Element>(pub T);

// SAFETY: any bytes are a `T`, and it has no padding: that is what `Element` promises.
unsafe impl<T: Element> Pod for Bytes<T> {}

/// A pinned hash map whose keys are of one half or the other.
pub struct HalfTable<K: HalfKey, V: Element> {
    name: &'static str,
    map: HashMap<MapData, Bytes<K>, Bytes<V>>,
}

impl<K: HalfKey, V: Element> std::fmt::Debug for HalfTable<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HalfTable")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl<K: HalfKey, V: Element> HalfTable<K, V> {
    /// The map pinned as `name`, with room for `limit` elements in each half.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`] if it is not as this agent makes it.
    pub fn open(pins: &Pins, name: &'static str, limit: u32) -> Result<Self, KernelError> {
        let failed = |message: String| KernelError::Map { map: name, message };
        let data = MapData::from_pin(pins.map(name)).map_err(|error| failed(chain(&error)))?;
        let info = data.info().map_err(|error| failed(chain(&error)))?;
        if info.max_entries() != 2 * limit {
            return Err(failed(format!(
                "it has room for {} elements, not for {}",
                info.max_entries(),
                2 * limit
            )));
        }
        // Sizes of keys and values, and that it is a hash map at all, are checked here.
        let map = HashMap::try_from(Map::HashMap(data)).map_err(|error| failed(chain(&error)))?;
        Ok(Self { name, map })
    }

    /// The keys of `half`.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`] if they can't be read.
    pub fn keys(&self, half: u32) -> Result<Vec<K>, KernelError> {
        let keys = self.map.keys().collect::<Result<Vec<_>, _>>();
        let keys = keys.map_err(|error| KernelError::Map {
            map: self.name,
            message: chain(&error),
        })?;
        let keys = keys.into_iter().map(|key| key.0);
        Ok(keys.filter(|key| key.half() == half).collect())
    }

    /// Makes `elements` all that `half` holds; keys of any half are taken for keys
    /// of this one. The caller sees to it that no program reads the half
    /// meanwhile, and after an error that none does before the next attempt.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`], above all if the kernel has no memory left.
    pub fn fill(
        &mut self,
        half: u32,
        elements: impl IntoIterator<Item = (K, V)>,
    ) -> Result<(), KernelError> {
        let name = self.name;
        let failed = |error| KernelError::Map {
            map: name,
            message: chain(&error),
        };
        // All first: a walk that removes what it stands on begins again.
        for key in self.keys(half)? {
            self.map.remove(&Bytes(key)).map_err(failed)?;
        }
        for (key, value) in elements {
            let key = Bytes(key.in_half(half));
            self.map.insert(key, Bytes(value), 0).map_err(failed)?;
        }
        Ok(())
    }
}
