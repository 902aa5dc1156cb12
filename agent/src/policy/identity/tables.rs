//! From classes to sets of jobs, and from those to the entries that cover them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use portreeve_common::abi::jobs::{Classes, Facts, IdentityKey, PlaceKey};

use super::conditions::{FactClasses, Numbered, Way};
use crate::policy::{jobs::JobId, lists::JobLists};

/// The classes of every fact.
#[derive(Debug, Default)]
pub(super) struct AllClasses {
    pub cgroup: FactClasses,
    pub exe: FactClasses,
    pub comm: FactClasses,
    pub user: FactClasses,
}

/// Sets of jobs that a process can be by definitions that name the same facts.
#[derive(Debug, Default)]
pub(super) struct Identities {
    pub keys: Vec<(IdentityKey, u32)>,
    /// Bit per set of facts that some definition names.
    pub signatures: u32,
    /// All those facts.
    pub facts: Facts,
    /// Whether there was room for all of them.
    pub complete: bool,
    /// The jobs of each set; sets are numbered from 1.
    sets: Numbered<Vec<JobId>>,
}

/// Which classes lead to which set of jobs; at most `limit` keys.
pub(super) fn identities(ways: &[Way], classes: &AllClasses, limit: usize) -> Identities {
    let mut found = Identities {
        complete: true,
        ..Identities::default()
    };
    let cgroup = classes.cgroup.by_condition();
    let exe = classes.exe.by_condition();
    let comm = classes.comm.by_condition();
    let user = classes.user.by_condition();
    let mut jobs: BTreeMap<IdentityKey, BTreeSet<JobId>> = BTreeMap::new();
    for way in ways {
        found.signatures |= 1 << way.facts.0;
        found.facts = found.facts.with(way.facts);
        let cgroups = holding(way.cgroup, &cgroup);
        let exes = holding(way.exe, &exe);
        let comms = holding(way.comm, &comm);
        let users = holding(way.user, &user);
        let mut all = cgroups.iter().flat_map(move |cgroup| {
            exes.iter().flat_map(move |exe| {
                comms.iter().flat_map(move |comm| {
                    users.iter().map(move |user| Classes {
                        cgroup: *cgroup,
                        exe: *exe,
                        comm: *comm,
                        user: *user,
                    })
                })
            })
        });
        found.complete &= all.all(|classes| {
            let key = IdentityKey {
                half: 0,
                facts: way.facts,
                classes,
            };
            if jobs.len() == limit && !jobs.contains_key(&key) {
                return false;
            }
            jobs.entry(key).or_default().insert(way.job);
            true
        });
    }
    for (key, jobs) in jobs {
        let set = found.sets.number(jobs.into_iter().collect()) + 1;
        found.keys.push((key, set));
    }
    found
}

/// The classes that hold `condition`; without one the only class is 0.
fn holding(condition: Option<u32>, classes: &HashMap<u32, Vec<u32>>) -> &[u32] {
    match condition {
        None => &[0],
        Some(condition) => classes.get(&condition).map_or(&[], Vec::as_slice),
    }
}

/// The first entry of each list that covers a job of each set; at most `limit`,
/// and whether that was all.
pub(super) fn places(
    lists: &JobLists,
    identities: &Identities,
    limit: usize,
) -> (Vec<(PlaceKey, u32)>, bool) {
    let mut sets_of_job: HashMap<JobId, Vec<u32>> = HashMap::new();
    for (set, jobs) in (1..).zip(identities.sets.values()) {
        for job in jobs {
            sets_of_job.entry(*job).or_default().push(set);
        }
    }
    let mut places = Vec::new();
    for (list, offsets) in lists.iter() {
        let mut first: BTreeMap<u32, u32> = BTreeMap::new();
        for (job, offset) in offsets {
            for set in sets_of_job.get(job).into_iter().flatten() {
                let closest = first.entry(*set).or_insert(*offset);
                *closest = (*closest).min(*offset);
            }
        }
        for (identity, offset) in first {
            if places.len() == limit {
                return (places, false);
            }
            let key = PlaceKey {
                half: 0,
                list,
                identity,
            };
            places.push((key, offset));
        }
    }
    (places, true)
}
