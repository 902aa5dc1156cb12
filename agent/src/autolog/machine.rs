//! When a procedure is started and cancelled (port-control 5): one pure step from what is
//! seen to what is done.
//!
//! ```text
//! Begins --conditions missing--> Waits --they hold--+
//!   |                                               |
//!   +--not active--> START                          +--> as from Begins
//!   +--active at the start of the stack--> Drains --ended--> START
//!                                            +--time over--> CANCEL, then START
//! Runs --pass: a watched port lacks its socket--> CANCEL if active, then START
//! ```
//! A START comes only when the procedure was just seen not to be active, so there are never
//! two without an end between them.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How often an active procedure is looked at that is to end (`ALG-03`).
pub const POLL: Duration = Duration::from_secs(10);
/// How often the watched ports of a procedure are looked at (`ALG-13`).
pub const PASS: Duration = Duration::from_secs(300);
/// How often a procedure is looked at whose DELAYSTART waits.
pub const LOOK: Duration = Duration::from_secs(2);
/// How often it is said again that it waits.
pub const REMINDER: Duration = Duration::from_secs(300);
/// When a procedure is looked at that was just started: many end at once.
pub const SETTLE: Duration = Duration::from_secs(3);
/// After how many passes in a row that found a port missing it is said that starting the
/// procedure doesn't help.
pub const FRUITLESS: u32 = 3;
/// When to look at what nothing is to be done about.
const REST: Duration = Duration::from_secs(3600);

/// What AUTOLOG says of a procedure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// How long it has to end where it is active at the start.
    pub wait: Duration,
    /// Whether it is started and cancelled, or only watched.
    pub acts: bool,
}

/// Why a procedure is listed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The stack starts: what is active is left over (`ALG-01`).
    Stack,
    /// The list is new, or the agent is: what is active is let alone (`ALG-24`).
    Listed,
}

/// What is live on the watched ports of a procedure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Live {
    /// No port is watched (`ALG-18`).
    Unwatched,
    /// Every watched entry has its socket.
    All,
    /// These entries lack it.
    Missing(Vec<String>),
    /// It couldn't be told.
    Unknown,
}

/// What is seen of a procedure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Whether anything of it runs; `None` if that couldn't be told.
    pub active: Option<bool>,
    /// Its ports.
    pub live: Live,
    /// What its DELAYSTART waits for and isn't there.
    pub lacking: Vec<String>,
}

/// Why a procedure is started or cancelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It is listed.
    Listed,
    /// It was active when the stack started, and has ended (`ALG-04`).
    Ended,
    /// It was active when the stack started, and still is when its time is over (`ALG-05`).
    Lingers,
    /// These watched ports lack their socket.
    Missing(Vec<String>),
    /// An operator says so.
    Asked,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// START.
    Start(Cause),
    /// CANCEL.
    Cancel(Cause),
    /// Somebody is to be told.
    Tell(News),
}

/// What is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It waits for these conditions.
    Waits(Vec<String>),
    /// It is active, and has until then to end.
    Drains(Duration),
    /// It is active, and is let alone.
    LetAlone,
    /// It was started and isn't active any more.
    EndedAtOnce,
    /// It was cancelled and is still active.
    GoesOn,
    /// So many passes in a row found these ports missing.
    Fruitless(u32, Vec<String>),
    /// These ports are missing, and nothing is done about it.
    Missing(Vec<String>),
    /// All ports are there again.
    Back,
    /// It can't be seen, so nothing is done.
    Unseen,
}

/// What an operator may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wish {
    /// START, whatever it waits for.
    Start,
    /// CANCEL, and don't start it again.
    Stop,
    /// Look at its ports now.
    Pass,
}

/// Where a procedure is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is to be started.
    Begins(Origin),
    /// It waits for the conditions of DELAYSTART, and that was said then.
    Waits(Origin, Instant),
    /// It was active at the start, and has until then to end.
    Drains(Instant),
    /// It was cancelled, to be started again; if it is still active then, it is cancelled
    /// again.
    Ends(Cause, Instant),
    /// It was started, or let alone.
    Runs,
    /// An operator wants it started.
    Wanted,
    /// An operator wants it ended; it is cancelled again if it is still active then.
    Stops(Instant),
    /// An operator has stopped it.
    Stopped,
}

