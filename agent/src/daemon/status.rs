//! How things are, all in one answer.

use super::{
    agent::Agent,
    held::Held,
    outputs,
    protocol::{AttachStatus, Status},
};
use crate::kernel::{
    KernelError,
    counters::{self, Counters},
    privileges,
};

impl Agent {
    /// How things are.
    ///
    /// # Errors
    ///
    /// [`KernelError::Map`] if the counters can't be read.
    pub fn status(&self) -> Result<Status, KernelError> {
        let kernel = self.kernel.borrow();
        let (hooks, counters, neighbours) = match kernel.as_ref() {
            Some(kernel) => (
                kernel.hooks(),
                counters::read(&kernel.counters)?,
                kernel.neighbours(&self.attach),
            ),
            None => (Vec::new(), Counters::default(), Vec::new()),
        };
        let tables = self.tables.borrow();
        let attach = AttachStatus {
            path: Some(self.attach.path.display().to_string()),
            id: self.attach.id,
        };
        let held = Held {
            active: tables.active(),
            info: &tables.info(),
            hooks: &hooks,
            counters: &counters,
            pool: &self.pool.borrow().recorded(),
            features: Some(self.features),
        };
        let mut status = held.status(attach);
        let pool = self.pool.borrow();
        status.listeners = self.tally.status(&counters);
        status.missing.extend(self.tally.problem());
        status.pool.dropped = pool.dropped();
        status.missing.extend(pool.problem());
        status.missing.extend(self.executables.problems());
        status.missing.extend(self.waiting_for());
        status.missing.extend(self.files.problem());
        status.missing.extend(self.metrics.problems());
        status.missing.extend(self.snmp_problem());
        status.missing.extend(self.policy().low_ports_in_audit());
        status.missing.extend(self.watch_problem());
        status.missing.extend(self.supervision_problem());
        status.watch = Some(self.watch_status());
        status.pending_confirm = self.pending_confirm();
        let policy = self.policy();
        let changes = policy.files.changed_by();
        status.profile.differs_from_file = Some(policy.files.differ());
        status.profile.path = policy.config.profile.display().to_string();
        status.profile.changes = Some(changes.map(|path| path.display().to_string()).collect());
        status.profile.dropped = Some(policy.dropped());
        status.reload = Some(self.files.status());
        status.metrics = self.metrics_status();
        status.snmp = self.snmp_status();
        status.drift = self.drift.borrow().status();
        status.selftest = self.selftest.borrow().clone();
        status.outputs = outputs::status();
        status.privileges = privileges::kept().ok();
        status.missing.extend(self.lacking.iter().cloned());
        status.agent = Some(std::process::id());
        status.neighbours = neighbours;
        Ok(status)
    }

    /// What an operator could miss of the files.
    fn waiting_for(&self) -> Option<String> {
        let why = *self.waiting.borrow();
        why.map(|_| "profile: it names users or groups that are not known, so the policy that was in force last is enforced, until they are".to_owned())
    }
}
