//! How another policy comes into force: by reload, by a change file, by a file that
//! was replaced, by a confirmation that doesn't come.

use std::{
    borrow::Cow,
    cell::RefCell,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use portreeve_common::abi::{Active, Protocol, names};
use thiserror::Error;

use super::{
    agent::{Agent, reply},
    confirm::Pending,
    pool::PoolKeeper,
    protocol::{Reloaded, Reply, Took},
};
use crate::{
    config::{OnError, Report, SameJob},
    diagnostics::{Diagnostics, json, render},
    files::Hash,
    kernel::{KernelError, executables::Executables, listen, load::Kernel, tables::Publication},
    policy::{
        build::Policy,
        diff::{Diff, kept_entries},
        identity::{JobImage, exes::Presence},
        source::Outcome,
    },
    profile::ReadError,
    state::{Moment, Record, StateError},
};

/// Why a policy did not come into force.
#[derive(Debug, Error)]
pub enum ChangeError {
    /// The kernel side.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// It could not be written down.
    #[error("what comes into force can't be remembered: {0}")]
    State(#[from] StateError),
}

/// Why a policy comes into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// Somebody wants it, and is told that it is enforced and will be after a kill; or why
    /// it isn't in force.
    Wanted,
    /// What was before it has no time any more. It was written down when it was in force,
    /// and whoever could mend what keeps it from being written now may be locked out.
    TakenBack,
}

/// How a change is to be made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// Only say what would change.
    pub dry_run: bool,
    /// Take it back after this time, unless it is confirmed.
    pub confirm: Option<Duration>,
    /// Diagnostics are rendered with colour.
    pub color: bool,
}

impl Agent {
    /// Refuses a policy that has rules for listen where nothing is judged then.
    pub(super) fn check_listen(&self, policy: &Policy) -> Result<(), KernelError> {
        let tcp = &policy.compiled.image.unreserved[Protocol::Tcp as usize];
        let kernel = self.kernel.borrow();
        let wanted = match policy.destroys_listeners() {
            true => names::LISTENED,
            false => names::LISTEN,
        };
        let judges = |kernel: &Kernel| kernel.hooks().contains(&wanted);
        let is_there = kernel.as_ref().is_none_or(judges);
        if !tcp.at_listen() || tcp.entries.count() == 0 || is_there {
            return Ok(());
        }
        Err(KernelError::NotAtListen {
            why: listen::why_not(),
        })
    }

    /// Puts `policy` in force; `kept` are the entries whose counts go on. With `until`
    /// the one before it comes back then, unless it is confirmed. After an error the
    /// policy in force still is.
    pub(super) fn publish(
        &self,
        policy: Arc<Policy>,
        kept: &[(u32, u32)],
        until: Option<Moment>,
        occasion: Occasion,
    ) -> Result<Active, ChangeError> {
        if let Some(kernel) = self.kernel.borrow().as_ref()
            && occasion == Occasion::Wanted
        {
            kernel.check_hooks()?;
        }
        let had_listened = self.attach_listened(&policy)?;
        let done = self.publish_on_hooks(policy, kept, until, occasion);
        // The policy that is in force now, or still.
        let is_needed = match &done {
            Ok(_) => self.policy().destroys_listeners(),
            Err(_) => had_listened,
        };
        if let Some(kernel) = self.kernel.borrow().as_ref()
            && !is_needed
        {
            kernel.listened.detach();
        }
        if done.is_ok() {
            self.tend_metrics();
        }
        done
    }

    /// Attaches the hook that sees listeners, if `policy` needs it. Says whether it was
    /// attached before.
    fn attach_listened(&self, policy: &Policy) -> Result<bool, KernelError> {
        let kernel = self.kernel.borrow();
        let Some(kernel) = kernel.as_ref() else {
            return Ok(false);
        };
        let had_it = kernel.listened.is_attached();
        // Until the hooks are taken over, it judges by the tables of another layout.
        if policy.destroys_listeners() && !(had_it && kernel.is_taking_over()) {
            kernel.listened.attach(&self.attach)?;
        }
        Ok(had_it)
    }

    fn publish_on_hooks(
        &self,
        policy: Arc<Policy>,
        kept: &[(u32, u32)],
        until: Option<Moment>,
        occasion: Occasion,
    ) -> Result<Active, ChangeError> {
        self.check_listen(&policy)?;
        let record = Record::new(&self.source, &policy);
        let known = record.hash()?;
        let old = self.policy();
        let back_to = self
            .pending
            .borrow()
            .as_ref()
            .map(|pending| Arc::clone(&pending.back_to));
        let mut files = vec![&policy.files, &old.files];
        files.extend(back_to.iter().map(|policy| &policy.files));
        let hash = match self.store.prepare(record, &files, until.clone()) {
            Err(error) if occasion == Occasion::TakenBack => {
                log::warn!("{error}; what was remembered before still holds");
                known
            }
            hash => hash?,
        };
        let active = match self.publish_as(hash, policy, kept) {
            Ok(active) => active,
            Err(error) => {
                self.store.give_up();
                return Err(error.into());
            }
        };
        if let Err(error) = self.store.settle() {
            log::warn!("{error}");
        }
        let mut pending = self.pending.borrow_mut();
        // What was never confirmed is nothing to go back to.
        let confirmed = pending.take().map_or(old, |pending| pending.back_to);
        *pending = until.map(|until| Pending {
            back_to: confirmed,
            until,
        });
        *self.waiting.borrow_mut() = None;
        Ok(active)
    }

