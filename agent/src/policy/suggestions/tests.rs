//! What is suggested for refusals and listeners, under small policies.

use super::*;
use crate::{
    policy::listeners::tests::{held, policy, settings},
    ports::FixedListeners,
};

fn wish(target: &str, comm: &str) -> Wish {
    let (protocol, port) = target.split_once('/').unwrap();
    Wish {
        question: Question {
            protocol: protocol.into(),
            port: port.parse().unwrap(),
            comm: Some(comm.into()),
            uid: 7,
            ..Question::default()
        },
        against: None,
        seen: Seen {
            refusals: 1,
            last: Some(format!("T{port}")),
            comms: [comm.to_owned()].into(),
            uids: [7].into(),
            ..Seen::default()
        },
    }
}

/// Entries as `PROTOCOL FIRST LAST JOB`, and the reasons of what is none.
fn suggested(policy: &Policy, wishes: &[Wish]) -> (Vec<String>, Vec<String>) {
    let suggestion = suggest(policy, &settings(), wishes);
    let entry = |entry: &SuggestedEntry| {
        let SuggestedEntry {
            protocol,
            first,
            last,
            jobname,
            ..
        } = entry;
        format!("{protocol} {first} {last} {jobname}")
    };
    let left_out = suggestion.left_out.iter().map(|left| left.why.clone());
    (
        suggestion.entries.iter().map(entry).collect(),
        left_out.collect(),
    )
}

#[test]
fn refusals_become_entries() {
    let policy = policy(
        "PORT 80 TCP NGINX\nPORT UNRSV TCP * DENY WHENBIND\nPORT UNRSV UDP ONLY*\n\
         TCPCONFIG RESTRICTLOWPORTS\n",
        "",
    );
    let wishes = [
        wish("tcp/80", "apache2"),
        wish("tcp/80", "apache2"),
        wish("tcp/80", "nginx"),
        wish("udp/5000", "game"),
        wish("udp/5000", "only1"),
        wish("tcp/6000", "denied"),
        wish("tcp/7", "echo"),
    ];
    let suggestion = suggest(&policy, &settings(), &wishes);
    assert_eq!(suggestion.settled, 2, "NGINX and ONLY1 are let");
    assert_eq!(suggestion.left_out, []);
    let (entries, _) = suggested(&policy, &wishes);
    let expected = [
        "tcp 7 7 ECHO",
        "tcp 80 80 APACHE2",
        "tcp 6000 6000 DENIED",
        "udp 5000 5000 GAME",
    ];
    assert_eq!(entries, expected);
    let seen = &suggestion.entries[1].seen;
    assert_eq!((seen.refusals, seen.last.as_deref()), (2, Some("T80")));
}

/// What another entry can't help is told with what could.
#[test]
fn some_refusals_need_more_than_an_entry() {
    let restriction = "[authport]\njobs = [\"FTPD1\"]\n[[restriction]]\nports = \"8400\"\nprotocol = \"tcp\"\nusers = [\"1042\"]\n";
    let policy = policy(
        "PORT\n 23 TCP RESERVED\n 53 UDP NAMED\n 443 TCP WEB SAF R\n\
         PORTRANGE\n 20 1 TCP AUTHPORT\n 4000 10 TCP APP*\n",
        restriction,
    );
    let mut counted = wish("tcp/9", "x");
    counted.question.protocol = String::new();
    counted.against = Some("only counted".into());
    let (entries, why) = suggested(
        &policy,
        &[
            wish("tcp/20", "ftp"),
            wish("tcp/23", "telnetd"),
            wish("tcp/443", "web"),
            wish("tcp/4001", "other"),
            wish("tcp/8400", "db"),
            wish("udp/53", "unbound"),
            counted,
        ],
    );
    assert_eq!(entries, Vec::<String>::new());
    for (why, word) in why.iter().zip([
        "only counted",
        "[authport]",
        "RESERVED",
        "[servauth]",
        "take the port out of the range",
        "restriction",
        "UDP has one job name",
    ]) {
        assert!(why.contains(word), "{why}: {word}");
    }
    assert_eq!(why.len(), 7);
}

