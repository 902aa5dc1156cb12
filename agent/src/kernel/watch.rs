//! Watching who has which port: the programs that tell it, for as long as an agent runs.
//!
//! They judge nothing and are not pinned: they end with the agent, whatever its end, and
//! the next one begins with what it finds.

use std::{
    io::{self, Read as _},
    os::fd::{AsFd as _, OwnedFd},
};

use aya::{
    Btf, Ebpf,
    maps::{Map, MapData, MapError, PerCpuArray, RingBuf},
    programs::{
        BtfTracePoint, CgroupAttachMode, CgroupSock, Iter, Program, ProgramError, ProgramInfo,
        links::{FdLink, LinkError},
    },
};
use portreeve_common::abi::{Protocol, TRACKED_WORDS, Watched, names};
use thiserror::Error;

use super::{btf::Offsets, cgroup::AttachPoint, error::chain, mapping::Mapping, sys};
use crate::policy::bits::{PortBits, WORDS};

/// The tracepoint of the states of TCP sockets.
const STATES: &str = "inet_sock_set_state";
/// The iterator over every file that a process has open.
const FILES: &str = "task_file";
/// The programs on a cgroup.
const ON_CGROUP: [&str; 3] = [names::WATCH_BIND4, names::WATCH_BIND6, names::WATCH_RELEASE];

/// Why the kernel doesn't tell who has which port.
#[derive(Debug, Error)]
enum Failure {
    #[error("this kernel's struct {record} has no field {field}")]
    NoField {
        record: &'static str,
        field: &'static str,
    },
    #[error("the object has no {0}")]
    Nothing(&'static str),
    #[error(transparent)]
    Btf(#[from] aya::BtfError),
    #[error("program {0}")]
    Program(&'static str, #[source] ProgramError),
    #[error("program {0}")]
    Link(&'static str, #[source] LinkError),
    #[error(transparent)]
    Map(#[from] MapError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The programs that watch. They do as long as this is there.
pub struct Watch {
    /// Protocols behind one another, a bit for each port.
    tracked: Mapping<u64>,
    lost: PerCpuArray<MapData, u64>,
    ids: Vec<u32>,
    /// Where the kernel's own list lacks sockets that are bound and no more: what finds
    /// those that are open.
    files: Option<OwnedFd>,
    /// Closing them is what ends it.
    _links: Vec<FdLink>,
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
        Self::attach(ebpf, offsets, attach, lists_bound).map_err(|error| chain(&error))
    }

    fn attach(
        ebpf: &mut Ebpf,
        offsets: &Offsets,
        attach: &AttachPoint,
        lists_bound: bool,
    ) -> Result<(Self, RingBuf<MapData>), Failure> {
        if let Some((record, field)) = offsets.missing_to_watch() {
            return Err(Failure::NoField { record, field });
        }
        let Some(Map::Array(tracked)) = ebpf.take_map(names::TRACKED) else {
            return Err(Failure::Nothing(names::TRACKED));
        };
        let tracked = Mapping::new(tracked.fd(), TRACKED_WORDS, true)?;
        let lost = take(ebpf, names::WATCH_LOST)?;
        let ring = take(ebpf, names::WATCHED)?;
        let (mut links, mut ids) = (Vec::new(), Vec::new());
        for name in ON_CGROUP {
            let (link, info) = on_cgroup(ebpf, name, attach)?;
            links.push(link);
            ids.push(info.id());
        }
        links.push(on_states(ebpf)?);
        let files = match lists_bound {
            true => None,
            // What was bound before anybody watched is not found then.
            false => of_files(ebpf)
                .inspect_err(|error| log::debug!("{}", chain(error)))
                .ok(),
        };
        let watch = Self {
            tracked,
            lost,
            ids,
            files,
            _links: links,
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
            .filter_map(decode)
            .collect())
    }

    /// Whether [`Self::bound`] finds any.
    pub const fn finds_bound(&self) -> bool {
        self.files.is_some()
    }

    /// Whether `id` is that of one of its programs on the cgroup.
    pub fn is_ours(&self, id: u32) -> bool {
        self.ids.contains(&id)
    }
}

fn on_cgroup(
    ebpf: &mut Ebpf,
    name: &'static str,
    attach: &AttachPoint,
) -> Result<(FdLink, ProgramInfo), Failure> {
    let Some(Program::CgroupSock(program)) = ebpf.program_mut(name) else {
        return Err(Failure::Nothing(name));
    };
    let program: &mut CgroupSock = program;
    let mut load = || {
        program.load()?;
        let info = program.info()?;
        let id = program.attach(attach.directory(), CgroupAttachMode::default())?;
        Ok((program.take_link(id)?, info))
    };
    let (link, info) = load().map_err(|error| Failure::Program(name, error))?;
    note(name, &info);
    let link = link
        .try_into()
        .map_err(|error| Failure::Link(name, error))?;
    Ok((link, info))
}

fn on_states(ebpf: &mut Ebpf) -> Result<FdLink, Failure> {
    let name = names::WATCH_STATE;
    let btf = Btf::from_sys_fs()?;
    let Some(Program::BtfTracePoint(program)) = ebpf.program_mut(name) else {
        return Err(Failure::Nothing(name));
    };
    let program: &mut BtfTracePoint = program;
    let mut load = || {
        program.load(STATES, &btf)?;
        note(name, &program.info()?);
        let id = program.attach()?;
        program.take_link(id)
    };
    let link = load().map_err(|error| Failure::Program(name, error))?;
    Ok(link.into())
}

fn of_files(ebpf: &mut Ebpf) -> Result<OwnedFd, Failure> {
    let name = names::WATCH_FILES;
    let btf = Btf::from_sys_fs()?;
    let Some(Program::Iter(program)) = ebpf.program_mut(name) else {
        return Err(Failure::Nothing(name));
    };
    let program: &mut Iter = program;
    let mut load = || {
        program.load(FILES, &btf)?;
        note(name, &program.info()?);
        program.fd()?.try_clone().map_err(ProgramError::IOError)
    };
    let program = load().map_err(|error| Failure::Program(name, error))?;
    Ok(sys::attach_iterator(program.as_fd())?)
}

/// The verifier's limit is a million; older kernels come closer to it.
fn note(name: &str, info: &ProgramInfo) {
    if let Some(count) = info.verified_instruction_count() {
        log::debug!("{name}: the verifier walked {count} instructions");
    }
}

fn take<M>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, Failure>
where
    M: TryFrom<Map, Error = MapError>,
{
    let map = ebpf.take_map(name).ok_or(Failure::Nothing(name))?;
    Ok(M::try_from(map)?)
}

/// The event in an element of the ring; `None` if it is not one of this layout.
pub fn decode(bytes: &[u8]) -> Option<Watched> {
    let bytes: &[u8; size_of::<Watched>()] = bytes.try_into().ok()?;
    let u64_at = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let u16_at = |at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
    Some(Watched {
        time: u64_at(0)?,
        inode: u64_at(8)?,
        cgroup: u64_at(16)?,
        address: [u32_at(24)?, u32_at(28)?, u32_at(32)?, u32_at(36)?],
        comm: [u64_at(40)?, u64_at(48)?],
        pid: u32_at(56)?,
        uid: u32_at(60)?,
        port: u16_at(64)?,
        family: u16_at(66)?,
        happening: bytes[68],
        protocol: bytes[69],
        chosen: bytes[70],
        reserved: 0,
    })
}
