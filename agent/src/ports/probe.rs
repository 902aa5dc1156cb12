//! What a client sees of a TCP port, tried from this host (`CLS-04`).

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use nix::{errno::Errno, ifaddrs::getifaddrs, sys::socket::SockaddrStorage};
use portreeve_common::abi::Protocol;

use super::{Connection, ConnectionState, sockets::all};

/// What came of a connection that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It was accepted: by the kernel, if not by the server yet.
    Accepted,
    /// An RST came back, or ICMP's "port unreachable", which Linux tells no different.
    Refused,
    /// Nothing came back in time.
    Silence,
    /// There is no way there: no route, a route `unreachable`, a neighbour that doesn't
    /// answer, or a packet filter that says so.
    Unreachable,
    /// A route `prohibit`, or a rule on this host, forbids it.
    Prohibited,
    /// A route `blackhole` swallows it.
    Blackhole,
    /// This host could not even try, for this reason.
    Failed(Errno),
}

impl Seen {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Silence => "silence",
            Self::Unreachable => "unreachable",
            Self::Prohibited => "prohibited",
            Self::Blackhole => "blackhole",
            Self::Failed(_) => "failed",
        }
    }

    /// By what connect says.
    fn of(error: &io::Error) -> Self {
        let Some(errno) = error.raw_os_error().map(Errno::from_raw) else {
            return Self::Silence;
        };
        match errno {
            Errno::ECONNREFUSED => Self::Refused,
            Errno::ETIMEDOUT => Self::Silence,
            Errno::EHOSTUNREACH | Errno::ENETUNREACH => Self::Unreachable,
            Errno::EACCES | Errno::EPERM => Self::Prohibited,
            Errno::EINVAL => Self::Blackhole,
            other => Self::Failed(other),
        }
    }
}

/// What was tried, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What came of it.
    pub seen: Seen,
    /// The errno, if the kernel gave one.
    pub errno: Option<Errno>,
    /// How long it took.
    pub took: Duration,
}

/// Connects to `target`, waits for `timeout` at most, and hangs up.
pub fn connect(target: SocketAddr, timeout: Duration) -> Probe {
    let began = Instant::now();
    let result = TcpStream::connect_timeout(&target, timeout);
    let took = began.elapsed();
    match result {
        Ok(_) => Probe {
            seen: Seen::Accepted,
            errno: None,
            took,
        },
        Err(error) => Probe {
            seen: Seen::of(&error),
            errno: error.raw_os_error().map(Errno::from_raw),
            took,
        },
    }
}

/// Whether `address` is one of this host's, in the network namespace of the calling thread.
///
/// # Errors
///
/// What the kernel says.
pub fn is_own(address: IpAddr) -> io::Result<bool> {
    let address = address.to_canonical();
    if address.is_loopback() || address.is_unspecified() {
        return Ok(true);
    }
    let own = getifaddrs()?.filter_map(|one| one.address.as_ref().and_then(ip));
    let mut own = own.map(|own| own.to_canonical());
    Ok(own.any(|own| own == address))
}

fn ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|v4| v4.ip().into());
    v4.or_else(|| address.as_sockaddr_in6().map(|v6| v6.ip().into()))
}

/// The TCP sockets on `port` that could answer a client of `address`: listeners, and where
/// the kernel lists those, what is only bound.
///
/// # Errors
///
/// If the kernel doesn't list its sockets.
pub fn answering(address: IpAddr, port: u16) -> io::Result<Vec<Connection>> {
    let mut found = all()?;
    found.retain(|one| {
        let socket = &one.socket;
        let is_waiting = matches!(one.state, ConnectionState::Listen | ConnectionState::Bound);
        let is_there = socket.protocol == Protocol::Tcp && socket.port == port;
        is_waiting && is_there && answers(socket.address, address)
    });
    Ok(found)
}

/// Whether a socket bound to `bound` is there for a client of `asked`. An IPv6 wildcard may
/// be for IPv6 alone; sock_diag doesn't say.
fn answers(bound: IpAddr, asked: IpAddr) -> bool {
    let (bound, asked) = (bound.to_canonical(), asked.to_canonical());
    // Whoever asks for no address is sent to the loopback one.
    let is_asked = bound == asked || asked.is_unspecified() && bound.is_loopback();
    is_asked || bound.is_unspecified() && (bound.is_ipv6() || asked.is_ipv4())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    #[test]
    fn a_listener_accepts_and_a_closed_port_refuses() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = listener.local_addr().unwrap();
        let probe = connect(target, PATIENCE);
        assert_eq!((probe.seen, probe.errno), (Seen::Accepted, None));
        let found = answering(target.ip(), target.port()).unwrap();
        let states: Vec<ConnectionState> = found.iter().map(|one| one.state).collect();
        assert_eq!(states, [ConnectionState::Listen]);
        assert_eq!(
            answering("127.0.0.2".parse().unwrap(), target.port()).unwrap(),
            []
        );
        drop(listener);
        let probe = connect(target, PATIENCE);
        assert_eq!(probe.seen, Seen::Refused);
        assert_eq!(probe.errno, Some(Errno::ECONNREFUSED));
    }

    #[test]
    fn what_connect_says_is_told_apart() {
        for (errno, seen) in [
            (Errno::ECONNREFUSED, Seen::Refused),
            (Errno::ETIMEDOUT, Seen::Silence),
            (Errno::EHOSTUNREACH, Seen::Unreachable),
            (Errno::ENETUNREACH, Seen::Unreachable),
            (Errno::EACCES, Seen::Prohibited),
            (Errno::EPERM, Seen::Prohibited),
            (Errno::EINVAL, Seen::Blackhole),
            (Errno::EADDRNOTAVAIL, Seen::Failed(Errno::EADDRNOTAVAIL)),
        ] {
            assert_eq!(Seen::of(&io::Error::from(errno)), seen, "{errno}");
        }
        // What `connect_timeout` itself says has no errno.
        assert_eq!(Seen::of(&io::ErrorKind::TimedOut.into()), Seen::Silence);
    }

    #[test]
    fn sockets_answer_for_their_addresses() {
        for (bound, asked, answer) in [
            ("0.0.0.0", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("::", "127.0.0.1", true),
            ("::", "::1", true),
            ("0.0.0.0", "::1", false),
            ("::1", "::1", true),
            ("::ffff:127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "0.0.0.0", true),
            ("192.0.2.1", "0.0.0.0", false),
        ] {
            let address = |text: &str| text.parse().unwrap();
            assert_eq!(
                answers(address(bound), address(asked)),
                answer,
                "{bound} {asked}"
            );
        }
        assert!(is_own("127.9.9.9".parse().unwrap()).unwrap());
        assert!(!is_own("192.0.2.77".parse().unwrap()).unwrap());
    }
}
