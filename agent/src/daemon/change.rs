//! How another policy comes into force, whoever asks for it: written down, hooks and pool
//! made ready, the tables filled; and how all of it goes back if a step fails.

use std::{borrow::Cow, sync::Arc};

use portreeve_common::abi::{Protocol, names};
use thiserror::Error;

use super::{agent::Agent, confirm::Pending, pool::PoolKeeper};
use crate::{
    config::{OnError, Report, SameJob},
    diagnostics::{Diagnostics, render},
    files::Hash,
    kernel::{
        KernelError,
        executables::Executables,
        listen,
        load::Kernel,
        tables::{Publication, Published},
    },
    policy::{build::Policy, identity::JobImage, pairs::Stretch},
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
        kept: &[Stretch],
        until: Option<Moment>,
        occasion: Occasion,
    ) -> Result<Published, ChangeError> {
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
            self.tend_snmp();
            self.track_ports();
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
        kept: &[Stretch],
        until: Option<Moment>,
        occasion: Occasion,
    ) -> Result<Published, ChangeError> {
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
        let published = match self.publish_as(hash, policy, kept) {
            Ok(published) => published,
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
        self.has_deadline.notify_one();
        *self.waiting.borrow_mut() = None;
        Ok(published)
    }

    fn publish_as(
        &self,
        hash: Hash,
        policy: Arc<Policy>,
        kept: &[Stretch],
    ) -> Result<Published, KernelError> {
        let mut pool = self.pool.borrow_mut();
        // Before the policy: no port is handed out any more when it is reserved.
        if let Err(error) = pool.admit(policy.pool.kept.as_ref()) {
            self.back_out(&mut pool, &policy);
            return Err(error);
        }
        let lenient = policy.config.on_error == OnError::Skip;
        let executables = self.executables.look(&policy);
        let published = match self.put_in_force(&policy, hash, executables, kept, lenient) {
            Ok(published) => published,
            Err(error) => {
                self.back_out(&mut pool, &policy);
                self.executables.watch(&self.policy());
                return Err(error);
            }
        };
        pool.settle(policy.pool.kept.as_ref());
        *self.policy.borrow_mut() = policy;
        self.supervision.changed.notify_one();
        Ok(published)
    }

    /// Fills the tables from `policy`, with `executables` as the files of its jobs.
    /// What can't be recognised then is told if `lenient`, else it is an error.
    fn put_in_force(
        &self,
        policy: &Arc<Policy>,
        hash: Hash,
        executables: Executables,
        kept: &[Stretch],
        lenient: bool,
    ) -> Result<Published, KernelError> {
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
        })?;
        self.publishing.observe(published.duration().as_secs_f64());
        self.executables.settle(executables, problem);
        let mut log = self.log.borrow_mut();
        log.publish(published.active.generation(), Arc::clone(policy));
        Ok(published)
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
        let kept = [Stretch::whole(policy.compiled.image.entries.len() as u32)];
        let hash = self.tables.borrow().policy_hash();
        match self.put_in_force(&policy, hash, executables, &kept, true) {
            Ok(Published { active, .. }) => {
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
}
