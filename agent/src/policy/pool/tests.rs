//! The pool under policies, on hosts with one setting or another.

use std::path::Path;

use super::*;
use crate::{
    config::{self, Ephemeral},
    diagnostics::{Severity, Sources},
    policy::reservations::resolve,
    profile::{ReadOptions, parse},
};

fn host(range: Range, kept_out: &str) -> PortSettings {
    PortSettings {
        ephemeral: Some(range),
        kept_out: kept_out.parse().unwrap(),
        first_unprivileged: 1024,
    }
}

/// The plan, and code, severity and message of each diagnostic.
fn planned(
    text: &str,
    config: &Config,
    host: &PortSettings,
) -> (Plan, Vec<(Code, Severity, String)>) {
    planned_with(text, &[], config, host)
}

fn planned_with(
    text: &str,
    restrictions: &[Restriction],
    config: &Config,
    host: &PortSettings,
) -> (Plan, Vec<(Code, Severity, String)>) {
    let parsed = parse(Path::new("p"), text.as_bytes(), &ReadOptions::default());
    assert!(!parsed.diagnostics.has_errors());
    let mut diagnostics = Diagnostics::new();
    let rules = resolve(&parsed.profile, &mut diagnostics);
    let plan = plan(
        &parsed.profile,
        &rules.entries,
        restrictions,
        &Audited::default(),
        config,
        Some(host),
        &mut diagnostics,
    );
    let said = diagnostics.iter();
    let said = said.map(|d| (d.code, d.severity, d.message.clone()));
    (plan, said.collect())
}

fn with(manage: bool, floor: u16, below_floor: BelowFloor) -> Config {
    Config {
        ephemeral: Ephemeral {
            manage,
            floor,
            below_floor,
        },
        ..Config::default()
    }
}

/// `EPH-08`: the vector of "Port selection interactions". Linux, which has one list,
/// leaves fewer.
#[test]
fn pools_are_counted_as_on_zos() {
    let text = "TCPCONFIG EPHEMERALPORTS 30000 39999\nUDPCONFIG EPHEMERALPORTS 30000 39999\n\
                GLOBALCONFIG EXPLICITBINDPORTRANGE 30200 100\n\
                PORT 30005 TCP A 30015 TCP A 30010 UDP A 30015 UDP A\n\
                PORTRANGE 30025 5 TCP A 30100 50 TCP AUTHPORT 30500 300 TCP OMVS\n\
                30030 5 UDP A 30500 300 UDP OMVS\n";
    let (plan, said) = planned(text, &Config::default(), &host((32768, 60999), ""));
    assert_eq!(said, []);
    let left = plan.left.unwrap();
    assert_eq!(left.of_protocol, [9543, 9693]);
    assert_eq!(left.range, (30000, 39999));
    assert_eq!(left.free, 10000 - (3 + 5 + 5 + 50 + 300));
}

/// `EPH-04`, `EPH-05`, `EPH-06`, `PRT-38`: whoever has the reservation.
#[test]
fn all_that_is_reserved_is_kept_back() {
    let text = "PORT 21 TCP A 53 UDP B 40000 TCP RESERVED 40001 TCP *\n\
                PORTRANGE 41000 10 TCP AUTHPORT 42000 10 UDP OMVS 65530 6 UDP A\n\
                PORT UNRSV TCP A WHENBIND\n";
    let (plan, _) = planned(text, &Config::default(), &host((32768, 60999), "50000"));
    let kept = plan.kept.unwrap();
    assert_eq!(
        kept.ports.to_string(),
        "21,53,40000-40001,41000-41009,42000-42009,65530-65535"
    );
    assert_eq!(kept.range, None);
    assert_eq!(plan.left.unwrap().free, 28232 - 23);
}

