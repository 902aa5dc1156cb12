//! The agent's side: the subagent runs as profile and config in force say, and is told of
//! refusals and of ports that change.

use std::{
    cell::{Cell, RefCell},
    path::Path,
    rc::Rc,
    sync::{Arc, Mutex},
};

use tokio::{sync::mpsc, task::AbortHandle};

use super::{
    subagent::{self, Health, Settings, look},
    told::Line,
};
use crate::{
    config::{DEFAULT_MASTER, Master},
    daemon::{
        agent::Agent,
        events::Follower,
        metrics::{Asks, questions},
        protocol::SnmpStatus,
        worker::Worker,
    },
};

/// Lines that may wait for the subagent; more are dropped, and counted.
const WAITING: usize = 1024;

/// The subagent, and what keeps it from being asked.
#[derive(Default)]
pub struct SnmpKeeper {
    /// Where questions are put; `None` until it may run.
    asks: RefCell<Option<Asks>>,
    running: RefCell<Option<Running>>,
    /// Why there can't be one.
    problem: RefCell<Option<String>>,
    /// Lines that found no room.
    dropped: Rc<Cell<u64>>,
}

struct Running {
    settings: Settings,
    worker: Worker,
    health: Arc<Mutex<Health>>,
    tellers: [AbortHandle; 2],
}

impl Drop for Running {
    fn drop(&mut self) {
        for teller in &self.tellers {
            teller.abort();
        }
    }
}

impl Running {
    fn health(&self) -> Health {
        look(&self.health).clone()
    }
}

impl Agent {
    /// Runs the subagent from now on, if it is to run.
    pub fn start_snmp(self: &Rc<Self>) {
        self.snmp.asks.replace(Some(questions(self)));
        self.tend_snmp();
    }

    /// Ends it.
    pub fn stop_snmp(&self) {
        self.snmp.asks.take();
        self.snmp.running.take();
    }

    /// Starts or ends it, as profile and config in force say.
    pub fn tend_snmp(&self) {
        let keeper = &self.snmp;
        let Some(asks) = keeper.asks.borrow().clone() else {
            return;
        };
        let Some(settings) = self.snmp_settings() else {
            keeper.running.take();
            keeper.problem.take();
            return;
        };
        let is_as_wanted =
            |running: &Running| running.settings == settings && !running.worker.has_ended();
        if keeper.running.borrow().as_ref().is_some_and(is_as_wanted) {
            return;
        }
        // The variables are free for the next one then.
        keeper.running.take();
        let health = Arc::<Mutex<Health>>::default();
        let (tell, told) = mpsc::channel(WAITING);
        let started = subagent::start(settings.clone(), asks, told, Arc::clone(&health));
        let worker = match started {
            Ok(worker) => worker,
            Err(error) => {
                log::error!("SNMP: the subagent can't be started: {error}");
                keeper.problem.replace(Some(error.to_string()));
                return;
            }
        };
        keeper.problem.take();
        let events = self.log.borrow_mut().follow_from_now();
        let ports = self.watch.news.borrow_mut().follow_from_now();
        let tellers = [
            self.tell_snmp(events, &tell, Line::Event, Some(&health)),
            self.tell_snmp(ports, &tell, Line::Port, None),
        ];
        keeper.running.replace(Some(Running {
            settings,
            worker,
            health,
            tellers,
        }));
    }

    /// How it is to run; `None` if it is not, or nobody asked for it and no master is there.
    fn snmp_settings(&self) -> Option<Settings> {
        let policy = self.policy();
        let (subagent, config) = (policy.subagent, &policy.config.snmp);
        let is_wanted =
            subagent.is_asked_for || config.master.is_some() || Path::new(DEFAULT_MASTER).exists();
        (subagent.enabled && is_wanted).then(|| Settings {
            master: match &config.master {
                Some(master) => master.clone(),
                None => Master::Unix(DEFAULT_MASTER.into()),
            },
            base: config.base.clone(),
            cache: subagent.cache,
            hold_down: policy.config.watch.hold_down,
        })
    }

    /// Hands what `follower` gets to the subagent; with `health` only while somebody is there
    /// to be told.
    fn tell_snmp(
        &self,
        follower: Rc<Follower>,
        tell: &mpsc::Sender<Line>,
        line: fn(String) -> Line,
        health: Option<&Arc<Mutex<Health>>>,
    ) -> AbortHandle {
        let (tell, health) = (tell.clone(), health.cloned());
        let dropped = Rc::clone(&self.snmp.dropped);
        let forward = async move {
            loop {
                let text = follower.next().await;
                let is_heard = health
                    .as_ref()
                    .is_none_or(|health| look(health).is_registered);
                if is_heard && tell.try_send(line(text.to_string())).is_err() {
                    dropped.set(dropped.get() + 1);
                }
            }
        };
        tokio::task::spawn_local(forward).abort_handle()
    }

    /// What an operator could miss: nothing, if nobody asked for a subagent.
    pub(in crate::daemon) fn snmp_problem(&self) -> Option<String> {
        let policy = self.policy();
        if !policy.subagent.is_asked_for && policy.config.snmp.master.is_none() {
            return None;
        }
        let problem = self.snmp.problem.borrow().clone();
        let running = self.snmp.running.borrow();
        let problem = problem.or_else(|| running.as_ref()?.health().problem)?;
        Some(format!("SNMP: managers can't ask: {problem}"))
    }

    /// How the subagent is; `None` if none runs.
    pub(in crate::daemon) fn snmp_status(&self) -> Option<SnmpStatus> {
        let running = self.snmp.running.borrow();
        let running = running.as_ref()?;
        let health = running.health();
        Some(SnmpStatus {
            master: running.settings.master.to_string(),
            base: running.settings.base.to_string(),
            registered: health.is_registered,
            problem: health.problem,
            notifications: health.notifications,
            dropped: self.snmp.dropped.get(),
        })
    }
}
