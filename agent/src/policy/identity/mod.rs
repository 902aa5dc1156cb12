//! The definitions of jobs as the tables by which the programs recognise them.
//!
//! [`portreeve_common::abi::jobs`] says what the tables are. What doesn't fit in
//! them is reported and left out, and so matches nobody.

mod automaton;
mod cgroups;
mod conditions;
pub mod exes;
mod tables;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use portreeve_common::{
    abi::jobs::{
        ExeKey, IdentityKey, JobNameKey, JobRules, MAX_AUTOMATON_WORDS, MAX_EXES, MAX_IDENTITIES,
        MAX_JOB_USERS, MAX_JOBS, MAX_PLACES, MAX_STEPS, MAX_WILD_STEPS, PlaceKey, Step, StepKey,
        UserKey, WildKey,
    },
    jobname::Name,
};

use self::{
    automaton::{Pattern, Words},
    conditions::{Conditions, FactClasses},
    exes::{Inode, Inodes},
    tables::AllClasses,
};
use super::{jobs::Jobs, lists::JobLists};
use crate::diagnostics::{Code, Diagnostic, Diagnostics, Span};

/// The tables of all defined jobs. Keys are of half 0; the other half's differ in
/// that alone.
#[derive(Clone, Debug, Default)]
pub struct JobImage {
    /// What jobs are defined by.
    pub rules: JobRules,
    /// Words of automata, four to an element.
    pub words: Vec<u64>,
    /// Ways on by name.
    pub steps: Vec<(StepKey, Step)>,
    /// Ways on by a name's class.
    pub wild: Vec<(WildKey, Step)>,
    /// Classes of executables.
    pub exes: Vec<(ExeKey, u32)>,
    /// Classes of users.
    pub users: Vec<(UserKey, u32)>,
    /// Names of defined jobs.
    pub names: Vec<JobNameKey>,
    /// Sets of jobs by classes.
    pub identities: Vec<(IdentityKey, u32)>,
    /// Offsets of entries by list and set of jobs.
    pub places: Vec<(PlaceKey, u32)>,
}

impl JobImage {
    /// Compiles `jobs` for entries that cover them as `lists` say.
    pub fn new(
        jobs: &Jobs,
        lists: &JobLists,
        inodes: &dyn Inodes,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let Some((_, first)) = jobs.iter().next() else {
            return Self::default();
        };
        let mut limits = Limits {
            span: first.span,
            diagnostics,
        };
        let mut image = Self::default();
        let mut classes = AllClasses::default();
        let conditions = Conditions::new(jobs);

        let mut words = Words::default();
        let patterns = comm_patterns(conditions.comms.values());
        let limit = MAX_AUTOMATON_WORDS as usize;
        let (comm, complete) = words.add(&patterns, &mut classes.comm, limit);
        limits.check(
            complete,
            "process names need",
            MAX_AUTOMATON_WORDS,
            "words of automaton",
        );

        let cgroups = conditions.cgroups.values();
        let components = cgroups::wild_components(cgroups);
        let patterns = cgroups::component_patterns(&components);
        let mut component_classes = FactClasses::default();
        let (component, complete) = words.add(&patterns, &mut component_classes, limit);
        limits.check(
            complete,
            "cgroups with * need",
            MAX_AUTOMATON_WORDS,
            "words of automaton",
        );
        let walk = cgroups::walk(
            cgroups,
            &components,
            &component_classes,
            &mut classes.cgroup,
            cgroups::Limits {
                steps: MAX_STEPS as usize,
                wild: MAX_WILD_STEPS as usize,
            },
        );
        let message = format!("{MAX_STEPS} steps by name and {MAX_WILD_STEPS} by pattern");
        limits.check_that(walk.complete, || {
            format!("cgroups need more than {message}")
        });

        let of_exe = exes(jobs, &conditions, inodes, limits.diagnostics);
        let of_user = users(conditions.users.values());
        let exes = of_exe.len();
        let users = of_user.len();
        image.exes = of_exe
            .into_iter()
            .take(MAX_EXES as usize)
            .map(|(inode, satisfied)| (exe_key(inode), classes.exe.of(&satisfied)))
            .collect();
        image.users = of_user
            .into_iter()
            .take(MAX_JOB_USERS as usize)
            .map(|(uid, satisfied)| (UserKey { half: 0, uid }, classes.user.of(&satisfied)))
            .collect();
        limits.check(
            exes <= MAX_EXES as usize,
            "jobs are defined by",
            MAX_EXES,
            "files",
        );
        limits.check(
            users <= MAX_JOB_USERS as usize,
            "jobs are defined by",
            MAX_JOB_USERS,
            "users",
        );

        image.names = names(jobs).take(MAX_JOBS as usize).collect();
        let all = names(jobs).count() <= MAX_JOBS as usize;
        limits.check(all, "the config defines", MAX_JOBS, "jobs");

        let identities = tables::identities(&conditions.ways, &classes, MAX_IDENTITIES as usize);
        limits.check(
            identities.complete,
            "definitions can hold together in",
            MAX_IDENTITIES,
            "ways",
        );
        let (places, complete) = tables::places(lists, &identities, MAX_PLACES as usize);
        limits.check(
            complete,
            "defined jobs stand in",
            MAX_PLACES,
            "places of the profile",
        );
        Self {
            rules: JobRules {
                signatures: identities.signatures,
                facts: identities.facts,
                start: walk.start,
                comm,
                component,
            },
            words: words.packed(),
            steps: walk.steps,
            wild: walk.wild,
            identities: identities.keys,
            places,
            ..image
        }
    }
}

