//! What is really listening on the host, and by whom.
//!
//! Sockets come from sock_diag, which lets the kernel pick the few that listen
//! from the many that are connected; who holds one is found in `/proc`. Both are
//! snapshots: a socket may be gone, and a process too, before they are looked at.

mod addresses;
mod connections;
pub mod destroy;
mod holders;
pub mod origins;
pub mod probe;
pub mod register;
mod sockets;
pub mod units;

use std::{io, net::IpAddr, path::PathBuf};

use portreeve_common::abi::Protocol;

pub use self::{
    addresses::can_be_bound,
    connections::{Connection, ConnectionState, connections},
    holders::{holders_of, own, process},
    sockets::{bound, lists_bound, tcp_inodes},
};

/// A TCP socket that listens or is only bound, or a UDP socket that is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// `Tcp` or `Udp`; UDP-Lite counts as UDP, as it does to the policy.
    pub protocol: Protocol,
    /// The address it is bound to.
    pub address: IpAddr,
    /// The port it is bound to.
    pub port: u16,
    /// UDP: it talks to one peer only, so it is no server.
    pub connected: bool,
    /// TCP: it is bound, but doesn't listen. Only Linux 6.8 and later list such.
    pub idle: bool,
    /// Who owns it, as the host numbers users.
    pub uid: u32,
    /// Its number in the file system of sockets; 0 if no process can have it open.
    pub inode: u64,
    /// The cgroup it was made in, if the kernel tells (Linux 5.9).
    pub cgroup: Option<u64>,
}

impl Socket {
    /// Whether whoever asks at the port gets an answer (`CLS-01`, `CLS-03`).
    pub const fn is_open(&self) -> bool {
        !self.connected && !self.idle
    }
}

/// A process that has a socket open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// Its name: its thread-group leader's.
    pub comm: String,
    /// Its executable, if it may be looked at.
    pub exe: Option<PathBuf>,
    /// Path of its cgroup from the root of the hierarchy.
    pub cgroup: Option<String>,
    /// The socket unit for which systemd has the socket. Name and cgroup are those of
    /// the process then that bound it, and would again.
    pub unit: Option<String>,
    /// Its effective user.
    pub uid: u32,
    /// Its effective and supplementary groups.
    pub groups: Vec<u32>,
    /// When it was started, in nanoseconds since boot, suspend included.
    pub started: u64,
}

/// A socket and who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The socket.
    pub socket: Socket,
    /// The processes that have it open; none if nobody has, or if they may not be
    /// looked at. Who isn't root sees only processes of his own.
    pub holders: Vec<Holder>,
}

/// Where listeners are looked up.
pub trait Listeners {
    /// The listeners whose socket is `wanted`, in the order of their ports.
    ///
    /// # Errors
    ///
    /// If the kernel doesn't list its sockets.
    fn of(&self, wanted: &dyn Fn(&Socket) -> bool) -> io::Result<Vec<Listener>>;
}

/// Those of the network namespace that the calling thread is in.
#[derive(Clone, Copy, Debug, Default)]
pub struct HostListeners;

impl Listeners for HostListeners {
    fn of(&self, wanted: &dyn Fn(&Socket) -> bool) -> io::Result<Vec<Listener>> {
        let mut sockets = bound()?;
        sockets.retain(wanted);
        sockets.sort_by_key(|socket| (socket.port, socket.protocol as u8, socket.address));
        let mut holders = holders_of(&sockets);
        let listeners = sockets.into_iter().map(|socket| Listener {
            holders: holders.remove(&socket.inode).unwrap_or_default(),
            socket,
        });
        Ok(listeners.collect())
    }
}

/// Listeners from a list: what was found before, or what a test makes up.
#[derive(Clone, Debug, Default)]
pub struct FixedListeners(pub Vec<Listener>);

impl Listeners for FixedListeners {
    fn of(&self, wanted: &dyn Fn(&Socket) -> bool) -> io::Result<Vec<Listener>> {
        let listeners = self.0.iter().filter(|listener| wanted(&listener.socket));
        Ok(listeners.cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream, UdpSocket},
        os::unix::fs::MetadataExt as _,
        process,
        time::{Duration, Instant},
    };

    use super::*;

    fn at(protocol: Protocol, port: u16) -> Vec<Listener> {
        let wanted = |socket: &Socket| (socket.protocol, socket.port) == (protocol, port);
        HostListeners.of(&wanted).unwrap()
    }

    /// Sockets of our own, as the kernel and `/proc` show them.
    #[test]
    fn own_sockets_are_found() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp6 = TcpListener::bind("[::1]:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let own = std::fs::metadata("/proc/self").unwrap();
        for (protocol, address) in [
            (Protocol::Tcp, tcp.local_addr().unwrap()),
            (Protocol::Tcp, tcp6.local_addr().unwrap()),
            (Protocol::Udp, udp.local_addr().unwrap()),
        ] {
            let found = at(protocol, address.port());
            let [listener] = &found[..] else {
                panic!("{address}: {found:?}");
            };
            assert_eq!(listener.socket.address, address.ip());
            assert_eq!(listener.socket.uid, own.uid());
            assert!(!listener.socket.connected);
            let holder = listener
                .holders
                .iter()
                .find(|holder| holder.pid == process::id());
            let holder = holder.expect("we hold it");
            assert_eq!(holder.exe, std::env::current_exe().ok());
            assert_eq!(holder.uid, own.uid());
            assert!(!holder.comm.is_empty());
        }
    }

    #[test]
    fn what_is_no_server_is_told_apart() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(tcp.local_addr().unwrap()).unwrap();
        assert_eq!(at(Protocol::Tcp, client.local_addr().unwrap().port()), []);
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = udp.local_addr().unwrap().port();
        udp.connect("127.0.0.1:9").unwrap();
        let [found] = &at(Protocol::Udp, port)[..] else {
            panic!("one socket");
        };
        assert!(found.socket.connected && !found.socket.is_open());
        drop(udp);
        assert_eq!(at(Protocol::Udp, port), []);
    }

    /// Processes and sockets come and go while they are listed.
    #[test]
    fn what_vanishes_is_left_out() {
        let end = Instant::now() + Duration::from_millis(300);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while Instant::now() < end {
                    drop(UdpSocket::bind("127.0.0.1:0"));
                    let _ = process::Command::new("/bin/true").status();
                }
            });
            while Instant::now() < end {
                HostListeners.of(&|_| true).unwrap();
            }
        });
    }
}
