//! The agent's life: start up, prove, serve, end. Enforcement outlives it.

use std::{
    path::{Path, PathBuf},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use portreeve_common::abi::names;
use sd_notify::NotifyState;
use thiserror::Error;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
    task::LocalSet,
    time::{Instant, MissedTickBehavior},
};

use super::{
    agent::{Agent, KernelSide, own_netns, scope_netns},
    control, destroyer, events, intake,
    metrics::families,
    outputs,
    start::{Start, Why},
    systemd, watch,
};
use crate::{
    autolog::{machine::Origin, starter::Begun},
    kernel::{
        cgroup::AttachPoint,
        features::Features,
        load::{Kernel, Options, Up, take_away},
        pins::{Found, Pins},
        privileges::{self, capabilities::Plan},
    },
    policy::source::Source,
    report,
    state::Store,
};

/// How often the hooks are proven to be alive.
pub const PROOF_INTERVAL: Duration = Duration::from_secs(60);

/// How often the kernel's pool of ports, the executables of jobs and watched files are
/// looked at, whatever is told of them; and repeated refusals of which no event came.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How often files that name unknown users are tried again.
const FILES_INTERVAL: Duration = Duration::from_secs(5);

/// The hooks are attached, but don't do what was asked for.
#[derive(Debug, Error)]
#[error("the self-test failed, so nothing is claimed to be enforced: {0}")]
pub struct NotProven(String);

/// How the agent is to run.
pub struct RunOptions {
    /// Where the policy comes from, now and at each reload.
    pub source: Source,
    /// The policy to start with.
    pub start: Start,
    /// What starts the commands of procedures where no systemd does.
    pub starter: Option<Begun>,
    /// Where what is in force is remembered.
    pub store: Store,
    /// What the kernel has.
    pub features: Features,
    /// The cgroup to attach to; `None` for the root of the hierarchy.
    pub cgroup: Option<PathBuf>,
    /// The bpffs directory.
    pub bpffs: PathBuf,
    /// The control socket.
    pub socket: PathBuf,
    /// Whether events are printed, and so are to be told before the agent ends.
    pub prints: bool,
    /// What it keeps of its privileges.
    pub plan: Plan,
    /// What can't be done for want of a capability.
    pub lacking: Vec<String>,
    /// Whether the programs write debug traces to the log.
    pub trace: bool,
}

/// Runs the agent until it is told to end.
///
/// # Errors
///
/// Why enforcement could not be had; then what was in force before still is.
pub fn run(options: RunOptions) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start the event loop")?;
    LocalSet::new().block_on(&runtime, main(options))
}

async fn main(options: RunOptions) -> Result<()> {
    let attach = AttachPoint::find(options.cgroup.as_deref())?;
    let pins = Pins::new(&options.bpffs);
    let features = options.features;
    let starter = options.starter.map(Begun::ready).transpose()?;
    let own_netns = own_netns()?;
    let scope_netns = scope_netns(options.start.policy.config.scope, own_netns);
    let began = events::since_boot();
    let (mut terminate, mut interrupt, mut hangup) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    );
    let up = Kernel::bring_up(&Options {
        attach: &attach,
        pins: &pins,
        scope_netns,
        own_netns,
        features,
        trace: options.trace,
    })?;
    let found = up.kernel.found.clone();
    let Up {
        kernel,
        tables,
        pool,
        identifier,
        events,
        watched,
        traces,
    } = up;
    let pinned = pins.clone();
    let mut undo = Undo((found == Found::Nothing).then_some(pins));
    let listener = control::listen(&options.socket)?;
    let side = KernelSide {
        kernel,
        tables,
        pool,
        identifier,
        attach,
    };
    let why = options.start.why;
    let (first, then) = match &found {
        Found::Other(_) => options.start.held_first(),
        _ => (options.start, None),
    };
    let agent = Rc::new(Agent::new(
        side,
        options.source,
        options.store,
        &first.policy,
        options.lacking,
        families::publishing()?,
    ));
    agent.begin(first)?;
    let told = destroyer::start(
        pinned,
        began,
        own_netns,
        Arc::clone(&agent.tally),
        options.plan,
    )
    .context("can't start the thread that destroys listeners")?;
    tokio::task::spawn_local(intake::events(events, Rc::clone(&agent)));
    tokio::task::spawn_local(intake::destroyed(told, Rc::clone(&agent)));
    tokio::task::spawn_local(watch::follow(watched, Rc::clone(&agent)));
    if let Some(traces) = traces {
        tokio::task::spawn_local(intake::traces(traces));
    }
    tokio::task::spawn_local(intake::executables(Rc::clone(&agent)));
    tokio::task::spawn_local(Rc::clone(&agent).watch_files());

    // What is proven is proven under the filter.
    let proven = match privileges::filter(agent.policy().config.privileges.syscalls) {
        Ok(()) => prove(&agent, then).await,
        Err(error) => Err(error.into()),
    };
    // Nothing has to be given back to another version any more.
    let settled = proven.and_then(|()| Ok(options.plan.settle()?));
    if let Err(error) = settled {
        agent.give_back();
        let _ = std::fs::remove_file(&options.socket);
        return Err(error);
    }
    undo.0 = None;
    if let Some(why) = why {
        tell(why, &agent);
    }
    agent.start_metrics();
    agent.start_snmp();
    ready(&agent, &found);
    // Only where nothing was in force has the stack just started.
    let origin = match found {
        Found::Nothing => Origin::Stack,
        Found::Complete | Found::Other(_) => Origin::Listed,
    };
    tokio::task::spawn_local(Rc::clone(&agent).supervise(origin, starter));
    let detached = Rc::new(Notify::new());
    tokio::task::spawn_local(control::serve(
        listener,
        Rc::clone(&agent),
        Rc::clone(&detached),
    ));
    let mut pings = systemd::watchdog();
    let mut proofs = tokio::time::interval_at(Instant::now() + PROOF_INTERVAL, PROOF_INTERVAL);
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    let mut files = tokio::time::interval_at(Instant::now() + FILES_INTERVAL, FILES_INTERVAL);
    files.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                outputs::reopen();
                agent.reload_and_log();
            }
            () = detached.notified() => break,
            _ = looks.tick() => {
                agent.tend_pool();
                agent.tend_executables();
                agent.look_at_files();
                agent.tend_metrics();
                agent.tend_snmp();
                agent.tend_memory();
                if agent.tend_hooks() {
                    agent.prove().await;
                }
            }
            () = agent.deadline() => {
                agent.tend_confirmation(false);
                agent.tend_watched();
            }
            _ = files.tick(), if agent.waits_for_files() => agent.tend_files(),
            () = systemd::tick(&mut pings) => systemd::notify(&[NotifyState::Watchdog]),
            _ = proofs.tick() => drop(agent.prove().await),
        }
    }
    agent.stop_metrics();
    agent.stop_snmp();
    let _ = std::fs::remove_file(&options.socket);
    // Nobody would take it back when its time is over.
    agent.tend_confirmation(true);
    agent.remember_end();
    // What has no pin ends with the agent.
    agent.tend_hooks();
    if options.prints {
        // Else the next agent has them.
        agent.catch_up().await;
        agent.take_in_repeats();
    }
    if agent.is_detached() {
        log::info!("enforcement has ended on request");
    } else {
        log::info!("the agent ends; the policy stays in force until `portreeve detach`");
    }
    Ok(())
}

