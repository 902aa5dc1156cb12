//! Jobname operands as matchers, each once.

use std::collections::HashMap;

use portreeve_common::{
    abi::{MAX_GLOBS, MAX_MATCHERS, Matcher, Who},
    jobname::{Glob, MaskedName},
};

use super::jobs::{JobSets, Jobs};

/// Jobname operands seen so far.
#[derive(Default)]
pub(super) struct Operands {
    pub matchers: Vec<Matcher>,
    pub globs: Vec<Glob>,
    pub job_sets: JobSets,
    known: HashMap<String, u32>,
}

impl Operands {
    /// Whom `name`, a job name or pattern, admits: processes called so, and the
    /// defined jobs that it covers. The limit if there is no room for it.
    pub fn job(&mut self, name: &str, jobs: &Jobs) -> Result<Who, u32> {
        if let Some(index) = self.known.get(name) {
            return Ok(Who::Job(*index));
        }
        if self.matchers.len() == MAX_MATCHERS as usize {
            return Err(MAX_MATCHERS);
        }
        let covered = jobs.named(name);
        let set = if covered.is_empty() {
            0
        } else {
            self.job_sets.id(&covered)
        };
        let matcher = match MaskedName::new(name) {
            Some(masked) => Matcher::masked(masked, set),
            None => self.automaton(name, set)?,
        };
        // Any of the jobs could be the one, so all of them must be proven.
        let verified = set != 0 && covered.iter().all(|job| jobs.is_verified(*job));
        let index = self.matchers.len() as u32;
        self.matchers.push(if verified {
            matcher.verified()
        } else {
            matcher
        });
        self.known.insert(name.to_owned(), index);
        Ok(Who::Job(index))
    }

    fn automaton(&mut self, pattern: &str, set: u32) -> Result<Matcher, u32> {
        if self.globs.len() == MAX_GLOBS as usize {
            return Err(MAX_GLOBS);
        }
        // A name that the parser let pass is short enough; if not, it matches nobody.
        Ok(match Glob::new(pattern) {
            Some(glob) => {
                self.globs.push(glob);
                Matcher::glob(self.globs.len() as u32 - 1, set)
            }
            None => Matcher::default(),
        })
    }
}