/// `IBI-01`, `EPH-04`: a port that is for certain users is nobody's by chance; z/OS
/// has no such ports to count.
#[test]
fn what_is_restricted_is_kept_back() {
    let span = Span {
        source: Sources::new().add("c".into(), ""),
        start: 0,
        end: 0,
    };
    let restriction = |protocol, first, last| Restriction {
        protocol,
        first,
        last,
        users: [1000].into(),
        span,
    };
    let restrictions = [
        restriction(Protocol::Tcp, 40000, 40001),
        restriction(Protocol::Udp, 40001, 40002),
    ];
    let text = "PORT 40002 TCP A 40003 TCP A\n";
    let host = host((40000, 40009), "");
    let (plan, _) = planned_with(text, &restrictions, &Config::default(), &host);
    assert_eq!(plan.kept.unwrap().ports.to_string(), "40000-40003");
    let left = plan.left.unwrap();
    assert_eq!(left.free, 6);
    assert_eq!(left.of_protocol, [8, 10]);

    // What is in audit is left in the pool, for the protocol for which it is.
    let toml = "[audit]\nports = ['tcp/40000-40002', 'udp/40002']\n";
    let mut diagnostics = Diagnostics::new();
    let config = config::parse(Path::new("c"), toml, &mut Sources::new(), &mut diagnostics);
    let parsed = parse(Path::new("p"), text.as_bytes(), &ReadOptions::default());
    let rules = resolve(&parsed.profile, &mut diagnostics);
    let asked = config.unwrap().audit;
    let audited = Audited::new(&asked, &parsed.profile, &restrictions, &mut diagnostics);
    let kept = kept_back(&rules.entries, &restrictions, &audited);
    assert_eq!(kept.to_string(), "40001,40003");
    assert!(!diagnostics.has_errors());

    let all = [restriction(Protocol::Udp, 1024, 65535)];
    let (plan, said) = planned_with(text, &all, &Config::default(), &host);
    assert_eq!(plan.left.unwrap().free, 0);
    let codes: Vec<_> = said
        .iter()
        .map(|(code, severity, _)| (*code, *severity))
        .collect();
    assert_eq!(codes, [(Code::PoolTooSmall, Severity::Error)]);
}

/// `EPH-01`: one range for both, or none.
#[test]
fn the_range_is_linuxs_only_if_both_protocols_say_it() {
    let host = host((32768, 60999), "");
    let asked = |text: &str, config: &Config| {
        let (plan, said) = planned(text, config, &host);
        let codes: Vec<_> = said
            .iter()
            .map(|(code, severity, _)| (*code, *severity))
            .collect();
        (plan.kept.and_then(|kept| kept.range), codes)
    };
    let error = [(Code::EphemeralUnsupported, Severity::Error)];
    let config = Config::default();
    let both = "TCPCONFIG EPHEMERALPORTS 20000 30000\nUDPCONFIG EPHEMERALPORTS 20000 30000\n";
    assert_eq!(asked(both, &config), (Some((20000, 30000)), vec![]));
    let last = "TCPCONFIG EPHEMERALPORTS 2000 3000\nUDPCONFIG EPHEMERALPORTS 20000 30000\n\
                TCPCONFIG EPHEMERALPORTS 20000 30000\n";
    assert_eq!(asked(last, &config), (Some((20000, 30000)), vec![]));
    let differ = "TCPCONFIG EPHEMERALPORTS 20000 30000\nUDPCONFIG EPHEMERALPORTS 20000 30001\n";
    assert_eq!(asked(differ, &config), (None, error.to_vec()));
    for one in [
        "TCPCONFIG EPHEMERALPORTS 20000 30000",
        "UDPCONFIG EPHEMERALPORTS 20000 30000",
    ] {
        assert_eq!(asked(one, &config), (None, error.to_vec()));
    }
    assert_eq!(
        asked("TCPCONFIG EPHEMERALPORTS 1024 65535", &config),
        (None, vec![])
    );
    let unmanaged = with(false, 0, BelowFloor::Refuse);
    assert_eq!(asked(both, &unmanaged), (None, error.to_vec()));
    let audit = Config {
        mode: Mode::Audit,
        ..Config::default()
    };
    assert_eq!(asked(both, &audit), (None, vec![]));
}

#[test]
fn a_pool_below_the_floor_is_refused_unless_the_config_insists() {
    let host = host((40000, 40099), "40090-40099");
    let text = "PORTRANGE 40000 81 TCP A\n";
    let said = |config: &Config| {
        let (_, said) = planned(text, config, &host);
        said.into_iter()
            .map(|(code, severity, _)| (code, severity))
            .collect::<Vec<_>>()
    };
    assert_eq!(said(&with(true, 9, BelowFloor::Refuse)), []);
    let too_small = |severity| vec![(Code::PoolTooSmall, severity)];
    assert_eq!(
        said(&with(true, 10, BelowFloor::Refuse)),
        too_small(Severity::Error)
    );
    assert_eq!(
        said(&with(true, 10, BelowFloor::Accept)),
        too_small(Severity::Warning)
    );
    assert_eq!(said(&with(false, 10, BelowFloor::Refuse)), []);
    // A small pool that the policy takes nothing from is none of its business.
    let (_, other) = planned("PORT 21 TCP A\n", &Config::default(), &host);
    assert_eq!(other, []);
}
