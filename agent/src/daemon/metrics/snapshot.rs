//! What the event loop tells the thread that serves metrics: copies, made in no time.

use std::{rc::Rc, sync::Arc};

use prometheus::Histogram;
use tokio::sync::{mpsc, oneshot};

use crate::{
    daemon::{agent::Agent, protocol::Status},
    kernel::{
        counters::{self, Judged},
        executables::Executables,
    },
    policy::build::Policy,
};

/// How many questions may wait. There is one at a time of each kind.
const WAITING: usize = 4;

/// A question to the event loop.
pub enum Ask {
    /// How things are.
    Snapshot(oneshot::Sender<Result<Snapshot, String>>),
    /// The events that are kept, oldest first, as lines of JSON.
    Events(oneshot::Sender<Vec<String>>),
}

/// Where questions are put.
pub type Asks = mpsc::Sender<Ask>;

/// How things are at one moment.
#[derive(Clone)]
pub struct Snapshot {
    /// As `status` shows it.
    pub status: Status,
    /// What was judged, by protocol.
    pub judged: Vec<Judged>,
    /// The policy in force.
    pub policy: Arc<Policy>,
    /// The executables of its jobs.
    pub executables: Executables,
    /// Entries of the policy in force that refused, and how often.
    pub refusals: Vec<(u32, u64)>,
    /// How long it took to put policies in force.
    pub publishing: Histogram,
}

/// A line of questions to `agent`.
pub fn questions(agent: &Rc<Agent>) -> Asks {
    let (asks, mut asked) = mpsc::channel(WAITING);
    let agent = Rc::downgrade(agent);
    tokio::task::spawn_local(async move {
        while let Some(ask) = asked.recv().await {
            let Some(agent) = agent.upgrade() else {
                break;
            };
            // Whoever asked may have gone.
            match ask {
                Ask::Snapshot(answer) => drop(answer.send(agent.snapshot())),
                Ask::Events(answer) => {
                    let kept = agent.log.borrow().kept();
                    let kept = kept.iter().map(|line| line.to_string()).collect();
                    let _ = answer.send(kept);
                }
            }
        }
    });
    asks
}

impl Agent {
    fn snapshot(&self) -> Result<Snapshot, String> {
        let status = self.status().map_err(|error| error.to_string())?;
        let judged = match self.kernel.borrow().as_ref() {
            Some(kernel) => {
                let counters = counters::read(&kernel.counters);
                counters.map_err(|error| error.to_string())?.judged
            }
            None => Vec::new(),
        };
        let policy = self.policy();
        let tables = self.tables.borrow();
        let entries = 0..policy.compiled.image.entries.len() as u32;
        let refusals = entries.map(|index| (index, tables.refusals(index)));
        Ok(Snapshot {
            status,
            judged,
            refusals: refusals.filter(|(_, count)| *count > 0).collect(),
            executables: self.executables.in_force().clone(),
            policy,
            publishing: self.publishing.clone(),
        })
    }
}
