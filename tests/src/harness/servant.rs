//! A process whose every call a test decides, when one bind is not the whole story:
//! options, names, listeners and who gets the connections.

use std::{
    cell::RefCell,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};

use super::{
    binder::Actor,
    request::{Caller, Kind},
    server::Origin,
};
use crate::actors::SERVANT;

/// An option of a socket.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum SocketOption {
    /// `SO_REUSEPORT`
    ReusePort,
    /// `SO_REUSEADDR`
    ReuseAddress,
    /// `IPV6_V6ONLY`
    V6Only,
    /// `TCP_DELACK_MAX_US`: the longest time that an acknowledgement is held back.
    MostDelay,
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
}

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
        let mut actor = Actor::start(SERVANT, caller, caller)?;
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
