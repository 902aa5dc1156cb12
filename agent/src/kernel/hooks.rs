//! The hooks as they are attached, and who else is on them.

use std::{io, os::fd::AsFd as _};

use aya::programs::{ProgramFd, ProgramInfo, loaded_programs};
use portreeve_common::abi::names;
use serde::{Deserialize, Serialize};

use super::{KernelError, cgroup::AttachPoint, listen, listened, pins::Pins, sys};

/// The hooks on a cgroup, in the order in which they are attached: what judges a port that was
/// given comes before what tells it that the port was judged.
pub const HOOKS: [&str; 4] = [
    names::POST_BIND4,
    names::POST_BIND6,
    names::BIND4,
    names::BIND6,
];

/// `BPF_CGROUP_INET4_POST_BIND` and so on, in the order of [`HOOKS`].
pub(super) const ATTACH_TYPES: [u32; 4] = [12, 13, 8, 9];

/// A program that somebody else attached beside one of ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// The hook.
    pub hook: String,
    /// The program's name, if it has one and that can be told.
    pub program: String,
    /// The program's id.
    pub id: u32,
    /// Whether it runs after ours, and so has the last word.
    pub after_ours: bool,
}

/// Id of the cgroup that hook `name` is attached to; 0 if that is gone.
pub(super) fn cgroup_of(pins: &Pins, name: &str) -> Result<u64, KernelError> {
    target_of(pins, name).map(|target| target.cgroup)
}

fn target_of(pins: &Pins, name: &str) -> Result<sys::LinkTarget, KernelError> {
    let path = pins.link(name);
    let link =
        sys::open_pin(&path).map_err(KernelError::io(format!("can't open {}", path.display())))?;
    sys::link_target(link.as_fd())
        .map_err(KernelError::io(format!("can't read {}", path.display())))
}

/// The hooks that are attached, those on listen last. A link whose cgroup was removed
/// judges nothing any more; nor is there a socket of that cgroup left to listen.
pub fn attached(pins: &Pins) -> Vec<&'static str> {
    let mut hooks: Vec<&str> = HOOKS
        .into_iter()
        .filter(|name| cgroup_of(pins, name).is_ok_and(|id| id != 0))
        .collect();
    if !hooks.is_empty() && listen::is_attached(pins) {
        hooks.push(names::LISTEN);
    }
    if listened::is_attached(pins) {
        hooks.push(names::LISTENED);
    }
    hooks
}

/// Programs of others on the cgroup `attach`; one that runs after ours can allow
/// what ours refused.
pub fn neighbours(pins: &Pins, attach: &AttachPoint) -> Vec<Neighbour> {
    HOOKS
        .into_iter()
        .zip(ATTACH_TYPES)
        .flat_map(|(hook, attach_type)| neighbours_of(pins, hook, attach_type, attach))
        .collect()
}

fn neighbours_of(
    pins: &Pins,
    hook: &'static str,
    attach_type: u32,
    attach: &AttachPoint,
) -> Vec<Neighbour> {
    let (Ok(ours), Ok(ids)) = (
        target_of(pins, hook),
        sys::attached_programs(attach.directory().as_fd(), attach_type),
    ) else {
        return Vec::new();
    };
    let our_place = ids.iter().position(|id| *id == ours.program);
    let others = ids
        .iter()
        .enumerate()
        .filter(|(_, id)| **id != ours.program);
    others
        .map(|(place, id)| Neighbour {
            hook: hook.to_owned(),
            program: program_name(*id),
            id: *id,
            after_ours: our_place.is_some_and(|ours| place > ours),
        })
        .collect()
}

/// The program that link `name` runs.
pub(super) fn program_of(pins: &Pins, name: &str) -> Result<ProgramFd, KernelError> {
    let id = target_of(pins, name)?.program;
    program(id).ok_or_else(|| {
        KernelError::io(format!("can't find the program of hook {name}"))(
            io::ErrorKind::NotFound.into(),
        )
    })
}

/// The program of that id, if it still is.
pub(super) fn program(id: u32) -> Option<ProgramFd> {
    program_info(id)?.fd().ok()
}

fn program_info(id: u32) -> Option<ProgramInfo> {
    let mut loaded = loaded_programs().filter_map(Result::ok);
    loaded.find(|info| info.id() == id)
}

/// Adds the names that an agent, which has given up the right to ask, could not tell.
pub fn name(neighbours: &mut [Neighbour]) {
    for neighbour in neighbours.iter_mut().filter(|it| it.program.is_empty()) {
        neighbour.program = program_name(neighbour.id);
    }
}

fn program_name(id: u32) -> String {
    program_info(id)
        .and_then(|info| info.name_as_str().map(str::to_owned))
        .unwrap_or_default()
}
