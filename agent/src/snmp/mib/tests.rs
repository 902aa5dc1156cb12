use std::collections::BTreeMap;

use super::*;
use crate::{
    config::Snmp,
    policy::{
        holdings,
        listeners::tests::{held, policy},
    },
    ports::FixedListeners,
};

const PROFILE: &str = "\
PORT
 80 TCP NGINX SHAREPORT
 80 TCP HTTP*
 23 TCP RESERVED
 53 UDP NAMED NOAUTOLOG BIND 127.0.0.1
 UNRSV TCP APP* WHENBIND
PORTRANGE
 4000 10 TCP APP* SAF RES
 5000 10 TCP AUTHPORT
";

fn base() -> Oid {
    Snmp::default().base
}

fn view() -> View {
    let policy = Arc::new(policy(PROFILE, ""));
    let listeners = FixedListeners(vec![
        held("tcp/80", &["nginx"]),
        held("tcp/4003", &["app1"]),
        held("udp/53", &["dnsmasq"]),
    ]);
    let holdings = holdings::of(&policy, &listeners, |_| None).unwrap();
    let facts = Facts {
        policy,
        mode: Some(Mode::Audit),
        generation: 7,
        last_change: 4711,
        judged: HashMap::from([
            (Reason::OtherJob, [5, 2]),
            (Reason::Blocked, [u64::MAX / 2, 0]),
            (Reason::Permitted, [9, 9]),
        ]),
        refusals: &[(0, 3), (1, 4)],
        holdings: Some(&holdings),
    };
    View::new(base(), facts)
}

/// Everything, by a walk.
fn walk(view: &View) -> Vec<VarBind> {
    let mut all = Vec::new();
    let mut at = Oid::new([0, 0]);
    while let Some(found) = view.next(&at, false) {
        at = found.name.clone();
        all.push(found);
    }
    all
}

fn at(view: &View, place: &[u32]) -> Value {
    view.get(&base().below(place))
}

fn text(text: &str) -> Value {
    Value::Octets(text.into())
}

#[test]
fn a_walk_is_in_order_and_each_is_what_get_says() {
    let view = view();
    let all = walk(&view);
    // Scalars; columns of the reservations; columns of the reasons.
    assert_eq!(
        all.len(),
        6 + 7 * view.policy.reservations.len() + 3 * Reason::ALL.len()
    );
    assert!(all.is_sorted_by(|one, next| one.name < next.name));
    for VarBind { name, value } in &all {
        assert_eq!(view.get(name), *value, "{name}");
    }
}

/// Whatever is asked for, the next is the first of all that are greater.
#[test]
fn next_is_what_comes_after() {
    let view = view();
    let all: BTreeMap<Oid, Value> = walk(&view)
        .into_iter()
        .map(|bind| (bind.name, bind.value))
        .collect();
    let mut starts: Vec<Oid> = vec![
        Oid::new([0, 0]),
        base(),
        Oid::new([1, 3, 6, 2]),
        Oid::default(),
    ];
    for name in all.keys() {
        let numbers = name.numbers();
        starts.push(name.below(&[0]));
        for length in 1..=numbers.len() {
            let start = &numbers[..length];
            starts.push(Oid::new(start));
            for last in [
                start[length - 1].wrapping_sub(1),
                start[length - 1] + 1,
                u32::MAX,
            ] {
                starts.push(Oid::new([&start[..length - 1], &[last]].concat()));
            }
        }
    }
    for start in starts {
        let after = all.iter().find(|(name, _)| **name > start);
        let found = view.next(&start, false).map(|bind| bind.name);
        assert_eq!(found.as_ref(), after.map(|(name, _)| name), "after {start}");
        let from = all.iter().find(|(name, _)| **name >= start);
        let found = view.next(&start, true).map(|bind| bind.name);
        assert_eq!(found.as_ref(), from.map(|(name, _)| name), "from {start}");
    }
}

