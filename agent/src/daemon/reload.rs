//! Policies that somebody wants: what is read again, or on top of what is in force, is
//! compared with that and takes its place, unless it has errors.

use std::{
    cell::RefCell,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    agent::{Agent, reply},
    change::{ChangeError, Occasion},
    protocol::{Reloaded, Reply, Took},
};
use crate::{
    diagnostics::{json, render},
    kernel::{KernelError, tables::Published},
    policy::{
        build::Policy,
        diff::Diff,
        identity::exes::Presence,
        pairs::{Pairs, Stretch},
        source::Outcome,
    },
    profile::ReadError,
    state::Moment,
};

/// How a change is to be made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// Only say what would change.
    pub dry_run: bool,
    /// Take it back after this time, unless it is confirmed.
    pub confirm: Option<Duration>,
    /// Diagnostics are rendered with colour.
    pub color: bool,
}

impl Agent {
    /// Reads profile and config again and puts them in force.
    pub fn reload(&self, manner: Manner) -> Reply {
        let changes = self.policy();
        let dropped = changes.files.changed_by();
        let dropped = dropped.map(|path| path.display().to_string()).collect();
        let seen = RefCell::default();
        let outcome = self.source.read_noting(&Presence, &seen);
        if manner.dry_run {
            return self.replace(outcome, dropped, manner);
        }
        self.files.note(seen.into_inner());
        let reply = self.replace(outcome, dropped, manner);
        self.files.settle(why_refused(&reply));
        self.follow_files();
        reply
    }

    /// Puts the change file `file` on top of the policy in force; it stays there until
    /// the next reload (`OBY-01`, `OBY-03`).
    pub fn obey(&self, file: &Path, manner: Manner) -> Reply {
        let outcome = self.source.obey(&self.policy().files, file, &Presence);
        let reply = self.replace(outcome, Vec::new(), manner);
        if let Reply::Done(done) = &reply
            && done["applied"] == true
        {
            let (file, generation) = (file.display(), &done["generation"]);
            log::info!("obeyed {file} until the next reload: generation {generation}");
        }
        reply
    }

    /// Puts in force what was read, unless it has errors or it is only to be told.
    fn replace(
        &self,
        outcome: Result<Outcome, ReadError>,
        dropped: Vec<String>,
        manner: Manner,
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
            rendered: render::all(&outcome.diagnostics, outcome.sources(), manner.color),
            refused: None,
            confirm_within: None,
            took: None,
        };
        let new = match outcome.policy {
            Ok(new) => Arc::new(new),
            Err(_) => {
                reloaded.refused = Some("there are errors in what was read".into());
                return reply(&reloaded);
            }
        };
        let old = self.policy();
        let making = new.making;
        let comparing = Instant::now();
        let pairs = Pairs::of(&old.reservations, &new.reservations);
        let mut took = Took {
            parse: microseconds(making.parse),
            resolve: microseconds(making.resolve),
            compile: microseconds(making.compile),
            compare: microseconds(comparing.elapsed()),
            ..Took::default()
        };
        if new.config.scope != old.config.scope {
            reloaded.refused =
                Some("scope.netns differs; it is read at start only, so restart the agent".into());
        } else if new.config.log != old.config.log || new.config.privileges != old.config.privileges
        {
            reloaded.refused = Some(
                "[log] or [privileges] differs; they are read at start only, so restart the agent"
                    .into(),
            );
        } else if !manner.dry_run {
            let changing = Instant::now();
            let kept = pairs.stretches(&old, &new);
            match self.change(Arc::clone(&new), &kept, manner.confirm) {
                Ok(published) => {
                    took.add(changing, &published);
                    reloaded.applied = true;
                    reloaded.generation = published.active.generation();
                    reloaded.confirm_within = manner.confirm.map(|within| within.as_secs());
                }
                Err(error) => reloaded.refused = Some(error.to_string()),
            }
        }
        // Nobody's bind waits for what is only told.
        let telling = Instant::now();
        reloaded.diff = Diff::of(&pairs, &old, &new);
        took.tell = microseconds(telling.elapsed());
        self.has_leftovers.set(true);
        reloaded.took = Some(took);
        reply(&reloaded)
    }

    /// Puts `new` in force, where what is `kept` goes on, to be confirmed `within` a time
    /// if there is one.
    fn change(
        &self,
        new: Arc<Policy>,
        kept: &[Stretch],
        within: Option<Duration>,
    ) -> Result<Published, ChangeError> {
        let until = within.map(Moment::after).transpose();
        let until = until.map_err(KernelError::io(
            "can't tell how long to wait for the confirmation",
        ))?;
        self.publish(new, kept, until, Occasion::Wanted)
    }
}

impl Took {
    /// Adds the steps of a change that began at `began` and was `published`.
    fn add(&mut self, began: Instant, published: &Published) {
        let waiting = published.waited + published.grace;
        let before = published.at.saturating_duration_since(began);
        let before = before.saturating_sub(published.waited + published.fill);
        let behind = published.at.elapsed().saturating_sub(published.grace);
        self.remember = microseconds(before);
        self.fill = microseconds(published.fill);
        self.grace = microseconds(waiting);
        self.settle = microseconds(behind);
    }
}

/// Why a reload was not applied, in one sentence; `None` if it was.
fn why_refused(reply: &Reply) -> Option<String> {
    let done = match reply {
        Reply::Failed(why) => return Some(why.clone()),
        Reply::Done(done) => done,
    };
    let why = done["refused"].as_str()?;
    let is_error = |said: &&serde_json::Value| said["severity"] == "error";
    let mut said = done["diagnostics"].as_array().into_iter().flatten();
    let first = said.find(is_error);
    let place = |said: &serde_json::Value| {
        let text = |field: &str| said[field].as_str().unwrap_or_default().to_owned();
        let line = said["line"]
            .as_u64()
            .map_or_else(String::new, |line| format!(":{line}"));
        format!(
            "{}{line}: {} ({})",
            text("file"),
            text("message"),
            text("code")
        )
    };
    Some(match first {
        Some(first) => format!("{why}, the first is {}", place(first)),
        None => why.to_owned(),
    })
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
