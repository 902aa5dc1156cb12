//! The thread that talks to the master.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    rc::Rc,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use portreeve_common::abi::Mode;
use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinHandle, spawn_local},
    time::{sleep, sleep_until, timeout},
};

use super::told::{Line, values};
use crate::{
    config::Master,
    daemon::{
        metrics::{Asks, Observer, Unknown},
        worker::Worker,
    },
    oid::Oid,
    snmp::{
        agentx::{Body, Message},
        connection::Connection,
        mib::{Facts, View},
        notices::Notices,
        session::{End, PATIENCE, Session},
    },
};

/// How long it is waited before the first and before the later attempts to reach a master.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];
/// How long a manager waits for answers that are not too old. Then he gets those there are.
const FRESH_WITHIN: Duration = Duration::from_millis(300);
/// How long the last word of a session may take.
const FAREWELL: Duration = Duration::from_millis(200);

/// How a subagent is to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the master is.
    pub master: Master,
    /// What the module is below.
    pub base: Oid,
    /// How old answers may be.
    pub cache: Duration,
    /// How long a port must be so to be told of.
    pub hold_down: Duration,
}

/// How a subagent is.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Managers can ask.
    pub is_registered: bool,
    /// Why they can't.
    pub problem: Option<String>,
    /// How many notifications were sent.
    pub notifications: u64,
}

/// How the subagent is, as it was told last.
pub fn look(health: &Mutex<Health>) -> MutexGuard<'_, Health> {
    health.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a subagent that asks by `asks`, is told by `told`, and says how it is in `health`.
///
/// # Errors
///
/// See [`Worker::start`].
pub fn start(
    settings: Settings,
    asks: Asks,
    told: mpsc::Receiver<Line>,
    health: Arc<Mutex<Health>>,
) -> io::Result<Worker> {
    Worker::start("snmp", move |stopped| async move {
        let observer = Rc::new(Observer::new(asks));
        let mut subagent = Subagent {
            notices: Notices::new(settings.hold_down, Instant::now()),
            settings,
            answers: Answers {
                observer,
                view: None,
                coming: None,
            },
            told,
            health,
        };
        subagent.run(stopped).await;
    })
}

struct Subagent {
    settings: Settings,
    notices: Notices,
    answers: Answers,
    told: mpsc::Receiver<Line>,
    health: Arc<Mutex<Health>>,
}

/// Why a connection is over.
enum Over {
    /// The agent ends, or wants another subagent.
    Stopped,
    /// Something is wrong.
    Failed(String),
}

impl From<End> for Over {
    fn from(end: End) -> Self {
        Self::Failed(end.to_string())
    }
}

impl Subagent {
    async fn run(&mut self, mut stopped: oneshot::Receiver<Infallible>) {
        let [first, longest] = PAUSES;
        let mut pause = first;
        loop {
            let over = self.converse(&mut stopped).await;
            self.notices.set_connected(false);
            let Over::Failed(why) = over else { return };
            let before = self.change(|health| {
                let before = health.clone();
                health.is_registered = false;
                health.problem = Some(why.clone());
                before
            });
            if before.is_registered {
                pause = first;
            }
            // A host without an SNMP agent is no news each time.
            if before.problem.as_ref() != Some(&why) {
                log::info!(
                    "SNMP: {why}; it is tried again, every {} s at last",
                    longest.as_secs()
                );
            }
            tokio::select! {
                _ = &mut stopped => return,
                () = self.listen_for(pause) => {}
            }
            pause = (pause * 2).min(longest);
        }
    }