impl Phase {
    /// Its name, as it is shown.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Begins(_) | Self::Wanted => "starting",
            Self::Waits(..) => "delayed",
            Self::Drains(_) => "draining",
            Self::Ends(..) => "cancelling",
            Self::Runs => "running",
            Self::Stops(_) => "stopping",
            Self::Stopped => "stopped",
        }
    }
}

/// All that is known of a procedure between two steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Where it is.
    pub phase: Phase,
    /// When the next step is due.
    pub due: Instant,
    /// When the next pass is.
    pub pass: Instant,
    /// Whether it was just started and not looked at since.
    fresh: bool,
    /// Passes in a row that found a port missing.
    pub fruitless: u32,
    /// Whether it was said that it can't be seen.
    unseen: bool,
}

impl State {
    /// A procedure that is listed `now`.
    pub const fn new(origin: Origin, now: Instant) -> Self {
        Self {
            phase: Phase::Begins(origin),
            due: now,
            pass: now,
            fresh: false,
            fruitless: 0,
            unseen: false,
        }
    }

    /// What an operator asks for, to be done in the next step, which is due `now`.
    pub fn ask(&mut self, wish: Wish, now: Instant) {
        match wish {
            Wish::Start => self.phase = Phase::Wanted,
            Wish::Stop => self.phase = Phase::Stops(now),
            Wish::Pass => self.pass = now,
        }
        self.due = now;
    }

    fn go(&mut self, phase: Phase, due: Instant) {
        self.phase = phase;
        self.due = due;
    }

    fn start(&mut self, cause: Cause, now: Instant) -> Vec<Action> {
        self.go(Phase::Runs, now + SETTLE);
        self.pass = now + PASS;
        self.fresh = true;
        vec![Action::Start(cause)]
    }

    /// What is cancelled is looked at as soon as that is done.
    fn cancel(&mut self, cause: Cause, now: Instant) -> Vec<Action> {
        self.go(Phase::Ends(cause.clone(), now + POLL), now);
        vec![Action::Cancel(cause)]
    }

    fn let_alone(&mut self, now: Instant) -> Vec<Action> {
        self.pass = now + PASS;
        self.go(Phase::Runs, self.pass);
        self.fresh = false;
        vec![Action::Tell(News::LetAlone)]
    }

    /// Nothing is done about what can't be seen; that is said once.
    fn unseen(&mut self, now: Instant) -> Vec<Action> {
        self.due = now + POLL;
        match std::mem::replace(&mut self.unseen, true) {
            true => Vec::new(),
            false => vec![Action::Tell(News::Unseen)],
        }
    }
}

/// What becomes of `state`, and what is to be done in this order, where a procedure under
/// `rules` is `seen` like that `now`. The next step is due at [`State::due`], or when
/// what is to be done is done.
pub fn step(mut state: State, rules: Rules, seen: &Seen, now: Instant) -> (State, Vec<Action>) {
    let actions = match state.phase.clone() {
        _ if !rules.acts => watch_only(&mut state, seen, now),
        Phase::Begins(origin) => begin(&mut state, origin, None, rules, seen, now),
        Phase::Waits(origin, told) => begin(&mut state, origin, Some(told), rules, seen, now),
        Phase::Drains(until) => drain(&mut state, until, seen, now),
        Phase::Ends(cause, again) => end(&mut state, cause, again, seen, now),
        Phase::Runs => run(&mut state, seen, now),
        Phase::Wanted => match seen.active {
            Some(false) => state.start(Cause::Asked, now),
            Some(true) => state.let_alone(now),
            None => state.unseen(now),
        },
        Phase::Stops(again) => stop(&mut state, again, seen, now),
        Phase::Stopped => {
            state.due = now + REST;
            Vec::new()
        }
    };
    if seen.active.is_some() && seen.live != Live::Unknown {
        state.unseen = false;
    }
    (state, actions)
}

