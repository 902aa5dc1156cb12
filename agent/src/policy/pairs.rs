//! Which entries two policies have in common, whatever became of their options.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use portreeve_common::abi::Protocol;

use super::{build::Policy, reservations::Reservation};
use crate::profile::ast::User;

/// What identifies an entry: protocol, ports and who (z/OS's key for DELETE). No two
/// entries of a policy have the same.
type Key<'a> = (Protocol, u16, u16, &'a User);

fn key(reservation: &Reservation) -> Key<'_> {
    (
        reservation.protocol,
        reservation.first,
        reservation.last,
        &reservation.user,
    )
}

/// What stands for no entry: no policy has so many.
const NONE: u32 = u32::MAX;

/// The entries of one policy that another one has too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairs {
    /// Per entry of the new policy: its index in the old one, or [`NONE`].
    before: Vec<u32>,
    /// Per entry of the old policy: whether the new one has it.
    stays: Vec<bool>,
}

/// Entries that follow each other in the tables of two policies, and are the same in both.
/// Their refusals go on being counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Index of the first one in the old tables.
    pub before: u32,
    /// In the new ones.
    pub after: u32,
    /// How many there are.
    pub length: u32,
}

impl Stretch {
    /// All of `count` entries, each where it was.
    pub const fn whole(count: u32) -> Self {
        Self {
            before: 0,
            after: 0,
            length: count,
        }
    }
}

impl Pairs {
    /// The entries that `old` and `new` have both.
    pub fn of(old: &[Reservation], new: &[Reservation]) -> Self {
        let mut before = vec![NONE; new.len()];
        let mut stays = vec![false; old.len()];
        let mut pair = |earlier: usize, later: usize| {
            before[later] = earlier as u32;
            stays[earlier] = true;
        };
        // Most changes leave most entries where they are, and need no search for those.
        let same = |(one, other): &(&Reservation, &Reservation)| key(one) == key(other);
        let head = old.iter().zip(new).take_while(same).count();
        let (old_rest, new_rest) = (&old[head..], &new[head..]);
        let backwards = old_rest.iter().rev().zip(new_rest.iter().rev());
        let tail = backwards.take_while(same).count();
        let (old_end, new_end) = (old.len() - tail, new.len() - tail);
        (0..head).for_each(|index| pair(index, index));
        (0..tail).for_each(|index| pair(old_end + index, new_end + index));

        let between = (head..old_end).map(|index| (key(&old[index]), index));
        let places: HashMap<Key<'_>, usize, RandomState> = between.collect();
        for (index, entry) in new.iter().enumerate().take(new_end).skip(head) {
            if let Some(earlier) = places.get(&key(entry)) {
                pair(*earlier, index);
            }
        }
        Self { before, stays }
    }

    /// Index in the old policy of entry `index` of the new one, if it has that.
    pub fn before(&self, index: usize) -> Option<usize> {
        let before = self.before.get(index).filter(|before| **before != NONE);
        before.map(|before| *before as usize)
    }

    /// Whether the new policy has entry `index` of the old one.
    pub fn stays(&self, index: usize) -> bool {
        self.stays.get(index).is_some_and(|stays| *stays)
    }

    /// Where what both have stands in the tables of `old` and `new`, of whose entries
    /// these are the pairs. An entry may have several places, for AUTHPORT: those are
    /// taken in their order.
    pub fn stretches(&self, old: &Policy, new: &Policy) -> Vec<Stretch> {
        let (old, new) = (&old.compiled.origins, &new.compiled.origins);
        let mut first = vec![NONE; self.stays.len()];
        for (place, origin) in old.iter().enumerate().rev() {
            if let Some(first) = first.get_mut(*origin as usize) {
                *first = place as u32;
            }
        }
        let mut stretches: Vec<Stretch> = Vec::new();
        // How many places of the entry come before this one.
        let mut nth = 0;
        for (index, origin) in new.iter().enumerate() {
            let again = index.checked_sub(1).and_then(|before| new.get(before));
            nth = if again == Some(origin) { nth + 1 } else { 0 };
            let Some(earlier) = self.before(*origin as usize) else {
                continue;
            };
            let place = first[earlier].saturating_add(nth);
            if old.get(place as usize) != Some(&(earlier as u32)) {
                continue;
            }
            let after = index as u32;
            match stretches.last_mut() {
                Some(Stretch {
                    before,
                    after: begin,
                    length,
                }) if *before + *length == place && *begin + *length == after => *length += 1,
                _ => stretches.push(Stretch {
                    before: place,
                    after,
                    length: 1,
                }),
            }
        }
        stretches
    }
}

/// Where what `old` and `new` have both stands in their tables.
pub fn kept(old: &Policy, new: &Policy) -> Vec<Stretch> {
    Pairs::of(&old.reservations, &new.reservations).stretches(old, new)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::diff::tests::policy_with;

    fn policy(text: &str) -> Policy {
        policy_with(text, "[authport]\njobs = ['FTP1', 'FTP2']\n")
    }

    fn stretches(old: &str, new: &str) -> Vec<(u32, u32, u32)> {
        let found = kept(&policy(old), &policy(new));
        let numbers = |stretch: Stretch| (stretch.before, stretch.after, stretch.length);
        found.into_iter().map(numbers).collect()
    }

    #[test]
    fn what_stays_is_found_wherever_it_went() {
        let three = "PORT 21 TCP A\n 22 TCP B\n 23 TCP C";
        assert_eq!(stretches(three, three), [(0, 0, 3)]);
        let other = three.replace("TCP B", "TCP X");
        assert_eq!(stretches(three, &other), [(0, 0, 1), (2, 2, 1)]);
        let fewer = "PORT 23 TCP C SHAREPORT\n 21 TCP A";
        assert_eq!(stretches(three, fewer), [(0, 0, 1), (2, 1, 1)]);
        assert_eq!(stretches("", three), []);
        assert_eq!(stretches(three, ""), []);
        // Each of the jobs that AUTHPORT stands for has its own.
        let authport = "PORTRANGE 5000 2 TCP AUTHPORT\nPORT 21 TCP A\n 6000 TCP B";
        assert_eq!(stretches(authport, authport), [(0, 0, 4)]);
        let without = authport.replace("21 TCP A", "20 TCP X\n 21 TCP A");
        assert_eq!(stretches(authport, &without), [(0, 1, 4)]);
    }

    fn entries() -> impl Strategy<Value = Vec<Reservation>> {
        let lines = prop::collection::vec((1..9u16, "[AB]", any::<bool>()), 0..12);
        lines.prop_map(|lines| {
            let line = |(port, job, is_udp)| {
                let protocol = if is_udp { "UDP" } else { "TCP" };
                format!(" {port} {protocol} {job}\n")
            };
            let text: String = lines.into_iter().map(line).collect();
            policy(&format!("PORT\n{text}")).reservations
        })
    }

    proptest! {
        /// As if every entry was compared with every other.
        #[test]
        fn all_pairs_are_found(old in entries(), new in entries()) {
            let pairs = Pairs::of(&old, &new);
            for (index, entry) in new.iter().enumerate() {
                let before = old.iter().position(|other| key(other) == key(entry));
                prop_assert_eq!(pairs.before(index), before);
            }
            for (index, entry) in old.iter().enumerate() {
                let stays = new.iter().any(|other| key(other) == key(entry));
                prop_assert_eq!(pairs.stays(index), stays);
            }
        }
    }
}
