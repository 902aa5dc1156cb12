//! A process whose every call a test decides, when one bind is not the whole story:
//! options, names, listeners and who gets the connections.

use std::{
    cell::RefCell,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use nix::{errno::Errno, libc};
use serde::{Deserialize, Serialize};

use super::{
    binder::Actor,
    links::Link,
    request::{Caller, Kind, Want},
    server::Origin,
};
use crate::actors::SERVANT;

/// An option of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SocketOption {
    /// `SO_REUSEPORT`
    ReusePort,
    /// `SO_REUSEADDR`
    ReuseAddress,
    /// `IPV6_V6ONLY`
    V6Only,
    /// `TCP_DELACK_MAX_US`: the longest time that an acknowledgement is held back.
    MostDelay,
    /// `SO_BINDTOIFINDEX`: the socket is of this device only.
    Device,
    /// `IP_FREEBIND`: its address needn't be the host's.
    FreeBind,
    /// `IP_TRANSPARENT`: nor need it be for its traffic.
    Transparent,
    /// `TCP_REPAIR`: it is one that is being restored.
    Repair,
    /// `TCP_FASTOPEN`: it takes data with the first packet.
    FastOpen,
    /// `IP_BIND_ADDRESS_NO_PORT`: port 0 stays 0 until it connects.
    NoPort,
    /// `IP_LOCAL_PORT_RANGE`: what the kernel chooses from, highest and lowest.
    PortRange,
    /// `IPV6_ADDRFORM`: the family that it is from now on.
    Family,
}

/// What a servant is told.
#[derive(Debug, Serialize, Deserialize)]
pub enum Deed {
    /// Make a socket; yields its number.
    Open {
        /// Of this kind,
        kind: Kind,
        /// and of IPv6.
        v6: bool,
    },
    /// Close one.
    Close {
        /// Its number.
        socket: i32,
    },
    /// setsockopt
    Set {
        /// Of this socket.
        socket: i32,
        /// This option.
        option: SocketOption,
        /// To this value.
        value: i32,
    },
    /// getsockopt
    Get {
        /// Of this socket.
        socket: i32,
        /// This option.
        option: SocketOption,
    },
    /// bind
    Bind {
        /// This socket.
        socket: i32,
        /// To this name, as the kernel gets it.
        name: Vec<u8>,
    },
    /// listen
    Listen {
        /// On this socket.
        socket: i32,
    },
    /// getsockname
    Name {
        /// Of this socket.
        socket: i32,
    },
    /// Wait for a connection; yields its number.
    Accept {
        /// On this socket.
        socket: i32,
    },
    /// Wait for a byte; yields it.
    Receive {
        /// On this socket.
        socket: i32,
    },
    /// Start a server; yields its process id.
    Start {
        /// This file, a copy of the tests' own, which names the process.
        program: PathBuf,
        /// It has its socket from there.
        origin: Origin,
        /// For a server that gets a connection: this one.
        connection: Option<i32>,
    },
    /// Become another user for good.
    Become {
        /// This one.
        uid: u32,
    },
    /// Set the range of ports that the kernel chooses from.
    SetPortRange {
        /// The lowest,
        first: u16,
        /// and the highest.
        last: u16,
    },
    /// bind, saying that the name is so long.
    BindLength {
        /// This socket.
        socket: i32,
        /// To this name,
        name: Vec<u8>,
        /// of which the kernel is told this length.
        length: i32,
    },
    /// bind, while another thread writes one name and the other in its place.
    BindRace {
        /// Each of these sockets.
        sockets: Vec<i32>,
        /// One name,
        one: Vec<u8>,
        /// and the other.
        other: Vec<u8>,
    },
    /// connect
    Connect {
        /// This socket.
        socket: i32,
        /// To this name, as the kernel gets it.
        name: Vec<u8>,
    },
    /// shutdown, in both directions.
    Shutdown {
        /// This socket.
        socket: i32,
    },
    /// sendto, one byte.
    Send {
        /// By this socket.
        socket: i32,
        /// What.
        byte: u8,
        /// To this name, as the kernel gets it.
        name: Vec<u8>,
    },
    /// Open a mailbox for sockets that are passed on; yields its number.
    OpenMailbox {
        /// Its name.
        name: String,
    },
    /// Pass on a socket.
    Pass {
        /// This one.
        socket: i32,
        /// To the mailbox of this name.
        to: String,
    },
    /// Take a socket out of a mailbox; yields its number.
    Fetch {
        /// The mailbox's number.
        mailbox: i32,
    },
    /// Make a socket that sees all packets; yields its number.
    OpenPacket,
    /// Wait for a packet with a UDP datagram of one byte for a port; yields the byte.
    Overhear {
        /// By this socket.
        socket: i32,
        /// The datagram's port.
        port: u16,
    },
    /// Make a network device and raise it.
    AddLink(Link),
    /// Have the kernel listen at an MPTCP endpoint.
    AddEndpoint {
        /// Its address,
        address: Ipv4Addr,
        /// and its port.
        port: u16,
    },
    /// Make a ring for asynchronous calls and let a child bind by it; yields the child.
    HandRing {
        /// What the child becomes, which has left everything but the ring.
        child: Box<Caller>,
        /// What it binds.
        want: Want,
    },
    /// Let a ring remember the user, become root again, and bind by the ring.
    BindAsBefore {
        /// What.
        want: Want,
    },
    /// Take over a socket; yields its number here.
    Take {
        /// Of this process.
        pid: u32,
        /// Its number there.
        socket: i32,
    },
}

