//! Jobname operands as matchers, each once.

use std::collections::HashMap;

use compact_str::CompactString;
use foldhash::fast::RandomState;
use portreeve_common::{
    abi::{MAX_GLOBS, MAX_MATCHERS, Matcher, Who},
    jobname::{Glob, MaskedName},
};

use super::jobs::{JobId, Jobs};

/// Jobname operands seen so far.
#[derive(Default)]
pub(super) struct Operands {
    pub matchers: Vec<Matcher>,
    pub globs: Vec<Glob>,
    /// Per matcher: the defined jobs that the operand covers.
    covered: Vec<Vec<JobId>>,
    known: HashMap<CompactString, u32, RandomState>,
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
        let matcher = match MaskedName::new(name) {
            Some(masked) => Matcher::masked(masked),
            None => self.automaton(name)?,
        };
        let index = self.matchers.len() as u32;
        self.matchers.push(matcher);
        self.covered.push(jobs.named(name));
        self.known.insert(name.into(), index);
        Ok(Who::Job(index))
    }

    /// The defined jobs that an entry for `who` covers by name.
    pub fn covered(&self, who: Who) -> &[JobId] {
        match who {
            Who::Job(index) => self.covered.get(index as usize).map_or(&[], Vec::as_slice),
            Who::Nobody | Who::Blocked | Who::Anyone => &[],
        }
    }

    fn automaton(&mut self, pattern: &str) -> Result<Matcher, u32> {
        if self.globs.len() == MAX_GLOBS as usize {
            return Err(MAX_GLOBS);
        }
        // A name that the parser let pass is short enough; if not, it matches nobody.
        Ok(match Glob::new(pattern) {
            Some(glob) => {
                self.globs.push(glob);
                Matcher::glob(self.globs.len() as u32 - 1)
            }
            None => Matcher::default(),
        })
    }
}
