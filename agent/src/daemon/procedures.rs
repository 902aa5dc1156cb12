//! Supervision of procedures in a running agent: a task for each one, which looks, takes a
//! step and does what that says.

mod told;

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::VecDeque,
    io,
    rc::Rc,
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::spawn_local,
    time::{Instant, sleep, sleep_until},
};

use self::told::{action_text, news_text};
use super::{
    agent::{Agent, now, reply},
    protocol::{ProcedureEvent, ProcedureNow, ProcedureRow, Reply},
};
use crate::{
    autolog::{
        conditions, live,
        machine::{Action, Live, News, Origin, Phase, Rules, Seen, State, Wish, step},
        manager::Manager,
        procedures::{Procedures as _, Trouble},
        starter::Starter,
    },
    config::Bus,
    kernel::cgroup::AttachPoint,
    policy::{
        autolog::{Procedure, Runs, watched},
        build::Policy,
        holdings::{self, Holding},
    },
    ports::{Holder, HostListeners, register::Port},
    report::procedures::row,
};

/// How many events of a procedure are kept.
const KEPT: usize = 20;
/// How long whoever asks for something waits for it to be done, and how often it is looked.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(45), Duration::from_millis(20));

const STARTER_ENDED: &str = "the process that starts commands has ended, so procedures are neither started nor cancelled; start the agent again";

/// All procedures that are supervised.
#[derive(Default)]
pub struct Supervision {
    tasks: RefCell<Vec<Rc<Task>>>,
    /// Another policy may list others.
    pub(super) changed: Notify,
    /// What starts commands where no systemd does, if there are any to start.
    starter: OnceCell<Rc<Starter>>,
    /// That has ended.
    starts_nothing: Cell<bool>,
}

/// A procedure that is supervised.
struct Task {
    procedure: Procedure,
    rules: Rules,
    /// Where systemd is asked, and the cgroup that procedures have theirs in.
    place: (Bus, String),
    /// Nothing if nobody can be asked.
    manager: Option<Rc<Manager>>,
    state: RefCell<State>,
    seen: RefCell<Option<Seen>>,
    history: RefCell<VecDeque<ProcedureEvent>>,
    /// It is not listed any more.
    is_over: Cell<bool>,
    /// It is to be looked at before it is due.
    wake: Notify,
    /// A step is under way: it is looked at, or what the step says is being done.
    is_busy: Cell<bool>,
    /// How many steps it has taken, with what they said done.
    steps: Cell<u64>,
}

impl Agent {
    /// Supervises what the policy in force lists, now and after each change of it.
    /// What is active at the first look is left over if the stack starts.
    /// With `starter` the agent starts commands itself.
    pub async fn supervise(self: Rc<Self>, first: Origin, starter: Option<Starter>) {
        if let Some(starter) = starter {
            let starter = Rc::new(starter);
            // This is the only place where it is set.
            let _ = self.supervision.starter.set(Rc::clone(&starter));
            spawn_local(Rc::clone(&self).mind(starter));
        }
        let mut origin = first;
        loop {
            self.follow_list(origin);
            origin = Origin::Listed;
            self.supervision.changed.notified().await;
        }
    }

    /// Tells when `starter` ends, though the agent goes on.
    async fn mind(self: Rc<Self>, starter: Rc<Starter>) {
        starter.ended().await;
        self.supervision.starts_nothing.set(true);
        log::error!("{STARTER_ENDED}");
    }

    /// What a status says is missing of supervision.
    pub(super) fn supervision_problem(&self) -> Option<String> {
        let ended = self.supervision.starts_nothing.get();
        ended.then(|| format!("autolog: {STARTER_ENDED}"))
    }

    /// Lets alone what is not listed any more, and begins with what is new.
    fn follow_list(self: &Rc<Self>, origin: Origin) {
        let policy = self.policy();
        let place = (
            policy.config.autolog.bus.clone(),
            policy.autolog.slice.clone(),
        );
        let acts = policy.autolog.acts;
        let mut tasks = self.supervision.tasks.borrow_mut();
        let is_listed = |task: &Task| {
            let mut listed = policy.autolog.procedures.iter();
            task.rules.acts == acts
                && task.place == place
                && listed.any(|procedure| procedure.is_same(&task.procedure))
        };
        tasks.retain(|task| {
            let stays = is_listed(task);
            if !stays {
                log::info!(
                    "AUTOLOG: {} is not listed any more, and let alone",
                    task.title()
                );
                task.is_over.set(true);
                task.wake.notify_one();
            }
            stays
        });
        let starter = self.supervision.starter.get();
        let hierarchy = AttachPoint::find(None).ok().map(|root| root.path);
        let manager = Manager::of(&policy, starter, hierarchy).map(Rc::new);
        for procedure in &policy.autolog.procedures {
            if tasks.iter().any(|task| task.procedure.is_same(procedure)) {
                continue;
            }
            let task = Rc::new(Task {
                procedure: procedure.clone(),
                rules: Rules {
                    wait: procedure.wait(),
                    acts,
                },
                place: place.clone(),
                manager: manager.clone(),
                state: RefCell::new(State::new(origin, Instant::now().into_std())),
                seen: RefCell::default(),
                history: RefCell::default(),
                is_over: Cell::new(false),
                wake: Notify::new(),
                is_busy: Cell::new(false),
                steps: Cell::new(0),
            });
            tasks.push(Rc::clone(&task));
            spawn_local(Rc::clone(self).tend_procedure(task));
        }
    }

