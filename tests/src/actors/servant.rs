//! The servant: a process that does with its sockets what it is told, one thing at a time.

use std::{
    collections::HashMap,
    io::{self, BufRead as _, BufReader},
    mem::size_of,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd},
    path::Path,
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    libc,
    unistd::{Gid, Uid, setresgid, setresuid},
};

use super::{SERVE, become_caller::become_caller, mail, ring, socket};
use crate::harness::{
    Caller,
    draw::set_range,
    endpoints::{Endpoints, SIGNAL},
    links,
    servant::{Deed, SocketOption, Yield},
    server::Origin,
};

/// Longest wait of a call for a peer, in seconds.
const WAIT: libc::time_t = 10;
/// What a servant calls its network device.
const LINK: &str = "servant0";

/// Becomes the caller and obeys until its standard input is closed.
pub fn perform(caller: &Caller) -> Result<()> {
    become_caller(caller)?;
    println!("{}", process::id());
    let mut sockets = HashMap::new();
    let mut children = Children(Vec::new());
    for line in io::stdin().lock().lines() {
        let done = match serde_json::from_str(&line?)? {
            Deed::Start {
                program,
                origin,
                connection,
            } => {
                let connection = connection.map(|number| sockets.remove(&number));
                let connection = connection.map(|socket| socket.context("no such socket"));
                children.start(&program, origin, connection.transpose()?)?
            }
            deed => perform_one(&mut sockets, &deed)?,
        };
        let done: Result<Yield, i32> = done.map_err(|errno| errno as i32);
        println!("{}", serde_json::to_string(&done)?);
    }
    Ok(())
}

/// Servers that end with the servant.
struct Children(Vec<Child>);

impl Children {
    fn start(
        &mut self,
        program: &Path,
        origin: Origin,
        connection: Option<OwnedFd>,
    ) -> Result<Result<Yield, Errno>> {
        if let Origin::Inherited(fd) = origin {
            // SAFETY: the call takes three numbers.
            Errno::result(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) })?;
        }
        let mut child = Command::new(program)
            .arg(SERVE)
            .arg(serde_json::to_string(&origin)?)
            .stdin(connection.map_or_else(Stdio::null, Stdio::from))
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| program.display().to_string())?;
        let pid = i32::try_from(child.id())?;
        // It says something when it has its socket, or ends.
        let stdout = child.stdout.take().context("a child has no output")?;
        if BufReader::new(stdout).read_line(&mut String::new())? > 0 {
            self.0.push(child);
            return Ok(Ok(Yield::Number(pid)));
        }
        let code = child.wait()?.code().context("a child was killed")?;
        Ok(match code {
            0 => Ok(Yield::Number(pid)),
            errno => Err(Errno::from_raw(errno)),
        })
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The outer error is the test's mistake, the inner one what the kernel says.
fn perform_one(sockets: &mut HashMap<RawFd, OwnedFd>, deed: &Deed) -> Result<Result<Yield, Errno>> {
    let mut keep = |socket: OwnedFd| {
        let fd = socket.as_raw_fd();
        sockets.insert(fd, socket);
        Yield::Number(fd)
    };
    Ok(match deed {
        Deed::Open { kind, v6 } => Ok(keep(socket::open_kind(*kind, *v6)?)),
        Deed::Close { socket } => {
            sockets.remove(socket).context("no such socket")?;
            Ok(Yield::Nothing)
        }
        Deed::Set {
            socket,
            option,
            value,
        } => socket::set(*socket, *option, *value).map(|()| Yield::Nothing),
        Deed::Get { socket, option } => get(*socket, *option).map(Yield::Number),
        Deed::Bind { socket, name } => socket::bind_to(*socket, name).map(|()| Yield::Nothing),
        Deed::BindLength {
            socket,
            name,
            length,
        } => bind_length(*socket, name, *length),
        Deed::BindRace {
            sockets,
            one,
            other,
        } => bind_race(sockets, one, other),
        Deed::Connect { socket, name } => connect(*socket, name),
        Deed::Shutdown { socket } => {
            // SAFETY: the call takes two numbers.
            nothing(unsafe { libc::shutdown(*socket, libc::SHUT_RDWR) })
        }
        Deed::Send { socket, byte, name } => send(*socket, *byte, name),
        Deed::OpenMailbox { name } => mail::open_mailbox(name).map(keep),
        Deed::Pass { socket, to } => mail::pass(*socket, to).map(|()| Yield::Nothing),
        Deed::Fetch { mailbox } => mail::fetch(*mailbox).map(keep),
        Deed::OpenPacket => mail::open_packet().map(keep),
        Deed::Overhear { socket, port } => wait_some_time(*socket)
            .and_then(|()| mail::overhear(*socket, *port))
            .map(|byte| Yield::Number(byte.into())),
        Deed::AddLink(link) => links::add(link, LINK).map(|()| Yield::Nothing),
        Deed::AddEndpoint { address, port } => {
            match Endpoints::open()?.add(*address, *port, SIGNAL) {
                Ok(()) => Ok(Yield::Nothing),
                Err(error) => Err(error.downcast::<Errno>()?),
            }
        }
        Deed::HandRing { child, want } => Ok(ring::hand_to_child(child, want)?),
        Deed::BindAsBefore { want } => ring::bind_as_before(want)?.map(|()| Yield::Nothing),
        Deed::Listen { socket } => {
            // SAFETY: the call takes two numbers.
            nothing(unsafe { libc::listen(*socket, 128) })
        }
        Deed::Name { socket } => socket::address_of(*socket).map(Yield::Address),
        Deed::Accept { socket } => accept(*socket).map(keep),
        Deed::Receive { socket } => receive(*socket).map(Yield::Number),
        Deed::Start { .. } => bail!("servers are started elsewhere"),
        Deed::Become { uid } => {
            let (user, group) = (Uid::from_raw(*uid), Gid::from_raw(*uid));
            setresgid(group, group, group)
                .and_then(|()| setresuid(user, user, user))
                .map(|()| Yield::Nothing)
        }
        Deed::SetPortRange { first, last } => {
            set_range(*first, *last)?;
            Ok(Yield::Nothing)
        }
        Deed::Take { pid, socket } => take(*pid, *socket).map(keep),
    })
}

