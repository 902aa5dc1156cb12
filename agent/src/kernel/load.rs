//! Loading, attaching, adopting and detaching the hooks.

use std::{
    cell::RefCell,
    fs::File,
    os::fd::{AsFd as _, BorrowedFd},
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{MapData, PerCpuArray, RingBuf},
    programs::{
        CgroupAttachMode, CgroupSock, CgroupSockAddr, Program, ProgramError, ProgramFd,
        ProgramInfo,
        links::{FdLink, LinkError},
    },
};
use aya_log::EbpfLogger;
use portreeve_common::abi::{globals, names};
use thiserror::Error;

use super::{
    KernelError,
    btf::Offsets,
    cgroup::AttachPoint,
    error::chain,
    features::Features,
    hooks::{ATTACH_TYPES, HOOKS, Neighbour, attached, cgroup_of, neighbours},
    identify::Identifier,
    keeper::{Keeper, KeptLink, Lapse, OnCgroup},
    listen,
    listened::{self, Listened},
    object,
    pins::{Found, Lock, Pins},
    pool::Pool,
    repeats::RepeatTable,
    requirements, sys,
    tables::Tables,
};

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
    /// Whether hooks of an earlier agent were adopted.
    pub adopted: bool,
    /// What the programs were told that the kernel has.
    pub features: Features,
    pins: Pins,
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
    /// Debug traces, if asked for.
    pub traces: Option<EbpfLogger<&'static dyn log::Log>>,
}

impl Kernel {
    /// Brings the hooks up, or takes over those that are there without a moment's
    /// gap. New hooks judge nothing until [`Tables::publish`]. The caller has made sure
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
        let adopted = match options.pins.inspect()? {
            Found::Complete => {
                check_cgroup(options)?;
                true
            }
            Found::Nothing => {
                options.pins.clear()?;
                options.pins.create()?;
                false
            }
        };
        let up = Self::load(object, &offsets, options, adopted, lock);
        if up.is_err() && !adopted {
            // The error that counts is the first one.
            let _ = take_away(options.pins);
        }
        up
    }

    fn load(
        object: &[u8],
        offsets: &Offsets,
        options: &Options<'_>,
        adopted: bool,
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
        let tables = Tables::open(options.pins)?;
        let pool = Pool::open(options.pins)?;
        let identifier = Identifier::load(&mut ebpf)?;
        for name in HOOKS {
            load_program(&mut ebpf, name)?;
        }
        for name in HOOKS {
            attach(&mut ebpf, name, options)?;
        }
        listen::bring_up(&mut ebpf, offsets, options.pins);
        let keeper = keeper(&mut ebpf, options.pins, lock)?;
        let listened = Listened::load(&mut ebpf, offsets, options.pins);
        tables.complete(options.scope_netns);
        let counters = take(&mut ebpf, names::COUNTERS)?;
        let repeats = take(&mut ebpf, names::REPEATS)?;
        let events = take(&mut ebpf, names::EVENTS)?;
        let kernel = Self {
            counters,
            repeats: RefCell::new(repeats),
            listened,
            adopted,
            features: options.features,
            pins: options.pins.clone(),
            keeper: RefCell::new(keeper),
        };
        Ok(Up {
            kernel,
            tables,
            pool,
            identifier,
            events,
            traces,
        })
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
        neighbours(&self.pins, attach)
    }

    /// Looks whether all is still attached to `attach` and pinned, and mends what isn't.
    pub fn tend(&self, attach: &AttachPoint) -> Vec<Lapse> {
        self.keeper.borrow_mut().tend(&self.listened, attach)
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
    // One store for all hooks, if the tables are ours; else the links go one by one.
    if let Ok(tables) = Tables::open(pins) {
        tables.withdraw();
    }
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
    for name in names::PINNED_MAPS {
        // Opens the pinned map if there is one, else makes and pins it.
        loader.map_pin_path(name, options.pins.map(name));
    }
    loader.load(object).map_err(|error| {
        // A map that can't be pinned doesn't say where.
        let place = options.pins.base().join("maps");
        let message = format!("{} (its maps are in {})", chain(&error), place.display());
        KernelError::Load { message }
    })
}

