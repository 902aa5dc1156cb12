//! The agent's side: metrics are served where the config in force says, and whether the
//! policy would take the port away is known before it does.

use std::{cell::RefCell, io, rc::Rc};

use super::{
    listener, server,
    snapshot::{Asks, questions},
};
use crate::{
    config::Listen,
    daemon::{agent::Agent, protocol::MetricsStatus, worker::Worker},
    policy::own_port,
    ports::{self, Holder},
};

/// What is served, and what keeps it from being.
#[derive(Default)]
pub struct MetricsKeeper {
    /// Where questions are put; `None` until it is started.
    asks: RefCell<Option<Asks>>,
    serving: RefCell<Option<Serving>>,
    /// Why it isn't served where it should be.
    problem: RefCell<Option<String>>,
    /// Why the policy of this generation refuses the agent the port.
    refused: RefCell<(u32, Option<String>)>,
}

struct Serving {
    place: Listen,
    server: Worker,
}

impl MetricsKeeper {
    /// What an operator could miss.
    pub fn problems(&self) -> Vec<String> {
        let problem = self.problem.borrow().clone();
        let refused = self.refused.borrow().1.clone();
        // A socket that could not be had says why already.
        let refused = refused.filter(|_| problem.is_none()).map(stays);
        let problems = problem.into_iter().chain(refused);
        problems.map(|why| format!("metrics: {why}")).collect()
    }

    fn note(&self, problem: Option<String>) {
        let news = problem
            .as_ref()
            .filter(|_| problem != *self.problem.borrow());
        if let Some(problem) = news {
            log::error!("metrics: {problem}; it is tried again every few seconds");
        }
        self.problem.replace(problem);
    }
}

fn stays(refused: String) -> String {
    format!(
        "{refused}; the socket that it has stays, but it gets no other, nor will the next agent"
    )
}

impl Agent {
    /// Serves metrics from now on, if the config says so.
    pub fn start_metrics(self: &Rc<Self>) {
        self.metrics.asks.replace(Some(questions(self)));
        self.tend_metrics();
    }

    /// Ends it.
    pub fn stop_metrics(&self) {
        self.metrics.asks.take();
        self.metrics.serving.take();
    }

    /// Serves metrics where the config in force says, if they aren't.
    pub fn tend_metrics(&self) {
        let keeper = &self.metrics;
        let Some(asks) = keeper.asks.borrow().clone() else {
            return;
        };
        self.judge_own_port();
        let policy = self.policy();
        let wanted = policy.config.metrics.as_ref();
        let Some(place) = wanted.map(|metrics| &metrics.listen.value) else {
            keeper.serving.take();
            return keeper.note(None);
        };
        let is_served = |serving: &Serving| serving.place == *place && !serving.server.has_ended();
        if keeper.serving.borrow().as_ref().is_some_and(is_served) {
            return keeper.note(None);
        }
        keeper.note(match self.serve_at(place, asks) {
            Ok(()) => {
                log::info!("metrics and the status page are served at {place}");
                None
            }
            Err(error) => {
                let refused = keeper.refused.borrow().1.clone();
                let refused = refused.map_or_else(String::new, |why| format!(": {why}"));
                Some(format!("they can't be served at {place}: {error}{refused}"))
            }
        });
    }

    /// What is served somewhere else goes on until the new place is had, unless that can't
    /// be had beside it.
    fn serve_at(&self, place: &Listen, asks: Asks) -> io::Result<()> {
        let keeper = &self.metrics;
        let listener = match listener::open(place) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && self.may_move_to(place) => {
                keeper.serving.take();
                listener::open(place)?
            }
            listener => listener?,
        };
        let server = server::start(listener, asks)?;
        let place = place.clone();
        keeper.serving.replace(Some(Serving { place, server }));
        Ok(())
    }

    /// Whether what is served has the port of `place`, at another address, and would get
    /// it again.
    fn may_move_to(&self, place: &Listen) -> bool {
        let serving = self.metrics.serving.borrow();
        let port = |place: &Listen| match place {
            Listen::Tcp(address) => Some(address.port()),
            Listen::Unix(_) => None,
        };
        let has_it =
            |serving: &Serving| serving.server.has_ended() || port(&serving.place) == port(place);
        serving.as_ref().is_some_and(has_it) && self.metrics.refused.borrow().1.is_none()
    }

    /// Looks whether the policy in force refuses the agent its port, once for each.
    fn judge_own_port(&self) {
        let generation = self.tables.borrow().active().generation();
        let (judged, before) = self.metrics.refused.borrow().clone();
        if judged == generation {
            return;
        }
        let policy = self.policy();
        let own = policy.config.metrics.as_ref().and_then(|_| ports::own());
        let verdict = own.and_then(|own| {
            let exe = self.exe_of(&own).or_else(|| own.exe.clone());
            own_port::refusal(&policy, &Holder { exe, ..own })
        });
        let refused = verdict.map(|verdict| own_port::sentence(&policy, &verdict));
        if let Some(why) = refused.as_ref().filter(|_| refused != before) {
            log::warn!("metrics: {}", stays(why.clone()));
        }
        self.metrics.refused.replace((generation, refused));
    }

    /// Where metrics are served; `None` if nobody wants them.
    pub(in crate::daemon) fn metrics_status(&self) -> Option<MetricsStatus> {
        let policy = self.policy();
        let wanted = policy.config.metrics.as_ref()?;
        let serving = self.metrics.serving.borrow();
        let serving = serving.as_ref().filter(|it| !it.server.has_ended());
        Some(MetricsStatus {
            listen: wanted.listen.value.to_string(),
            serving: serving.map(|serving| serving.place.to_string()),
        })
    }
}
