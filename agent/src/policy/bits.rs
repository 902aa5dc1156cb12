//! A set of ports.

const WORDS: usize = 65536 / 64;

/// A set of ports with fast questions about stretches of them.
pub struct PortBits(Box<[u64; WORDS]>);

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        }
    }
}
