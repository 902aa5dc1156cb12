//! Expectations against sockets from a list.

use super::*;
use crate::{
    policy::{
        build::Policy,
        holdings,
        listeners::tests::{held, policy},
    },
    ports::{FixedListeners, Listener},
};

const PROFILE: &str = "\
AUTOLOG
 FTPD JOBNAME FTPD1
 NAMED
 IDLE
ENDAUTOLOG
PORT
 20 TCP FTPD1 NOAUTOLOG
 21 TCP FTPD1 ; control
 23 TCP INTCLIEN
 53 UDP NAMED
 80 TCP FTPD
 99 TCP NAM*
PORTRANGE 4000 10 TCP FTPD1
";

/// Nothing has to be there that could start them.
const WATCHED: &str = "[autolog]\nbackend = 'none'\n";

fn findings(policy: &Policy, listeners: Vec<Listener>) -> Vec<(u16, &'static str, String)> {
    let named = |protocol, port| policy.expected.of(protocol, port).is_some();
    let holdings = holdings::of_ports(policy, &FixedListeners(listeners), &named, |_| None);
    let states = States::of(&holdings.unwrap());
    let finding = |one: &Expectation| {
        let found = judge(one, &states);
        assert_eq!(found.is_met(), found.broken.is_empty());
        (one.first, found.state.name(), found.broken.to_string())
    };
    policy.expected.iter().map(finding).collect()
}

fn found(first: u16, state: &'static str, broken: &str) -> (u16, &'static str, String) {
    (first, state, broken.to_owned())
}

/// The entries whose job is a procedure's: its JOBNAME, or its own name without one.
#[test]
fn what_autolog_watches_is_expected_to_be_open() {
    let policy = policy(PROFILE, WATCHED);
    let watched: Vec<_> = policy
        .expected
        .iter()
        .map(|one| (one.first, one.last, one.state, one.origin.clone()))
        .collect();
    let of = |first, last, name: &str| {
        let origin = Origin::Autolog(name.to_owned());
        (first, last, ExpectedState::Open, origin)
    };
    assert_eq!(
        watched,
        [
            of(21, 21, "FTPD"),
            of(4000, 4009, "FTPD"),
            of(53, 53, "NAMED")
        ]
    );
    let ftp = policy.expected.of(Protocol::Tcp, 21).unwrap();
    assert_eq!(ftp.purpose.as_deref(), Some("control"));
    assert!(policy.expected.of(Protocol::Udp, 21).is_none());
}

/// One port of a watched range is enough, and only its rightful job's.
#[test]
fn a_range_of_autolog_lives_by_one_port() {
    let policy = policy(PROFILE, WATCHED);
    let closed = [
        found(21, "closed", "21"),
        found(4000, "closed", "4000-4009"),
        found(53, "closed", "53"),
    ];
    assert_eq!(findings(&policy, Vec::new()), closed);
    let right = vec![
        held("tcp/21", &["ftpd1"]),
        held("tcp/4007", &["ftpd1"]),
        held("udp/53", &["named"]),
    ];
    let met = [
        found(21, "open", ""),
        found(4000, "open", ""),
        found(53, "open", ""),
    ];
    assert_eq!(findings(&policy, right), met);
    let wrong = vec![
        held("tcp/21", &["other"]),
        held("tcp/4007", &["ftpd1"]),
        held("tcp/4001", &["other"]),
    ];
    let broken = [
        found(21, "contradicted", "21"),
        found(4000, "contradicted", "4001"),
        found(53, "closed", "53"),
    ];
    assert_eq!(findings(&policy, wrong), broken);
}

/// What the config expects, it expects of every port; reserved or not.
#[test]
fn the_config_means_every_port() {
    let policy = policy(
        PROFILE,
        "[autolog]\nbackend = 'none'\n\
         [[expect]]\nports = 'tcp/4000-4002'\nstate = 'open'\n\
         [[expect]]\nports = 'tcp/5000-5002'\nstate = 'closed'\n\
         [[expect]]\nports = 'udp/53'\nstate = 'closed'\n",
    );
    let mut bound = held("tcp/4001", &["ftpd1"]);
    bound.socket.idle = true;
    let listeners = vec![
        held("tcp/21", &["ftpd1"]),
        held("tcp/4000", &["ftpd1"]),
        bound,
        held("tcp/5001", &["web"]),
    ];
    assert_eq!(
        findings(&policy, listeners),
        [
            found(4000, "closed", "4001-4002"),
            found(5000, "open", "5001"),
            found(53, "closed", ""),
            found(21, "open", ""),
            // Some of its ports are the config's; the rest AUTOLOG still watches.
            found(4000, "open", ""),
        ]
    );
}

/// `CLS-02`, `CLS-03`: what is bound and doesn't listen is closed to clients.
#[test]
fn a_state_is_as_expected_or_not() {
    for (state, open, closed) in [
        (State::Blocked, false, true),
        (State::Closed, false, true),
        (State::Bound, false, true),
        (State::Open, true, false),
        (State::Contradicted, false, false),
    ] {
        assert_eq!(is_met(ExpectedState::Open, state), open, "{state:?}");
        assert_eq!(is_met(ExpectedState::Closed, state), closed, "{state:?}");
    }
}
