//! The agent's state and what each request does with it.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    collections::BTreeMap,
    path::Path,
    rc::Rc,
    time::Duration,
};

use portreeve_common::abi::{Active, Mode, Protocol, names};
use serde_json::Value;

use super::{
    events::EventLog,
    executables::ExecutableKeeper,
    pool::{PoolKeeper, held_status},
    protocol::{
        AttachStatus, EventStatus, PortRow, ProfileStatus, Reloaded, Reply, SelftestStatus, Status,
    },
    selftest,
};
use crate::{
    config::{OnError, Report, SameJob, ScopeNetns},
    diagnostics::{Diagnostics, json, render},
    files::hex,
    kernel::{
        KernelError,
        cgroup::AttachPoint,
        counters::{self, Counters},
        executables::Executables,
        hooks::HOOKS,
        identify::Identifier,
        listen,
        load::Kernel,
        pool::{Pool, Recorded},
        sysctl::PortSettings,
        tables::{Publication, Tables, generation_in_force, text},
    },
    policy::{
        build::Policy,
        diff::{Diff, kept_entries},
        explain::{self, Question},
        identity::{JobImage, exes::Presence},
        source::{Outcome, Source},
    },
    profile::ReadError,
    report::ports,
};

/// Everything a running agent knows.
pub struct Agent {
    /// The kernel side but for the tables; `None` once it was detached.
    kernel: RefCell<Option<Kernel>>,
    tables: RefCell<Tables>,
    pool: RefCell<PoolKeeper>,
    /// The executables that jobs are defined by.
    pub executables: ExecutableKeeper,
    attach: AttachPoint,
    source: Source,
    policy: RefCell<Rc<Policy>>,
    /// Events seen lately.
    pub log: RefCell<EventLog>,
    selftest: RefCell<Option<SelftestStatus>>,
    proving: tokio::sync::Mutex<()>,
    detached: Cell<bool>,
    /// Whether the ring held more events when it was last looked at.
    pub backlog: Cell<bool>,
}

impl Agent {
    /// Puts `policy` in force on hooks that are up.
    ///
    /// # Errors
    ///
    /// See [`Tables::publish`] and [`Pool::admit`]; [`KernelError::Executables`] if
    /// one can't be recognised any more.
    pub fn start(
        kernel: Kernel,
        tables: Tables,
        pool: Pool,
        identifier: Identifier,
        attach: AttachPoint,
        source: Source,
        policy: Policy,
    ) -> Result<Self, KernelError> {
        let same = same_policy_in_force(&tables, &policy);
        let hierarchy = AttachPoint::find(None).ok().map(|root| root.path);
        let agent = Self {
            kernel: RefCell::new(Some(kernel)),
            tables: RefCell::new(tables),
            pool: RefCell::new(PoolKeeper::new(pool)),
            executables: ExecutableKeeper::new(identifier),
            attach,
            source,
            policy: RefCell::new(Rc::new(policy)),
            log: RefCell::new(EventLog::new(hierarchy)),
            selftest: RefCell::new(None),
            proving: tokio::sync::Mutex::new(()),
            detached: Cell::new(false),
            backlog: Cell::new(false),
        };
        let policy = Rc::clone(&agent.policy.borrow());
        let kept = if same {
            every_entry(&policy)
        } else {
            Vec::new()
        };
        let known = agent.tables.borrow().executables()?;
        agent.executables.recover(&policy, &known);
        agent.publish(policy, &kept)?;
        Ok(agent)
    }

    /// Refuses a policy that has rules for listen where nothing is judged then.
    fn check_listen(&self, policy: &Policy) -> Result<(), KernelError> {
        let tcp = &policy.compiled.image.unreserved[Protocol::Tcp as usize];
        let kernel = self.kernel.borrow();
        let judges = |kernel: &Kernel| kernel.hooks().contains(&names::LISTEN);
        let is_there = kernel.as_ref().is_none_or(judges);
        if !tcp.at_listen() || tcp.entries.count() == 0 || is_there {
            return Ok(());
        }
        Err(KernelError::NotAtListen {
            why: listen::why_not(),
        })
    }

