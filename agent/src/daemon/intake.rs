//! What comes in while the agent runs: events, traces, fates of listeners, changes of
//! executables.

use std::{rc::Rc, time::Duration};

use aya::maps::{MapData, RingBuf};
use aya_log::EbpfLogger;
use tokio::{sync::mpsc::UnboundedReceiver, time::Instant};

use super::{agent::Agent, destroyer::Told, run::LOOK_INTERVAL};
use crate::kernel::stream;

/// Events that are taken in before everything else has its turn.
const BATCH: usize = 64;
/// How often the refusals that made no event of their own are taken in, as long as there
/// are refusals that can be repeated.
const REPEATS_INTERVAL: Duration = Duration::from_secs(1);

/// Reads what the programs tell of binds, as long as the agent runs.
pub async fn events(ring: RingBuf<MapData>, agent: Rc<Agent>) {
    let mut ring = match stream::watched(ring) {
        Ok(ring) => ring,
        Err(error) => return log::error!("events can't be read: {error}"),
    };
    // Whatever an earlier agent didn't take in.
    let mut due = Instant::now() + REPEATS_INTERVAL;
    loop {
        if Instant::now() >= due {
            agent.take_in_repeats();
            due = Instant::now() + LOOK_INTERVAL;
        }
        if agent.log.borrow().expects_repeats() {
            due = due.min(Instant::now() + REPEATS_INTERVAL);
        }
        let ready = tokio::select! {
            // Repetitions come after what they repeat.
            biased;
            ready = ring.readable_mut() => ready,
            () = tokio::time::sleep_until(due) => continue,
        };
        let mut ready = match ready {
            Ok(ready) => ready,
            Err(error) => return log::error!("events can't be read: {error}"),
        };
        let mut batch = 0;
        while let Some(item) = ready.get_inner_mut().next() {
            let Some(event) = stream::element(&item) else {
                log::warn!(
                    "an event of {} bytes is not of this agent's layout",
                    item.len()
                );
                continue;
            };
            drop(item);
            agent.log.borrow_mut().add(&event);
            batch += 1;
            if batch == BATCH {
                break;
            }
        }
        agent.backlog.set(batch == BATCH);
        if batch == BATCH {
            // There may be more, but others want their turn: events can come
            // faster than they are taken in.
            ready.retain_ready();
            drop(ready);
            tokio::task::yield_now().await;
        } else {
            ready.clear_ready();
        }
    }
}

/// Reads what became of listeners.
pub async fn destroyed(mut told: UnboundedReceiver<Told>, agent: Rc<Agent>) {
    while let Some((event, fate)) = told.recv().await {
        agent.log.borrow_mut().add_destroyed(&event, fate);
    }
}

/// Follows the files of jobs.
pub async fn executables(agent: Rc<Agent>) {
    loop {
        agent.executables.changed().await;
        agent.tend_executables();
    }
}

/// Hands what the programs say of themselves to the log.
pub async fn traces(traces: EbpfLogger<&'static dyn log::Log>) {
    let mut traces = match stream::watched(traces) {
        Ok(traces) => traces,
        Err(error) => return log::error!("traces can't be read: {error}"),
    };
    while let Ok(mut ready) = traces.readable_mut().await {
        ready.get_inner_mut().flush();
        ready.clear_ready();
    }
}
