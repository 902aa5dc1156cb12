//! The jobs that the config defines: who is one (design: "who is calling").

mod cgroup;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use portreeve_common::{
    abi::jobs::Facts,
    jobname::{Glob, MaskedName, Name},
};

pub use self::cgroup::CgroupPattern;
pub(super) use self::cgroup::component_matches;
use super::accounts::{self, Accounts, Id};
use crate::{
    config::{self, KERNEL},
    diagnostics::{Diagnostics, Span},
};

/// A defined job, by its place in [`Jobs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(u32);

#[cfg(test)]
impl JobId {
    /// The job with this number, from 0 without gaps.
    pub const fn from_index(index: u32) -> Self {
        Self(index)
    }
}

/// A defined job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its name, folded to upper case.
    pub name: String,
    /// Where the definition begins.
    pub span: Span,
    /// A process is the job if it satisfies one of these.
    pub alternatives: Vec<Alternative>,
}

/// One way to be a job. Each condition that is not empty must hold, and holds if
/// any of its values does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alternative {
    /// The process is in one of these cgroups or below.
    pub cgroups: Vec<CgroupPattern>,
    /// It runs one of these files.
    pub exes: Vec<PathBuf>,
    /// Its process name matches one of these patterns, which are in upper case.
    pub comms: Vec<String>,
    /// Its effective user is one of these. `Some` of an empty set is nobody: none
    /// of the names given could be looked up.
    pub users: Option<BTreeSet<u32>>,
}

impl Alternative {
    /// The facts of a process that it has conditions on.
    pub fn facts(&self) -> Facts {
        [
            (!self.cgroups.is_empty(), Facts::CGROUP),
            (!self.exes.is_empty(), Facts::EXE),
            (!self.comms.is_empty(), Facts::COMM),
            (self.users.is_some(), Facts::USER),
        ]
        .into_iter()
        .filter_map(|(is_named, fact)| is_named.then_some(fact))
        .fold(Facts::default(), Facts::with)
    }

    /// Whether it rests on something that a process can't say of itself: the
    /// cgroup it was put in, or its user.
    pub fn is_verified(&self) -> bool {
        self.facts().is_proof()
    }

    /// One without any condition is nobody.
    fn admits(&self, caller: &Caller) -> bool {
        self.admits_if(caller, false)
    }

    /// The same, with conditions on what isn't known of the caller taken to hold
    /// if `unknown` says so.
    fn admits_if(&self, caller: &Caller, unknown: bool) -> bool {
        let user = match &self.users {
            None => true,
            Some(users) => caller.uid.map_or(unknown, |uid| users.contains(&uid)),
        };
        let (cgroup, comm, exe) = (&caller.cgroup, &caller.comm, &caller.exe);
        self.facts() != Facts::default()
            && user
            && holds(
                &self.cgroups,
                cgroup.as_deref(),
                unknown,
                |pattern, path| pattern.covers(path),
            )
            && holds(&self.comms, comm.as_deref(), unknown, |pattern, comm| {
                matches(pattern, comm)
            })
            && holds(&self.exes, exe.as_deref(), unknown, |exe, of_caller| {
                is_same_file(exe, of_caller)
            })
    }
}

/// Whether one of the conditions does, if there are any.
fn holds<P, V: ?Sized>(
    conditions: &[P],
    value: Option<&V>,
    unknown: bool,
    is: impl Fn(&P, &V) -> bool,
) -> bool {
    let any = |value| conditions.iter().any(|condition| is(condition, value));
    conditions.is_empty() || value.map_or(unknown, any)
}

/// What is known of a process. What isn't known satisfies no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Its process name: that of the thread group's leader.
    pub comm: Option<String>,
    /// Its cgroup, as an absolute path from the root of the hierarchy.
    pub cgroup: Option<String>,
    /// The file it runs.
    pub exe: Option<PathBuf>,
    /// Its effective user.
    pub uid: Option<u32>,
    /// Names of jobs that it is taken to be, whatever their definitions.
    pub proven_jobs: Vec<String>,
}

/// A job that a caller is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The job.
    pub id: JobId,
    /// Whether one of the alternatives that the caller satisfies rests on more
    /// than what a process says of itself (`PRT-39`). For a job that it is taken
    /// to be, it is enough that every alternative does.
    pub proven: bool,
}

/// The defined jobs.
#[derive(Clone, Debug, Default)]
pub struct Jobs {
    jobs: Vec<Job>,
    by_name: HashMap<String, JobId>,
}

impl Jobs {
    /// The config's jobs with their users looked up; what can't be is reported.
    /// Two jobs of one name are an error of the config, and the first stays.
    pub fn new(
        jobs: &[config::Job],
        accounts: &dyn Accounts,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let mut defined = Self::default();
        for job in jobs {
            let alternative = |definition| resolve(definition, accounts, diagnostics);
            let alternatives = job.alternatives.iter().map(alternative).collect();
            let id = JobId(defined.jobs.len() as u32);
            if defined.by_name.contains_key(&job.name) {
                continue;
            }
            defined.by_name.insert(job.name.clone(), id);
            defined.jobs.push(Job {
                name: job.name.clone(),
                span: job.span,
                alternatives,
            });
        }
        defined
    }

