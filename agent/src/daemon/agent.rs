//! The agent's state and what each request does with it.

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
    time::Duration,
};

use portreeve_common::abi::names;
use prometheus::Histogram;
use serde_json::Value;
use tokio::sync::Notify;

use super::{
    change::{ChangeError, Occasion},
    confirm::Pending,
    destroyer::Tally,
    drift::DriftLog,
    events::EventLog,
    executables::ExecutableKeeper,
    metrics::MetricsKeeper,
    pool::PoolKeeper,
    procedures::Supervision,
    protocol::{Reply, SelftestStatus},
    reload::Manner,
    selftest,
    snmp::SnmpKeeper,
    start::{Start, Why},
    watch::PortWatch,
    watched::{self, FileKeeper},
};
use crate::{
    config::ScopeNetns,
    kernel::{
        KernelError, cgroup::AttachPoint, features::Features, hooks::HOOKS, identify::Identifier,
        load::Kernel, netns, pool::Pool, sysctl::PortSettings, tables::Tables,
    },
    policy::{
        build::Policy,
        explain::{self, Question},
        pairs::{self, Stretch},
        source::Source,
    },
    state::Store,
};

/// What an agent has of the kernel.
pub struct KernelSide {
    /// The hooks.
    pub kernel: Kernel,
    /// The tables.
    pub tables: Tables,
    /// The ports that the kernel hands out.
    pub pool: Pool,
    /// Tells what the kernel knows executables by.
    pub identifier: Identifier,
    /// Where the hooks are attached.
    pub attach: AttachPoint,
}

/// Everything a running agent knows.
pub struct Agent {
    /// The kernel side but for the tables; `None` once it was detached.
    pub(super) kernel: RefCell<Option<Kernel>>,
    pub(super) tables: RefCell<Tables>,
    pub(super) pool: RefCell<PoolKeeper>,
    /// The executables that jobs are defined by.
    pub executables: ExecutableKeeper,
    pub(super) attach: AttachPoint,
    /// What the kernel has.
    pub(super) features: Features,
    pub(super) source: Source,
    /// Where what is in force is remembered.
    pub(super) store: Store,
    /// A change that waits to be confirmed.
    pub(super) pending: RefCell<Option<Pending>>,
    /// Something has got a time now by which it is due.
    pub(super) has_deadline: Notify,
    /// Why it could not be taken back when its time was over.
    pub(super) not_taken_back: RefCell<Option<String>>,
    /// The files that a reload reads.
    pub(super) files: FileKeeper,
    /// Why the policy is not what the files say, if they are to be read again.
    pub(super) waiting: RefCell<Option<Why>>,
    pub(super) policy: RefCell<Arc<Policy>>,
    /// Who has which port.
    pub(super) watch: PortWatch,
    /// Events seen lately.
    pub log: RefCell<EventLog>,
    pub(super) selftest: RefCell<Option<SelftestStatus>>,
    /// Whether much memory may have been freed.
    pub(super) has_leftovers: Cell<bool>,
    /// What others changed since the agent runs.
    pub(super) drift: RefCell<DriftLog>,
    pub(super) proving: tokio::sync::Mutex<()>,
    /// How many self-tests have begun.
    pub(super) proofs: Cell<u64>,
    pub(super) detached: Cell<bool>,
    /// What became of listeners that could not be refused.
    pub tally: Arc<Tally>,
    /// What can't be done for want of a capability.
    pub(super) lacking: Vec<String>,
    /// Whether the ring held more events when it was last looked at.
    pub backlog: Cell<bool>,
    /// What is served over HTTP.
    pub(super) metrics: MetricsKeeper,
    /// What managers are told by SNMP.
    pub(super) snmp: SnmpKeeper,
    /// The procedures that are started and watched.
    pub(super) supervision: Supervision,
    /// How long it took to put policies in force, in seconds.
    pub(super) publishing: Histogram,
}

