//! A set of ports.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// Words of 64 bits that hold one bit per port.
pub const WORDS: usize = 65536 / 64;

/// A set of ports with fast questions about stretches of them.
///
/// Its text is the kernel's notation for a list of ports: `80,1000-1003`,
/// ascending, with as few ranges as can be.
#[derive(Clone, PartialEq, Eq)]
pub struct PortBits(Box<[u64; WORDS]>);

/// A text is no list of ports.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is no port or range of ports")]
pub struct NotPorts(String);

impl Default for PortBits {
    fn default() -> Self {
        Self(Box::new([0; WORDS]))
    }
}

/// The bits of word `index` that belong to `first..=last`.
fn mask(index: usize, first: usize, last: usize) -> u64 {
    let low = if index == first / 64 { first % 64 } else { 0 };
    let high = if index == last / 64 { last % 64 } else { 63 };
    (u64::MAX << low) & (u64::MAX >> (63 - high))
}

impl PortBits {
    /// Puts `first..=last` in the set or takes them out.
    pub fn set(&mut self, first: u16, last: u16, present: bool) {
        let (first, last) = (usize::from(first), usize::from(last));
        for index in first / 64..=last / 64 {
            let bits = mask(index, first, last);
            if present {
                self.0[index] |= bits;
            } else {
                self.0[index] &= !bits;
            }
        }
    }

    /// Whether `port` is in the set.
    pub fn has(&self, port: u16) -> bool {
        let port = usize::from(port);
        self.0[port / 64] >> (port % 64) & 1 != 0
    }

    /// The set with bit `port % 64` of word `port / 64` for each port.
    pub fn from_words(word: impl FnMut(usize) -> u64) -> Self {
        let mut index = 0..WORDS;
        let mut word = word;
        let mut bits = Self::default();
        bits.0.fill_with(|| index.next().map_or(0, &mut word));
        bits
    }

    /// Word `index` of [`Self::from_words`].
    pub fn word(&self, index: usize) -> u64 {
        self.0[index]
    }

    /// The ports that are in one of the two.
    pub fn or(&self, other: &Self) -> Self {
        Self::from_words(|index| self.0[index] | other.0[index])
    }

    /// The ports that are in both.
    pub fn and(&self, other: &Self) -> Self {
        Self::from_words(|index| self.0[index] & other.0[index])
    }

    /// The ports that are in this one only.
    pub fn minus(&self, other: &Self) -> Self {
        Self::from_words(|index| self.0[index] & !other.0[index])
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// The fewest ranges that make up the set, ascending.
    pub fn ranges(&self) -> impl Iterator<Item = (u16, u16)> {
        let mut from = 0;
        std::iter::from_fn(move || {
            let first = self.next(from, true)?;
            let end = self.next(first, false).unwrap_or(1 << 16);
            from = end;
            Some((u16::try_from(first).ok()?, u16::try_from(end - 1).ok()?))
        })
    }

    /// The lowest port from `from` on that is in the set, or that isn't.
    fn next(&self, from: u32, present: bool) -> Option<u32> {
        let first = from as usize / 64;
        (first..WORDS).find_map(|index| {
            let word = self.0[index];
            let word = if present { word } else { !word };
            let word = match index == first {
                true => word & (u64::MAX << (from % 64)),
                false => word,
            };
            (word != 0).then(|| index as u32 * 64 + word.trailing_zeros())
        })
    }

    /// The lowest port of `first..=last` in the set.
    pub fn first_in(&self, first: u16, last: u16) -> Option<u16> {
        let (first, last) = (usize::from(first), usize::from(last));
        (first / 64..=last / 64).find_map(|index| {
            let found = self.0[index] & mask(index, first, last);
            let port = index * 64 + found.trailing_zeros() as usize;
            if found == 0 {
                None
            } else {
                u16::try_from(port).ok()
            }
        })
    }
}

impl FromIterator<(u16, u16)> for PortBits {
    fn from_iter<I: IntoIterator<Item = (u16, u16)>>(ranges: I) -> Self {
        let mut bits = Self::default();
        for (first, last) in ranges {
            if first <= last {
                bits.set(first, last, true);
            }
        }
        bits
    }
}

impl FromStr for PortBits {
    type Err = NotPorts;

    fn from_str(text: &str) -> Result<Self, NotPorts> {
        let range = |text: &str| {
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let (first, last) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last).then_some((first, last))
        };
        let parts = text.trim().split(',').filter(|part| !part.is_empty());
        parts
            .map(|part| range(part).ok_or_else(|| NotPorts(part.chars().take(20).collect())))
            .collect()
    }
}

impl fmt::Display for PortBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (first, last)) in self.ranges().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for PortBits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PortBits({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ports(text: &str) -> PortBits {
        text.parse().unwrap()
    }

    #[test]
    fn the_kernels_notation_is_read_and_written() {
        for text in [
            "",
            "80",
            "0",
            "65535",
            "80,1000-1003,65535",
            "0-65535",
            "63-64,127",
        ] {
            assert_eq!(ports(text).to_string(), text);
        }
        assert_eq!(ports("\n"), PortBits::default());
        assert_eq!(ports("3,1-2,2-4,6\n").to_string(), "1-4,6");
        for wrong in ["x", "1-", "-1", "65536", "2-1", "1 2", "1-2-3"] {
            assert!(wrong.parse::<PortBits>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn it_is_a_set(
            changes in prop::collection::vec((any::<u16>(), any::<u16>(), any::<bool>()), 1..8),
            question in (any::<u16>(), any::<u16>()),
        ) {
            let mut bits = PortBits::default();
            let mut model = vec![false; 65536];
            for (a, b, present) in changes {
                let (first, last) = (a.min(b), a.max(b));
                bits.set(first, last, present);
                model[usize::from(first)..=usize::from(last)].fill(present);
            }
            let (first, last) = (question.0.min(question.1), question.0.max(question.1));
            let expected = (first..=last).find(|port| model[usize::from(*port)]);
            prop_assert_eq!(bits.first_in(first, last), expected);
            prop_assert_eq!(bits.len() as usize, model.iter().filter(|port| **port).count());
            prop_assert_eq!(bits.is_empty(), !model.contains(&true));
            // As few ranges as can be: each begins and ends at an edge.
            for (first, last) in bits.ranges() {
                let (first, last) = (usize::from(first), usize::from(last));
                prop_assert!(model[first..=last].iter().all(|port| *port));
                prop_assert!(first == 0 || !model[first - 1]);
                prop_assert!(last == 65535 || !model[last + 1]);
            }
            prop_assert_eq!(bits.ranges().collect::<PortBits>(), bits.clone());
            prop_assert_eq!(bits.to_string().parse::<PortBits>().unwrap(), bits);
        }

        #[test]
        fn what_is_merged_and_subtracted_leaves_the_rest(
            theirs in prop::collection::vec((any::<u16>(), 0..300u16), 0..20),
            ours in prop::collection::vec((any::<u16>(), 0..300u16), 0..20),
        ) {
            let set = |ranges: Vec<(u16, u16)>| -> PortBits {
                ranges.into_iter().map(|(first, more)| (first, first.saturating_add(more))).collect()
            };
            let (theirs, ours) = (set(theirs), set(ours));
            let added = ours.minus(&theirs);
            let merged = theirs.or(&ours);
            prop_assert_eq!(&merged.minus(&added), &theirs);
            prop_assert_eq!(merged.len(), theirs.len() + added.len());
            prop_assert_eq!(&merged.and(&ours), &ours);
            prop_assert!(added.and(&theirs).is_empty());
        }
    }
}
