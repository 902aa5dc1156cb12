//! Watching who has which port: the programs that tell it, for as long as an agent runs.
//!
//! They judge nothing and are not pinned: they end with the agent, whatever its end, and
//! the next one begins with what it finds.

use std::{
    cell::RefCell,
    io::{self, Read as _},
    os::fd::{AsFd as _, OwnedFd},
};

use aya::{
    Btf, Ebpf,
    maps::{Map, MapData, PerCpuArray, RingBuf},
    programs::{BtfTracePoint, CgroupSock, Iter, Program, ProgramError, links::FdLink},
};
use portreeve_common::abi::{Protocol, TRACKED_WORDS, Watched, names};

use super::{
    KernelError,
    btf::Offsets,
    cgroup::AttachPoint,
    error::chain,
    keeper::{Lapse, OnCgroup},
    load::take,
    mapping::Mapping,
    programs::note_walk,
    stream::element,
    sys,
};
use crate::policy::bits::{PortBits, WORDS};

/// The tracepoint of the states of TCP sockets.
const STATES: &str = "inet_sock_set_state";
/// The iterator over every file that a process has open.
const FILES: &str = "task_file";
/// The programs on a cgroup, and which hook each is for, as bpf(2) numbers them.
const ON_CGROUP: [(&str, u32); 3] = [
    (names::WATCH_BIND4, 12),
    (names::WATCH_BIND6, 13),
    (names::WATCH_RELEASE, 34),
];

/// The programs that watch. They do as long as this is there.
pub struct Watch {
    /// Protocols behind one another, a bit for each port.
    tracked: Mapping<u64>,
    lost: PerCpuArray<MapData, u64>,
    on_cgroup: RefCell<Vec<Attached>>,
    /// Where the kernel's own list lacks sockets that are bound and no more: what finds
    /// those that are open.
    files: Option<OwnedFd>,
    /// Closing it ends the program at the tracepoint, which nobody can detach.
    _states: FdLink,
}

/// A program on the cgroup, as long as this is there.
struct Attached {
    name: &'static str,
    on: OnCgroup,
    link: OwnedFd,
}

impl Watch {
    /// Lets `ebpf`'s programs watch on `attach`. Nothing is tracked yet. The ring has what
    /// they tell. `lists_bound` says whether the kernel's own list has TCP sockets that are
    /// bound and no more.
    ///
    /// # Errors
    ///
    /// Why this kernel can't, in a sentence.
    pub(super) fn begin(
        ebpf: &mut Ebpf,
        offsets: &Offsets,
        attach: &AttachPoint,
        lists_bound: bool,
    ) -> Result<(Self, RingBuf<MapData>), String> {
        match offsets.missing_to_watch() {
            Some((record, field)) => Err(format!(
                "this kernel's struct {record} has no field {field}"
            )),
            None => Self::attach(ebpf, attach, lists_bound).map_err(|error| {
                let text = error.to_string();
                log::debug!("{text}");
                // Behind it is what the verifier had to say.
                text.lines().next().unwrap_or_default().to_owned()
            }),
        }
    }

    fn attach(
        ebpf: &mut Ebpf,
        attach: &AttachPoint,
        lists_bound: bool,
    ) -> Result<(Self, RingBuf<MapData>), KernelError> {
        let Some(Map::Array(tracked)) = ebpf.take_map(names::TRACKED) else {
            return Err(KernelError::Load {
                message: format!("the object has no map {}", names::TRACKED),
            });
        };
        let tracked = Mapping::new(tracked.fd(), TRACKED_WORDS, true)
            .map_err(KernelError::io("can't map the tracked ports"))?;
        let lost = take(ebpf, names::WATCH_LOST)?;
        let ring = take(ebpf, names::WATCHED)?;
        let on_cgroup = ON_CGROUP.into_iter();
        let on_cgroup = on_cgroup
            .map(|(name, kind)| Attached::begin(ebpf, name, kind, attach))
            .collect::<Result<_, _>>()?;
        let states = on_states(ebpf)?;
        let files = match lists_bound {
            true => None,
            // What was bound before anybody watched is not found then.
            false => of_files(ebpf)
                .inspect_err(|error| log::debug!("{error}"))
                .ok(),
        };
        let watch = Self {
            tracked,
            lost,
            on_cgroup: RefCell::new(on_cgroup),
            files,
            _states: states,
        };
        Ok((watch, ring))
    }