    fn publish(&self, policy: Rc<Policy>, kept: &[(u32, u32)]) -> Result<Active, KernelError> {
        self.check_listen(&policy)?;
        let mut pool = self.pool.borrow_mut();
        // Before the policy: no port is handed out any more when it is reserved.
        if let Err(error) = pool.admit(policy.pool.kept.as_ref()) {
            self.back_out(&mut pool, &policy);
            return Err(error);
        }
        let lenient = policy.config.on_error == OnError::Skip;
        let executables = self.executables.look(&policy);
        let active = match self.put_in_force(&policy, executables, kept, lenient) {
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
        policy: &Rc<Policy>,
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
        let active = self.tables.borrow_mut().publish(&Publication {
            image: compiled,
            jobs: &jobs,
            mode: policy.config.mode,
            report_all: policy.config.report == Report::All,
            same_job_shares: policy.config.same_job == SameJob::Allow,
            keeps_pool: policy.pool.kept.is_some(),
            profile: &policy.config.profile.display().to_string(),
            profile_hash: policy.files.profile_hash(),
            kept,
        })?;
        self.executables.settle(executables, problem);
        let mut log = self.log.borrow_mut();
        log.publish(active.generation(), Rc::clone(policy));
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
        match self.put_in_force(&policy, executables, &kept, true) {
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
    fn back_out(&self, pool: &mut PoolKeeper, new: &Rc<Policy>) {
        let policy = self.policy();
        if !Rc::ptr_eq(&policy, new) {
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

    /// The policy in force.
    pub fn policy(&self) -> Rc<Policy> {
        Rc::clone(&self.policy.borrow())
    }

    /// Whether enforcement was ended on request.
    pub fn is_detached(&self) -> bool {
        self.detached.get()
    }

    /// Proves that the hooks are alive and remembers the result.
    pub async fn prove(&self) -> SelftestStatus {
        // The programs know of one marked socket at a time.
        let _turn = self.proving.lock().await;
        let result = loop {
            let active = self.tables.borrow().active();
            let mode = self.policy().config.mode;
            let result = selftest::run(&self.tables, mode, &self.attach.path).await;
            // A reload meanwhile may have changed the mode that was to be proven.
            if result.is_ok() || self.tables.borrow().active() == active {
                break result;
            }
        };
        // The test sees what judges a bind; that all of them are there is for the
        // links to say.
        let result = result.map_err(|error| format!("{error:#}"));
        let problem = result.and_then(|()| self.all_attached()).err();
        let status = SelftestStatus {
            at: now(),
            ok: problem.is_none(),
            problem,
        };
        *self.selftest.borrow_mut() = Some(status.clone());
        status
    }

    fn all_attached(&self) -> Result<(), String> {
        let kernel = self.kernel.borrow();
        let attached = kernel.as_ref().map_or(HOOKS.into(), Kernel::hooks);
        match HOOKS.iter().find(|hook| !attached.contains(hook)) {
            Some(missing) => Err(format!("hook {missing} is not attached")),
            None => self
                .check_listen(&self.policy())
                .map_err(|_| format!("hook {} is not attached", names::LISTEN)),
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
        };
        let mut status = held.status(attach);
        let pool = self.pool.borrow();
        status.pool.dropped = pool.dropped();
        status.missing.extend(pool.problem());
        status.missing.extend(self.executables.problems());
        let policy = self.policy();
        let changes = policy.files.changed_by();
        status.profile.differs_from_file = Some(policy.files.differ());
        status.profile.path = policy.config.profile.display().to_string();
        status.profile.changes = Some(changes.map(|path| path.display().to_string()).collect());
        status.profile.dropped = Some(policy.dropped());
        status.selftest = self.selftest.borrow().clone();
        status.agent = Some(std::process::id());
        status.neighbours = neighbours;
        Ok(status)
    }

    /// The register of what is reserved.
    pub fn ports(&self) -> Vec<PortRow> {
        let policy = self.policy();
        let tables = self.tables.borrow();
        ports::rows(&policy, |entry| tables.refusals(entry))
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
        ) {
            Some(answer) => reply(&answer),
            None => Reply::Failed(format!("{:?} is not tcp or udp", question.protocol)),
        }
    }

    /// Reads profile and config again and, unless `dry_run`, puts them in force.
    pub fn reload(&self, dry_run: bool, color: bool) -> Reply {
        let changes = self.policy();
        let dropped = changes.files.changed_by();
        let dropped = dropped.map(|path| path.display().to_string()).collect();
        self.replace(self.source.read(&Presence), dropped, dry_run, color)
    }

    /// Puts the change file `file` on top of the policy in force, unless `dry_run`;
    /// it stays there until the next reload (`OBY-01`, `OBY-03`).
    pub fn obey(&self, file: &Path, dry_run: bool, color: bool) -> Reply {
        let outcome = self.source.obey(&self.policy().files, file, &Presence);
        let reply = self.replace(outcome, Vec::new(), dry_run, color);
        if let Reply::Done(done) = &reply
            && done["applied"] == true
        {
            let (file, generation) = (file.display(), &done["generation"]);
            log::info!("obeyed {file} until the next reload: generation {generation}");
        }
        reply
    }

    /// Puts in force what was read, unless it has errors or it is a `dry_run`.
    fn replace(
        &self,
        outcome: Result<Outcome, ReadError>,
        dropped: Vec<String>,
        dry_run: bool,
        color: bool,
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
            rendered: render::all(&outcome.diagnostics, outcome.sources(), color),
            refused: None,
        };
        let new = match outcome.policy {
            Ok(new) => new,
            Err(_) => {
                reloaded.refused = Some("there are errors in what was read".into());
                return reply(&reloaded);
            }
        };
        let old = self.policy();
        reloaded.diff = Diff::between(&old, &new);
        if new.config.scope != old.config.scope {
            reloaded.refused =
                Some("scope.netns differs; it is read at start only, so restart the agent".into());
        } else if !dry_run {
            let kept = kept_entries(&old, &new);
            match self.publish(Rc::new(new), &kept) {
                Ok(active) => {
                    reloaded.applied = true;
                    reloaded.generation = active.generation();
                }
                Err(error) => reloaded.refused = Some(error.to_string()),
            }
        }
        reply(&reloaded)
    }

    /// Stops enforcing and removes every trace in the kernel.
    pub fn detach(&self) -> Reply {
        let Some(kernel) = self.kernel.borrow_mut().take() else {
            return Reply::Failed("enforcement has ended already".into());
        };
        self.tables.borrow().withdraw();
        self.detached.set(true);
        self.take_in_repeats_before(&kernel, u32::MAX);
        match kernel.detach() {
            Ok(()) => Reply::Done(Value::Null),
            Err(error) => Reply::Failed(format!("nothing is enforced any more, but {error}")),
        }
    }
}

/// What the kernel holds, as anybody with the right can read it from the pins.
pub struct Held<'a> {
    /// What is in force.
    pub active: Active,
    /// What filled the tables.
    pub info: &'a portreeve_common::abi::Info,
    /// Hooks that are attached.
    pub hooks: &'a [&'static str],
    /// The counters.
    pub counters: &'a Counters,
    /// What was changed in the kernel's pool of ports.
    pub pool: &'a Recorded,
}

impl Held<'_> {
    /// The part of a status that needs no agent.
    pub fn status(&self, attach: AttachStatus) -> Status {
        let generation = generation_in_force(self.info, self.active);
        let owned = |counts: &BTreeMap<&'static str, u64>| {
            counts
                .iter()
                .map(|(reason, count)| ((*reason).to_owned(), *count))
                .collect()
        };
        let published = generation.map_or(0, |g| i64::try_from(g.published).unwrap_or(0));
        Status {
            mode: self.active.mode().map_or("none", Mode::name).into(),
            generation: self.active.generation(),
            profile: ProfileStatus {
                path: generation.map_or_else(String::new, |g| text(&g.profile)),
                hash: generation.map_or_else(String::new, |g| hex(&g.profile_hash)),
                differs_from_file: None,
                changes: None,
                dropped: None,
                entries: generation.map_or(0, |g| g.entries),
                published: jiff::Timestamp::from_second(published)
                    .map_or_else(|_| String::new(), |t| t.to_string()),
            },
            hooks: self.hooks.iter().map(|hook| (*hook).to_owned()).collect(),
            missing: missing(self),
            pool: held_status(self.pool),
            neighbours: Vec::new(),
            attach,
            counters: owned(&self.counters.enforced),
            audited: owned(&self.counters.audited),
            events: EventStatus {
                lost: self.counters.events_lost,
                suppressed: self.counters.events_suppressed,
                reports_lost: self.counters.reports_lost,
            },
            selftest: None,
            pending_confirm: None,
            agent: None,
            version: text(&self.info.agent),
        }
    }
}

