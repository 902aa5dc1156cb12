//! What is live on the watched ports of a procedure.

use portreeve_common::abi::Protocol;

use super::machine::Live;
use crate::policy::{
    autolog::{ports, watched},
    build::Policy,
    holdings::Holding,
    reservations::Reservation,
};

/// What is live on the ports that `policy` reserves for `job`, where `holdings` are all
/// that have one; `None` if they couldn't be told (`ALG-15`).
pub fn live(policy: &Policy, job: &str, holdings: Option<&[Holding]>) -> Live {
    let mut watched = watched(&policy.reservations, job).peekable();
    if watched.peek().is_none() {
        return Live::Unwatched;
    }
    let Some(holdings) = holdings else {
        return Live::Unknown;
    };
    let has_socket = |entry: &Reservation| {
        let mut holdings = holdings.iter();
        holdings.any(|holding| satisfies(holding, entry, job))
    };
    let missing: Vec<String> = watched
        .filter(|entry| !has_socket(entry))
        .map(ports)
        .collect();
    match missing.is_empty() {
        true => Live::All,
        false => Live::Missing(missing),
    }
}

/// A TCP socket that listens, or any UDP socket, on one of the ports of `entry`,
/// and of this job. Of whom nobody is to be seen it can't be another's.
fn satisfies(holding: &Holding, entry: &Reservation, job: &str) -> bool {
    let socket = &holding.socket;
    let is_there = socket.protocol == entry.protocol
        && (entry.first..=entry.last).contains(&socket.port)
        && (socket.protocol == Protocol::Udp || socket.is_open());
    let is_its = holding.speaker.as_ref().is_none_or(|speaker| {
        let jobs = speaker.job.as_deref().unwrap_or_default();
        !speaker.verdict.refuses() && jobs.split(' ').any(|name| name == job)
    });
    is_there && is_its
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::{
            holdings,
            listeners::tests::{held, policy},
        },
        ports::{FixedListeners, Listener},
    };

    const PROFILE: &str = "PORT\n 21 TCP FTPD\n 69 UDP FTPD\n 20 TCP FTPD NOAUTOLOG\n 80 TCP *\n\
                           PORTRANGE 5000 10 TCP FTPD\n";

    fn of(listeners: Vec<Listener>) -> Live {
        let policy = policy(PROFILE, "");
        let holdings = holdings::of(&policy, &FixedListeners(listeners), |_| None).unwrap();
        live(&policy, "FTPD", Some(&holdings))
    }

    fn all() -> Vec<Listener> {
        let ports = ["tcp/21", "udp/69", "tcp/5007"];
        ports.map(|port| held(port, &["ftpd"])).to_vec()
    }

    fn missing(ports: &[&str]) -> Live {
        Live::Missing(ports.iter().map(ToString::to_string).collect())
    }

    /// `ALG-15`, A-17: a listener, any UDP socket, one port of a range.
    #[test]
    fn every_entry_needs_its_socket() {
        assert_eq!(of(all()), Live::All);
        let none = missing(&["tcp/21", "udp/69", "tcp/5000-5009"]);
        assert_eq!(of(Vec::new()), none);
        for (left_out, port) in ["tcp/21", "udp/69", "tcp/5000-5009"].iter().enumerate() {
            let mut some = all();
            some.remove(left_out);
            assert_eq!(of(some), missing(&[port]));
        }
        let mut bound = all();
        bound[0].socket.idle = true;
        assert_eq!(of(bound), missing(&["tcp/21"]));
        let mut connected = all();
        connected[1].socket.connected = true;
        assert_eq!(of(connected), Live::All);
    }

    /// `ALG-14`: what others have there is none of the procedure's.
    #[test]
    fn a_socket_of_another_job_does_not_count() {
        let mut listeners = all();
        listeners[0] = held("tcp/21", &["other"]);
        assert_eq!(of(listeners), missing(&["tcp/21"]));
        // Nobody is seen, so nobody can be said to be another.
        let mut listeners = all();
        listeners[0] = held("tcp/21", &[]);
        assert_eq!(of(listeners), Live::All);
    }

    /// `ALG-18`.
    #[test]
    fn without_an_entry_nothing_is_watched() {
        let policy = policy(PROFILE, "");
        for holdings in [None, Some(&[][..])] {
            assert_eq!(live(&policy, "SMTP", holdings), Live::Unwatched);
        }
        assert_eq!(live(&policy, "FTPD", None), Live::Unknown);
    }
}