#[test]
fn names_that_can_not_stand_in_a_profile() {
    let policy = policy(
        "TCPCONFIG RESTRICTLOWPORTS\n",
        "[jobs.FTPD1]\nuser = \"1042\"\n",
    );
    let mut defined = wish("tcp/24", "worker");
    defined.question.jobs = vec!["FTPD1".into()];
    let wishes = [
        wish("tcp/21", "ftpd1"),
        wish("tcp/22", "a;b"),
        wish("tcp/23", "9lives"),
        defined,
        wish("tcp/25", "x\nPORT 1"),
        wish("tcp/26", "kernel"),
        wish("tcp/27", "a*"),
    ];
    let (entries, why) = suggested(&policy, &wishes);
    assert_eq!(entries, ["tcp 24 24 FTPD1"]);
    assert_eq!(why.len(), 6);
    assert!(
        why[0].contains("does not satisfy the definition"),
        "{why:?}"
    );
    assert!(why[1].contains("can't stand in a profile"), "{why:?}");
    assert!(why[4].contains("kernel itself"), "{why:?}");
}

/// A range has one job and only ports that nobody else is to have.
#[test]
fn neighbours_become_ranges() {
    let policy = policy("TCPCONFIG RESTRICTLOWPORTS\nPORT 105 TCP OTHER\n", "");
    let mut wishes: Vec<Wish> = (100..110)
        .map(|port| wish(&format!("tcp/{port}"), "app"))
        .collect();
    wishes.push(wish("tcp/102", "web"));
    wishes.push(wish("tcp/110", "web"));
    wishes.push(wish("tcp/112", "web"));
    let (entries, why) = suggested(&policy, &wishes);
    let expected = [
        "tcp 100 101 APP",
        "tcp 102 102 APP",
        "tcp 102 102 WEB",
        "tcp 103 104 APP",
        "tcp 105 105 APP",
        "tcp 106 109 APP",
        "tcp 110 110 WEB",
        "tcp 112 112 WEB",
    ];
    assert_eq!(entries, expected);
    assert_eq!(why, Vec::<String>::new());
    let suggestion = suggest(&policy, &settings(), &wishes);
    let seen = &suggestion.entries[0].seen;
    assert_eq!((seen.refusals, seen.last.as_deref()), (2, Some("T101")));
}

/// A UDP port goes to whom it was refused most.
#[test]
fn a_udp_port_has_one_job() {
    let policy = policy("UDPCONFIG RESTRICTLOWPORTS\n", "");
    let wishes = [
        wish("udp/53", "bind"),
        wish("udp/53", "unbound"),
        wish("udp/53", "unbound"),
        wish("udp/54", "bind"),
    ];
    let (entries, why) = suggested(&policy, &wishes);
    assert_eq!(entries, ["udp 53 53 UNBOUND", "udp 54 54 BIND"]);
    assert!(why[0].starts_with("BIND wants it too"), "{why:?}");
}

/// Open ports: not those that are reserved, or handed out.
#[test]
fn listeners_become_entries() {
    let policy = policy("PORT 80 TCP NGINX\n", "[jobs.DB]\nuser = \"7\"\n");
    let mut other = held("tcp/8080", &["nginx"]);
    other.holders[0].uid = 8;
    let mut idle = held("tcp/7000", &["idle"]);
    idle.socket.idle = true;
    let listeners = FixedListeners(vec![
        held("tcp/80", &["nginx"]),
        held("tcp/5432", &["postgres"]),
        held("tcp/5432", &["postgres"]),
        held("udp/123", &[]),
        held("tcp/40000", &["chosen"]),
        other,
        idle,
    ]);
    let wishes = open_ports(&policy, &listeners, |_| None).unwrap();
    let (entries, why) = suggested(&policy, &wishes);
    assert_eq!(entries, ["tcp 5432 5432 DB", "tcp 8080 8080 NGINX"]);
    assert!(why[0].contains("hands this port out"), "{why:?}");
    assert_eq!(why[1], "no process is to be seen that has it");
    assert_eq!(why.len(), 2);
}
