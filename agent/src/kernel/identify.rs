//! What the kernel knows a file by.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, OwnedFd},
};

use aya::{
    Ebpf,
    maps::Map,
    programs::{Program, ProgramError},
};
use portreeve_common::abi::{jobs::ExeKey, names};

use super::{KernelError, error::chain, mapping::Mapping, sys};
use crate::policy::identity::exes::Inode;

/// Tells the inode of open files, by a program that looks at this process's
/// descriptors in the kernel.
#[derive(Debug)]
pub struct Identifier {
    program: OwnedFd,
    answer: Mapping<ExeKey>,
}

impl Identifier {
    /// Loads the program of `ebpf`.
    ///
    /// # Errors
    ///
    /// See [`KernelError`].
    pub(super) fn load(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        let Some(Map::Array(map)) = ebpf.take_map(names::IDENTIFIED) else {
            return Err(KernelError::Load {
                message: format!("the object has no map {}", names::IDENTIFIED),
            });
        };
        let answer = Mapping::new(map.fd(), 1, false).map_err(|error| KernelError::Map {
            map: names::IDENTIFIED,
            message: error.to_string(),
        })?;
        let Some(Program::RawTracePoint(program)) = ebpf.program_mut(names::IDENTIFY) else {
            return Err(KernelError::Load {
                message: format!("the object has no program {}", names::IDENTIFY),
            });
        };
        let refused = |error: ProgramError| KernelError::Refused {
            program: names::IDENTIFY,
            message: chain(&error),
        };
        program.load().map_err(refused)?;
        let program = program.fd().map_err(refused)?.as_fd();
        let program = program
            .try_clone_to_owned()
            .map_err(KernelError::io("can't keep a program"))?;
        Ok(Self { program, answer })
    }

    /// The inode behind `file`, which may be open for its path only.
    ///
    /// # Errors
    ///
    /// What the kernel says of running the program.
    pub fn inode(&self, file: impl AsFd) -> io::Result<Inode> {
        let descriptor = file.as_fd().as_raw_fd();
        let descriptor = u64::from(descriptor.cast_unsigned());
        sys::run_program(self.program.as_fd(), descriptor)?;
        let key = self.answer.read(0);
        if (key.device, key.inode) == (0, 0) {
            return Err(io::Error::other("the kernel shows no inode of it"));
        }
        Ok(Inode {
            device: key.device,
            inode: key.inode,
            generation: key.generation,
        })
    }
}
