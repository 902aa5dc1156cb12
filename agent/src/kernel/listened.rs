//! The hook that sees a socket when it listens already, for UNRSV at listen without
//! the BPF LSM. Attached while a policy needs it, and no longer.

use std::{cell::RefCell, fs, os::fd::AsFd as _};

use aya::{
    Ebpf,
    programs::{Program, ProgramError, ProgramFd},
};
use portreeve_common::abi::names;

use super::{
    KernelError,
    btf::Offsets,
    cgroup::AttachPoint,
    error::chain,
    hooks::cgroup_of,
    keeper::{KeptLink, Lapse, OnCgroup},
    lsm::BpfLsm,
    pins::Pins,
    programs::note_walk,
    sys,
};

/// `BPF_CGROUP_SOCK_OPS`
const ATTACH_TYPE: u32 = 3;

/// The program, and where its link is pinned.
pub struct Listened {
    program: Result<OnCgroup, String>,
    pins: Pins,
    /// The link, while it is attached by this agent.
    kept: RefCell<Option<KeptLink>>,
}

impl Listened {
    /// Loads `ebpf`'s program if the kernel may need it. What keeps it from being
    /// loaded is told when a policy needs it.
    pub(super) fn load(ebpf: &mut Ebpf, offsets: &Offsets, pins: &Pins) -> Self {
        let program = match (BpfLsm::of_host().problem(), offsets.missing_at_listen()) {
            (None, _) => Err("the BPF LSM judges at listen".into()),
            (_, Some((record, field))) => Err(format!(
                "this kernel's struct {record} has no field {field}"
            )),
            (Some(_), None) => load(ebpf).map_err(|error| chain(&error)),
        };
        Self {
            program,
            pins: pins.clone(),
            kept: RefCell::new(None),
        }
    }

    /// Attaches the hook to `attach`, or lets the one that is attached run this
    /// agent's program.
    ///
    /// # Errors
    ///
    /// [`KernelError::Refused`]; what was attached still is.
    pub fn attach(&self, attach: &AttachPoint) -> Result<(), KernelError> {
        let refused = |message: String| KernelError::Refused {
            program: names::LISTENED,
            message,
        };
        if self.kept.borrow().is_some() {
            return match self.tend(attach).map(|lapse| lapse.mended) {
                Some(Err(problem)) => Err(refused(problem)),
                _ => Ok(()),
            };
        }
        let on = self.program.as_ref().map_err(|why| refused(why.clone()))?;
        let program = &on.program;
        let pin = self.pins.link(names::LISTENED);
        let done = match sys::open_pin(&pin) {
            Ok(link) if is_attached(&self.pins) => {
                sys::replace_program(link.as_fd(), program.as_fd())
            }
            // A cgroup of that name may have been removed and made again.
            found => {
                if found.is_ok() {
                    let _ = fs::remove_file(&pin);
                }
                sys::attach(program.as_fd(), attach.directory().as_fd(), ATTACH_TYPE)
                    .and_then(|link| sys::pin(link.as_fd(), &pin))
            }
        };
        done.map_err(|error| refused(error.to_string()))?;
        self.hold()
    }

    /// Looks whether what this agent attached to `attach` still is, and mends what isn't.
    pub(super) fn tend(&self, attach: &AttachPoint) -> Option<Lapse> {
        let mut kept = self.kept.borrow_mut();
        kept.as_mut()?.tend(&self.pins, attach)
    }

    /// The program, if it is loaded.
    pub(super) fn program(&self) -> Option<&ProgramFd> {
        self.program.as_ref().ok().map(|on| &on.program)
    }

    /// Holds the link that is pinned, if it is attached; it runs the program.
    ///
    /// # Errors
    ///
    /// [`KernelError::Io`] if it can't be held.
    pub(super) fn hold(&self) -> Result<(), KernelError> {
        if let (Ok(on), true) = (&self.program, self.is_attached()) {
            let on = on
                .try_clone()
                .map_err(KernelError::io("can't double a descriptor"))?;
            let link = KeptLink::hold(names::LISTENED, &self.pins, Some(on))?;
            *self.kept.borrow_mut() = Some(link);
        }
        Ok(())
    }

    /// Whether the hook is attached.
    pub fn is_attached(&self) -> bool {
        is_attached(&self.pins)
    }

    /// Detaches the hook, if it is attached.
    pub fn detach(&self) {
        if let Some(link) = self.kept.take() {
            link.detach();
        }
        detach(&self.pins);
        let _ = fs::remove_file(self.pins.link(names::LISTENED));
    }
}

fn load(ebpf: &mut Ebpf) -> Result<OnCgroup, ProgramError> {
    let Some(Program::SockOps(program)) = ebpf.program_mut(names::LISTENED) else {
        return Err(ProgramError::NotLoaded);
    };
    program.load()?;
    let info = program.info()?;
    note_walk(names::LISTENED, &info);
    Ok(OnCgroup {
        program: program.fd()?.try_clone()?,
        id: info.id(),
        attach_type: ATTACH_TYPE,
    })
}

/// Whether the hook is attached.
pub(super) fn is_attached(pins: &Pins) -> bool {
    cgroup_of(pins, names::LISTENED).is_ok_and(|id| id != 0)
}

/// Lets nothing be judged by it any more when this returns.
pub(super) fn detach(pins: &Pins) {
    // What can't be detached so is by the removal of its pin.
    let _ = sys::open_pin(&pins.link(names::LISTENED)).and_then(|link| sys::detach(link.as_fd()));
}