    async fn tend_procedure(self: Rc<Self>, task: Rc<Task>) {
        while !task.is_over.get() && !self.is_detached() {
            task.is_busy.set(true);
            let seen = self.look_at(&task).await;
            // What an operator asked for meanwhile is in the state.
            let state = task.state.borrow().clone();
            let (state, actions) = step(state, task.rules, &seen, Instant::now().into_std());
            *task.state.borrow_mut() = state;
            *task.seen.borrow_mut() = Some(seen);
            let mut acted = false;
            for action in actions {
                if task.is_over.get() {
                    return;
                }
                acted |= !matches!(action, Action::Tell(_));
                task.perform(action).await;
            }
            if acted {
                let seen = self.look_at(&task).await;
                *task.seen.borrow_mut() = Some(seen);
            }
            task.is_busy.set(false);
            task.steps.set(task.steps.get() + 1);
            let due = task.state.borrow().due;
            tokio::select! {
                () = sleep_until(due.into()) => {}
                () = task.wake.notified() => {}
            }
        }
    }

    async fn look_at(&self, task: &Task) -> Seen {
        let policy = self.policy();
        let procedure = &task.procedure;
        let unit = procedure.runs.as_ref().map(Runs::unit);
        let active = match unit {
            Some(unit) => task.active(unit).await,
            None => None,
        };
        let is_delayed = matches!(
            task.state.borrow().phase,
            Phase::Begins(_) | Phase::Waits(..)
        );
        let mut lacking = Vec::new();
        if is_delayed {
            for awaited in conditions::of(procedure, &policy.config, &policy.reservations) {
                let is_active = async |unit: &str| task.active(unit).await.unwrap_or(false);
                lacking.extend(awaited.lacking(is_active).await);
            }
        }
        Seen {
            active,
            live: self.live_ports(&policy, &procedure.job),
            lacking,
        }
    }

    /// What is live on the ports that are watched for `job`.
    fn live_ports(&self, policy: &Policy, job: &str) -> Live {
        // Who has a port takes a look at every process; not for nothing.
        match live::live(policy, job, None) {
            Live::Unwatched => Live::Unwatched,
            _ => match self.holdings_of(policy, job) {
                Ok(holdings) => live::live(policy, job, Some(&holdings)),
                Err(error) => {
                    log::warn!("the kernel doesn't list its sockets: {error}");
                    Live::Unknown
                }
            },
        }
    }

    /// Who has the ports that are watched for `job`.
    fn holdings_of(&self, policy: &Policy, job: &str) -> io::Result<Vec<Holding>> {
        let exe_of = |holder: &Holder| self.exe_of(holder);
        let is_watched = |(protocol, port): Port| {
            let mut watched = watched(&policy.reservations, job);
            watched.any(|entry| {
                entry.protocol == protocol && (entry.first..=entry.last).contains(&port)
            })
        };
        match self.known_listeners(is_watched) {
            Some(known) => holdings::of(policy, &known, exe_of),
            None => holdings::of(policy, &HostListeners, exe_of),
        }
    }

    /// The procedures, as they are.
    pub(super) fn procedures(&self) -> Vec<ProcedureRow> {
        let policy = self.policy();
        let tasks = self.supervision.tasks.borrow();
        let listed = policy.autolog.procedures.iter();
        let rows = listed.map(|procedure| {
            let task = tasks.iter().find(|task| task.procedure.is_same(procedure));
            row(&policy, procedure, task.map(|task| task.now()))
        });
        rows.collect()
    }

    /// Does what an operator asks for, to every procedure of that name, or of that job;
    /// without a name to all. Answers with them when it is done.
    pub(super) async fn wish(&self, wish: Wish, name: Option<&str>) -> Reply {
        let meant = self.supervision.of(name);
        if meant.is_empty() {
            return Reply::Failed(match name {
                Some(name) => format!("AUTOLOG lists no procedure {name:?}"),
                None => "AUTOLOG lists no procedure".to_owned(),
            });
        }
        if wish != Wish::Pass && meant.iter().any(|task| !task.rules.acts) {
            let why = "nothing is started or cancelled here, procedures are only watched";
            return Reply::Failed(why.to_owned());
        }
        let asked: Vec<u64> = meant.iter().map(|task| task.ask(wish)).collect();
        let deadline = Instant::now() + PATIENCE.0;
        let is_done = |(task, asked): (&Rc<Task>, &u64)| task.has_done(*asked);
        while !meant.iter().zip(&asked).all(is_done) && Instant::now() < deadline {
            sleep(PATIENCE.1).await;
        }
        let rows = self.procedures();
        let meant = |row: &ProcedureRow| {
            let mut meant = meant.iter();
            meant.any(|task| task.procedure.name == row.proc && task.procedure.job == row.job)
        };
        reply(&rows.into_iter().filter(meant).collect::<Vec<_>>())
    }
}