impl Agent {
    /// With the hooks of `side`, on which `policy` is to be put in force by
    /// [`Self::begin`].
    pub fn new(
        side: KernelSide,
        source: Source,
        store: Store,
        policy: &Arc<Policy>,
        lacking: Vec<String>,
        publishing: Histogram,
    ) -> Self {
        let features = side.kernel.features;
        let hierarchy = AttachPoint::find(None).ok().map(|root| root.path);
        Self {
            kernel: RefCell::new(Some(side.kernel)),
            tables: RefCell::new(side.tables),
            pool: RefCell::new(PoolKeeper::new(side.pool)),
            executables: ExecutableKeeper::new(side.identifier),
            attach: side.attach,
            features,
            source,
            store,
            pending: RefCell::new(None),
            has_deadline: Notify::new(),
            not_taken_back: RefCell::new(None),
            files: FileKeeper::default(),
            waiting: RefCell::new(None),
            policy: RefCell::new(Arc::clone(policy)),
            watch: PortWatch::new(hierarchy.clone()),
            log: RefCell::new(EventLog::new(hierarchy, features)),
            selftest: RefCell::new(None),
            has_leftovers: Cell::new(true),
            drift: RefCell::default(),
            proving: tokio::sync::Mutex::new(()),
            proofs: Cell::new(0),
            detached: Cell::new(false),
            tally: Arc::default(),
            lacking,
            backlog: Cell::new(false),
            metrics: MetricsKeeper::default(),
            snmp: SnmpKeeper::default(),
            supervision: Supervision::default(),
            publishing,
        }
    }

    /// Puts the policy of `start` in force. Hooks with the tables of another layout are
    /// taken over then.
    ///
    /// # Errors
    ///
    /// See [`Tables::publish`], [`Pool::admit`] and [`Store::prepare`];
    /// [`KernelError::Executables`] if one can't be recognised any more. What was in
    /// force still is.
    pub fn begin(&self, start: Start) -> Result<(), ChangeError> {
        let policy = start.policy;
        let kept = match &start.held {
            Some(held) if Arc::ptr_eq(held, &policy) => {
                let entries = policy.compiled.image.entries.len();
                vec![Stretch::whole(entries as u32)]
            }
            Some(held) => pairs::kept(held, &policy),
            None => Vec::new(),
        };
        let known = self.tables.borrow().executables()?;
        self.executables.recover(&policy, &known);
        let until = start.pending.as_ref().map(|pending| pending.until.clone());
        self.publish(policy, &kept, until, Occasion::Wanted)?;
        *self.pending.borrow_mut() = start.pending;
        self.has_deadline.notify_one();
        *self.waiting.borrow_mut() = start.why.filter(|why| *why == Why::NoAccounts);
        // What a killed agent has missed is news; what was not confirmed, or waits for
        // its users to be known, is not.
        self.files.note(match start.why {
            None | Some(Why::Kept) => self.policy().files.seen(),
            Some(Why::NotConfirmed | Why::NoAccounts) => watched::present(&self.source),
        });
        self.follow_files();
        match self.kernel.borrow().as_ref() {
            Some(kernel) => Ok(kernel.take_over()?),
            None => Ok(()),
        }
    }

    /// Keeps what was taken over of another layout's agent.
    pub fn keep(&self) {
        if let Some(kernel) = self.kernel.borrow().as_ref()
            && let Err(error) = kernel.keep()
        {
            log::error!("something is left of the earlier agent: {error}");
        }
    }