    /// Takes in what is told for so long: what ports become is told later.
    async fn listen_for(&mut self, time: Duration) {
        let over = sleep(time);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return,
                line = self.told.recv() => match line {
                    Some(line) => self.note(&line),
                    None => return over.await,
                },
            }
        }
    }

    fn note(&mut self, line: &Line) {
        if let Some((_, view)) = &self.answers.view {
            line.note(view.policy(), &mut self.notices, Instant::now());
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut Health) -> T) -> T {
        change(&mut look(&self.health))
    }

    async fn converse(&mut self, stopped: &mut oneshot::Receiver<Infallible>) -> Over {
        let failed =
            |what: &str, why: &dyn std::fmt::Display| Over::Failed(format!("{what}: {why}"));
        let place = self.settings.master.to_string();
        let connected = tokio::select! {
            _ = &mut *stopped => return Over::Stopped,
            connected = timeout(PATIENCE, Connection::open(&self.settings.master)) => connected,
        };
        let mut connection = match connected {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return failed(&format!("no SNMP agent at {place}"), &error),
            Err(_) => return Over::Failed(format!("no SNMP agent answers at {place}")),
        };
        // Before anybody asks there is something to say.
        let known = tokio::select! {
            _ = &mut *stopped => return Over::Stopped,
            known = self.answers.first(&self.settings) => known,
        };
        if let Err(why) = known {
            return Over::Failed(why.to_string());
        }
        let (mut session, open) = Session::begin(self.settings.base.clone(), Instant::now());
        let talk = async {
            send(&mut connection, &open).await?;
            loop {
                self.step(&mut connection, &mut session).await?;
            }
        };
        let over: Result<Infallible, Over> = tokio::select! {
            _ = &mut *stopped => Err(Over::Stopped),
            over = talk => over,
        };
        let Err(over) = over;
        if matches!(over, Over::Stopped) {
            // It finds out by itself, if it is busy.
            let _ = timeout(FAREWELL, connection.send(&session.close())).await;
        }
        over
    }

    /// Waits for the next thing to happen, and does what is to be done then.
    async fn step(
        &mut self,
        connection: &mut Connection,
        session: &mut Session,
    ) -> Result<(), Over> {
        let due = [Some(session.due()), self.notices.due()];
        let due = due.into_iter().flatten().min().unwrap_or_else(Instant::now);
        let mut out = Vec::new();
        tokio::select! {
            message = connection.receive() => {
                let message = message.map_err(|error| Over::Failed(match error.kind() {
                    io::ErrorKind::UnexpectedEof => "the SNMP agent has hung up".to_owned(),
                    _ => format!("the SNMP agent can't be understood: {error}"),
                }))?;
                if asks(&message) {
                    let uptime = session.uptime(Instant::now());
                    self.answers.freshen(&self.settings, uptime).await;
                }
                if let Some((_, view)) = &self.answers.view {
                    out.extend(session.take(&message, view, Instant::now())?);
                }
                let is_registered = session.is_registered();
                if is_registered && !self.change(|health| health.is_registered) {
                    self.greet();
                }
            }
            line = self.told.recv() => match line {
                Some(line) => self.note(&line),
                None => return Err(Over::Stopped),
            },
            () = sleep_until(due.into()) => {}
        }
        let now = Instant::now();
        out.extend(session.tick(now)?);
        for notice in self.notices.take(now) {
            if let Some((_, view)) = &self.answers.view {
                let values = values(&notice, &self.settings.base, view.policy());
                out.push(session.notify(values, now));
                self.change(|health| health.notifications += 1);
            }
        }
        for message in &out {
            send(connection, message).await?;
        }
        Ok(())
    }

    /// Managers can ask from now on.
    fn greet(&mut self) {
        self.notices.set_connected(true);
        self.change(|health| {
            health.is_registered = true;
            health.problem = None;
        });
        log::info!(
            "SNMP: {} are answered for the agent at {}",
            self.settings.base,
            self.settings.master
        );
    }
}

/// Whether a manager wants to know something.
const fn asks(message: &Message) -> bool {
    matches!(
        message.body,
        Body::Get(_) | Body::GetNext(_) | Body::GetBulk { .. }
    )
}

async fn send(connection: &mut Connection, message: &Message) -> Result<(), Over> {
    match timeout(PATIENCE, connection.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Over::Failed(format!("the SNMP agent has hung up: {error}"))),
        Err(_) => Err(Over::from(End::Silent)),
    }
}

/// What managers are answered from.
struct Answers {
    observer: Rc<Observer>,
    /// It, and when it was made.
    view: Option<(Instant, View)>,
    /// The next one, on its way.
    coming: Option<JoinHandle<Result<View, Unknown>>>,
}

impl Answers {
    /// Gets what there has to be before anybody may ask.
    async fn first(&mut self, settings: &Settings) -> Result<(), Unknown> {
        let view = view(Rc::clone(&self.observer), settings.base.clone(), 0).await?;
        self.view = Some((Instant::now(), view));
        Ok(())
    }

    /// Gets newer ones if those there are are too old, unless that takes too long: then the
    /// next who asks gets them. `uptime` is the master's.
    async fn freshen(&mut self, settings: &Settings, uptime: u32) {
        let is_fresh = |(made, _): &(Instant, View)| made.elapsed() < settings.cache;
        if self.view.as_ref().is_some_and(is_fresh) {
            return;
        }
        let (observer, base) = (Rc::clone(&self.observer), settings.base.clone());
        let coming = self
            .coming
            .get_or_insert_with(|| spawn_local(view(observer, base, uptime)));
        let Ok(come) = timeout(FRESH_WITHIN, &mut *coming).await else {
            return;
        };
        self.coming = None;
        match come {
            Ok(Ok(view)) => self.view = Some((Instant::now(), view)),
            Ok(Err(error)) => log::warn!("SNMP: managers get old answers: {error}"),
            Err(error) => log::error!("SNMP: managers get old answers: {error}"),
        }
    }
}

/// How things are, when the master's `sysUpTime` is `uptime`.
async fn view(observer: Rc<Observer>, base: Oid, uptime: u32) -> Result<View, Unknown> {
    let snapshot = observer.snapshot().await?;
    let sockets = observer.sockets(&snapshot).await?;
    let mut judged = HashMap::new();
    for one in &snapshot.judged {
        let counts: &mut [u64; 2] = judged.entry(one.reason).or_default();
        counts[usize::from(one.mode == Mode::Audit)] += one.count;
    }
    let status = &snapshot.status;
    let published = status.profile.published.parse::<jiff::Timestamp>();
    let since = published.map_or(0, |at| {
        jiff::Timestamp::now().duration_since(at).as_millis() / 10
    });
    let facts = Facts {
        policy: Arc::clone(&snapshot.policy),
        mode: match status.mode.as_str() {
            "enforce" => Some(Mode::Enforce),
            "audit" => Some(Mode::Audit),
            _ => None,
        },
        generation: status.generation,
        last_change: uptime.saturating_sub(u32::try_from(since).unwrap_or(u32::MAX)),
        judged,
        refusals: &snapshot.refusals,
        holdings: sockets.holdings.as_deref().ok(),
    };
    Ok(View::new(base, facts))
}