/// A program of the object on a cgroup, of one of the two kinds there are.
enum Hook<'a> {
    /// Sees what a bind asks for.
    Address(&'a mut CgroupSockAddr),
    /// Sees what a socket was given.
    Socket(&'a mut CgroupSock),
}

impl<'a> Hook<'a> {
    fn find(ebpf: &'a mut Ebpf, name: &'static str) -> Result<Self, KernelError> {
        match ebpf.program_mut(name) {
            Some(Program::CgroupSockAddr(program)) => Ok(Self::Address(program)),
            Some(Program::CgroupSock(program)) => Ok(Self::Socket(program)),
            _ => Err(KernelError::Load {
                message: format!("the object has no program {name}"),
            }),
        }
    }

    fn load(&mut self) -> Result<(), ProgramError> {
        match self {
            Self::Address(program) => program.load(),
            Self::Socket(program) => program.load(),
        }
    }

    fn info(&self) -> Result<ProgramInfo, ProgramError> {
        match self {
            Self::Address(program) => program.info(),
            Self::Socket(program) => program.info(),
        }
    }

    fn fd(&self) -> Result<&ProgramFd, ProgramError> {
        match self {
            Self::Address(program) => program.fd(),
            Self::Socket(program) => program.fd(),
        }
    }

    fn on_cgroup(&self, attach_type: u32) -> Result<OnCgroup, ProgramError> {
        Ok(OnCgroup {
            program: self.fd()?.try_clone()?,
            id: self.info()?.id(),
            attach_type,
        })
    }

    /// Any mode but the default is EINVAL for links; for them it means "beside others".
    fn attach(self, directory: &File) -> Result<FdLink, LinkOrProgramError> {
        let mode = CgroupAttachMode::default();
        Ok(match self {
            Self::Address(program) => {
                let id = program.attach(directory, mode)?;
                program.take_link(id)?.try_into()?
            }
            Self::Socket(program) => {
                let id = program.attach(directory, mode)?;
                program.take_link(id)?.try_into()?
            }
        })
    }
}

/// Why a program could not be attached.
#[derive(Debug, Error)]
enum LinkOrProgramError {
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error(transparent)]
    Link(#[from] LinkError),
}

fn load_program(ebpf: &mut Ebpf, name: &'static str) -> Result<(), KernelError> {
    let mut hook = Hook::find(ebpf, name)?;
    hook.load().map_err(|error| KernelError::Refused {
        program: name,
        message: chain(&error),
    })?;
    // The verifier's limit is a million; older kernels come closer to it.
    if let Some(count) = hook
        .info()
        .ok()
        .and_then(|info| info.verified_instruction_count())
    {
        log::debug!("{name}: the verifier walked {count} instructions");
    }
    Ok(())
}

/// Lets the pinned link run the new program, or makes and pins a link.
fn attach(ebpf: &mut Ebpf, name: &'static str, options: &Options<'_>) -> Result<(), KernelError> {
    let pin = options.pins.link(name);
    let hook = Hook::find(ebpf, name)?;
    let refused = |message: String| KernelError::Refused {
        program: name,
        message,
    };
    if pin.exists() {
        let link = sys::open_pin(&pin)
            .map_err(KernelError::io(format!("can't open {}", pin.display())))?;
        let fd = hook.fd().map_err(|error| refused(chain(&error)))?;
        return replace(link.as_fd(), fd.as_fd(), name);
    }
    let link = hook
        .attach(options.attach.directory())
        .map_err(|error| refused(chain(&error)))?;
    link.pin(&pin).map_err(|error| refused(chain(&error)))?;
    Ok(())
}

fn replace(
    link: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    name: &'static str,
) -> Result<(), KernelError> {
    sys::replace_program(link, program).map_err(KernelError::io(format!(
        "can't replace the program of hook {name}"
    )))
}

/// Keeps what is attached by now, and every map.
fn keeper(ebpf: &mut Ebpf, pins: &Pins, lock: Lock) -> Result<Keeper, KernelError> {
    let mut links = Vec::new();
    for (name, attach_type) in HOOKS.into_iter().zip(ATTACH_TYPES) {
        let on = Hook::find(ebpf, name)?.on_cgroup(attach_type);
        let on = on.map_err(|error| KernelError::Refused {
            program: name,
            message: chain(&error),
        })?;
        links.push(KeptLink::hold(name, pins, Some(on))?);
    }
    if listen::is_attached(pins) {
        links.push(KeptLink::hold(names::LISTEN, pins, None)?);
    }
    Keeper::new(pins, lock, links)
}

fn take<M>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, KernelError>
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