    fn publish_as(
        &self,
        hash: Hash,
        policy: Arc<Policy>,
        kept: &[(u32, u32)],
    ) -> Result<Active, KernelError> {
        let mut pool = self.pool.borrow_mut();
        // Before the policy: no port is handed out any more when it is reserved.
        if let Err(error) = pool.admit(policy.pool.kept.as_ref()) {
            self.back_out(&mut pool, &policy);
            return Err(error);
        }
        let lenient = policy.config.on_error == OnError::Skip;
        let executables = self.executables.look(&policy);
        let active = match self.put_in_force(&policy, hash, executables, kept, lenient) {
            Ok(active) => active,
            Err(error) => {
                self.back_out(&mut pool, &policy);
                self.executables.watch(&self.policy());
                return Err(error);
            }
        };
        pool.settle(policy.pool.kept.as_ref());
        *self.policy.borrow_mut() = policy;
        Ok(active)
    }

    /// Fills the tables from `policy`, with `executables` as the files of its jobs.
    /// What can't be recognised then is told if `lenient`, else it is an error.
    fn put_in_force(
        &self,
        policy: &Arc<Policy>,
        hash: Hash,
        executables: Executables,
        kept: &[(u32, u32)],
        lenient: bool,
    ) -> Result<Active, KernelError> {
        let compiled = &policy.compiled.image;
        let mut diagnostics = Diagnostics::new();
        let jobs = if policy.jobs.executables().next().is_none() {
            Cow::Borrowed(&compiled.jobs)
        } else {
            let lists = &compiled.lists;
            let jobs = JobImage::new(&policy.jobs, lists, &executables, &mut diagnostics);
            Cow::Owned(jobs)
        };
        let problem = diagnostics
            .has_errors()
            .then(|| render::all(&diagnostics, &policy.sources, false));
        if let Some(message) = problem.clone().filter(|_| !lenient) {
            return Err(KernelError::Executables { message });
        }
        let publishing = self.publishing.start_timer();
        let published = self.tables.borrow_mut().publish(&Publication {
            image: compiled,
            jobs: &jobs,
            mode: policy.config.mode,
            audited: policy.audited_entries(),
            report_all: policy.config.report == Report::All,
            same_job_shares: policy.config.same_job == SameJob::Allow,
            keeps_pool: policy.pool.kept.is_some(),
            profile: &policy.config.profile.display().to_string(),
            profile_hash: policy.files.profile_hash(),
            policy_hash: hash,
            kept,
        });
        let active = match published {
            Ok(active) => active,
            Err(error) => {
                publishing.stop_and_discard();
                return Err(error);
            }
        };
        publishing.observe_duration();
        self.executables.settle(executables, problem);
        let mut log = self.log.borrow_mut();
        log.publish(active.generation(), Arc::clone(policy));
        Ok(active)
    }

    /// Looks whether the executables of jobs are other files than before, and if so
    /// puts the policy in force with them. Nothing else of it is read again.
    pub fn tend_executables(&self) {
        if self.is_detached() {
            return;
        }
        let policy = self.policy();
        let executables = self.executables.look(&policy);
        let changes = self.executables.changes(&executables);
        if changes.is_empty() {
            return;
        }
        let kept = every_entry(&policy);
        let hash = self.tables.borrow().policy_hash();
        match self.put_in_force(&policy, hash, executables, &kept, true) {
            Ok(active) => {
                for change in changes {
                    log::info!("{change}: generation {}", active.generation());
                }
            }
            // They stay changes, so it is tried again.
            Err(error) => log::error!("what changed of executables is not in force: {error}"),
        }
    }

    /// Gives back what was kept back for `new`, which did not come into force. An
    /// agent that is just starting doesn't know what its predecessor's policy, which
    /// still holds, asks for, and leaves it to the record.
    fn back_out(&self, pool: &mut PoolKeeper, new: &Arc<Policy>) {
        let policy = self.policy();
        if !Arc::ptr_eq(&policy, new) {
            pool.back_to(policy.pool.kept.as_ref());
        }
    }

    /// Looks whether others undid what keeps reserved ports from being handed out,
    /// and mends it.
    pub fn tend_pool(&self) {
        if !self.is_detached() {
            let policy = self.policy();
            self.pool.borrow_mut().tend(policy.pool.kept.as_ref());
        }
    }

    /// Reads profile and config again and puts them in force.
    pub fn reload(&self, manner: Manner) -> Reply {
        let changes = self.policy();
        let dropped = changes.files.changed_by();
        let dropped = dropped.map(|path| path.display().to_string()).collect();
        let seen = RefCell::default();
        let outcome = self.source.read_noting(&Presence, &seen);
        if manner.dry_run {
            return self.replace(outcome, dropped, manner);
        }
        self.files.note(seen.into_inner());
        let reply = self.replace(outcome, dropped, manner);
        self.files.settle(why_refused(&reply));
        self.follow_files();
        reply
    }

