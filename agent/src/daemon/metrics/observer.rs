//! What the thread that serves metrics knows, and how often it asks.

use std::{
    cell::RefCell,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use thiserror::Error;
use tokio::{
    sync::{Mutex, oneshot},
    task::{JoinError, spawn_blocking},
    time::timeout,
};

use super::{
    map::PortMap,
    snapshot::{Ask, Asks, Snapshot},
};
use crate::{
    kernel::executables::Executables,
    policy::{
        build::Policy,
        holdings::{self, Holding},
    },
    ports::{self, FixedListeners, Holder, HostListeners, Listener, Listeners as _, Socket},
};

/// How long the event loop may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How old what it told may be, however many ask.
const FRESH: Duration = Duration::from_millis(500);
/// How old what the kernel told of sockets may be.
const SOCKETS_FRESH: Duration = Duration::from_secs(2);
/// How often it is looked who has the sockets, though there are no others: one may have
/// been handed on, or its process have become another program.
const HOLDERS_FRESH: Duration = Duration::from_secs(30);

/// Why nothing can be told.
#[derive(Debug, Error)]
pub enum Unknown {
    /// The event loop is stuck, or the agent ends.
    #[error("the agent does not answer")]
    NoAnswer,
    /// It said so.
    #[error("{0}")]
    Failed(String),
}

/// What is known of the host's sockets.
pub struct Sockets {
    /// When that was.
    pub at: jiff::Timestamp,
    /// By which policy it was judged.
    pub policy: Arc<Policy>,
    /// Who has ports that it names; why the kernel doesn't tell.
    pub holdings: Result<Vec<Holding>, String>,
    /// What every port is.
    pub map: PortMap,
}

/// Asks, and remembers for a moment.
pub struct Observer {
    asks: Asks,
    snapshot: Mutex<Option<(Instant, Arc<Snapshot>)>>,
    events: Mutex<Option<(Instant, Arc<Vec<String>>)>>,
    sockets: Mutex<Option<(Instant, Arc<Sockets>)>>,
    listeners: RefCell<Arc<Known>>,
}

impl Observer {
    /// Asks by `asks`.
    pub fn new(asks: Asks) -> Self {
        Self {
            asks,
            snapshot: Mutex::default(),
            events: Mutex::default(),
            sockets: Mutex::default(),
            listeners: RefCell::default(),
        }
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Unknown> {
        let (answer, told) = oneshot::channel();
        let asked = async {
            self.asks.send(ask(answer)).await.ok()?;
            told.await.ok()
        };
        let told = timeout(PATIENCE, asked).await;
        told.ok().flatten().ok_or(Unknown::NoAnswer)
    }

    /// How things are.
    ///
    /// # Errors
    ///
    /// See [`Unknown`].
    pub async fn snapshot(&self) -> Result<Arc<Snapshot>, Unknown> {
        let mut known = self.snapshot.lock().await;
        if let Some((at, snapshot)) = &*known
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(snapshot));
        }
        let told = self.ask(Ask::Snapshot).await?;
        let snapshot = Arc::new(told.map_err(Unknown::Failed)?);
        *known = Some((Instant::now(), Arc::clone(&snapshot)));
        Ok(snapshot)
    }

    /// The events that are kept, as lines of JSON, oldest first.
    ///
    /// # Errors
    ///
    /// See [`Unknown`].
    pub async fn events(&self) -> Result<Arc<Vec<String>>, Unknown> {
        let mut known = self.events.lock().await;
        if let Some((at, events)) = &*known
            && at.elapsed() < FRESH
        {
            return Ok(Arc::clone(events));
        }
        let events = Arc::new(self.ask(Ask::Events).await?);
        *known = Some((Instant::now(), Arc::clone(&events)));
        Ok(events)
    }

    /// The host's sockets, judged by the policy of `snapshot`.
    ///
    /// # Errors
    ///
    /// [`Unknown::Failed`] if that could not be worked out at all.
    pub async fn sockets(&self, snapshot: &Snapshot) -> Result<Arc<Sockets>, Unknown> {
        let mut known = self.sockets.lock().await;
        if let Some((at, sockets)) = &*known
            && at.elapsed() < SOCKETS_FRESH
            && Arc::ptr_eq(&sockets.policy, &snapshot.policy)
        {
            return Ok(Arc::clone(sockets));
        }
        let before = Arc::clone(&self.listeners.borrow());
        let policy = Arc::clone(&snapshot.policy);
        let executables = snapshot.executables.clone();
        let looked = spawn_blocking(move || look(&before, policy, &executables)).await;
        let (listeners, sockets) = looked.map_err(|error: JoinError| {
            log::error!("metrics: the host's sockets can't be looked at: {error}");
            Unknown::Failed("the host's sockets can't be looked at".into())
        })?;
        self.listeners.replace(Arc::new(listeners));
        let sockets = Arc::new(sockets);
        *known = Some((Instant::now(), Arc::clone(&sockets)));
        Ok(sockets)
    }
}

/// The sockets of the host, and who was found to have them.
#[derive(Default)]
struct Known {
    sockets: Vec<Socket>,
    listeners: Vec<Listener>,
    at: Option<Instant>,
}

impl Known {
    /// Every process is looked at only if there are other sockets than `before`, or some
    /// time has passed.
    fn after(before: &Self) -> io::Result<Self> {
        let sockets = ports::bound()?;
        let is_recent = before.at.is_some_and(|at| at.elapsed() < HOLDERS_FRESH);
        if is_recent && sockets == before.sockets {
            return Ok(Self {
                sockets,
                listeners: before.listeners.clone(),
                at: before.at,
            });
        }
        Ok(Self {
            sockets,
            listeners: HostListeners.of(&|_| true)?,
            at: Some(Instant::now()),
        })
    }
}

fn look(before: &Known, policy: Arc<Policy>, executables: &Executables) -> (Known, Sockets) {
    let exe_of = |holder: &Holder| -> Option<PathBuf> {
        let file = format!("/proc/{}/exe", holder.pid);
        executables.path_of(Path::new(&file)).map(Path::to_owned)
    };
    let looked = Known::after(before).and_then(|known| {
        let listeners = FixedListeners(known.listeners.clone());
        let holdings = holdings::of(&policy, &listeners, exe_of)?;
        Ok((known, holdings))
    });
    let (known, holdings) = match looked {
        Ok((known, holdings)) => (known, Ok(holdings)),
        Err(error) => (Known::default(), Err(error.to_string())),
    };
    let held = holdings.as_deref().unwrap_or_default();
    let map = PortMap::new(&policy, held, &known.sockets);
    let sockets = Sockets {
        at: jiff::Timestamp::now(),
        policy,
        holdings,
        map,
    };
    (known, sockets)
}