impl Supervision {
    /// The tasks of all procedures of that name, or of that job; without a name of all.
    fn of(&self, name: Option<&str>) -> Vec<Rc<Task>> {
        let is_meant = |task: &&Rc<Task>| {
            let Procedure { name: own, job, .. } = &task.procedure;
            let is = |name: &str| {
                [own, job]
                    .into_iter()
                    .any(|one| one.eq_ignore_ascii_case(name))
            };
            name.is_none_or(is)
        };
        let tasks = self.tasks.borrow();
        tasks.iter().filter(is_meant).cloned().collect()
    }
}

impl Task {
    fn title(&self) -> String {
        self.procedure.title()
    }

    async fn active(&self, unit: &str) -> Option<bool> {
        match self.manager.as_ref()?.is_active(unit).await {
            Ok(active) => Some(active),
            Err(trouble) => {
                log::debug!("AUTOLOG: {}: {trouble}", self.title());
                None
            }
        }
    }

    async fn perform(&self, action: Action) {
        let text = action_text(&action);
        let done = match (&action, &self.manager, &self.procedure.runs) {
            (Action::Tell(news), ..) => return self.tell(news),
            (Action::Start(_), Some(manager), Some(runs)) => {
                self.note("start", &text);
                manager.start(runs).await
            }
            (Action::Cancel(_), Some(manager), Some(runs)) => {
                self.note("cancel", &text);
                manager.cancel(runs.unit()).await
            }
            _ => return,
        };
        if let Err(trouble) = done {
            self.fail(&trouble);
        }
    }

    fn tell(&self, news: &News) {
        let text = news_text(news);
        match news {
            News::Waits(_) | News::Drains(_) | News::LetAlone | News::Back => {
                self.note("news", &text);
            }
            News::EndedAtOnce
            | News::GoesOn
            | News::Fruitless(..)
            | News::Missing(_)
            | News::Unseen => {
                log::warn!("AUTOLOG: {}: {text}", self.title());
                self.keep("news", &text);
            }
        }
    }

    fn note(&self, what: &str, text: &str) {
        log::info!("AUTOLOG: {}: {text}", self.title());
        self.keep(what, text);
    }

    fn fail(&self, trouble: &Trouble) {
        let text = trouble.to_string();
        log::error!("AUTOLOG: {}: {text}", self.title());
        self.keep("failed", &text);
    }

    fn keep(&self, what: &str, text: &str) {
        let mut history = self.history.borrow_mut();
        history.push_front(ProcedureEvent {
            time: now(),
            what: what.to_owned(),
            text: text.to_owned(),
        });
        history.truncate(KEPT);
    }

    /// Asks for something; returns the last step that need not know of it.
    fn ask(&self, wish: Wish) -> u64 {
        let mut state = self.state.borrow_mut();
        state.ask(wish, Instant::now().into_std());
        self.wake.notify_one();
        self.steps.get() + u64::from(self.is_busy.get())
    }

    /// Whether a step was taken since `asked`, and nothing is under way.
    fn has_done(&self, asked: u64) -> bool {
        let phase = &self.state.borrow().phase;
        let rests = matches!(
            phase,
            Phase::Runs | Phase::Stopped | Phase::Waits(..) | Phase::Drains(_)
        );
        self.is_over.get() || (self.steps.get() > asked && rests && !self.is_busy.get())
    }

    fn now(&self) -> ProcedureNow {
        let state = self.state.borrow();
        let seen = self.seen.borrow();
        let seen = seen.as_ref();
        let left = state
            .due
            .saturating_duration_since(Instant::now().into_std());
        ProcedureNow {
            phase: match self.rules.acts {
                true => state.phase.name().to_owned(),
                false => "watched".to_owned(),
            },
            active: seen.and_then(|seen| seen.active),
            lacking: seen.map_or_else(Vec::new, |seen| seen.lacking.clone()),
            missing: seen.and_then(|seen| match &seen.live {
                Live::Unwatched | Live::All => Some(Vec::new()),
                Live::Missing(missing) => Some(missing.clone()),
                Live::Unknown => None,
            }),
            fruitless: state.fruitless,
            due: left.as_secs(),
            history: self.history.borrow().iter().cloned().collect(),
        }
    }
}