fn nothing(result: libc::c_int) -> Result<Yield, Errno> {
    Errno::result(result).map(|_| Yield::Nothing)
}

fn owned(fd: libc::c_int) -> Result<OwnedFd, Errno> {
    let fd = Errno::result(fd)?;
    // SAFETY: the kernel made this descriptor for us; nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn get(socket: RawFd, option: SocketOption) -> Result<i32, Errno> {
    let (level, option) = socket::numbers(option);
    let mut value = 0i32;
    let mut length = size_of::<i32>() as libc::socklen_t;
    // SAFETY: both are written and outlive the call; `length` is that of `value`.
    Errno::result(unsafe {
        libc::getsockopt(
            socket,
            level,
            option,
            std::ptr::from_mut(&mut value).cast(),
            &raw mut length,
        )
    })?;
    Ok(value)
}

/// A name that is said to be `length` bytes long.
fn bind_length(socket: RawFd, name: &[u8], length: i32) -> Result<Yield, Errno> {
    // SAFETY: the kernel takes no more than its longest name has, which is readable;
    // of a negative length it takes nothing.
    nothing(unsafe { libc::bind(socket, name.as_ptr().cast(), length.cast_unsigned()) })
}

/// Binds each of `sockets` to a name of IPv4 that another thread changes all the time.
fn bind_race(sockets: &[RawFd], one: &[u8], other: &[u8]) -> Result<Yield, Errno> {
    let word = |name: &[u8]| {
        name.first_chunk()
            .map(|word| u64::from_ne_bytes(*word))
            .ok_or(Errno::EINVAL)
    };
    let (one, other) = (word(one)?, word(other)?);
    // A name has 16 bytes, the last 8 of which are not looked at.
    let name = [AtomicU64::new(one), AtomicU64::new(0)];
    let (is_on, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Relaxed) {
                name[0].store(one, Relaxed);
                name[0].store(other, Relaxed);
                is_on.store(true, Relaxed);
            }
        });
        while !is_on.load(Relaxed) {
            thread::yield_now();
        }
        for &socket in sockets {
            // SAFETY: the kernel copies the name; that it changes is the point.
            unsafe { libc::bind(socket, name.as_ptr().cast(), size_of_val(&name) as u32) };
        }
        is_over.store(true, Relaxed);
    });
    Ok(Yield::Nothing)
}

fn connect(socket: RawFd, name: &[u8]) -> Result<Yield, Errno> {
    // SAFETY: as for a bind.
    nothing(unsafe { libc::connect(socket, name.as_ptr().cast(), name.len() as libc::socklen_t) })
}

fn send(socket: RawFd, byte: u8, name: &[u8]) -> Result<Yield, Errno> {
    // SAFETY: one byte is read, and the name as for a bind.
    Errno::result(unsafe {
        libc::sendto(
            socket,
            std::ptr::from_ref(&byte).cast(),
            1,
            0,
            name.as_ptr().cast(),
            name.len() as libc::socklen_t,
        )
    })
    .map(|_| Yield::Nothing)
}

/// Lets calls on `socket` wait so long for a peer and no longer.
fn wait_some_time(socket: RawFd) -> Result<(), Errno> {
    let wait = libc::timeval {
        tv_sec: WAIT,
        tv_usec: 0,
    };
    // SAFETY: `wait` outlives the call and is as long as said.
    Errno::result(unsafe {
        libc::setsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_RCVTIMEO,
            std::ptr::from_ref(&wait).cast(),
            size_of::<libc::timeval>() as libc::socklen_t,
        )
    })
    .map(drop)
}

fn accept(socket: RawFd) -> Result<OwnedFd, Errno> {
    wait_some_time(socket)?;
    // SAFETY: nobody asks for the peer's name.
    owned(unsafe { libc::accept(socket, std::ptr::null_mut(), std::ptr::null_mut()) })
}

fn receive(socket: RawFd) -> Result<i32, Errno> {
    wait_some_time(socket)?;
    let mut byte = 0u8;
    // SAFETY: one byte is written to `byte`.
    let length = unsafe { libc::recv(socket, std::ptr::from_mut(&mut byte).cast(), 1, 0) };
    Errno::result(length)?;
    Ok(i32::from(byte))
}

/// A socket of another process, as if it were passed on.
pub fn take(pid: u32, socket: RawFd) -> Result<OwnedFd, Errno> {
    // SAFETY: the calls take numbers; what they return is ours.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) } as libc::c_int)?;
    owned(
        // SAFETY: as above.
        unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), socket, 0) }
            as libc::c_int,
    )
}