/// What comes of a deed that succeeds.
#[derive(Debug, Serialize, Deserialize)]
pub enum Yield {
    /// No more than that it is done.
    Nothing,
    /// A socket, a value, a byte.
    Number(i32),
    /// A name.
    Address(SocketAddr),
    /// A child that has ended.
    Child {
        /// Its process id.
        pid: u32,
        /// The errno of its bind, or 0.
        errno: i32,
    },
}

/// The number of a socket that a servant has inherited.
pub const INHERITED: i32 = 100;

/// The process.
pub struct Servant {
    actor: RefCell<Actor>,
    /// Its process id.
    pub pid: u32,
}

/// What the kernel says to a call.
pub type Said<T> = Result<T, Errno>;

impl Servant {
    /// Starts `caller`.
    pub fn start(caller: &Caller) -> Result<Self> {
        Self::of(Actor::start(SERVANT, caller, caller)?)
    }

    /// Starts `caller`, which inherits a socket; its number there is [`INHERITED`].
    pub fn start_with(caller: &Caller, socket: OwnedFd) -> Result<Self> {
        Self::of(Actor::start_with(SERVANT, caller, caller, Some(socket))?)
    }

    fn of(mut actor: Actor) -> Result<Self> {
        let pid = actor.line()?.parse().context("a servant says its number")?;
        let actor = RefCell::new(actor);
        Ok(Self { actor, pid })
    }

    fn perform(&self, deed: &Deed) -> Result<Said<Yield>> {
        let answer = self.actor.borrow_mut().ask(&serde_json::to_string(deed)?)?;
        let answer: Result<Yield, i32> = serde_json::from_str(&answer)?;
        Ok(answer.map_err(Errno::from_raw))
    }

    fn done(&self, deed: &Deed) -> Result<Said<()>> {
        Ok(self.perform(deed)?.map(drop))
    }

    fn number(&self, deed: &Deed) -> Result<Said<i32>> {
        match self.perform(deed)? {
            Ok(Yield::Number(number)) => Ok(Ok(number)),
            Ok(other) => bail!("{deed:?} yields {other:?}"),
            Err(errno) => Ok(Err(errno)),
        }
    }

    /// A socket that is not bound yet: its number.
    pub fn socket(&self, kind: Kind, v6: bool) -> Result<i32> {
        let deed = Deed::Open { kind, v6 };
        self.number(&deed)?.with_context(|| format!("{deed:?}"))
    }

    /// Closes a socket.
    pub fn close(&self, socket: i32) -> Result<()> {
        Ok(self.done(&Deed::Close { socket })??)
    }

    /// Sets an option.
    pub fn set(&self, socket: i32, option: SocketOption, value: i32) -> Result<()> {
        let deed = Deed::Set {
            socket,
            option,
            value,
        };
        self.done(&deed)?.with_context(|| format!("{deed:?}"))
    }

