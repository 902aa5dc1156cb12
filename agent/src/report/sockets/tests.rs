//! Sockets from a list.

use super::*;
use crate::policy::listeners::tests::{held, policy};

const PROFILE: &str = "PORT 80 TCP WEB* SHAREPORT\n 21 TCP FTPD\n 443 TCP WEB SHAREPORTWLM\n";

fn at(target: &str, name: &str, state: ConnectionState) -> (Connection, Vec<Holder>) {
    let held = held(target, &[name]);
    let connection = Connection {
        socket: held.socket,
        peer: None,
        state,
        waiting: 3,
        limit: 128,
    };
    (connection, held.holders)
}

/// `RPT-11`, `RPT-12`: a row for each socket, with its job; servers are told apart.
/// `RPT-13`: how a listener's port is shared, and by how many.
#[test]
fn every_socket_has_its_row() {
    let policy = policy(PROFILE, "");
    let mut client = at("tcp/80", "web1", ConnectionState::Connection("established"));
    client.0.peer = Some("[2001:db8::1]:40000".parse().unwrap());
    let found = [
        at("tcp/80", "web1", ConnectionState::Listen),
        at("tcp/80", "web2", ConnectionState::Listen),
        client,
        at("tcp/21", "ftpd", ConnectionState::Bound),
        at("udp/53", "named", ConnectionState::Udp),
        at("tcp/443", "web", ConnectionState::Listen),
    ];
    let rows = rows(&policy, &found);
    let facts: Vec<_> = rows
        .iter()
        .map(|row| {
            let user = row.user.as_deref().unwrap_or_default();
            let reserved = row.reserved_for.as_deref().unwrap_or_default();
            (user, row.serves, reserved, row.sharing.as_str(), row.group)
        })
        .collect();
    assert_eq!(
        facts,
        [
            ("WEB1", true, "WEB*", "even", 2),
            ("WEB2", true, "WEB*", "even", 2),
            ("WEB1", false, "WEB*", "even", 0),
            ("FTPD", false, "FTPD", "none", 0),
            ("NAMED", true, "", "none", 1),
            ("WEB", true, "WEB", "weighted", 1),
        ]
    );
    assert_eq!(rows[0].id, "00000050");
    assert_eq!(rows[2].foreign_port, 40000);
    assert_eq!(rows[0].unit.as_deref(), Some("web1.service"));
    let shown = text(&rows, true);
    for words in [
        "[2001:db8::1]:40000",
        "even, 2 together",
        "0.0.0.0:21",
        "3/128",
        "00000035",
    ] {
        assert!(shown.contains(words), "no {words} in\n{shown}");
    }
    assert!(!text(&rows, false).contains("3/128"));
}

#[test]
fn a_socket_of_nobody_is_shown_too() {
    let policy = policy(PROFILE, "");
    let (connection, _) = at("tcp/99", "x", ConnectionState::Listen);
    let rows = rows(&policy, &[(connection, Vec::new())]);
    assert_eq!((rows[0].pid, rows[0].uid), (None, 7));
    assert!(text(&rows, true).contains("unseen"));
}
