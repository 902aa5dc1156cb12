//! Watching who has which port: the kernel tells, the register knows, what becomes of each
//! port is news.
//!
//! Looks at the kernel's own list are the exception: to begin with, when a policy comes into
//! force or something was lost, and every five minutes as proof. What a look finds to be
//! otherwise must be so at a second one a moment later, because a list that is being read
//! and events that are under way can't agree about what changes in between.

mod looks;
mod news;
mod states;

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    io,
    path::PathBuf,
    rc::Rc,
    time::Duration,
};

use aya::maps::{MapData, RingBuf};
use portreeve_common::abi::Protocol;
use tokio::{io::unix::AsyncFd, sync::Notify, time::Instant};

use self::{looks::Looks, states::States};
use super::{
    agent::{Agent, reply},
    alerts::Alerts,
    events::{Cgroups, KEPT, Stream, wall_clock},
    history::History,
    protocol::{Reply, WatchStatus, WatchedSocket},
};
use crate::{
    kernel::{load::Kernel, pool::settings_without_ours, stream, watch::Watch},
    policy::bits::PortBits,
    ports::{
        self, Socket,
        register::{self, Register, Tracked},
    },
};

/// Events that are taken in before others get their turn.
const BATCH: usize = 512;
/// How long what comes after an event is left in the ring, to be taken in at once.
const REST: Duration = Duration::from_millis(3);
/// How long somebody waits who asks whether all is known.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked meanwhile whether it is.
const STEP: Duration = Duration::from_millis(20);
/// Ports whose state is told before others get their turn.
const PORTS_AT_ONCE: usize = 64;

/// What is known of who has which port.
pub struct PortWatch {
    /// The sockets.
    pub register: RefCell<Register>,
    tracked: RefCell<Tracked>,
    /// What the ports are.
    states: RefCell<States>,
    /// What was there before anybody watched is known.
    is_settled: Cell<bool>,
    /// Which ports are not as expected.
    alerts: RefCell<Alerts>,
    /// The last changes of each.
    pub history: RefCell<History>,
    /// What was told of them lately, and who waits for more.
    pub news: RefCell<Stream>,
    /// The cgroups of those who bound them.
    cgroups: RefCell<Cgroups>,
    /// When the kernel's list is to be looked at.
    looks: RefCell<Looks>,
    /// It is to be looked at soon.
    look_soon: Notify,
    /// How often the ring had no room, as far as that is known.
    lost: Cell<u64>,
    /// Why nothing is watched, or not all.
    problem: RefCell<Option<String>>,
}

impl PortWatch {
    /// Nothing is known yet. The root of the cgroup v2 hierarchy is at `hierarchy`.
    pub fn new(hierarchy: Option<PathBuf>) -> Self {
        Self {
            register: RefCell::default(),
            tracked: RefCell::default(),
            states: RefCell::default(),
            is_settled: Cell::new(false),
            alerts: RefCell::new(Alerts::new(Duration::ZERO)),
            history: RefCell::default(),
            news: RefCell::new(Stream::new(KEPT)),
            cgroups: RefCell::new(Cgroups::new(hierarchy)),
            looks: RefCell::new(Looks::new(Instant::now())),
            look_soon: Notify::new(),
            lost: Cell::new(0),
            problem: RefCell::default(),
        }
    }

    /// Something may have happened that was not told: it is looked for.
    pub fn expect_lost(&self) {
        self.looks.borrow_mut().expect_lost(Instant::now());
        self.look_soon.notify_one();
    }
}