    /// The value of an option.
    pub fn get(&self, socket: i32, option: SocketOption) -> Result<Said<i32>> {
        self.number(&Deed::Get { socket, option })
    }

    /// Whether `SO_REUSEPORT` is set.
    pub fn is_shared(&self, socket: i32) -> Result<bool> {
        Ok(self.get(socket, SocketOption::ReusePort)?? != 0)
    }

    /// Binds a socket.
    pub fn bind(&self, socket: i32, address: impl Into<IpAddr>, port: u16) -> Result<Said<()>> {
        self.bind_to(socket, name(SocketAddr::new(address.into(), port)))
    }

    /// Binds a socket to a name of any form and length.
    pub fn bind_to(&self, socket: i32, name: Vec<u8>) -> Result<Said<()>> {
        self.done(&Deed::Bind { socket, name })
    }

    /// The same, saying that the name is `length` bytes long.
    pub fn bind_to_length(&self, socket: i32, name: Vec<u8>, length: i32) -> Result<Said<()>> {
        self.done(&Deed::BindLength {
            socket,
            name,
            length,
        })
    }

    /// Binds each of `sockets` while two ports take turns in its name.
    pub fn bind_in_a_race(
        &self,
        sockets: &[i32],
        one: SocketAddr,
        other: SocketAddr,
    ) -> Result<()> {
        let sockets = sockets.to_vec();
        let (one, other) = (name(one), name(other));
        let deed = Deed::BindRace {
            sockets,
            one,
            other,
        };
        Ok(self.done(&deed)??)
    }

    /// Connects.
    pub fn connect(&self, socket: i32, address: impl Into<IpAddr>, port: u16) -> Result<Said<()>> {
        let name = name(SocketAddr::new(address.into(), port));
        self.done(&Deed::Connect { socket, name })
    }

    /// Takes a connection back.
    pub fn disconnect(&self, socket: i32) -> Result<Said<()>> {
        // AF_UNSPEC
        let name = vec![0; 16];
        self.done(&Deed::Connect { socket, name })
    }

    /// Ends a connection.
    pub fn shutdown(&self, socket: i32) -> Result<()> {
        Ok(self.done(&Deed::Shutdown { socket })??)
    }

    /// Sends a byte.
    pub fn send(
        &self,
        socket: i32,
        byte: u8,
        to: impl Into<IpAddr>,
        port: u16,
    ) -> Result<Said<()>> {
        let name = name(SocketAddr::new(to.into(), port));
        self.done(&Deed::Send { socket, byte, name })
    }

    /// Passes `socket` on to `other` as servers do, by a Unix socket.
    pub fn pass(&self, socket: i32, other: &Self) -> Result<i32> {
        let name = format!("portreeve-test-{}", other.pid);
        let mailbox = other.number(&Deed::OpenMailbox { name: name.clone() })??;
        self.done(&Deed::Pass { socket, to: name })??;
        let passed = other.number(&Deed::Fetch { mailbox })??;
        other.close(mailbox)?;
        Ok(passed)
    }

    /// A socket that sees all packets of the network namespace.
    pub fn packet_socket(&self) -> Result<i32> {
        Ok(self.number(&Deed::OpenPacket)??)
    }

    /// The byte of a datagram to this port of somebody else.
    pub fn overhear(&self, socket: i32, port: u16) -> Result<Said<i32>> {
        self.number(&Deed::Overhear { socket, port })
    }

    /// Makes a network device and raises it.
    pub fn add_link(&self, link: &Link) -> Result<Said<()>> {
        self.done(&Deed::AddLink(link.clone()))
    }

    /// Has the kernel listen at an MPTCP endpoint.
    pub fn add_endpoint(&self, address: Ipv4Addr, port: u16) -> Result<Said<()>> {
        self.done(&Deed::AddEndpoint { address, port })
    }

    /// Hands a ring that it made to a child, which binds by it: the child's process id,
    /// and how that ended.
    pub fn hand_ring(&self, child: &Caller, want: &Want) -> Result<(u32, Said<()>)> {
        let (child, want) = (Box::new(child.clone()), want.clone());
        match self.perform(&Deed::HandRing { child, want })? {
            Ok(Yield::Child { pid, errno: 0 }) => Ok((pid, Ok(()))),
            Ok(Yield::Child { pid, errno }) => Ok((pid, Err(Errno::from_raw(errno)))),
            other => bail!("a child yields {other:?}"),
        }
    }

