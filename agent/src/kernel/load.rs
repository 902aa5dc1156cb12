//! Loading, attaching, adopting and detaching the hooks.

use std::{cell::RefCell, os::fd::AsFd as _};

use aya::{
    Ebpf, EbpfLoader,
    maps::{MapData, PerCpuArray, RingBuf},
};
use aya_log::EbpfLogger;
use portreeve_common::abi::{globals, names};

use super::{
    KernelError,
    btf::Offsets,
    cgroup::AttachPoint,
    error::chain,
    features::Features,
    handover::Handover,
    hooks::{HOOKS, Neighbour, attached, cgroup_of, neighbours},
    identify::Identifier,
    keeper::{Keeper, Lapse},
    listen,
    listened::{self, Listened},
    object,
    pins::{Found, Lock, Pins},
    pool::Pool,
    programs,
    repeats::RepeatTable,
    requirements, sys,
    tables::Tables,
    watch::Watch,
};
use crate::ports;

/// How the hooks are to be.
#[derive(Debug)]
pub struct Options<'a> {
    /// Where they are attached.
    pub attach: &'a AttachPoint,
    /// Where they are pinned.
    pub pins: &'a Pins,
    /// The network namespace they judge; 0 for all.
    pub scope_netns: u64,
    /// The agent's own network namespace.
    pub own_netns: u64,
    /// What the kernel has.
    pub features: Features,
    /// Whether the programs write debug traces to the log.
    pub trace: bool,
}

/// The kernel side of a running agent, with the right to change it.
pub struct Kernel {
    /// The counters; read with [`super::counters::read`].
    pub counters: PerCpuArray<MapData, u64>,
    /// Refusals that make no event of their own.
    pub repeats: RefCell<RepeatTable>,
    /// The hook for listen without the BPF LSM.
    pub listened: Listened,
    /// What tells who has which port; or why the kernel doesn't.
    pub watch: Result<Watch, String>,
    /// What was there before.
    pub found: Found,
    /// What the programs were told that the kernel has.
    pub features: Features,
    pins: Pins,
    /// Until the hooks of another layout's agent are taken over.
    handover: RefCell<Option<Handover>>,
    keeper: RefCell<Keeper>,
}

/// Hooks that are up, and what belongs to them.
pub struct Up {
    /// The hooks.
    pub kernel: Kernel,
    /// The policy tables.
    pub tables: Tables,
    /// The kernel's pool of ports.
    pub pool: Pool,
    /// Tells what the kernel knows executables by.
    pub identifier: Identifier,
    /// Events.
    pub events: RingBuf<MapData>,
    /// What becomes of sockets, if that is watched.
    pub watched: Option<RingBuf<MapData>>,
    /// Debug traces, if asked for.
    pub traces: Option<EbpfLogger<&'static dyn log::Log>>,
}

impl Kernel {
    /// Brings the hooks up, or adopts those that are there without a moment's
    /// gap. New hooks judge nothing until [`Tables::publish`]. Hooks with the tables of another
    /// layout stay as they are until [`Self::take_over`]. The caller has made sure
    /// of [`requirements::helpers`].
    ///
    /// # Errors
    ///
    /// See [`KernelError`]. What was in force still is, and of new hooks nothing
    /// stays attached.
    pub fn bring_up(options: &Options<'_>) -> Result<Up, KernelError> {
        requirements::root("`portreeve run`")?;
        let object = object::bytes().ok_or(KernelError::NoObject)?;
        let offsets = Offsets::of_running_kernel(options.features)?;
        options.pins.create()?;
        let lock = options.pins.lock()?;
        let found = options.pins.inspect()?;
        match &found {
            Found::Complete => {
                check_cgroup(options)?;
                for set in options.pins.other_sets()? {
                    set.remove()?;
                }
            }
            Found::Other(_) => {
                check_cgroup(options)?;
                // What an agent left that was killed while it took over.
                options.pins.own_set().remove()?;
                options.pins.create_folders()?;
            }
            Found::Nothing => {
                options.pins.clear()?;
                options.pins.create_folders()?;
            }
        }
        let up = Self::load(object, &offsets, options, found.clone(), lock);
        if up.is_err() {
            // The error that counts is the first one.
            let _ = match found {
                Found::Complete => Ok(()),
                Found::Other(_) => options.pins.own_set().remove(),
                Found::Nothing => take_away(options.pins),
            };
        }
        up
    }