/// What a reader could take for enforced, and isn't.
fn missing(held: &Held<'_>) -> Vec<String> {
    let mut missing: Vec<String> = HOOKS
        .iter()
        .filter(|hook| !held.hooks.contains(hook))
        .map(|hook| format!("{hook}: the hook is not attached"))
        .collect();
    if !held.hooks.contains(&names::LISTEN) {
        missing.push(format!(
            "listen: UNRSV for TCP can be judged at bind only: {}",
            listen::why_not()
        ));
    }
    if !held.pool.managed {
        missing.push("port 0: the kernel's pool is not managed ([ephemeral] manage = false, or audit mode), so a reserved port in net.ipv4.ip_local_port_range can be handed out; list it in net.ipv4.ip_local_reserved_ports".into());
    } else if held.info.scope_netns == 0 {
        missing.push("port 0: reserved ports are kept out of the pool in the agent's own network namespace only; in others one can be handed out".into());
    }
    missing
}

/// Whether the tables were filled from the very profile of `policy`: then the
/// entries are the same one by one, and so are their counts.
fn same_policy_in_force(tables: &Tables, policy: &Policy) -> bool {
    generation_in_force(&tables.info(), tables.active()).is_some_and(|generation| {
        generation.profile_hash == policy.files.profile_hash()
            && generation.entries as usize == policy.compiled.image.entries.len()
    })
}

/// That each entry of `policy` stays in its place.
fn every_entry(policy: &Policy) -> Vec<(u32, u32)> {
    let entries = 0..policy.compiled.image.entries.len() as u32;
    entries.map(|index| (index, index)).collect()
}

fn reply(value: &impl serde::Serialize) -> Reply {
    match serde_json::to_value(value) {
        Ok(value) => Reply::Done(value),
        Err(error) => Reply::Failed(error.to_string()),
    }
}

/// The time, as RFC 3339.
pub(super) fn now() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

/// Cookie of the network namespace to judge; 0 for all.
///
/// # Errors
///
/// [`KernelError::Io`] if the kernel doesn't tell.
pub fn scope_cookie(scope: ScopeNetns) -> Result<u64, KernelError> {
    match scope {
        ScopeNetns::All => Ok(0),
        ScopeNetns::Own => own_cookie(),
    }
}

/// Cookie of the agent's own network namespace.
///
/// # Errors
///
/// What the kernel says.
pub fn own_cookie() -> Result<u64, KernelError> {
    crate::kernel::netns::own_cookie().map_err(KernelError::io(
        "can't tell the own network namespace (SO_NETNS_COOKIE, Linux 5.14)",
    ))
}
