//! The sockets of this network namespace, by sock_diag (`man 7 sock_diag`).

use std::{
    collections::HashSet,
    fs::File,
    io,
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    sync::OnceLock,
};

use netlink_packet_core::{
    Emitable as _, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, IPPROTO_UDPLITE},
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, nlas::Nla},
};
use netlink_sys::{Socket as Netlink, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn};
use portreeve_common::abi::Protocol;

use super::{Connection, Socket, connections::ConnectionState};

/// The kernel fills at most this much of a dump at once.
const BUFFER: usize = 1 << 16;
/// `INET_DIAG_CGROUP_ID`: the socket's cgroup, a u64.
const CGROUP_ID: u16 = 21;
/// `TCPF_BOUND_INACTIVE` (Linux 6.8): TCP sockets that are bound and nothing more. Older
/// kernels have none in that state.
const BOUND: StateFlags = StateFlags::from_bits_retain(1 << 13);
/// `TCP_LISTEN`
const LISTEN: u8 = 10;
/// Families, and what stands for all sockets of each.
const FAMILIES: [(u8, fn() -> SocketId); 2] =
    [(AF_INET, SocketId::new_v4), (AF_INET6, SocketId::new_v6)];

/// Every TCP socket that listens or, where the kernel lists those, is only bound, and
/// every UDP socket that is bound.
///
/// # Errors
///
/// What the kernel says, such as `ENOENT` if it was built without `INET_DIAG`.
pub fn bound() -> io::Result<Vec<Socket>> {
    let mut found = Vec::new();
    let each = |protocol, response: &InetResponse| found.push(socket(protocol, response));
    walk(&StateFlags::LISTEN.union(BOUND), each)?;
    Ok(found)
}

/// Every socket of TCP, bound, listening or connected, and of UDP.
///
/// # Errors
///
/// As [`bound`].
pub fn all() -> io::Result<Vec<Connection>> {
    let mut found = Vec::new();
    let each = |protocol, response: &InetResponse| found.push(connection(protocol, response));
    walk(&StateFlags::all().union(BOUND), each)?;
    Ok(found)
}

/// Hands every TCP socket in one of the `states` and every UDP socket to `each`.
fn walk(states: &StateFlags, mut each: impl FnMut(Protocol, &InetResponse)) -> io::Result<()> {
    let netlink = Netlink::new(NETLINK_SOCK_DIAG)?;
    netlink.connect(&SocketAddr::new(0, 0))?;
    for (number, protocol, states) in [
        (IPPROTO_TCP, Protocol::Tcp, states.clone()),
        (IPPROTO_UDP, Protocol::Udp, StateFlags::all()),
        (IPPROTO_UDPLITE, Protocol::Udp, StateFlags::all()),
    ] {
        for (family, socket_id) in FAMILIES {
            let request = InetRequest {
                family,
                protocol: number,
                extensions: ExtensionFlags::empty(),
                states: states.clone(),
                socket_id: socket_id(),
            };
            match dump(&netlink, request, |response| each(protocol, response)) {
                // Without the protocol there are none of its sockets.
                Err(error) if number == IPPROTO_UDPLITE && is_unknown(&error) => {}
                done => done?,
            }
        }
    }
    Ok(())
}

/// Inode numbers of every TCP socket, whatever it is doing; not of those that nobody has
/// open.
///
/// # Errors
///
/// What the kernel says.
pub fn tcp_inodes() -> io::Result<HashSet<u64>> {
    let netlink = Netlink::new(NETLINK_SOCK_DIAG)?;
    netlink.connect(&SocketAddr::new(0, 0))?;
    let mut found = HashSet::new();
    for (family, socket_id) in FAMILIES {
        let request = InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::all().union(BOUND),
            socket_id: socket_id(),
        };
        dump(&netlink, request, |response| {
            found.insert(u64::from(response.header.inode));
        })?;
    }
    Ok(found)
}

/// Whether the kernel lists TCP sockets that are bound and no more.
pub fn lists_bound() -> bool {
    static LISTS: OnceLock<bool> = OnceLock::new();
    *LISTS.get_or_init(|| is_trial_listed().unwrap_or(false))
}

/// Binds a socket to a port of the kernel's choice, and looks whether it is listed.
fn is_trial_listed() -> io::Result<bool> {
    let (family, kind) = (AddressFamily::Inet, SockType::Stream);
    let trial = File::from(socket::socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?);
    socket::bind(trial.as_raw_fd(), &SockaddrIn::new(0, 0, 0, 0, 0))?;
    let inode = trial.metadata()?.ino();
    Ok(bound()?.iter().any(|socket| socket.inode == inode))
}

fn is_unknown(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(nix::libc::ENOENT | nix::libc::EPROTONOSUPPORT | nix::libc::EINVAL)
    )
}

fn socket(protocol: Protocol, response: &InetResponse) -> Socket {
    let header = &response.header;
    let cgroup = response.nlas.iter().find_map(|nla| match nla {
        Nla::Other(nla) if netlink_packet_core::Nla::kind(nla) == CGROUP_ID => {
            let mut value = [0; 8];
            (netlink_packet_core::Nla::value_len(nla) == value.len()).then(|| {
                netlink_packet_core::Nla::emit_value(nla, &mut value);
                u64::from_ne_bytes(value)
            })
        }
        _ => None,
    });
    Socket {
        protocol,
        address: header.socket_id.source_address,
        port: header.socket_id.source_port,
        connected: header.socket_id.destination_port != 0,
        idle: protocol == Protocol::Tcp && header.state != LISTEN,
        uid: header.uid,
        inode: u64::from(header.inode),
        cgroup,
    }
}

fn connection(protocol: Protocol, response: &InetResponse) -> Connection {
    let header = &response.header;
    let id = &header.socket_id;
    Connection {
        socket: socket(protocol, response),
        peer: (id.destination_port != 0)
            .then(|| (id.destination_address, id.destination_port).into()),
        state: match protocol {
            Protocol::Tcp => ConnectionState::of_tcp(header.state),
            Protocol::Udp => ConnectionState::Udp,
        },
        waiting: header.recv_queue,
        limit: header.send_queue,
    }
}

/// Hands each answer to `request` to `each`.
pub(super) fn dump(
    netlink: &Netlink,
    request: InetRequest,
    each: impl FnMut(&InetResponse),
) -> io::Result<()> {
    dump_with(netlink, request, &[], each)
}

/// The same, with `attributes` behind the request.
pub(super) fn dump_with(
    netlink: &Netlink,
    request: InetRequest,
    attributes: &[u8],
    mut each: impl FnMut(&InetResponse),
) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.emit(&mut bytes);
    bytes.extend_from_slice(attributes);
    // A message begins with its length.
    let length = (bytes.len() as u32).to_ne_bytes();
    bytes[..length.len()].copy_from_slice(&length);
    netlink.send(&bytes, 0)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let size = netlink.recv(&mut &mut buffer[..], 0)?;
        let mut rest = buffer.get(..size).unwrap_or_default();
        while !rest.is_empty() {
            let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            match &message.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    each(response);
                }
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
            // Messages are padded to four bytes.
            let length = (message.header.length as usize).next_multiple_of(4);
            rest = rest.get(length.max(4)..).unwrap_or_default();
        }
    }
}