    fn load(
        object: &[u8],
        offsets: &Offsets,
        options: &Options<'_>,
        found: Found,
        lock: Lock,
    ) -> Result<Up, KernelError> {
        let mut ebpf = load_object(object, offsets, options)?;
        let traces = if options.trace {
            let logger = EbpfLogger::init(&mut ebpf).map_err(|error| KernelError::Load {
                message: chain(&error),
            })?;
            Some(logger)
        } else {
            None
        };
        // Before any hook changes hands: pinned tables that are not as they should be.
        let mut tables = Tables::open(options.pins)?;
        let pool = Pool::open(options.pins)?;
        let identifier = Identifier::load(&mut ebpf)?;
        for name in HOOKS {
            programs::load(&mut ebpf, name)?;
        }
        let is_other = matches!(found, Found::Other(_));
        for name in HOOKS {
            if !(is_other && options.pins.link(name).exists()) {
                programs::attach(&mut ebpf, name, options.pins, options.attach)?;
            }
        }
        let judge = listen::bring_up(&mut ebpf, offsets, options.pins, is_other);
        let keeper = programs::keeper(&mut ebpf, options.pins, lock)?;
        let listened = Listened::load(&mut ebpf, offsets, options.pins);
        // Behind the programs that judge, so that it sees what they refuse.
        let (watch, watched) =
            match Watch::begin(&mut ebpf, offsets, options.attach, ports::lists_bound()) {
                Ok((watch, ring)) => (Ok(watch), Some(ring)),
                Err(why) => (Err(why), None),
            };
        let handover = match &found {
            Found::Other(other) => {
                tables.go_on_from(other.generation);
                let hooks = programs::all(&mut ebpf, &listened)?;
                Some(Handover::new(options.pins, other.clone(), hooks, judge))
            }
            _ => None,
        };
        tables.complete(options.scope_netns);
        let counters = take(&mut ebpf, names::COUNTERS)?;
        let repeats = take(&mut ebpf, names::REPEATS)?;
        let events = take(&mut ebpf, names::EVENTS)?;
        let kernel = Self {
            counters,
            repeats: RefCell::new(repeats),
            listened,
            watch,
            found,
            features: options.features,
            pins: options.pins.clone(),
            handover: RefCell::new(handover),
            keeper: RefCell::new(keeper),
        };
        Ok(Up {
            kernel,
            tables,
            pool,
            identifier,
            events,
            watched,
            traces,
        })
    }

    /// Whether hooks with the tables of another layout are still to be taken over.
    pub fn is_taking_over(&self) -> bool {
        self.handover.borrow().is_some()
    }

    /// Lets the hooks of another layout's agent judge by this one's tables, in which a
    /// policy is in force. It can be given back until [`Self::keep`].
    ///
    /// # Errors
    ///
    /// What the kernel says; then all is as it was.
    pub fn take_over(&self) -> Result<(), KernelError> {
        let mut handover = self.handover.borrow_mut();
        let Some(switching) = handover.as_mut() else {
            return Ok(());
        };
        let done = switching.switch().and_then(|()| self.listened.hold());
        if done.is_err() {
            handover.take();
        }
        done
    }

    /// Gives the hooks back to the tables of the other layout, if they were taken over
    /// and not kept.
    pub fn give_back(&self) {
        self.handover.take();
    }

    /// Keeps what was taken over: the other layout's tables go.
    ///
    /// # Errors
    ///
    /// What the kernel says, if something of them is left.
    pub fn keep(&self) -> Result<(), KernelError> {
        let Some(handover) = self.handover.take() else {
            return Ok(());
        };
        let from = handover.from().clone();
        let events = handover.finish()?;
        if events != 0 {
            log::warn!(
                "{events} events that nobody had taken in are lost: they are in the layout {} of portreeve {}",
                from.abi,
                from.agent
            );
        }
        Ok(())
    }

