//! The programs of the hooks on a cgroup: loading and attaching them.

use std::{
    fs::File,
    os::fd::{AsFd as _, BorrowedFd},
};

use aya::{
    Ebpf,
    programs::{
        CgroupAttachMode, CgroupSock, CgroupSockAddr, Program, ProgramError, ProgramFd,
        ProgramInfo,
        links::{FdLink, LinkError},
    },
};
use portreeve_common::abi::names;
use thiserror::Error;

use super::{
    KernelError,
    cgroup::AttachPoint,
    error::chain,
    hooks::{ATTACH_TYPES, HOOKS},
    keeper::{Keeper, KeptLink, OnCgroup},
    listen,
    listened::Listened,
    pins::{Lock, Pins},
    sys,
};

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

    /// Its descriptor, doubled.
    fn double(&self) -> Result<ProgramFd, KernelError> {
        let fd = self.fd().map_err(|error| KernelError::Load {
            message: chain(&error),
        })?;
        fd.try_clone()
            .map_err(KernelError::io("can't double a descriptor"))
    }

    fn on_cgroup(&self, attach_type: u32) -> Result<OnCgroup, ProgramError> {
        Ok(OnCgroup {
            program: self.fd()?.try_clone()?,
            id: self.info()?.id(),
            attach_type,
        })
    }

    fn fd(&self) -> Result<&ProgramFd, ProgramError> {
        match self {
            Self::Address(program) => program.fd(),
            Self::Socket(program) => program.fd(),
        }
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

/// Loads the program of hook `name`.
///
/// # Errors
///
/// [`KernelError::Refused`] with what the verifier says.
pub(super) fn load(ebpf: &mut Ebpf, name: &'static str) -> Result<(), KernelError> {
    let mut hook = Hook::find(ebpf, name)?;
    hook.load().map_err(|error| KernelError::Refused {
        program: name,
        message: chain(&error),
    })?;
    if let Ok(info) = hook.info() {
        note_walk(name, &info);
    }
    Ok(())
}

/// Logs how far the verifier walked for program `name`, if the kernel tells. Its limit is a
/// million; older kernels come closer to it.
pub(super) fn note_walk(name: &str, info: &ProgramInfo) {
    if let Some(count) = info.verified_instruction_count() {
        log::debug!("{name}: the verifier walked {count} instructions");
    }
}

/// The programs of the hooks on a cgroup, by the names of their links.
///
/// # Errors
///
/// If there are no descriptors left.
pub(super) fn all(
    ebpf: &mut Ebpf,
    listened: &Listened,
) -> Result<Vec<(&'static str, ProgramFd)>, KernelError> {
    let mut programs = Vec::new();
    for name in HOOKS {
        let fd = Hook::find(ebpf, name)?.double()?;
        programs.push((name, fd));
    }
    if let Some(fd) = listened.program() {
        let fd = fd.try_clone();
        programs.push((
            names::LISTENED,
            fd.map_err(KernelError::io("can't double a descriptor"))?,
        ));
    }
    Ok(programs)
}

/// Lets the pinned link run the new program, or makes and pins a link.
///
/// # Errors
///
/// [`KernelError::Refused`], or what the file system says.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    name: &'static str,
    pins: &Pins,
    to: &AttachPoint,
) -> Result<(), KernelError> {
    let pin = pins.link(name);
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
        .attach(to.directory())
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
///
/// # Errors
///
/// What keeps it from being held.
pub(super) fn keeper(ebpf: &mut Ebpf, pins: &Pins, lock: Lock) -> Result<Keeper, KernelError> {
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