    /// The jobs in order.
    pub fn iter(&self) -> impl Iterator<Item = (JobId, &Job)> {
        (0..).map(JobId).zip(&self.jobs)
    }

    /// Job `id`.
    pub fn get(&self, id: JobId) -> Option<&Job> {
        self.jobs.get(id.0 as usize)
    }

    /// The files that definitions name; one can come several times.
    pub fn executables(&self) -> impl Iterator<Item = &Path> {
        let alternatives = self.jobs.iter().flat_map(|job| &job.alternatives);
        let files = alternatives.flat_map(|alternative| &alternative.exes);
        files.map(PathBuf::as_path)
    }

    /// Whether there is no job at all.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// The jobs whose name the jobname operand `pattern`, a name or a pattern,
    /// matches.
    pub fn named(&self, pattern: &str) -> Vec<JobId> {
        if !pattern.contains(['*', '?']) {
            let id = self.by_name.get(&pattern.to_ascii_uppercase());
            return id.copied().into_iter().collect();
        }
        let named = |(id, job): (JobId, &Job)| matches(pattern, &job.name).then_some(id);
        self.iter().filter_map(named).collect()
    }

    /// Whether a job is called `name`, whatever the case.
    pub fn is_defined(&self, name: &str) -> bool {
        self.by_name.contains_key(&name.to_ascii_uppercase())
    }

    /// Every job that `caller` is.
    pub fn of(&self, caller: &Caller) -> Vec<Found> {
        let found = |(id, job): (JobId, &Job)| {
            let is_named = |name: &String| name.eq_ignore_ascii_case(&job.name);
            let is_taken = caller.proven_jobs.iter().any(is_named);
            let mut satisfied = job
                .alternatives
                .iter()
                .filter(|alternative| alternative.admits(caller))
                .peekable();
            if !is_taken && satisfied.peek().is_none() {
                return None;
            }
            let proven =
                satisfied.any(Alternative::is_verified) || (is_taken && self.is_verified(id));
            Some(Found { id, proven })
        };
        self.iter().filter_map(found).collect()
    }

    /// The same, or `None` if what isn't known of `caller` could make it more.
    pub fn of_known(&self, caller: &Caller) -> Option<Vec<Found>> {
        let found = self.of(caller);
        let could_be = |(id, job): (JobId, &Job)| {
            let mut alternatives = job.alternatives.iter();
            !found.iter().any(|found| found.id == id)
                && alternatives.any(|alternative| alternative.admits_if(caller, true))
        };
        (!self.iter().any(could_be)).then_some(found)
    }

    /// What a caller is called that is the jobs `found`: their names, with blanks between;
    /// if there are none, its process name `comm` folded. `None` if that is a defined
    /// job's or the kernel's, so that it is none.
    pub fn called(&self, found: &[Found], comm: &str) -> Option<String> {
        if found.is_empty() {
            let name = comm.to_ascii_uppercase();
            let is_taken = self.is_defined(&name) || name == KERNEL;
            return (!is_taken).then_some(name);
        }
        let names = found.iter().filter_map(|found| self.get(found.id));
        let names: Vec<&str> = names.map(|job| job.name.as_str()).collect();
        Some(names.join(" "))
    }

    /// Whether being the job is always proven by cgroup or user.
    pub fn is_verified(&self, id: JobId) -> bool {
        self.get(id).is_some_and(|job| {
            !job.alternatives.is_empty() && job.alternatives.iter().all(Alternative::is_verified)
        })
    }
}

fn resolve(
    definition: &config::Definition,
    accounts: &dyn Accounts,
    diagnostics: &mut Diagnostics,
) -> Alternative {
    let mut users = BTreeSet::new();
    for account in &definition.user {
        if let Some(Id::User(uid)) = accounts::resolve(account, accounts, diagnostics) {
            users.insert(uid);
        }
    }
    Alternative {
        cgroups: definition
            .cgroup
            .iter()
            .map(|path| CgroupPattern::new(path))
            .collect(),
        exes: definition.exe.clone(),
        comms: definition.comm.clone(),
        users: (!definition.user.is_empty()).then_some(users),
    }
}

/// Whether `name` is named by `pattern`, a name or pattern as in the profile.
fn matches(pattern: &str, name: &str) -> bool {
    let Some(name) = Name::new(name) else {
        return false;
    };
    match MaskedName::new(pattern) {
        Some(masked) => masked.matches(name),
        None => Glob::new(pattern).is_some_and(|glob| glob.matches(name)),
    }
}

/// Whether two paths lead to one file, by whatever names.
fn is_same_file(defined: &Path, running: &Path) -> bool {
    let file = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    defined == running || file(defined).is_some_and(|defined| file(running) == Some(defined))
}