    /// Hooks whose link is pinned and attached.
    pub fn hooks(&self) -> Vec<&'static str> {
        attached(&self.pins)
    }

    /// That every hook is still attached, so that what is put in force is enforced.
    ///
    /// # Errors
    ///
    /// [`KernelError::HookGone`] for the first one that isn't, or whose pin can't be seen.
    pub fn check_hooks(&self) -> Result<(), KernelError> {
        for hook in HOOKS {
            let why = match cgroup_of(&self.pins, hook) {
                Ok(0) => "its cgroup is gone".to_owned(),
                Ok(_) => continue,
                Err(error) => error.to_string(),
            };
            return Err(KernelError::HookGone { hook, why });
        }
        Ok(())
    }

    /// Programs of others on the cgroup `attach`.
    pub fn neighbours(&self, attach: &AttachPoint) -> Vec<Neighbour> {
        let is_ours = |id| self.watch.as_ref().is_ok_and(|watch| watch.is_ours(id));
        let mut others = neighbours(&self.pins, attach);
        others.retain(|neighbour| !is_ours(neighbour.id));
        others
    }

    /// Looks whether all is still attached to `attach` and pinned, and mends what isn't.
    pub fn tend(&self, attach: &AttachPoint) -> Vec<Lapse> {
        self.keeper.borrow_mut().tend(&self.listened, attach)
    }

    /// The same for what watches who has which port.
    pub fn tend_watch(&self, attach: &AttachPoint) -> Vec<Lapse> {
        let watch = self.watch.as_ref().ok().filter(|_| !attach.is_gone());
        watch.map_or_else(Vec::new, |watch| watch.tend(attach))
    }

    /// Removes every trace. The caller has withdrawn the policy.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn detach(self) -> Result<(), KernelError> {
        // Also what has no pin any more.
        self.keeper.borrow().detach();
        self.listened.detach();
        take_away(&self.pins)
    }
}

/// Stops enforcing where no agent runs.
///
/// # Errors
///
/// [`KernelError::NothingPinned`], [`KernelError::AlreadyRunning`], or what the
/// file system says.
pub fn detach_without_agent(pins: &Pins) -> Result<(), KernelError> {
    requirements::root("`portreeve detach`")?;
    let _lock = pins.lock()?;
    // One store for all hooks.
    pins.withdraw();
    take_away(pins)
}

/// Detaches the hooks, so that none judges any more when this returns, gives back
/// the ports that were kept out of the kernel's pool, and removes the pins.
///
/// # Errors
///
/// What the file system says. If the pool can't be set back, its record stays,
/// with the other pins, for another try.
pub fn take_away(pins: &Pins) -> Result<(), KernelError> {
    for name in HOOKS {
        // What can't be detached so is by the removal of its pin.
        let _ = sys::open_pin(&pins.link(name)).and_then(|link| sys::detach(link.as_fd()));
    }
    listened::detach(pins);
    listen::silence(pins);
    // Before the record of it goes.
    if pins.map(names::POOL).exists() {
        Pool::open(pins)?.release(None)?;
    }
    pins.remove()
}

/// An earlier agent's hooks must be where this one was told to have its own.
fn check_cgroup(options: &Options<'_>) -> Result<(), KernelError> {
    for name in HOOKS {
        if !options.pins.link(name).exists() {
            continue;
        }
        let found = cgroup_of(options.pins, name)?;
        if found != options.attach.id {
            return Err(KernelError::OtherCgroup {
                path: options.pins.base().into(),
                found,
                wanted: options.attach.path.clone(),
                wanted_id: options.attach.id,
            });
        }
    }
    Ok(())
}

fn load_object(
    object: &[u8],
    offsets: &Offsets,
    options: &Options<'_>,
) -> Result<Ebpf, KernelError> {
    // 5 is aya's `Level::Trace`; with 0 the verifier drops the traces from the programs.
    let log_level: u8 = if options.trace { 5 } else { 0 };
    let features = options.features.words();
    let mut loader = EbpfLoader::new();
    loader
        .override_global(globals::OFFSETS, offsets.as_slice(), true)
        .override_global(globals::FEATURES, features.as_slice(), true)
        .override_global(globals::SCOPE_NETNS, &options.scope_netns, true)
        .override_global(globals::OWN_NETNS, &options.own_netns, true)
        .override_global(globals::SCOPE_CGROUP, &options.attach.id, true)
        .override_global(aya_log::LEVEL, &log_level, true);
    for name in names::SHARED_MAPS.into_iter().chain(names::PINNED_MAPS) {
        // Opens the pinned map if there is one, else makes and pins it.
        loader.map_pin_path(name, options.pins.map(name));
    }
    loader.load(object).map_err(|error| {
        // A map that can't be pinned doesn't say where.
        let place = options.pins.base();
        let message = format!("{} (its maps are in {})", chain(&error), place.display());
        KernelError::Load { message }
    })
}

/// The map `name` of `ebpf`.
///
/// # Errors
///
/// [`KernelError::Load`] and [`KernelError::Map`] if it isn't there, or of another kind.
pub(super) fn take<M>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, KernelError>
where
    M: TryFrom<aya::maps::Map, Error = aya::maps::MapError>,
{
    let map = ebpf.take_map(name).ok_or_else(|| KernelError::Load {
        message: format!("the object has no map {name}"),
    })?;
    M::try_from(map).map_err(|error| KernelError::Map {
        map: name,
        message: chain(&error),
    })
}
