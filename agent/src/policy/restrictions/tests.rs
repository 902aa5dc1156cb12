//! The sweep over ports against asking every port.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::*;
use crate::{
    diagnostics::{Code, Sources},
    policy::accounts::FixedAccounts,
};

fn span() -> Span {
    let source = Sources::new().add("c".into(), "");
    Span {
        source,
        start: 0,
        end: 0,
    }
}

fn restriction(protocol: Protocol, first: u16, last: u16, users: &[u32]) -> Restriction {
    Restriction {
        protocol,
        first,
        last,
        users: users.iter().copied().collect(),
        span: span(),
    }
}

fn set(users: impl IntoIterator<Item = u32>) -> PermitSet {
    PermitSet {
        users: users.into_iter().collect(),
        groups: BTreeSet::new(),
    }
}

/// `IBI-01` to `IBI-05`, A-23.
#[test]
fn users_of_overlapping_restrictions_are_united() {
    let restrictions = [
        restriction(Protocol::Tcp, 100, 200, &[1]),
        restriction(Protocol::Tcp, 150, 250, &[2]),
        restriction(Protocol::Tcp, 251, 300, &[2]),
        restriction(Protocol::Udp, 100, 100, &[3]),
        restriction(Protocol::Tcp, 65535, 65535, &[]),
    ];
    let found: Vec<_> = per_port(&restrictions).collect();
    assert_eq!(
        found,
        [
            (Protocol::Tcp, 100, 149, set([1])),
            (Protocol::Tcp, 150, 200, set([1, 2])),
            (Protocol::Tcp, 201, 300, set([2])),
            (Protocol::Tcp, 65535, 65535, set([])),
            (Protocol::Udp, 100, 100, set([3])),
        ]
    );
}

/// `IBI-03`, A-22: a name that doesn't exist opens nothing.
#[test]
fn users_of_the_config_are_looked_up() {
    let text = "[[restriction]]\nports = '8400-8410'\nprotocol = 'tcp'\nusers = ['app', 77]\n\
                [[restriction]]\nports = '9000'\nprotocol = 'udp'\nusers = ['ghost']\n";
    let (mut sources, mut diagnostics) = (Sources::new(), Diagnostics::new());
    let config = config::parse(Path::new("c"), text, &mut sources, &mut diagnostics).unwrap();
    let accounts = FixedAccounts::new([("app", 5)], []);
    let found = of_config(&config.restrictions, &accounts, &mut diagnostics);
    assert_eq!(found[0].users, BTreeSet::from([5, 77]));
    assert_eq!((found[0].first, found[0].last), (8400, 8410));
    assert_eq!(found[1].users, BTreeSet::new());
    let codes: Vec<Code> = diagnostics.iter().map(|d| d.code).collect();
    assert_eq!(codes, [Code::UnknownAccount]);
}

#[test]
fn a_restriction_for_every_port_takes_no_time() {
    let mut restrictions: Vec<_> = (1..=u16::MAX)
        .map(|port| restriction(Protocol::Tcp, port, port, &[u32::from(port)]))
        .collect();
    restrictions.extend((1..=1000).map(|port| restriction(Protocol::Udp, port, u16::MAX, &[7])));
    let start = Instant::now();
    assert_eq!(per_port(&restrictions).count(), 65536);
    assert!(start.elapsed() < Duration::from_secs(5));
}

proptest! {
    /// `IBI-03`, `IBI-04`, `IBI-05`: the union, port by port, in stretches that
    /// can't be longer.
    #[test]
    fn stretches_agree_with_every_port(
        given in prop::collection::vec(
            (any::<bool>(), 1u16..40, 0u16..20, prop::collection::btree_set(0u32..4, 0..3), any::<bool>()),
            0..10,
        ),
    ) {
        let restrictions: Vec<Restriction> = given.into_iter().map(|(tcp, first, length, users, high)| {
            let base = if high { 65535 - 60 } else { 0 };
            Restriction {
                protocol: if tcp { Protocol::Tcp } else { Protocol::Udp },
                first: base + first,
                last: base + first + length,
                users,
                span: span(),
            }
        }).collect();
        let mut expected = Vec::new();
        for protocol in Protocol::ALL {
            for port in 1..=u16::MAX {
                let holds = |r: &&Restriction| r.protocol == protocol && (r.first..=r.last).contains(&port);
                if !restrictions.iter().any(|r| holds(&r)) {
                    continue;
                }
                let users = set(restrictions.iter().filter(holds).flat_map(|r| r.users.clone()));
                match expected.last_mut() {
                    Some((known, _, last, same)) if *known == protocol && *last == port - 1 && *same == users => *last = port,
                    _ => expected.push((protocol, port, port, users)),
                }
            }
        }
        prop_assert_eq!(per_port(&restrictions).collect::<Vec<_>>(), expected);
    }
}