impl Agent {
    /// Lets the kernel tell the sockets of every port that the policy in force is about, and
    /// UDP's of every one that it doesn't hand out itself: those are open as soon as they are
    /// bound. TCP's of other ports are told when they listen, so that binds which come to
    /// nothing are free. What that leaves unknown is looked for.
    pub fn track_ports(&self) {
        let host = settings_without_ours(&self.source.bpffs);
        let handed_out = host.ephemeral.into_iter().collect::<PortBits>();
        let all = PortBits::from_iter([(1, u16::MAX)]);
        let policy = self.policy();
        let kept = policy.pool.kept.as_ref();
        let ports = Protocol::ALL.map(|protocol| {
            let of_protocol = policy.expected.ports().filter(|(of, _)| *of == protocol);
            let expected: PortBits = of_protocol.map(|(_, port)| (port, port)).collect();
            let named = policy.named_ports(protocol).or(&expected);
            match protocol {
                Protocol::Tcp => named,
                Protocol::Udp => all.minus(&handed_out).or(&named),
            }
        });
        let kept_out = match kept {
            Some(kept) => host.kept_out.or(&kept.ports),
            None => host.kept_out,
        };
        let tracked = Tracked {
            ports,
            handed_out: handed_out.minus(&kept_out),
        };
        if let Some(kernel) = self.kernel.borrow().as_ref()
            && let Ok(watch) = &kernel.watch
        {
            watch.track(&tracked.ports);
        }
        let mut register = self.watch.register.borrow_mut();
        register.forget_untracked(&tracked);
        *self.watch.tracked.borrow_mut() = tracked;
        // Whoever has a port may have another right to it now.
        let mut alerts = self.watch.alerts.borrow_mut();
        alerts.set_hold_down(policy.config.watch.hold_down);
        let expected = alerts.ports().chain(policy.expected.ports());
        self.watch
            .states
            .borrow_mut()
            .judge_all(&register, expected);
        self.watch.looks.borrow_mut().expect_news(Instant::now());
        self.watch.look_soon.notify_one();
    }

    /// The sockets that are known to have a port. With `look` it is looked first whether
    /// those are all.
    pub(super) async fn watched(&self, look: bool) -> Reply {
        let watch = &self.watch;
        let before = watch.looks.borrow().proofs();
        let until = Instant::now() + PATIENCE;
        while look && watch.looks.borrow().proofs() == before {
            if Instant::now() > until {
                return Reply::Failed(
                    "sockets come and go too fast to prove that all are known".into(),
                );
            }
            watch.looks.borrow_mut().hurry(Instant::now());
            watch.look_soon.notify_one();
            tokio::time::sleep(STEP).await;
        }
        let register = watch.register.borrow();
        let sockets = register.sockets().map(|(inode, held)| {
            let (protocol, port) = held.port;
            let binder = held.binder.as_ref();
            WatchedSocket {
                protocol: protocol.name().to_owned(),
                port,
                address: held.address.to_string(),
                listens: held.listens,
                inode,
                pid: binder.map(|binder| binder.pid),
                since: binder.map(|binder| wall_clock(binder.at)),
            }
        });
        reply(&sockets.collect::<Vec<_>>())
    }

    /// How watching goes.
    pub(super) fn watch_status(&self) -> WatchStatus {
        let watch = &self.watch;
        WatchStatus {
            sockets: watch.register.borrow().len(),
            lost: watch.lost.get(),
            mistakes: watch.looks.borrow().mistakes(),
            looked_at: watch.looks.borrow().looked_at(),
            alerts: watch.raised(),
        }
    }

    /// What a status says is missing of the watch.
    pub(super) fn watch_problem(&self) -> Option<String> {
        let (problem, looks) = (self.watch.problem.borrow(), self.watch.looks.borrow());
        let why = problem.as_ref().or_else(|| looks.problem())?;
        Some(format!(
            "watch: who has which port is only seen every {} s and when asked, not as it happens: {why}",
            looks::POLL_INTERVAL.as_secs()
        ))
    }

    /// Takes in what became of a socket.
    fn take_in_watched(&self, item: &[u8]) {
        if let Some(event) = stream::element(item) {
            let mut register = self.watch.register.borrow_mut();
            register.apply(&event, &self.watch.tracked.borrow());
        }
    }

    /// Whether the ring had no room since this was asked last.
    fn has_lost(&self) -> bool {
        let kernel = self.kernel.borrow();
        let watch = kernel
            .as_ref()
            .and_then(|kernel: &Kernel| kernel.watch.as_ref().ok());
        match watch.map(Watch::lost) {
            Some(Ok(lost)) => self.watch.lost.replace(lost) != lost,
            Some(Err(_)) | None => false,
        }
    }
}

/// Watches, by what the kernel writes into `ring`; without it by looks alone.
pub async fn follow(ring: Option<RingBuf<MapData>>, agent: Rc<Agent>) {
    let mut ring = match ring.map(stream::watched).transpose() {
        Ok(ring) => ring,
        Err(error) => {
            *agent.watch.problem.borrow_mut() = Some(error.to_string());
            None
        }
    };
    if let Some(kernel) = agent.kernel.borrow().as_ref()
        && let Err(why) = &kernel.watch
    {
        *agent.watch.problem.borrow_mut() = Some(why.clone());
    }
    loop {
        let due = agent.watch.looks.borrow().due();
        let alert = agent.watch.next_alert();
        tokio::select! {
            ready = readable(&mut ring) => if let Err(error) = ready {
                *agent.watch.problem.borrow_mut() = Some(error.to_string());
                ring = None;
            },
            () = agent.watch.look_soon.notified() => {}
            () = tokio::time::sleep_until(due) => look(&mut ring, &agent).await,
            () = wait(alert) => agent.tend_alerts(),
        }
        rest(&mut ring, &agent).await;
        drain(&mut ring, &agent).await;
        while agent.tell_ports(PORTS_AT_ONCE) {
            tokio::task::yield_now().await;
        }
        if agent.watch.looks.borrow().looked_at().is_some() {
            agent.watch.is_settled.set(true);
        }
    }
}