#[test]
fn the_agent() {
    let view = view();
    for (place, value) in [
        (1, Value::Integer(2)),
        (2, Value::Gauge32(7)),
        (3, Value::TimeTicks(4711)),
        (4, Value::Counter64(u64::MAX / 2 + 5)),
        (5, Value::Counter64(2)),
        (6, text(env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!(at(&view, &[1, 1, place, 0]), value, "{place}");
    }
    assert_eq!(at(&view, &[1, 1, 1]), Value::NoSuchInstance);
    assert_eq!(at(&view, &[1, 1, 1, 1]), Value::NoSuchInstance);
    assert_eq!(at(&view, &[1, 1, 7, 0]), Value::NoSuchObject);
    assert_eq!(at(&view, &[1, 2, 1, 3, 6, 80, 1]), Value::NoSuchObject);
    assert_eq!(at(&view, &[0, 1]), Value::NoSuchObject);
    assert_eq!(view.get(&Oid::new([1, 3])), Value::NoSuchObject);
}

#[test]
fn reservations() {
    let view = view();
    let row = |index: &[u32]| -> Vec<Value> {
        let column = |column| at(&view, &[&[1, 2, 1, column][..], index].concat());
        (4..=10).map(column).collect()
    };
    let octets = |bytes: &[u8]| Value::Octets(bytes.into());
    let expected = |last, job, of, flags: &[u8], state, holder, refusals| {
        vec![
            Value::Gauge32(last),
            text(job),
            Value::Integer(of),
            octets(flags),
            Value::Integer(state),
            text(holder),
            Value::Counter64(refusals),
        ]
    };
    assert_eq!(
        row(&[6, 80, 1])[1..6],
        expected(80, "NGINX", 3, &[0x20, 0], 5, "NGINX", 0)[1..6]
    );
    assert_eq!(
        row(&[6, 80, 2])[..5],
        expected(80, "HTTP*", 3, &[0, 0], 5, "", 0)[..5]
    );
    assert_eq!(
        row(&[6, 23, 1])[1..6],
        expected(23, "RESERVED", 1, &[0, 0], 2, "", 0)[1..6]
    );
    assert_eq!(
        row(&[6, 5000, 1])[1..6],
        expected(5009, "AUTHPORT", 2, &[0x02, 0], 3, "", 0)[1..6]
    );
    assert_eq!(
        row(&[17, 53, 1])[1..6],
        expected(53, "NAMED", 3, &[0x88, 0], 6, "DNSMASQ", 0)[1..6]
    );
    assert_eq!(
        row(&[6, 0, 1])[..6],
        expected(0, "APP*", 3, &[0, 0x40], 1, "", 0)[..6]
    );
    let range = row(&[6, 4000, 1]);
    assert_eq!(
        range[..4],
        expected(4009, "APP*", 3, &[0x06, 0], 5, "APP1", 0)[..4]
    );
    // What entries have refused.
    let refusals: Vec<Value> = [
        [6, 80, 1],
        [6, 80, 2],
        [6, 23, 1],
        [6, 4000, 1],
        [17, 53, 1],
    ]
    .iter()
    .map(|index| row(index)[6].clone())
    .filter(|value| *value != Value::Counter64(0))
    .collect();
    assert!(refusals.contains(&Value::Counter64(3)) && refusals.contains(&Value::Counter64(4)));
    assert_eq!(at(&view, &[1, 2, 1, 5, 6, 80, 3]), Value::NoSuchInstance);
    assert_eq!(at(&view, &[1, 2, 1, 5, 6, 81, 1]), Value::NoSuchInstance);
}

#[test]
fn reasons() {
    let view = view();
    let number = 1 + Reason::OtherJob as u32;
    assert_eq!(at(&view, &[1, 3, 1, 2, number]), text("other-job"));
    assert_eq!(at(&view, &[1, 3, 1, 3, number]), Value::Counter64(5));
    assert_eq!(at(&view, &[1, 3, 1, 4, number]), Value::Counter64(2));
    assert_eq!(at(&view, &[1, 3, 1, 2, 0]), Value::NoSuchInstance);
}

#[test]
fn where_sockets_are_not_known_nor_are_states() {
    let policy = Arc::new(policy(PROFILE, ""));
    let facts = Facts {
        policy,
        mode: None,
        generation: 0,
        last_change: 0,
        judged: HashMap::new(),
        refusals: &[],
        holdings: None,
    };
    let view = View::new(base(), facts);
    assert_eq!(at(&view, &[1, 1, 1, 0]), Value::Integer(3));
    assert_eq!(at(&view, &[1, 2, 1, 8, 6, 80, 1]), Value::Integer(1));
    assert_eq!(at(&view, &[1, 2, 1, 9, 6, 80, 1]), text(""));
}

/// `DisplayString` is ASCII and has 255 characters at most.
#[test]
fn texts_are_printable() {
    assert_eq!(octets("a\u{e9}\n~"), text("a??~"));
    assert_eq!(octets(&"x".repeat(300)), text(&"x".repeat(255)));
}