    /// Binds by a ring as the user it is now, having become root again.
    pub fn bind_as_before(&self, want: &Want) -> Result<Said<()>> {
        let want = want.clone();
        self.done(&Deed::BindAsBefore { want })
    }

    /// Listens.
    pub fn listen(&self, socket: i32) -> Result<Said<()>> {
        self.done(&Deed::Listen { socket })
    }

    /// The socket's name.
    pub fn name(&self, socket: i32) -> Result<SocketAddr> {
        match self.perform(&Deed::Name { socket })? {
            Ok(Yield::Address(address)) => Ok(address),
            other => bail!("getsockname yields {other:?}"),
        }
    }

    /// A connection that arrives within some seconds.
    pub fn accept(&self, socket: i32) -> Result<Said<i32>> {
        self.number(&Deed::Accept { socket })
    }

    /// A byte that arrives within some seconds.
    pub fn receive(&self, socket: i32) -> Result<Said<i32>> {
        self.number(&Deed::Receive { socket })
    }

    /// Makes it another user for good.
    pub fn become_user(&self, uid: u32) -> Result<()> {
        Ok(self.done(&Deed::Become { uid })??)
    }

    /// Sets the range of ports that the kernel of its network namespace chooses from.
    pub fn set_port_range(&self, first: u16, last: u16) -> Result<()> {
        Ok(self.done(&Deed::SetPortRange { first, last })??)
    }

    /// Starts a server as its child, running `program`; its process id, or why it
    /// could not bind.
    pub fn start_server(&self, program: &Path, origin: Origin) -> Result<Said<i32>> {
        self.number(&Deed::Start {
            program: program.to_owned(),
            origin,
            connection: None,
        })
    }

    /// Starts a server for one connection, which is its standard input.
    pub fn start_for(&self, connection: i32, program: &Path) -> Result<i32> {
        let deed = Deed::Start {
            program: program.to_owned(),
            origin: Origin::Connected,
            connection: Some(connection),
        };
        self.number(&deed)?.with_context(|| format!("{deed:?}"))
    }

    /// Takes over `socket` of `other`, as if it were passed on.
    pub fn take(&self, other: &Self, socket: i32) -> Result<i32> {
        let pid = other.pid;
        let deed = Deed::Take { pid, socket };
        self.number(&deed)?.with_context(|| format!("{deed:?}"))
    }

    /// What tells its socket from every other.
    pub fn cookie(&self, socket: i32) -> Result<u64> {
        let socket = self.copy(socket)?;
        let mut cookie = 0_u64;
        let mut length = size_of::<u64>() as libc::socklen_t;
        // SAFETY: the kernel writes at most `length` bytes to `cookie`, which has as many.
        Errno::result(unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_COOKIE,
                (&raw mut cookie).cast(),
                &raw mut length,
            )
        })?;
        Ok(cookie)
    }

    /// A copy of its socket in the process of the tests.
    pub fn copy(&self, socket: i32) -> Result<OwnedFd> {
        crate::actors::take(self.pid, socket).context("a socket can't be copied")
    }

    /// A new socket, bound, and listening if it is TCP's.
    pub fn serve(&self, kind: Kind, address: impl Into<IpAddr>, port: u16) -> Result<Said<i32>> {
        let address = address.into();
        let socket = self.socket(kind, address.is_ipv6())?;
        if let Err(errno) = self.bind(socket, address, port)? {
            self.close(socket)?;
            return Ok(Err(errno));
        }
        if matches!(kind, Kind::Tcp | Kind::Mptcp) {
            return Ok(self.listen(socket)?.map(|()| socket));
        }
        Ok(Ok(socket))
    }
}

/// A name as the kernel gets it.
pub fn name(address: SocketAddr) -> Vec<u8> {
    let family = if address.is_ipv4() { 2u16 } else { 10 };
    let mut name = family.to_ne_bytes().to_vec();
    name.extend(address.port().to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => {
            name.extend(ip.octets());
            name.resize(16, 0);
        }
        IpAddr::V6(ip) => {
            name.extend([0; 4]);
            name.extend(ip.octets());
            name.resize(28, 0);
        }
    }
    name
}