/// Waits for that time; without one for ever.
async fn wait(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// Waits until there is something in `ring`; without one for ever.
async fn readable(ring: &mut Option<AsyncFd<RingBuf<MapData>>>) -> io::Result<()> {
    match ring {
        Some(ring) => {
            ring.readable_mut().await?.clear_ready();
            Ok(())
        }
        None => std::future::pending().await,
    }
}

/// Takes in what is first in `ring`, and gives it back a moment later. Until then whoever
/// binds or closes wakes nobody: the kernel does so only where all before is given back. To
/// be woken for each would cost them more than everything else that is done.
async fn rest(ring: &mut Option<AsyncFd<RingBuf<MapData>>>, agent: &Agent) {
    let first = ring.as_mut().and_then(|ring| ring.get_mut().next());
    if let Some(item) = first {
        agent.take_in_watched(&item);
        tokio::time::sleep(REST).await;
    }
}

/// Takes in all that is in `ring`.
async fn drain(ring: &mut Option<AsyncFd<RingBuf<MapData>>>, agent: &Agent) {
    let Some(ring) = ring else {
        return;
    };
    while take_in(ring.get_mut(), agent) {
        tokio::task::yield_now().await;
    }
    if agent.has_lost() {
        agent.watch.looks.borrow_mut().expect_lost(Instant::now());
    } else if agent.watch.register.borrow().needs_look() {
        agent.watch.looks.borrow_mut().expect_news(Instant::now());
    }
}

/// Takes in what is in `ring`; `true` if there may be more.
fn take_in(ring: &mut RingBuf<MapData>, agent: &Agent) -> bool {
    for _ in 0..BATCH {
        let Some(item) = ring.next() else {
            return false;
        };
        agent.take_in_watched(&item);
    }
    true
}

/// Looks at the kernel's list.
async fn look(ring: &mut Option<AsyncFd<RingBuf<MapData>>>, agent: &Agent) {
    // What happened before is no news.
    drain(ring, agent).await;
    let watch = &agent.watch;
    watch.looks.borrow().begin(&mut watch.register.borrow_mut());
    let listed = ports::bound().and_then(|mut found| {
        found.extend(unlisted(agent, &found)?);
        Ok(found)
    });
    let found = match listed {
        Ok(found) => found,
        Err(error) => {
            watch.looks.borrow_mut().failed(&error, Instant::now());
            return;
        }
    };
    // What happened meanwhile is newer than the list.
    drain(ring, agent).await;
    let mut register = watch.register.borrow_mut();
    let tracked = watch.tracked.borrow();
    let mut looks = watch.looks.borrow_mut();
    looks.take_in(
        &found,
        &mut register,
        &tracked,
        [ring.is_some(), finds_bound(agent)],
        Instant::now(),
    );
}

/// Whether [`unlisted`] can find any.
fn finds_bound(agent: &Agent) -> bool {
    let kernel = agent.kernel.borrow();
    let watch = kernel
        .as_ref()
        .and_then(|kernel| kernel.watch.as_ref().ok());
    watch.is_some_and(Watch::finds_bound)
}

/// TCP sockets that are bound and no more, where the kernel's list has none: those that are
/// not among `listed`.
fn unlisted(agent: &Agent, listed: &[Socket]) -> io::Result<Vec<Socket>> {
    let kernel = agent.kernel.borrow();
    let Some(Ok(watch)) = kernel.as_ref().map(|kernel| kernel.watch.as_ref()) else {
        return Ok(Vec::new());
    };
    let mut known: HashSet<u64> = listed.iter().map(|socket| socket.inode).collect();
    let mut found = watch.bound()?;
    // Several descriptors can be of one socket.
    found.retain(|socket| known.insert(socket.inode));
    Ok(found.iter().filter_map(register::socket).collect())
}
