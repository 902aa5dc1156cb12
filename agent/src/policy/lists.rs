//! Which entries of a port cover which defined jobs, each arrangement stored once.

use std::collections::{BTreeMap, HashMap};

use super::jobs::JobId;

/// For every defined job that some entry of a port covers, the offset of the
/// first entry that does, in order of the jobs.
pub type JobList = Vec<(JobId, u32)>;

/// The different [`JobList`]s of a policy, by number from 1. Number 0 is the list
/// of entries that cover no defined job.
#[derive(Clone, Debug, Default)]
pub struct JobLists {
    lists: Vec<JobList>,
    numbers: HashMap<JobList, u32>,
}

impl JobLists {
    /// The number of the list of entries that cover `covered`, first entry first.
    pub fn number<'a>(&mut self, covered: impl IntoIterator<Item = &'a [JobId]>) -> u32 {
        let mut first = BTreeMap::new();
        for (offset, jobs) in (0..).zip(covered) {
            for job in jobs {
                first.entry(*job).or_insert(offset);
            }
        }
        if first.is_empty() {
            return 0;
        }
        let list: JobList = first.into_iter().collect();
        if let Some(number) = self.numbers.get(&list) {
            return *number;
        }
        self.lists.push(list.clone());
        let number = self.lists.len() as u32;
        self.numbers.insert(list, number);
        number
    }

    /// The offset of the first entry of list `number` that covers `job`.
    pub fn offset(&self, number: u32, job: JobId) -> Option<u32> {
        let list = self.lists.get(number.checked_sub(1)? as usize)?;
        let at = list.binary_search_by_key(&job, |(job, _)| *job).ok()?;
        list.get(at).map(|(_, offset)| *offset)
    }

    /// The lists with their numbers, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &JobList)> {
        (1..).zip(&self.lists)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(numbers: &[u32]) -> Vec<JobId> {
        numbers.iter().copied().map(JobId::from_index).collect()
    }

    #[test]
    fn equal_arrangements_have_one_number() {
        let mut lists = JobLists::default();
        let (some, other, none) = (jobs(&[2, 0]), jobs(&[0, 1]), jobs(&[]));
        let first = lists.number([&none[..], &some, &other]);
        assert_eq!(first, 1);
        // What a later entry repeats changes nothing.
        assert_eq!(
            lists.number([&none[..], &jobs(&[0, 2]), &jobs(&[1, 2])]),
            first
        );
        assert_eq!(lists.number([&some[..], &other]), 2);
        assert_eq!(lists.number([&none[..], &none]), 0);
        let offset = |job| lists.offset(first, JobId::from_index(job));
        assert_eq!(
            [offset(0), offset(1), offset(2), offset(3)],
            [Some(1), Some(2), Some(1), None]
        );
        assert_eq!(lists.offset(0, some[0]), None);
        assert_eq!(lists.offset(9, some[0]), None);
        assert_eq!(lists.iter().count(), 2);
    }
}
