use std::path::Path;

use super::*;
use crate::{
    policy::reservations::resolve,
    profile::{ReadOptions, parse},
};

fn run(text: &str) -> (Subagent, Vec<Code>) {
    let path = Path::new("profile.tcpip");
    let mut parsed = parse(path, text.as_bytes(), &ReadOptions::default());
    let subagent = settle(&parsed.profile, &mut parsed.diagnostics);
    let entries = resolve(&parsed.profile, &mut parsed.diagnostics).entries;
    advise(&parsed.profile, &entries, &mut parsed.diagnostics);
    let codes = parsed.diagnostics.iter().map(|one| one.code).collect();
    (subagent, codes)
}

/// `SAC-01`, `SAC-02`, `SAC-03`.
#[test]
fn it_runs_unless_it_is_disabled() {
    let (omitted, codes) = run("PORT 21 TCP FTPD1\n");
    assert_eq!(omitted, Subagent::default());
    assert!(omitted.enabled && !omitted.is_asked_for && codes.is_empty());
    assert_eq!(omitted.cache, Duration::from_secs(30));
    let (enabled, _) = run("SACONFIG ENABLED\n");
    assert!(enabled.enabled && enabled.is_asked_for);
    let (disabled, codes) = run("SACONFIG DISABLED\n");
    assert!(!disabled.enabled && codes.is_empty());
    let (other, _) = run("SACONFIG AGENT 161\n");
    assert!(other.enabled && !other.is_asked_for);
}

/// `SAC-05`: what a later statement doesn't say stays.
#[test]
fn the_last_word_on_each_operand_counts() {
    let (subagent, codes) =
        run("SACONFIG ENABLED SACACHETIME 5 AGENT 1161\nSACONFIG SETSDISABLED\n");
    assert!(subagent.is_asked_for);
    assert_eq!(subagent.cache, Duration::from_secs(5));
    assert_eq!(codes, [Code::SnmpAgentPort]);
    assert!(!run("SACONFIG ENABLED\nSACONFIG DISABLED\n").0.enabled);
    assert!(run("SACONFIG DISABLED\nSACONFIG ENABLED\n").0.is_asked_for);
}

/// `SAC-06`, `SAC-08`.
#[test]
fn what_has_no_effect_is_said() {
    let reserved = "PORT 161 UDP SNMPD\n";
    let of = |operands: &str| run(&format!("{reserved}SACONFIG ENABLED {operands}\n")).1;
    assert_eq!(of(""), []);
    assert_eq!(of("COMMUNITY s3cret"), [Code::SnmpOperand]);
    assert_eq!(of("OSAENABLED OSASF 5000"), [Code::SnmpOperand]);
    assert_eq!(of("SETSENABLED"), [Code::SnmpReadOnly]);
    assert_eq!(of("SETSDISABLED OSADISABLED"), []);
}

/// `SAC-07`
#[test]
fn the_agents_port_is_to_be_reserved() {
    for (text, advised) in [
        ("SACONFIG ENABLED\n", true),
        ("SACONFIG\n", false),
        ("SACONFIG DISABLED AGENT 161\n", false),
        ("PORT 161 UDP SNMPD\nSACONFIG ENABLED\n", false),
        ("PORT 161 TCP SNMPD\nSACONFIG ENABLED\n", true),
        ("PORTRANGE 160 5 UDP SNMPD\nSACONFIG ENABLED\n", false),
        ("PORT 161 UDP SNMPD\nSACONFIG ENABLED AGENT 1161\n", true),
        ("PORT UNRSV UDP SNMPD\nSACONFIG ENABLED\n", true),
    ] {
        let said = run(text).1.contains(&Code::SnmpAgentPort);
        assert_eq!(said, advised, "{text}");
    }
}
