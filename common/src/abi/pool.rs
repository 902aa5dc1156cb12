//! The record of what an agent changed in the kernel's pool of ports: the words of
//! [`super::names::POOL`].
//!
//! It lives as long as what is enforced, so whoever ends that finds what to set
//! back. A word is written before the change that it records. The programs don't
//! read it.

/// Cookie of the network namespace whose pool is managed; 0 if none is.
pub const NETNS: u32 = 0;
/// 1 while the list is being replaced by [`NEXT`], which takes several writes.
pub const REPLACING: u32 = 1;
/// A [`RangeChange`]; 0 if the range is as it was.
pub const RANGE: u32 = 2;
/// The [`RangeChange`] that [`RANGE`] is taking the place of, or 0.
pub const RANGE_BEFORE: u32 = 3;
/// One bit per port that was not in `ip_local_reserved_ports` and is because of us.
pub const ADDED: u32 = 4;
/// One bit per port of a list that is being written.
pub const NEXT: u32 = ADDED + SET;
/// Words of the map.
pub const WORDS: u32 = NEXT + SET;
/// Words of one bit per port.
const SET: u32 = super::PORTS / 64;

/// A change of `ip_local_port_range`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeChange {
    /// First and last port before.
    pub before: (u16, u16),
    /// First and last port since.
    pub since: (u16, u16),
}

impl RangeChange {
    /// The change that `word` records. The kernel's range never begins with 0.
    pub const fn from_word(word: u64) -> Option<Self> {
        if word == 0 {
            return None;
        }
        Some(Self {
            before: (word as u16, (word >> 16) as u16),
            since: ((word >> 32) as u16, (word >> 48) as u16),
        })
    }

    /// The word that records it.
    pub const fn word(self) -> u64 {
        self.before.0 as u64
            | (self.before.1 as u64) << 16
            | (self.since.0 as u64) << 32
            | (self.since.1 as u64) << 48
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_the_range_keeps_its_parts() {
        let change = RangeChange {
            before: (32768, 60999),
            since: (1024, 65535),
        };
        assert_eq!(RangeChange::from_word(change.word()), Some(change));
        assert_eq!(RangeChange::from_word(0), None);
    }
}
