//! The hook on listen: a program of the BPF LSM, for UNRSV that is judged then.
//!
//! The kernel can't put another program into the link of such a hook as it can for
//! those on a cgroup. So the one that is attached only calls the one that judges, by
//! a table of one element, and stays attached from agent to agent. A new agent
//! replaces that element: every listen is judged once, by the old program or by the
//! new one.

use std::os::fd::AsFd as _;

use aya::{
    Btf, Ebpf,
    maps::{Map, MapData, MapError, ProgramArray},
    pin::PinError,
    programs::{Lsm, Program, ProgramError, ProgramFd, links::FdLink},
};
use portreeve_common::abi::names;
use thiserror::Error;

use super::{
    KernelError, btf::Offsets, error::chain, hooks, lsm::BpfLsm, pins::Pins, programs::note_walk,
    sys,
};

/// The kernel's name of it.
const HOOK: &str = "socket_listen";

/// Why nothing is judged at listen.
#[derive(Debug, Error)]
enum Failure {
    #[error("this kernel's struct {record} has no field {field}")]
    NoField {
        record: &'static str,
        field: &'static str,
    },
    #[error("the object has no program {0}")]
    NoProgram(&'static str),
    #[error(transparent)]
    Btf(#[from] aya::BtfError),
    #[error(transparent)]
    Program(#[from] ProgramError),
    #[error("the program's descriptor can't be doubled")]
    Descriptor(#[from] std::io::Error),
    #[error(transparent)]
    Pin(#[from] PinError),
    #[error("the table of the program that judges is not usable")]
    Table(#[from] MapError),
}

/// Lets `ebpf`'s program judge at listen, if the kernel asks it. What keeps it from
/// that goes into the log: only a policy that needs it minds. If the one that judges
/// is to stay for now, the new one is returned instead.
pub(super) fn bring_up(
    ebpf: &mut Ebpf,
    offsets: &Offsets,
    pins: &Pins,
    stays: bool,
) -> Option<ProgramFd> {
    if let Some(problem) = BpfLsm::of_host().problem() {
        log::debug!("nothing is judged at listen: {problem}");
        return None;
    }
    attach(ebpf, offsets, pins, stays).unwrap_or_else(|error| {
        log::warn!("nothing can be judged at listen: {}", chain(&error));
        None
    })
}

fn attach(
    ebpf: &mut Ebpf,
    offsets: &Offsets,
    pins: &Pins,
    stays: bool,
) -> Result<Option<ProgramFd>, Failure> {
    if let Some((record, field)) = offsets.missing_at_listen() {
        return Err(Failure::NoField { record, field });
    }
    let btf = Btf::from_sys_fs()?;
    let judge = program(ebpf, names::JUDGE_LISTEN)?;
    judge.load(HOOK, &btf)?;
    note_walk(names::JUDGE_LISTEN, &judge.info()?);
    let judge = judge.fd()?.try_clone()?;
    let pin = pins.link(names::LISTEN);
    if pin.exists() && stays {
        return Ok(Some(judge));
    }
    if pin.exists() {
        table(pins)?.set(0, &judge, 0)?;
        return Ok(None);
    }
    let attached = program(ebpf, names::LISTEN)?;
    attached.load(HOOK, &btf)?;
    table(pins)?.set(0, &judge, 0)?;
    let id = attached.attach()?;
    let link: FdLink = attached.take_link(id)?.into();
    link.pin(&pin)?;
    Ok(None)
}

/// The program that judges, if there is one.
pub(super) fn judge_of(pins: &Pins) -> Option<ProgramFd> {
    let table = sys::open_pin(&pins.map(names::LISTENING)).ok()?;
    hooks::program(sys::program_in(table.as_fd(), 0).ok()?)
}

/// Lets `judge` judge.
///
/// # Errors
///
/// [`KernelError::Map`] if the table can't be written.
pub(super) fn set_judge(pins: &Pins, judge: &ProgramFd) -> Result<(), KernelError> {
    let set = table(pins).and_then(|mut table| table.set(0, judge, 0));
    set.map_err(|error| KernelError::Map {
        map: names::LISTENING,
        message: chain(&error),
    })
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut Lsm, Failure> {
    match ebpf.program_mut(name) {
        Some(Program::Lsm(program)) => Ok(program),
        _ => Err(Failure::NoProgram(name)),
    }
}

fn table(pins: &Pins) -> Result<ProgramArray<MapData>, MapError> {
    let map = MapData::from_pin(pins.map(names::LISTENING))?;
    ProgramArray::try_from(Map::ProgramArray(map))
}

/// Whether the hook is attached.
pub(super) fn is_attached(pins: &Pins) -> bool {
    sys::open_pin(&pins.link(names::LISTEN)).is_ok()
}

/// Lets nothing be judged any more when this returns; the removal of the link's pin
/// detaches it some time later.
pub(super) fn silence(pins: &Pins) {
    // Without the table, or with nothing in it, nothing is judged.
    if let Ok(mut table) = table(pins) {
        let _ = table.clear_index(&0);
    }
}

/// Why the hook is not attached where it isn't.
pub fn why_not() -> String {
    BpfLsm::of_host()
        .problem()
        .unwrap_or_else(|| "the hook is not attached; the agent's log says why".into())
}
