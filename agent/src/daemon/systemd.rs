//! What systemd is told of a service that is a unit of type `notify`.

use std::future::pending;

use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior};

/// When systemd is to be told that the loop goes round; `None` if it doesn't ask
/// (`WatchdogSec=`).
pub(super) fn watchdog() -> Option<Interval> {
    let limit = sd_notify::watchdog_enabled()?;
    let mut pings = tokio::time::interval(limit / 2);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    Some(pings)
}

/// Waits for the next time, if there is one.
pub(super) async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => pending().await,
    }
}

/// Tells systemd. Without it there is nobody to tell, which is no error.
pub(super) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::warn!("systemd could not be told how the agent is: {error}");
    }
}
