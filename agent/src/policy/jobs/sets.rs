//! Sets of defined jobs, each stored once.

use std::collections::{BTreeMap, BTreeSet};

use super::JobId;

/// The different sets of jobs that a policy's operands cover, by number from 1.
/// Number 0 is no job at all.
#[derive(Clone, Debug, Default)]
pub struct JobSets {
    sets: Vec<BTreeSet<JobId>>,
    ids: BTreeMap<BTreeSet<JobId>, u32>,
}

impl JobSets {
    /// The number of the set of `jobs`, which it is given if it has none yet.
    pub fn id(&mut self, jobs: &[JobId]) -> u32 {
        if jobs.is_empty() {
            return 0;
        }
        let set: BTreeSet<JobId> = jobs.iter().copied().collect();
        if let Some(id) = self.ids.get(&set) {
            return *id;
        }
        self.sets.push(set.clone());
        let id = self.sets.len() as u32;
        self.ids.insert(set, id);
        id
    }

    /// Set `id`.
    pub fn get(&self, id: u32) -> Option<&BTreeSet<JobId>> {
        self.sets.get(id.checked_sub(1)? as usize)
    }

    /// Whether `job` is in set `id`.
    pub fn contains(&self, id: u32, job: JobId) -> bool {
        self.get(id).is_some_and(|set| set.contains(&job))
    }

    /// The sets with their numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &BTreeSet<JobId>)> {
        (1..).zip(&self.sets)
    }
}