    /// Tells sockets that have one of `ports`, and no others, from now on; those of each
    /// protocol in the order of [`Protocol::ALL`].
    pub fn track(&self, ports: &[PortBits; Protocol::ALL.len()]) {
        let words = ports
            .iter()
            .flat_map(|ports| (0..WORDS).map(|at| ports.word(at)));
        for (index, word) in (0..).zip(words) {
            self.tracked
                .atomic(index)
                .store(word, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// How often the ring had no room.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn lost(&self) -> Result<u64, String> {
        let counts = self.lost.get(&0, 0).map_err(|error| chain(&error))?;
        Ok(counts.iter().sum())
    }

    /// TCP sockets that are bound and no more, if the kernel's own list lacks them: one for
    /// each descriptor that a process has of one.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn bound(&self) -> io::Result<Vec<Watched>> {
        let Some(link) = &self.files else {
            return Ok(Vec::new());
        };
        let mut file = sys::iterate(link.as_fd())?;
        let mut bytes = Vec::new();
        loop {
            // It lets go of the processor after a million files, though there may be more.
            match file.read_to_end(&mut bytes) {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(bytes
            .chunks_exact(size_of::<Watched>())
            .filter_map(element)
            .collect())
    }

    /// Whether [`Self::bound`] finds any.
    pub const fn finds_bound(&self) -> bool {
        self.files.is_some()
    }

    /// Whether `id` is that of one of its programs on the cgroup.
    pub fn is_ours(&self, id: u32) -> bool {
        let on_cgroup = self.on_cgroup.borrow();
        on_cgroup.iter().any(|attached| attached.on.id == id)
    }

    /// Looks whether all is still attached to `attach`, and mends what isn't. What happened
    /// meanwhile was not told.
    pub(super) fn tend(&self, attach: &AttachPoint) -> Vec<Lapse> {
        let mut on_cgroup = self.on_cgroup.borrow_mut();
        let attached = on_cgroup.iter_mut();
        attached.filter_map(|one| one.tend(attach)).collect()
    }
}

impl Attached {
    fn begin(
        ebpf: &mut Ebpf,
        name: &'static str,
        attach_type: u32,
        attach: &AttachPoint,
    ) -> Result<Self, KernelError> {
        let program: &mut CgroupSock = program(ebpf, name)?;
        let mut load = || {
            program.load()?;
            let info = program.info()?;
            note_walk(name, &info);
            Ok(OnCgroup {
                program: program.fd()?.try_clone()?,
                id: info.id(),
                attach_type,
            })
        };
        let on = load().map_err(refused(name))?;
        let (fd, directory) = (on.program.as_fd(), attach.directory().as_fd());
        let link =
            sys::attach(fd, directory, attach_type).map_err(|error| KernelError::Refused {
                program: name,
                message: error.to_string(),
            })?;
        Ok(Self { name, on, link })
    }

    fn tend(&mut self, attach: &AttachPoint) -> Option<Lapse> {
        let lapse = |found: &str, mended| {
            Some(Lapse {
                of: format!("hook {}", self.name),
                found: found.to_owned(),
                mended,
            })
        };
        let target = match sys::link_target(self.link.as_fd()) {
            Ok(target) => target,
            Err(error) => return lapse("unknown", Err(format!("it can't be looked at: {error}"))),
        };
        let deed = self.on.deed(target)?;
        let undone = self.on.undo(&deed, &mut self.link, attach);
        let mended = undone.map(|()| deed.mended().to_owned());
        lapse(deed.found(), mended.map_err(|error| error.to_string()))
    }
}

fn on_states(ebpf: &mut Ebpf) -> Result<FdLink, KernelError> {
    let name = names::WATCH_STATE;
    let btf = types()?;
    let program: &mut BtfTracePoint = program(ebpf, name)?;
    let mut load = || {
        program.load(STATES, &btf)?;
        note_walk(name, &program.info()?);
        let id = program.attach()?;
        program.take_link(id)
    };
    Ok(load().map_err(refused(name))?.into())
}

fn of_files(ebpf: &mut Ebpf) -> Result<OwnedFd, KernelError> {
    let name = names::WATCH_FILES;
    let btf = types()?;
    let program: &mut Iter = program(ebpf, name)?;
    let mut load = || {
        program.load(FILES, &btf)?;
        note_walk(name, &program.info()?);
        program.fd()?.try_clone().map_err(ProgramError::IOError)
    };
    let program = load().map_err(refused(name))?;
    sys::attach_iterator(program.as_fd()).map_err(KernelError::io(format!("can't attach {name}")))
}

/// The kernel's type information, as aya reads it.
fn types() -> Result<Btf, KernelError> {
    Btf::from_sys_fs().map_err(|error| KernelError::Load {
        message: chain(&error),
    })
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, KernelError>
where
    &'a mut P: TryFrom<&'a mut Program>,
{
    let program = ebpf.program_mut(name);
    let program = program.and_then(|program| program.try_into().ok());
    program.ok_or_else(|| KernelError::Load {
        message: format!("the object has no program {name}"),
    })
}

fn refused(program: &'static str) -> impl Fn(ProgramError) -> KernelError {
    move |error| KernelError::Refused {
        program,
        message: chain(&error),
    }
}