    /// Puts the change file `file` on top of the policy in force; it stays there until
    /// the next reload (`OBY-01`, `OBY-03`).
    pub fn obey(&self, file: &Path, manner: Manner) -> Reply {
        let outcome = self.source.obey(&self.policy().files, file, &Presence);
        let reply = self.replace(outcome, Vec::new(), manner);
        if let Reply::Done(done) = &reply
            && done["applied"] == true
        {
            let (file, generation) = (file.display(), &done["generation"]);
            log::info!("obeyed {file} until the next reload: generation {generation}");
        }
        reply
    }

    /// Puts in force what was read, unless it has errors or it is only to be told.
    fn replace(
        &self,
        outcome: Result<Outcome, ReadError>,
        dropped: Vec<String>,
        manner: Manner,
    ) -> Reply {
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(error) => return Reply::Failed(format!("{error}; the old policy stays in force")),
        };
        let diagnostics = json::all(&outcome.diagnostics, outcome.sources());
        let mut reloaded = Reloaded {
            applied: false,
            generation: self.tables.borrow().active().generation(),
            diff: Diff::default(),
            dropped,
            diagnostics: diagnostics
                .iter()
                .filter_map(|d| serde_json::to_value(d).ok())
                .collect(),
            rendered: render::all(&outcome.diagnostics, outcome.sources(), manner.color),
            refused: None,
            confirm_within: None,
            took: None,
        };
        let new = match outcome.policy {
            Ok(new) => new,
            Err(_) => {
                reloaded.refused = Some("there are errors in what was read".into());
                return reply(&reloaded);
            }
        };
        let old = self.policy();
        let making = new.making;
        let comparing = Instant::now();
        reloaded.diff = Diff::between(&old, &new);
        let mut took = Took {
            parse: microseconds(making.parse),
            resolve: microseconds(making.resolve),
            compile: microseconds(making.compile),
            compare: microseconds(comparing.elapsed()),
            ..Took::default()
        };
        if new.config.scope != old.config.scope {
            reloaded.refused =
                Some("scope.netns differs; it is read at start only, so restart the agent".into());
        } else if new.config.log != old.config.log || new.config.privileges != old.config.privileges
        {
            reloaded.refused = Some(
                "[log] or [privileges] differs; they are read at start only, so restart the agent"
                    .into(),
            );
        } else if !manner.dry_run {
            let changing = Instant::now();
            match self.change(&old, new, manner.confirm) {
                Ok(active) => {
                    let filling = self.tables.borrow().filling();
                    let rest = changing
                        .elapsed()
                        .saturating_sub(filling.fill + filling.grace);
                    took.remember = microseconds(rest);
                    took.fill = microseconds(filling.fill);
                    took.grace = microseconds(filling.grace);
                    reloaded.applied = true;
                    reloaded.generation = active.generation();
                    reloaded.confirm_within = manner.confirm.map(|within| within.as_secs());
                }
                Err(error) => reloaded.refused = Some(error.to_string()),
            }
        }
        reloaded.took = Some(took);
        reply(&reloaded)
    }

    /// Puts `new` in the place of `old`, to be confirmed `within` a time if there is one.
    fn change(
        &self,
        old: &Policy,
        new: Policy,
        within: Option<Duration>,
    ) -> Result<Active, ChangeError> {
        let until = within.map(Moment::after).transpose();
        let until = until.map_err(KernelError::io(
            "can't tell how long to wait for the confirmation",
        ))?;
        let kept = kept_entries(old, &new);
        self.publish(Arc::new(new), &kept, until, Occasion::Wanted)
    }
}

/// Why a reload was not applied, in one sentence; `None` if it was.
fn why_refused(reply: &Reply) -> Option<String> {
    let done = match reply {
        Reply::Failed(why) => return Some(why.clone()),
        Reply::Done(done) => done,
    };
    let why = done["refused"].as_str()?;
    let is_error = |said: &&serde_json::Value| said["severity"] == "error";
    let mut said = done["diagnostics"].as_array().into_iter().flatten();
    let first = said.find(is_error);
    let place = |said: &serde_json::Value| {
        let text = |field: &str| said[field].as_str().unwrap_or_default().to_owned();
        let line = said["line"]
            .as_u64()
            .map_or_else(String::new, |line| format!(":{line}"));
        format!(
            "{}{line}: {} ({})",
            text("file"),
            text("message"),
            text("code")
        )
    };
    Some(match first {
        Some(first) => format!("{why}, the first is {}", place(first)),
        None => why.to_owned(),
    })
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// That each entry of `policy` stays in its place.
pub(super) fn every_entry(policy: &Policy) -> Vec<(u32, u32)> {
    let entries = 0..policy.compiled.image.entries.len() as u32;
    entries.map(|index| (index, index)).collect()
}