/// Reports what there is no room for.
struct Limits<'d> {
    span: Span,
    diagnostics: &'d mut Diagnostics,
}

impl Limits<'_> {
    fn check(&mut self, complete: bool, subject: &str, limit: u32, what: &str) {
        self.check_that(complete, || format!("{subject} more than {limit} {what}"));
    }

    fn check_that(&mut self, complete: bool, message: impl FnOnce() -> String) {
        if !complete {
            self.diagnostics.push(
                Diagnostic::error(
                    Code::TooManyJobs,
                    self.span,
                    format!("{}; nobody is recognised by what is left over", message()),
                )
                .help("define fewer jobs, or by fewer patterns with *"),
            );
        }
    }
}

fn comm_patterns(conditions: &[Vec<String>]) -> Vec<Pattern> {
    let conditions = (0..).zip(conditions);
    conditions
        .flat_map(|(condition, patterns)| {
            let pattern = move |text: &String| Pattern::new(text, true, condition);
            patterns.iter().map(pattern)
        })
        .collect()
}

/// Per file the conditions that it satisfies. What can't be found is reported.
fn exes(
    jobs: &Jobs,
    conditions: &Conditions,
    inodes: &dyn Inodes,
    diagnostics: &mut Diagnostics,
) -> BTreeMap<Inode, BTreeSet<u32>> {
    let mut of_path: BTreeMap<&PathBuf, BTreeSet<u32>> = BTreeMap::new();
    for (condition, paths) in (0..).zip(conditions.exes.values()) {
        for path in paths {
            of_path.entry(path).or_default().insert(condition);
        }
    }
    let mut files: BTreeMap<Inode, BTreeSet<u32>> = BTreeMap::new();
    for (path, satisfied) in of_path {
        match inodes.of(path) {
            Ok(found) => {
                for inode in found {
                    files.entry(inode).or_default().extend(&satisfied);
                }
            }
            Err(error) => {
                for job in jobs.iter().map(|(_, job)| job) {
                    let mut exes = job.alternatives.iter().flat_map(|one| &one.exes);
                    if exes.any(|exe| exe == path) {
                        report_exe(path, job.span, &error, diagnostics);
                    }
                }
            }
        }
    }
    files
}

fn report_exe(path: &Path, span: Span, error: &io::Error, diagnostics: &mut Diagnostics) {
    let path = path.display();
    diagnostics.push(if error.kind() == io::ErrorKind::NotFound {
        // Its package may come later.
        Diagnostic::warning(
            Code::MissingExe,
            span,
            format!("there is no file {path}, so nobody is the job by running it"),
        )
        .help("the agent takes it up when it appears")
    } else {
        Diagnostic::error(
            Code::MissingExe,
            span,
            format!("{path} can't be looked at, so nobody is the job by running it: {error}"),
        )
    });
}

fn exe_key(inode: Inode) -> ExeKey {
    ExeKey {
        half: 0,
        device: inode.device,
        inode: inode.inode,
        generation: inode.generation,
        reserved: 0,
    }
}

/// Per user the conditions that it satisfies.
fn users(conditions: &[BTreeSet<u32>]) -> BTreeMap<u32, BTreeSet<u32>> {
    let mut users: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
    for (condition, uids) in (0..).zip(conditions) {
        for uid in uids {
            users.entry(*uid).or_default().insert(condition);
        }
    }
    users
}

fn names(jobs: &Jobs) -> impl Iterator<Item = JobNameKey> {
    jobs.iter().filter_map(|(_, job)| {
        Some(JobNameKey {
            half: 0,
            reserved: 0,
            // The config has checked that it is one.
            name: Name::new(&job.name)?,
        })
    })
}
