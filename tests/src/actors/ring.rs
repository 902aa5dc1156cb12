//! Binds by `io_uring`, for which the kernel has threads of its own.

use std::{
    io::{self, ErrorKind},
    os::fd::{AsRawFd as _, RawFd},
};

use anyhow::{Context as _, Result, bail};
use io_uring::{
    IoUring, opcode,
    squeue::Flags,
    types::{Fd, Fixed},
};
use nix::{
    errno::Errno,
    libc,
    sys::wait::{WaitStatus, waitpid},
    unistd::{Uid, seteuid},
};

use super::{become_caller::become_caller, child, socket};
use crate::harness::{
    Caller, Want,
    request::Through,
    servant::{self, Yield},
};

/// How long the polling thread stays awake, in milliseconds.
const IDLE: u32 = 100;
/// What a child ends with that could not even try.
const NO_ATTEMPT: i32 = 255;

/// A ring that makes calls in one way.
pub struct Ring {
    ring: IoUring,
    through: Through,
}

/// A socket, as a ring knows it.
#[derive(Clone, Copy)]
enum Target {
    /// By its number in the process.
    Number(RawFd),
    /// As the only one that was registered.
    Registered,
}

impl Ring {
    /// A new one.
    pub fn new(through: Through) -> Result<Self, Errno> {
        let mut builder = IoUring::builder();
        if through == Through::RingThread {
            builder.setup_sqpoll(IDLE);
        }
        let ring = builder.build(4).map_err(errno)?;
        Ok(Self { ring, through })
    }

    /// bind, to a name as the kernel gets it.
    pub fn bind(&mut self, socket: RawFd, name: &[u8]) -> Result<(), Errno> {
        self.bind_as(Target::Number(socket), name, 0)
    }

    fn bind_as(&mut self, target: Target, name: &[u8], user: u16) -> Result<(), Errno> {
        let (address, length) = (name.as_ptr().cast(), name.len() as libc::socklen_t);
        let entry = match target {
            Target::Number(socket) => opcode::Bind::new(Fd(socket), address, length).build(),
            Target::Registered => opcode::Bind::new(Fixed(0), address, length).build(),
        };
        self.perform(entry.personality(user))
    }

    /// listen
    pub fn listen(&mut self, socket: RawFd) -> Result<(), Errno> {
        self.perform(opcode::Listen::new(Fd(socket), 1).build())
    }

    fn perform(&mut self, entry: io_uring::squeue::Entry) -> Result<(), Errno> {
        let entry = match self.through {
            Through::RingWorker => entry.flags(Flags::ASYNC),
            _ => entry,
        };
        // SAFETY: what the entry points to is borrowed until the call has ended, which
        // is waited for below.
        unsafe { self.ring.submission().push(&entry) }.map_err(|_| Errno::EBUSY)?;
        while let Err(error) = self.ring.submit_and_wait(1) {
            if error.kind() != ErrorKind::Interrupted {
                return Err(errno(error));
            }
        }
        let done = self.ring.completion().next().ok_or(Errno::EIO)?;
        match done.result() {
            0.. => Ok(()),
            error => Err(Errno::from_raw(-error)),
        }
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// Makes a ring and lets a child, which becomes another caller, bind by it.
pub fn hand_to_child(caller: &Caller, want: &Want) -> Result<Yield> {
    let mut ring = Ring::new(want.through)?;
    // Whoever asks, the polling thread reads the memory of its own process.
    let name = servant::name((want.address, want.port).into());
    let pid = child::fork(|| {
        let mut attempt = || -> Result<Result<(), Errno>> {
            become_caller(caller)?;
            let socket = socket::open(want)?;
            if want.through != Through::RingThread {
                return Ok(ring.bind(socket.as_raw_fd(), &name));
            }
            // The polling thread knows the numbers of its own process only.
            ring.ring
                .submitter()
                .register_files(&[socket.as_raw_fd()])
                .context("a socket can't be registered")?;
            Ok(ring.bind_as(Target::Registered, &name, 0))
        };
        match attempt() {
            Ok(Ok(())) => 0,
            Ok(Err(errno)) => errno as i32,
            Err(error) => {
                eprintln!("{error:#}");
                NO_ATTEMPT
            }
        }
    })?;
    match waitpid(pid, None)? {
        WaitStatus::Exited(_, code) if code != NO_ATTEMPT => Ok(Yield::Child {
            pid: pid.as_raw().cast_unsigned(),
            errno: code,
        }),
        status => bail!("the child did not bind: {status:?}"),
    }
}

/// Binds by a ring as the user that the process is, when it has become root again.
/// The socket is left open.
pub fn bind_as_before(want: &Want) -> Result<Result<(), Errno>> {
    let mut ring = Ring::new(want.through)?;
    let user = ring.ring.submitter().register_personality()?;
    seteuid(Uid::from_raw(0))?;
    let socket = socket::open(want)?;
    let name = servant::name((want.address, want.port).into());
    let bound = ring.bind_as(Target::Number(socket.as_raw_fd()), &name, user);
    std::mem::forget(socket);
    Ok(bound)
}
