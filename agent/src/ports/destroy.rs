//! Destroying listeners, by sock_diag's `SOCK_DESTROY`.
//!
//! The kernel finds the socket by address and port, as it would for a client, and
//! compares its cookie before it does anything: another socket is never destroyed.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener},
};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::{
    SOCK_DESTROY, SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP},
    inet::{ExtensionFlags, InetRequest, SocketId, StateFlags},
};
use netlink_sys::{Socket as Netlink, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use nix::errno::Errno;

use super::sockets::dump;
use crate::kernel::netns::socket_cookie;

/// Of listeners that share an address and a port the kernel picks one by the client's
/// port: so many clients are pretended until it is the right one.
const CLIENTS: u16 = 2048;
/// The kernel's answers are a few bytes.
const BUFFER: usize = 4096;

/// One TCP listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The address it is bound to; of an IPv6 socket an IPv6 one.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Index of the network device it is bound to, or 0.
    pub device: u32,
    /// Its cookie.
    pub cookie: u64,
}

/// What became of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It listens no more.
    Destroyed,
    /// It listened no more before it was destroyed.
    Closed,
    /// It still listens, for this reason.
    Stays(String),
}

/// Destroys listeners of one network namespace.
pub struct Destroyer(Netlink);

impl Destroyer {
    /// For the network namespace that the calling thread is in.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn new() -> io::Result<Self> {
        let netlink = Netlink::new(NETLINK_SOCK_DIAG)?;
        netlink.connect(&SocketAddr::new(0, 0))?;
        Ok(Self(netlink))
    }

    /// Destroys `target`. `None` if the kernel doesn't find it so: it may be gone, be
    /// bound to another device by now, or be hidden behind those that share its port.
    /// What it is, [`Self::settle`] tells.
    pub fn destroy(&self, target: &Target) -> Option<Fate> {
        match self.destroy_as(target, 0) {
            Err(error) if is_not_found(&error) => None,
            done => Some(done.map_or_else(stays, |()| Fate::Destroyed)),
        }
    }

    /// What becomes of those of `targets` that the kernel didn't find at once, in order.
    /// Such as are there are destroyed, unless they are to be `spared`. To list all
    /// listeners takes the kernel a millisecond, so this is for many of them.
    pub fn settle(&self, targets: &[Target], spared: impl Fn(usize) -> bool) -> Vec<Fate> {
        let there = match self.listeners(0) {
            Ok(there) => there,
            Err(error) => return vec![stays(error); targets.len()],
        };
        let fates = targets.iter().enumerate().map(|(index, target)| {
            match there.get(&target.cookie_bytes()) {
                None => Fate::Closed,
                Some(_) if spared(index) => Fate::Stays("it is to be spared".into()),
                Some(device) => self.seek(&Target {
                    device: *device,
                    ..*target
                }),
            }
        });
        fates.collect()
    }

    /// Destroys a listener that is not found at once.
    fn seek(&self, target: &Target) -> Fate {
        for client in 0..CLIENTS {
            match self.destroy_as(target, client) {
                Err(error) if is_not_found(&error) => {}
                done => return done.map_or_else(stays, |()| Fate::Destroyed),
            }
        }
        match self.listeners(target.port) {
            Ok(there) if there.contains_key(&target.cookie_bytes()) => {
                Fate::Stays("the kernel finds others in its place".into())
            }
            Ok(_) => Fate::Closed,
            Err(error) => stays(error),
        }
    }

    /// Destroys what the kernel finds for a client with the port `client`, if that is
    /// `target`.
    fn destroy_as(&self, target: &Target, client: u16) -> io::Result<()> {
        let request = target.request(SocketId {
            destination_port: client,
            interface_id: target.device,
            cookie: target.cookie_bytes(),
            ..target.socket_id()
        });
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_ACK;
        let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
        message.finalize();
        message.header.message_type = SOCK_DESTROY;
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.0.send(&bytes, 0)?;
        let mut buffer = [0; BUFFER];
        let size = self.0.recv(&mut &mut buffer[..], 0)?;
        let answer = buffer.get(..size).unwrap_or_default();
        let answer = NetlinkMessage::<SockDiagMessage>::deserialize(answer)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        match answer.payload {
            NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
            NetlinkPayload::Error(_) => Ok(()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// The cookies of the TCP listeners on `port`, or on all ports if that is 0, and the
    /// device that each is bound to, 0 for none.
    fn listeners(&self, port: u16) -> io::Result<HashMap<[u8; 8], u32>> {
        let mut there = HashMap::new();
        for any in [
            IpAddr::from(Ipv4Addr::UNSPECIFIED),
            Ipv6Addr::UNSPECIFIED.into(),
        ] {
            let all = Target {
                address: any,
                port,
                device: 0,
                cookie: u64::MAX,
            };
            dump(&self.0, all.request(all.socket_id()), |response| {
                let found = &response.header.socket_id;
                there.insert(found.cookie, found.interface_id);
            })?;
        }
        Ok(there)
    }
}

impl Target {
    fn request(&self, socket_id: SocketId) -> InetRequest {
        InetRequest {
            family: if self.address.is_ipv4() {
                AF_INET
            } else {
                AF_INET6
            },
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::LISTEN,
            socket_id,
        }
    }

    fn socket_id(&self) -> SocketId {
        let any = match self.address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        SocketId {
            source_port: self.port,
            destination_port: 0,
            source_address: self.address,
            destination_address: any,
            interface_id: 0,
            // Any.
            cookie: [0xff; 8],
        }
    }

    /// Two words, the low one first.
    fn cookie_bytes(&self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&(self.cookie as u32).to_ne_bytes());
        bytes[4..].copy_from_slice(&((self.cookie >> 32) as u32).to_ne_bytes());
        bytes
    }
}

fn stays(error: io::Error) -> Fate {
    Fate::Stays(error.to_string())
}

fn is_not_found(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENOENT as i32)
}

/// Why listeners of this network namespace can't be destroyed; `None` if they can, or
/// if only the right to do it is missing. Tried on a listener of our own, on a loopback
/// port that the kernel chooses.
pub fn problem() -> Option<String> {
    let why = match try_it() {
        Ok(()) => return None,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return None,
        Err(error) => error,
    };
    Some(format!(
        "the kernel doesn't destroy sockets ({why}); it takes CONFIG_INET_DIAG_DESTROY and, where that is a module, tcp_diag loaded"
    ))
}

fn try_it() -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let target = Target {
        address: address.ip(),
        port: address.port(),
        device: 0,
        cookie: socket_cookie(&listener)?,
    };
    Destroyer::new()?.destroy_as(&target, 0)
}
