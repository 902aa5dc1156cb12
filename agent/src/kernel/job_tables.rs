//! The tables by which the programs recognise defined jobs and permitted users.

use std::collections::HashSet;

use portreeve_common::abi::{
    MAX_PERMITS,
    jobs::{
        ExeKey, IdentityKey, JobNameKey, JobRules, MAX_AUTOMATON_WORDS, MAX_EXES, MAX_IDENTITIES,
        MAX_JOB_USERS, MAX_JOBS, MAX_PLACES, MAX_STEPS, MAX_WILD_STEPS, PermitKey, PlaceKey, Step,
        StepKey, UserKey, WildKey,
    },
    names,
};

use super::{
    KernelError,
    half_table::HalfTable,
    mapping::Mapping,
    pins::Pins,
    tables::{map, within},
};
use crate::policy::{
    identity::{JobImage, exes::Inode},
    image::Image,
    permits::PermitSets,
};

/// Elements that a half's words take, four to each.
const WORDS: u32 = MAX_AUTOMATON_WORDS / 4;
/// The value in tables whose keys say everything.
const PRESENT: u32 = 1;

/// The pinned tables. See [`portreeve_common::abi::jobs`].
#[derive(Debug)]
pub struct JobTables {
    rules: Mapping<JobRules>,
    words: Mapping<u64>,
    steps: HalfTable<StepKey, Step>,
    wild: HalfTable<WildKey, Step>,
    exes: HalfTable<ExeKey, u32>,
    users: HalfTable<UserKey, u32>,
    names: HalfTable<JobNameKey, u32>,
    identities: HalfTable<IdentityKey, u32>,
    places: HalfTable<PlaceKey, u32>,
    permits: HalfTable<PermitKey, u32>,
}

impl JobTables {
    /// Opens the tables pinned at `pins`.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`] if one is not as this agent makes it.
    pub fn open(pins: &Pins) -> Result<Self, KernelError> {
        Ok(Self {
            rules: map(pins, names::JOB_RULES, 2)?,
            words: map(pins, names::JOB_WORDS, 2 * WORDS)?,
            steps: HalfTable::open(pins, names::JOB_STEPS, MAX_STEPS)?,
            wild: HalfTable::open(pins, names::JOB_WILD, MAX_WILD_STEPS)?,
            exes: HalfTable::open(pins, names::JOB_EXES, MAX_EXES)?,
            users: HalfTable::open(pins, names::JOB_USERS, MAX_JOB_USERS)?,
            names: HalfTable::open(pins, names::JOB_NAMES, MAX_JOBS)?,
            identities: HalfTable::open(pins, names::JOB_IDENTITIES, MAX_IDENTITIES)?,
            places: HalfTable::open(pins, names::JOB_PLACES, MAX_PLACES)?,
            permits: HalfTable::open(pins, names::PERMITS, MAX_PERMITS)?,
        })
    }

    /// Whether there is room for `jobs` and the permits of `image`.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`] if it exceeds a limit.
    pub fn check(&self, jobs: &JobImage, image: &Image) -> Result<(), KernelError> {
        within(names::JOB_WORDS, jobs.words.len(), WORDS)?;
        within(names::JOB_STEPS, jobs.steps.len(), MAX_STEPS)?;
        within(names::JOB_WILD, jobs.wild.len(), MAX_WILD_STEPS)?;
        within(names::JOB_EXES, jobs.exes.len(), MAX_EXES)?;
        within(names::JOB_USERS, jobs.users.len(), MAX_JOB_USERS)?;
        within(names::JOB_NAMES, jobs.names.len(), MAX_JOBS)?;
        within(names::JOB_IDENTITIES, jobs.identities.len(), MAX_IDENTITIES)?;
        within(names::JOB_PLACES, jobs.places.len(), MAX_PLACES)?;
        within(names::PERMITS, image.permits.members(), MAX_PERMITS)
    }

    /// Fills `half`, which no program reads, with `jobs` and the permits of `image`.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`]; then the half is not to be named in `ACTIVE`.
    pub fn fill(&mut self, half: u32, jobs: &JobImage, image: &Image) -> Result<(), KernelError> {
        self.steps.fill(half, jobs.steps.iter().copied())?;
        self.wild.fill(half, jobs.wild.iter().copied())?;
        self.exes.fill(half, jobs.exes.iter().copied())?;
        self.users.fill(half, jobs.users.iter().copied())?;
        let names = jobs.names.iter().map(|name| (*name, PRESENT));
        self.names.fill(half, names)?;
        self.identities
            .fill(half, jobs.identities.iter().copied())?;
        self.places.fill(half, jobs.places.iter().copied())?;
        let permits = permits(&image.permits).map(|permit| (permit, PRESENT));
        self.permits.fill(half, permits)?;
        self.words.write(half * WORDS, &jobs.words);
        self.rules.write(half, &[jobs.rules]);
        Ok(())
    }

    /// The executables that `half` recognises.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`] if they can't be read.
    pub fn executables(&self, half: u32) -> Result<HashSet<Inode>, KernelError> {
        let inode = |key: ExeKey| Inode {
            device: key.device,
            inode: key.inode,
            generation: key.generation,
        };
        Ok(self.exes.keys(half)?.into_iter().map(inode).collect())
    }
}

/// The members of all sets, as keys of half 0.
fn permits(sets: &PermitSets) -> impl Iterator<Item = PermitKey> {
    sets.iter().flat_map(|(set, members)| {
        let key = move |kind| {
            move |id: &u32| PermitKey {
                half: 0,
                set,
                kind,
                id: *id,
            }
        };
        let users = members.users.iter().map(key(PermitKey::USER));
        users.chain(members.groups.iter().map(key(PermitKey::GROUP)))
    })
}
