//! A change that is taken back by itself unless somebody confirms it, so that nobody
//! locks himself out.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::{
    agent::{Agent, reply},
    change::Occasion,
    protocol::{PendingConfirm, Reply},
};
use crate::{
    files::hex,
    policy::{build::Policy, pairs},
    state::Moment,
};

/// How often it is looked, as long as there is something to look for.
const CONFIRM_INTERVAL: Duration = Duration::from_millis(250);

/// A change that waits to be confirmed.
pub struct Pending {
    /// The policy before it.
    pub back_to: Arc<Policy>,
    /// How long it waits.
    pub until: Moment,
}

impl Agent {
    /// The change in force is meant.
    pub fn confirm(&self) -> Reply {
        if self.pending.borrow().is_none() {
            return Reply::Failed("no change waits to be confirmed".into());
        }
        if let Err(error) = self.store.confirm() {
            return Reply::Failed(format!("{error}; the change still waits"));
        }
        self.pending.take();
        let generation = self.tables.borrow().active().generation();
        log::info!("generation {generation} is confirmed");
        reply(&json!({ "generation": generation }))
    }

    /// Returns when it is to be looked whether a change should have been confirmed by now,
    /// and whether watched files waited for that: again and again as long as there is
    /// anything to wait for, and else not at all.
    pub async fn deadline(&self) {
        while self.pending.borrow().is_none() && !self.files.is_due() {
            self.has_deadline.notified().await;
        }
        tokio::time::sleep(CONFIRM_INTERVAL).await;
    }

    /// Takes the change back that waits to be confirmed, if its time is over or `now`.
    pub fn tend_confirmation(&self, now: bool) {
        let is_due = |pending: &Pending| now || pending.until.left().is_zero();
        let back_to = match &*self.pending.borrow() {
            Some(pending) if is_due(pending) && !self.is_detached() => Arc::clone(&pending.back_to),
            _ => return,
        };
        let kept = pairs::kept(&self.policy(), &back_to);
        match self.publish(back_to, &kept, None, Occasion::TakenBack) {
            Ok(published) => {
                self.not_taken_back.take();
                log::warn!(
                    "the change was not confirmed and is taken back: generation {} is what was before it; the files still say otherwise",
                    published.active.generation()
                );
                self.log_contradictions();
                self.follow_files();
            }
            Err(error) => {
                // It is tried again soon, and said again when there is something new.
                let why = Some(error.to_string());
                if self.not_taken_back.replace(why.clone()) != why {
                    log::error!("the change was not confirmed, but can't be taken back: {error}");
                }
            }
        }
    }

    /// The change that waits to be confirmed, as it is reported.
    pub(super) fn pending_confirm(&self) -> Option<PendingConfirm> {
        let pending = self.pending.borrow();
        pending.as_ref().map(|pending| PendingConfirm {
            generation: self.tables.borrow().active().generation(),
            seconds_left: pending.until.left().as_secs(),
            back_to: hex(&pending.back_to.files.profile_hash()),
        })
    }
}
