//! Sets of users and groups, each stored once.

use std::collections::{BTreeMap, BTreeSet};

use portreeve_common::abi::MAX_PERMITS;

/// Users and groups who may have something. The empty set permits nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PermitSet {
    /// Users, by number.
    pub users: BTreeSet<u32>,
    /// Groups, by number.
    pub groups: BTreeSet<u32>,
}

impl PermitSet {
    /// Whether user `uid`, a member of `gids`, is in the set.
    pub fn permits(&self, uid: u32, gids: &[u32]) -> bool {
        self.users.contains(&uid) || gids.iter().any(|gid| self.groups.contains(gid))
    }

    /// How many users and groups there are.
    pub fn len(&self) -> usize {
        self.users.len() + self.groups.len()
    }

    /// Whether nobody is permitted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The different permit sets of a policy, by number from 1. Number 0 stands for
/// no check and is no set.
#[derive(Clone, Debug, Default)]
pub struct PermitSets {
    sets: Vec<PermitSet>,
    ids: BTreeMap<PermitSet, u32>,
    members: usize,
    exceeded: bool,
}

impl PermitSets {
    /// The number of `set`, which it is given if it has none yet.
    ///
    /// A set beyond [`MAX_PERMITS`] members in all becomes the empty one: what
    /// doesn't fit permits nobody. [`Self::is_exceeded`] tells.
    pub fn id(&mut self, set: PermitSet) -> u32 {
        if let Some(id) = self.ids.get(&set) {
            return *id;
        }
        if self.members + set.len() > MAX_PERMITS as usize {
            self.exceeded = true;
            return self.id(PermitSet::default());
        }
        self.members += set.len();
        self.sets.push(set.clone());
        let id = self.sets.len() as u32;
        self.ids.insert(set, id);
        id
    }

    /// Set `id`.
    pub fn get(&self, id: u32) -> Option<&PermitSet> {
        self.sets.get(id.checked_sub(1)? as usize)
    }

    /// Whether user `uid`, a member of `gids`, is in set `id`. A number that no
    /// set has permits nobody.
    pub fn permits(&self, id: u32, uid: u32, gids: &[u32]) -> bool {
        self.get(id).is_some_and(|set| set.permits(uid, gids))
    }

    /// The sets with their numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &PermitSet)> {
        (1..).zip(&self.sets)
    }

    /// How many users and groups the sets have, each set counted.
    pub fn members(&self) -> usize {
        self.members
    }

    /// Whether some set was too many.
    pub fn is_exceeded(&self) -> bool {
        self.exceeded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(
        users: impl IntoIterator<Item = u32>,
        groups: impl IntoIterator<Item = u32>,
    ) -> PermitSet {
        PermitSet {
            users: users.into_iter().collect(),
            groups: groups.into_iter().collect(),
        }
    }

    #[test]
    fn equal_sets_have_one_number() {
        let mut sets = PermitSets::default();
        let first = sets.id(set([1, 2], [3]));
        let empty = sets.id(PermitSet::default());
        assert_eq!((first, empty), (1, 2));
        assert_eq!(sets.id(set([2, 1], [3])), first);
        assert_eq!(sets.iter().count(), 2);
        assert_eq!(sets.members(), 3);
    }

    /// `SAF-10`: user 0 is a user like others.
    #[test]
    fn only_members_are_permitted() {
        let mut sets = PermitSets::default();
        let id = sets.id(set([7], [100]));
        let nobody = sets.id(PermitSet::default());
        assert!(sets.permits(id, 7, &[]));
        assert!(sets.permits(id, 8, &[1, 100]));
        assert!(!sets.permits(id, 100, &[7]));
        for (uid, gids) in [(0, [0]), (7, [100])] {
            assert!(!sets.permits(nobody, uid, &gids));
            assert!(!sets.permits(0, uid, &gids));
            assert!(!sets.permits(99, uid, &gids));
        }
    }

    /// `SAF-10`.
    #[test]
    fn what_exceeds_the_limit_permits_nobody() {
        let mut sets = PermitSets::default();
        let full = sets.id(set(0..MAX_PERMITS, []));
        assert!(!sets.is_exceeded());
        let one_more = sets.id(set([MAX_PERMITS], []));
        assert!(sets.is_exceeded());
        assert!(sets.permits(full, MAX_PERMITS - 1, &[]));
        assert!(!sets.permits(one_more, MAX_PERMITS, &[]));
        assert_eq!(sets.members(), MAX_PERMITS as usize);
    }
}
