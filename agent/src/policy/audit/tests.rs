//! Small policies of which parts are in audit.

use std::path::Path;

use portreeve_common::{PolicyView as _, Reason, abi::Slot};

use super::*;
use crate::{
    config,
    diagnostics::Severity,
    kernel::features::Features,
    policy::{
        build::{Ingredients, Policy, Purpose, build},
        explain::{Answer, Question, explain},
    },
    profile::{ReadOptions, parse},
};

/// The policy, and the errors about its config by line and code.
fn made(profile: &str, toml: &str) -> (Policy, Vec<(u32, &'static str)>) {
    let parsed = parse(Path::new("p"), profile.as_bytes(), &ReadOptions::default());
    let (mut sources, mut diagnostics) = (parsed.sources, Diagnostics::new());
    let config = config::parse(Path::new("c"), toml, &mut sources, &mut diagnostics);
    let ingredients = Ingredients {
        purpose: Purpose::Enforce,
        ..Ingredients::of_no_host(config.unwrap_or_default(), parsed.profile, sources)
    };
    let policy = build(ingredients, &mut diagnostics);
    let errors = diagnostics
        .iter()
        .filter(|said| said.severity == Severity::Error);
    let errors = errors.map(|said| {
        let line = said.span.map_or(0, |span| policy.sources.line(span));
        (line, said.code.id())
    });
    let errors = errors.collect();
    (policy, errors)
}

fn audit(ports: &str) -> String {
    format!("[audit]\nports = [{ports}]\n")
}

const PROFILE: &str = "\
PORTRANGE 5000 4 TCP APP
PORT 8080 TCP WEB
 514 UDP RESERVED
 21 TCP A
 21 TCP B
 UNRSV UDP NAMED
";

fn ask(policy: &Policy, protocol: &str, port: u16, comm: &str) -> Answer {
    let question = Question {
        protocol: protocol.into(),
        port,
        comm: Some(comm.into()),
        uid: 1000,
        ..Question::default()
    };
    explain(policy, &question, 1024, Features::ALL).expect("it is judged")
}

#[test]
fn what_is_named_is_marked_and_nothing_else() {
    let ports = "'tcp/5001-5002', 'udp/514', 'tcp/21', 'udp/unreserved'";
    let (policy, errors) = made(PROFILE, &audit(ports));
    assert_eq!(errors, []);
    let extents: Vec<(u32, String)> = policy
        .reservations
        .iter()
        .map(|entry| {
            (
                policy.sources.line(entry.span),
                policy.audited.extent_of(entry).to_string(),
            )
        })
        .collect();
    let expected = [
        "audit of 5001-5002",
        "enforce",
        "audit",
        "audit",
        "audit",
        "audit",
    ];
    let expected: Vec<(u32, String)> = (1..).zip(expected.map(str::to_owned)).collect();
    assert_eq!(extents, expected);
    assert_eq!(policy.audited_entries(), 5);
    let image = &policy.compiled.image;
    for (protocol, port) in [
        (Protocol::Tcp, 21),
        (Protocol::Tcp, 5001),
        (Protocol::Tcp, 5002),
        (Protocol::Udp, 514),
    ] {
        assert!(image.slot(protocol, port).unwrap().is_audited(), "{port}");
    }
    let marked = image.slots.iter().filter(|slot| slot.is_audited()).count();
    assert_eq!(marked, 4);
    let unreserved = Protocol::ALL.map(|protocol| image.unreserved(protocol).unwrap());
    assert_eq!(
        unreserved.map(|rules| rules.entries.is_audited()),
        [false, true]
    );
}

#[test]
fn a_port_that_nothing_speaks_of_stays_empty() {
    let (policy, errors) = made(PROFILE, &audit("'tcp/5000-6000'"));
    assert_eq!(errors, []);
    let slot = policy.compiled.image.slot(Protocol::Tcp, 5004).unwrap();
    assert_eq!(slot, Slot::default());
}

/// The verdict stays, and only what becomes of it differs.
#[test]
fn a_refusal_is_told_and_a_grant_not_made() {
    let toml = "[grant]\nrequire = 'any'\n";
    let (enforced, _) = made(PROFILE, toml);
    let (audited, _) = made(PROFILE, &format!("{toml}{}", audit("'tcp/5001', 'tcp/21'")));
    let (whole, _) = made(PROFILE, &format!("mode = 'audit'\n{toml}"));
    for policy in [&audited, &whole] {
        let refused = ask(policy, "tcp", 5001, "other");
        assert_eq!((refused.verdict.as_str(), refused.audit), ("deny", true));
        assert_eq!(refused.errno, None);
        assert!(refused.text.contains("in audit"), "{}", refused.text);
        let right = ask(policy, "tcp", 21, "a");
        assert_eq!((right.verdict.as_str(), right.audit), ("allow", true));
        assert_eq!(
            (right.grant, right.host_rule, right.sharing),
            (false, true, None)
        );
    }
    let neighbour = ask(&audited, "tcp", 5000, "other");
    assert_eq!(
        (neighbour.verdict.as_str(), neighbour.audit),
        ("deny", false)
    );
    assert_eq!(neighbour.errno.as_deref(), Some("EACCES"));
    let right = ask(&enforced, "tcp", 21, "a");
    assert_eq!((right.audit, right.grant), (false, true));
    assert!(!ask(&whole, "tcp", 9, "a").audit);
}

/// A rule in audit doesn't hide another that is enforced.
#[test]
fn a_restriction_holds_behind_rules_in_audit() {
    let profile = "PORT UNRSV TCP WEB WHENBIND\n";
    let restriction = "[[restriction]]\nports = '8400'\nprotocol = 'tcp'\nusers = ['2000']\n";
    let reason = |toml: &str| {
        let answer = ask(&made(profile, toml).0, "tcp", 8400, "other");
        (answer.reason, answer.audit)
    };
    let of = |reason: Reason, audit| (reason.id().to_owned(), audit);
    let with = |ports: &str| reason(&format!("{}{restriction}", audit(ports)));
    assert_eq!(reason(restriction), of(Reason::UnreservedOther, false));
    assert_eq!(with("'unreserved'"), of(Reason::OtherUser, false));
    assert_eq!(with("'tcp/8400'"), of(Reason::UnreservedOther, false));
    assert_eq!(
        with("'unreserved', 'tcp/8400'"),
        of(Reason::UnreservedOther, true)
    );
}

/// What was to be watched is perhaps another port, which would be enforced.
#[test]
fn what_no_rule_speaks_of_is_an_error() {
    let low = "TCPCONFIG RESTRICTLOWPORTS\n";
    for (profile, ports, lines) in [
        (PROFILE, "'tcp/8008'", &[2][..]),
        (PROFILE, "'udp/8080'", &[2]),
        (PROFILE, "'tcp/8080',\n'tcp/5004-5009',\n'tcp/514'", &[3, 4]),
        (PROFILE, "'unreserved'", &[]),
        (PROFILE, "'tcp/unreserved'", &[2]),
        (low, "'tcp/unreserved'", &[]),
        (low, "'unreserved'", &[]),
        (low, "'udp/unreserved'", &[2]),
        ("", "'unreserved'", &[2]),
        ("", "", &[]),
        // The config need not follow what comes and goes.
        ("PORT 80 TCP A\nDELETE PORT 80 TCP A\n", "'tcp/80'", &[]),
        (
            "TCPCONFIG RESTRICTLOWPORTS\nTCPCONFIG UNRESTRICTLOWPORTS\n",
            "'unreserved'",
            &[],
        ),
        (
            "PORT 65534 UDP X\nPORTRANGE 65530 99 TCP A\n",
            "'tcp/65535'",
            &[],
        ),
    ] {
        let (_, errors) = made(profile, &audit(ports));
        let expected: Vec<_> = lines.iter().map(|line| (*line, "PRV412")).collect();
        assert_eq!(errors, expected, "{profile}{ports}");
    }
    for toml in ["[audit]\nports = 'tcp'\n", "[audit]\nports = ['80']\n"] {
        assert_eq!(made(PROFILE, toml).1, [(2, "PRV411")], "{toml}");
    }
    assert_eq!(
        made(PROFILE, "[audit]\nport = 'tcp/80'\n").1,
        [(2, "PRV401")]
    );
}

/// All-zero tables enforce.
#[test]
fn an_empty_element_is_not_in_audit() {
    assert!(!Slot::default().is_audited());
    assert!(!Slot::new(0, 1).unwrap().is_audited());
    assert!(Slot::new(0, 256).unwrap().shared().in_audit().is_audited());
    assert_eq!(Slot::new(7, 256).unwrap().in_audit().count(), 256);
}