    /// Gives back what was taken over, if it isn't kept yet.
    pub fn give_back(&self) {
        if let Some(kernel) = self.kernel.borrow().as_ref() {
            kernel.give_back();
        }
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.borrow())
    }

    /// Whether enforcement was ended on request.
    pub fn is_detached(&self) -> bool {
        self.detached.get()
    }

    /// Proves that the hooks are alive and remembers the result.
    pub async fn prove(&self) -> SelftestStatus {
        let begun = self.proofs.get();
        // The programs know of one marked socket at a time.
        let _turn = self.proving.lock().await;
        // One that began since then, and is over, answers all who waited for it.
        if self.proofs.get() > begun
            && let Some(proof) = self.selftest.borrow().clone()
        {
            return proof;
        }
        self.proofs.set(self.proofs.get() + 1);
        let result = loop {
            let active = self.tables.borrow().active();
            let mode = self.policy().config.mode;
            let answer = selftest::Answer::expected(mode, self.features);
            let result = selftest::run(&self.tables, answer, &self.attach.path).await;
            // A reload meanwhile may have changed the mode that was to be proven.
            if result.is_ok() || self.tables.borrow().active() == active {
                break result;
            }
        };
        // The test sees what judges a bind; that all of them are there is for the
        // links to say.
        let result = result.map_err(|error| format!("{error:#}"));
        let problem = result.and_then(|()| self.all_attached()).err();
        // And that it is our policy by which it is judged, for the tables.
        self.note_proof(self.altered().or(problem))
    }

    fn all_attached(&self) -> Result<(), String> {
        let kernel = self.kernel.borrow();
        let attached = kernel.as_ref().map_or(HOOKS.into(), Kernel::hooks);
        match HOOKS.iter().find(|hook| !attached.contains(hook)) {
            Some(missing) => Err(format!("hook {missing} is not attached")),
            None => self.check_listen(&self.policy()).map_err(|_| {
                match self.policy().destroys_listeners() {
                    true => format!("hook {} is not attached", names::LISTENED),
                    false => format!("hook {} is not attached", names::LISTEN),
                }
            }),
        }
    }

    /// Waits until what is in the ring now has been taken in, so that whoever asks
    /// after a bind is told of it; not for ever, should events come without end.
    pub async fn catch_up(&self) {
        const STEP: Duration = Duration::from_millis(2);
        for _ in 0..500 {
            tokio::time::sleep(STEP).await;
            if !self.backlog.get() {
                break;
            }
        }
    }

    /// Takes in the refusals that made no event of their own, of every second that
    /// is over.
    pub fn take_in_repeats(&self) {
        if let Some(kernel) = self.kernel.borrow().as_ref() {
            let second = self.log.borrow().complete_before(self.backlog.get());
            self.take_in_repeats_before(kernel, second);
        }
    }

    fn take_in_repeats_before(&self, kernel: &Kernel, second: u32) {
        match kernel.repeats.borrow_mut().take_before(second) {
            Ok(repeats) => self.log.borrow_mut().add_repeats(second, repeats),
            Err(error) => log::error!("repeated refusals can't be told: {error}"),
        }
    }

    /// Whether what the files say was not to be had at the start.
    pub fn waits_for_files(&self) -> bool {
        self.waiting.borrow().is_some() && !self.is_detached()
    }

    /// Reads the files again, if what they say was not to be had at the start.
    pub fn tend_files(&self) {
        if !self.waits_for_files() {
            return;
        }
        if let Reply::Done(done) = self.reload(Manner::default())
            && done["applied"] == true
        {
            let generation = &done["generation"];
            log::info!(
                "all users and groups are known now, the files are in force: generation {generation}"
            );
            self.log_contradictions();
        }
    }

    /// Writes down that the agent ends because it was told to: the next one reads the
    /// files.
    pub fn remember_end(&self) {
        if !self.is_detached()
            && let Err(error) = self.store.end()
        {
            log::warn!("{error}");
        }
    }

    /// The verdict for a described caller.
    pub fn explain(&self, question: &Question) -> Reply {
        // As the programs know it: by the file, whatever its name is by now.
        let executables = self.executables.in_force();
        let file = question.exe.as_deref();
        let exe = file.map(|file| executables.path_of(file).unwrap_or(file).to_owned());
        let question = Question {
            exe,
            ..question.clone()
        };
        match explain::explain(
            &self.policy(),
            &question,
            PortSettings::of_host().first_unprivileged,
            self.features,
        ) {
            Some(answer) => reply(&answer),
            None => Reply::Failed(format!("{:?} is not tcp or udp", question.protocol)),
        }
    }

    /// Stops enforcing and removes every trace in the kernel.
    pub fn detach(&self) -> Reply {
        let Some(kernel) = self.kernel.borrow_mut().take() else {
            return Reply::Failed("enforcement has ended already".into());
        };
        self.tables.borrow().withdraw();
        self.detached.set(true);
        self.take_in_repeats_before(&kernel, u32::MAX);
        let forgotten = self.store.clear();
        let removed = kernel.detach().map_err(|error| error.to_string());
        match removed.and(forgotten.map_err(|error| error.to_string())) {
            Ok(()) => Reply::Done(Value::Null),
            Err(why) => Reply::Failed(format!("nothing is enforced any more, but {why}")),
        }
    }
}

pub(super) fn reply(value: &impl serde::Serialize) -> Reply {
    match serde_json::to_value(value) {
        Ok(value) => Reply::Done(value),
        Err(error) => Reply::Failed(error.to_string()),
    }
}

/// The time, as RFC 3339.
pub(super) fn now() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

/// The network namespace to judge, if the agent's own is `own`; 0 for all.
pub const fn scope_netns(scope: ScopeNetns, own: u64) -> u64 {
    match scope {
        ScopeNetns::All => 0,
        ScopeNetns::Own => own,
    }
}

/// The agent's own network namespace, as the programs tell it from others.
///
/// # Errors
///
/// What the kernel says.
pub fn own_netns() -> Result<u64, KernelError> {
    netns::own().map_err(KernelError::io("can't tell the own network namespace"))
}
