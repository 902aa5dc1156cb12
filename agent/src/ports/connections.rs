//! All sockets of this network namespace, connected ones too, and who has them.

use std::{collections::BTreeSet, io, net::SocketAddr};

use super::{Holder, Socket, holders, sockets};

/// What a socket is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// TCP: it waits for connections.
    Listen,
    /// TCP: it is bound and nothing more. Only Linux 6.8 and later list such.
    Bound,
    /// TCP: it has a connection, in the state of this name.
    Connection(&'static str),
    /// UDP has none.
    Udp,
}

impl ConnectionState {
    /// By the number that Linux gives a state of TCP.
    pub(super) const fn of_tcp(number: u8) -> Self {
        Self::Connection(match number {
            1 => "established",
            2 => "syn-sent",
            3 | 12 => "syn-received",
            4 => "fin-wait-1",
            5 => "fin-wait-2",
            6 => "time-wait",
            8 => "close-wait",
            9 => "last-ack",
            10 => return Self::Listen,
            11 => "closing",
            // Without a connection it is listed only because it is bound.
            7 | 13 => return Self::Bound,
            _ => "closed",
        })
    }

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Listen => "listen",
            Self::Bound => "bound",
            Self::Connection(name) => name,
            Self::Udp => "udp",
        }
    }
}

/// A socket with its peer and its queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// The socket.
    pub socket: Socket,
    /// Whom it talks to.
    pub peer: Option<SocketAddr>,
    /// What it is at.
    pub state: ConnectionState,
    /// Of a listener the connections that wait to be accepted, else bytes that wait to be
    /// read.
    pub waiting: u32,
    /// Of a listener how many may wait; one more finds room. Else bytes that wait to be
    /// sent.
    pub limit: u32,
}

impl Connection {
    /// Whether a listener lets new connections wait outside: its queue is full.
    pub fn is_full(&self) -> bool {
        self.state == ConnectionState::Listen && self.waiting > self.limit
    }
}

/// Every socket with those who have it, by protocol, port and peer.
///
/// # Errors
///
/// If the kernel doesn't list its sockets.
pub fn connections() -> io::Result<Vec<(Connection, Vec<Holder>)>> {
    let mut found = sockets::all()?;
    found.sort_by_key(|one| {
        let Socket {
            protocol,
            port,
            address,
            inode,
            ..
        } = one.socket;
        (
            protocol as u8,
            port,
            one.peer.is_some(),
            address,
            one.peer,
            inode,
        )
    });
    let inodes: BTreeSet<u64> = found.iter().map(|one| one.socket.inode).collect();
    let mut by_inode = holders::of(&inodes);
    let with_holders = found.into_iter().map(|one| {
        let mut holders = by_inode.remove(&one.socket.inode).unwrap_or_default();
        holders::name_units(&one.socket, &mut holders);
        holders.sort_by_key(|holder| (holder.started, holder.pid));
        (one, holders)
    });
    Ok(with_holders.collect())
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        process,
    };

    use super::*;

    /// Both ends of a connection of ours, and the listener with what waits.
    #[test]
    fn own_connections_are_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let client = TcpStream::connect(address).unwrap();
        let all = connections().unwrap();
        let ours = |local: SocketAddr| {
            let is_it = |one: &&(Connection, Vec<Holder>)| {
                let socket = &one.0.socket;
                (socket.address, socket.port) == (local.ip(), local.port())
            };
            all.iter().filter(is_it).collect::<Vec<_>>()
        };
        let server = ours(address);
        let listens = |one: &&&(Connection, Vec<Holder>)| one.0.state == ConnectionState::Listen;
        let (found, holders) = server.iter().find(listens).unwrap();
        assert_eq!((found.waiting, found.peer), (1, None));
        assert!(found.limit > 1 && !found.is_full(), "{found:?}");
        assert!(holders.iter().any(|holder| holder.pid == process::id()));
        let [(found, holders)] = ours(client.local_addr().unwrap())[..] else {
            panic!("one client");
        };
        assert_eq!(found.state.name(), "established");
        assert_eq!(found.peer, Some(address));
        assert!(holders.iter().any(|holder| holder.pid == process::id()));
    }
}