/// Proves that the hooks do what was asked for. Only then what was taken over from an agent
/// with another layout is kept, and another policy, `then`, put in force on it.
async fn prove(agent: &Agent, then: Option<Start>) -> Result<()> {
    let proven = |problem: Option<String>| problem.map_or(Ok(()), |it| Err(NotProven(it)));
    proven(agent.prove().await.problem)?;
    agent.keep();
    if let Some(start) = then {
        agent.begin(start)?;
        proven(agent.prove().await.problem)?;
    }
    Ok(())
}

/// Removes hooks that this agent brought up, should it fail before they are
/// proven. Hooks it found stay: somebody relies on them.
struct Undo(Option<Pins>);

impl Drop for Undo {
    fn drop(&mut self) {
        if let Some(pins) = &self.0
            && let Err(error) = take_away(pins)
        {
            log::error!("what was attached could not be removed again: {error}");
        }
    }
}

/// Waits to be ended, for whoever expects a running agent, because of `why` nothing is
/// to be enforced. What is in force stays so.
///
/// # Errors
///
/// What the system says if it gives no word of signals.
pub fn stand_by(why: &str, bpffs: &Path) -> Result<()> {
    log::warn!("nothing is enforced by this agent: {why}");
    if Pins::new(bpffs).link(names::BIND4).exists() {
        log::warn!("what an earlier agent put in force still is; `portreeve detach` ends it");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start the event loop")?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        report::line(&format!("standing by: nothing is enforced, {why}"));
        let status = NotifyState::Status("nothing is enforced: break-glass");
        systemd::notify(&[NotifyState::Ready, status]);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        Ok(())
    })
}

/// Says why the policy is not what the files say.
fn tell(why: Why, agent: &Agent) {
    match why {
        Why::Kept if agent.policy().files.differ() => log::warn!(
            "the agent before was killed, so its policy stays in force; the files differ from it, `portreeve reload` puts them in force"
        ),
        Why::Kept => log::info!("the agent before was killed; its policy stays in force"),
        Why::NotConfirmed => log::warn!(
            "a change was not confirmed in time, so the policy before it is in force; the files may still say otherwise, see `portreeve reload --dry-run`"
        ),
        Why::NoAccounts => log::warn!(
            "users or groups are not known, so the policy that was in force last is enforced; the files are tried again every {} s",
            FILES_INTERVAL.as_secs()
        ),
    }
}

/// Says that the mode asked for is proven: one line, and systemd is told.
fn ready(agent: &Agent, found: &Found) {
    agent.tend_hooks();
    match agent.status() {
        Ok(status) => {
            outputs::announce(&format!(
                "ready: mode {}, generation {}, {} from {}, hooks {} on {}{}",
                status.mode,
                status.generation,
                report::status::entries(&status.profile),
                status.profile.path,
                status.hooks.join(" "),
                status.attach.path.unwrap_or_default(),
                match found {
                    Found::Nothing => String::new(),
                    Found::Complete => ", taken over from an earlier agent".into(),
                    Found::Other(other) => format!(
                        ", taken over from portreeve {} with map layout {}",
                        other.agent, other.abi
                    ),
                }
            ));
        }
        Err(error) => log::error!("the status can't be read: {error}"),
    }
    systemd::notify(&[NotifyState::Ready]);
    agent.tell_systemd();
}