/// START, unless something of DELAYSTART is missing or the procedure is active. It was
/// `told` then that it waits.
fn begin(
    state: &mut State,
    origin: Origin,
    told: Option<Instant>,
    rules: Rules,
    seen: &Seen,
    now: Instant,
) -> Vec<Action> {
    if !seen.lacking.is_empty() {
        let again = told.is_none_or(|told| now >= told + REMINDER);
        let since = told.filter(|_| !again).unwrap_or(now);
        state.go(Phase::Waits(origin, since), now + LOOK);
        let news = || Action::Tell(News::Waits(seen.lacking.clone()));
        return again.then(news).into_iter().collect();
    }
    match (seen.active, origin) {
        (None, _) => state.unseen(now),
        (Some(false), _) => state.start(Cause::Listed, now),
        (Some(true), Origin::Listed) => state.let_alone(now),
        (Some(true), Origin::Stack) => {
            let until = now + rules.wait;
            let mut actions = drain(state, until, seen, now);
            if matches!(state.phase, Phase::Drains(_)) {
                actions.insert(0, Action::Tell(News::Drains(rules.wait)));
            }
            actions
        }
    }
}

/// A procedure from before that listens where it should is no left-over (A-14).
fn drain(state: &mut State, until: Instant, seen: &Seen, now: Instant) -> Vec<Action> {
    match seen.active {
        None => state.unseen(now),
        Some(false) => state.start(Cause::Ended, now),
        Some(true) if seen.live == Live::All => state.let_alone(now),
        Some(true) if now >= until && seen.live == Live::Unknown => state.unseen(now),
        Some(true) if now >= until => state.cancel(Cause::Lingers, now),
        Some(true) => {
            state.go(Phase::Drains(until), until.min(now + POLL));
            Vec::new()
        }
    }
}

/// START what was cancelled, when it has ended.
fn end(state: &mut State, cause: Cause, again: Instant, seen: &Seen, now: Instant) -> Vec<Action> {
    match seen.active {
        None => state.unseen(now),
        Some(false) => state.start(cause, now),
        Some(true) if now >= again => state.cancel(cause, now),
        Some(true) => {
            state.go(Phase::Ends(cause, again), again);
            vec![Action::Tell(News::GoesOn)]
        }
    }
}

fn stop(state: &mut State, again: Instant, seen: &Seen, now: Instant) -> Vec<Action> {
    match seen.active {
        None => state.unseen(now),
        Some(false) => {
            state.go(Phase::Stopped, now + REST);
            Vec::new()
        }
        Some(true) if now >= again => {
            state.go(Phase::Stops(now + POLL), now);
            vec![Action::Cancel(Cause::Asked)]
        }
        Some(true) => {
            state.go(Phase::Stops(again), again);
            vec![Action::Tell(News::GoesOn)]
        }
    }
}

/// The pass, if it is time for it.
fn run(state: &mut State, seen: &Seen, now: Instant) -> Vec<Action> {
    let mut actions = Vec::new();
    let is_fresh = std::mem::take(&mut state.fresh);
    if is_fresh && seen.active == Some(false) {
        actions.push(Action::Tell(News::EndedAtOnce));
    }
    if now < state.pass {
        state.due = state.pass;
        return actions;
    }
    state.pass = now + PASS;
    state.due = state.pass;
    let missing = match &seen.live {
        Live::Unwatched => return actions,
        Live::All => {
            state.fruitless = 0;
            return actions;
        }
        Live::Unknown => {
            state.pass = now + POLL;
            actions.extend(state.unseen(now));
            return actions;
        }
        Live::Missing(missing) => missing,
    };
    let Some(active) = seen.active else {
        state.pass = now + POLL;
        actions.extend(state.unseen(now));
        return actions;
    };
    state.fruitless += 1;
    if state.fruitless.is_multiple_of(FRUITLESS) {
        let news = News::Fruitless(state.fruitless, missing.clone());
        actions.push(Action::Tell(news));
    }
    let cause = Cause::Missing(missing.clone());
    actions.extend(match active {
        true => state.cancel(cause, now),
        false => state.start(cause, now),
    });
    actions
}

/// What is missing is said when it begins to be, and when it is over.
fn watch_only(state: &mut State, seen: &Seen, now: Instant) -> Vec<Action> {
    state.go(Phase::Runs, now + PASS);
    state.pass = state.due;
    let was = std::mem::take(&mut state.fruitless);
    let news = match &seen.live {
        Live::Unknown => {
            state.fruitless = was;
            return state.unseen(now);
        }
        Live::Missing(missing) => {
            state.fruitless = was + 1;
            (was == 0).then(|| News::Missing(missing.clone()))
        }
        Live::All | Live::Unwatched => (was > 0).then_some(News::Back),
    };
    news.map(Action::Tell).into_iter().collect()
}

#[cfg(test)]
mod tests;
