//! The conditions that definitions consist of, each once, and the classes of a
//! fact: the sets of conditions on it that can hold together.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    path::PathBuf,
};

use portreeve_common::abi::jobs::Facts;

use crate::policy::jobs::{Alternative, CgroupPattern, JobId, Jobs};

/// Values with a number each, in the order in which they came.
#[derive(Debug)]
pub(super) struct Numbered<T> {
    values: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T> Default for Numbered<T> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            numbers: HashMap::new(),
        }
    }
}

impl<T: Clone + Eq + Hash> Numbered<T> {
    /// The number of `value`, from 0, which it is given if it has none yet.
    pub fn number(&mut self, value: T) -> u32 {
        if let Some(number) = self.numbers.get(&value) {
            return *number;
        }
        let number = self.values.len() as u32;
        self.values.push(value.clone());
        self.numbers.insert(value, number);
        number
    }

    /// The values by number.
    pub fn values(&self) -> &[T] {
        &self.values
    }
}

/// The classes of one fact: sets of the conditions on it, by number from 1.
/// Class 0 is the empty set.
#[derive(Debug, Default)]
pub(super) struct FactClasses(Numbered<Vec<u32>>);

impl FactClasses {
    /// The class of a process that satisfies exactly `conditions`.
    pub fn of(&mut self, conditions: &BTreeSet<u32>) -> u32 {
        if conditions.is_empty() {
            return 0;
        }
        let conditions = conditions.iter().copied().collect();
        self.0.number(conditions) + 1
    }

    /// The conditions of each class, which goes up from 1.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &[u32])> {
        (1..).zip(self.0.values().iter().map(Vec::as_slice))
    }

    /// Per condition the classes that hold it.
    pub fn by_condition(&self) -> HashMap<u32, Vec<u32>> {
        let mut classes: HashMap<u32, Vec<u32>> = HashMap::new();
        for (class, conditions) in self.iter() {
            for condition in conditions {
                classes.entry(*condition).or_default().push(class);
            }
        }
        classes
    }
}

/// One alternative of a job, its conditions by number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub job: JobId,
    pub facts: Facts,
    pub cgroup: Option<u32>,
    pub exe: Option<u32>,
    pub comm: Option<u32>,
    pub user: Option<u32>,
}

/// Every condition of a policy's definitions.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    pub cgroups: Numbered<Vec<CgroupPattern>>,
    pub exes: Numbered<Vec<PathBuf>>,
    pub comms: Numbered<Vec<String>>,
    pub users: Numbered<BTreeSet<u32>>,
    pub ways: Vec<Way>,
}

impl Conditions {
    pub fn new(jobs: &Jobs) -> Self {
        let mut conditions = Self::default();
        for (id, job) in jobs.iter() {
            for alternative in &job.alternatives {
                conditions.add(id, alternative);
            }
        }
        conditions
    }

    fn add(&mut self, job: JobId, alternative: &Alternative) {
        fn number<T: Clone + Eq + Hash>(known: &mut Numbered<Vec<T>>, values: &[T]) -> Option<u32> {
            (!values.is_empty()).then(|| known.number(values.to_vec()))
        }
        let facts = alternative.facts();
        if facts == Facts::default() {
            return;
        }
        let users = alternative.users.clone();
        self.ways.push(Way {
            job,
            facts,
            cgroup: number(&mut self.cgroups, &alternative.cgroups),
            exe: number(&mut self.exes, &alternative.exes),
            comm: number(&mut self.comms, &alternative.comms),
            user: users.map(|users| self.users.number(users)),
        });
    }
}
