use std::path::Path;

use super::*;
use crate::config::{Config, Degraded, Feature};
use crate::kernel::lsm::BpfLsm;
use crate::policy::unsupported::{AtListen, keep_supported};
use crate::profile::{Parsed, ReadOptions, parse};

/// On a kernel that can't judge at listen.
fn run(text: &str) -> (Parsed, Vec<Reservation>) {
    let modules = "lockdown,capability,yama".into();
    let lsm = BpfLsm::Inactive { modules };
    run_on(Some(&lsm), &Config::default(), || None, text)
}

fn run_on(
    lsm: Option<&BpfLsm>,
    config: &Config,
    destroying: fn() -> Option<String>,
    text: &str,
) -> (Parsed, Vec<Reservation>) {
    let mut parsed = parse(Path::new("p"), text.as_bytes(), &ReadOptions::default());
    let rules = resolve(&parsed.profile, &mut parsed.diagnostics);
    let at_listen = AtListen::of(&rules, config, lsm, destroying);
    let rules = keep_supported(&parsed.profile, rules, &at_listen, &mut parsed.diagnostics);
    (parsed, rules.entries)
}

/// Asserts what is left of `text`, and what is wrong, with lines.
#[track_caller]
fn leaves(text: &str, left: &[&str], wrong: &[(Code, u32)]) {
    let (parsed, reservations) = run(text);
    let found: Vec<String> = reservations
        .iter()
        .map(|r| format!("{} {}-{} {}", r.protocol.name(), r.first, r.last, r.user))
        .collect();
    assert_eq!(found, left, "{text}");
    let found: Vec<(Code, u32)> = parsed
        .diagnostics
        .iter()
        .filter_map(|d| Some((d.code, parsed.sources.line(d.span?))))
        .collect();
    assert_eq!(found, wrong, "{text}");
}

/// `PRT-01`, `PRT-09`, `PRT-47`, `SYN-17`, `RNG-03`.
#[test]
fn statements_add_up() {
    leaves(
        "PORT 7 UDP A 7 TCP A\nPORT 7 TCP B 7 TCP B* 7 TCP *\nPORTRANGE 10 2 TCP A 10 2 UDP A",
        &[
            "udp 7-7 A",
            "tcp 7-7 A",
            "tcp 7-7 B",
            "tcp 7-7 B*",
            "tcp 7-7 *",
            "tcp 10-11 A",
            "udp 10-11 A",
        ],
        &[],
    );
}

/// `PRT-42`, A-33: the key is port, protocol and job; the first one stays.
#[test]
fn duplicates() {
    leaves(
        "PORT 7 TCP A NOAUTOLOG\n 7 TCP A\n 7 TCP a\n 8 TCP **\n 8 TCP *",
        &["tcp 7-7 A", "tcp 8-8 *"],
        &[
            (Code::Duplicate, 2),
            (Code::Duplicate, 3),
            (Code::Duplicate, 5),
        ],
    );
    let (_, reservations) = run("PORT 7 TCP A NOAUTOLOG 7 TCP A");
    assert!(reservations[0].options.no_autolog.is_some());
}

/// `PRT-10`.
#[test]
fn one_job_per_udp_port() {
    leaves(
        "PORT 7 UDP A\n 7 UDP B\n 7 UDP A",
        &["udp 7-7 A"],
        &[(Code::SecondUdpJob, 2), (Code::Duplicate, 3)],
    );
}

#[test]
fn reserved_and_something_else() {
    leaves(
        "PORT 7 TCP RESERVED\n 7 TCP A\n 8 TCP A\n 8 TCP RESERVED\n 9 UDP A\n 9 UDP RESERVED",
        &["tcp 7-7 RESERVED", "tcp 8-8 A", "udp 9-9 A"],
        &[
            (Code::ReservedAndOther, 2),
            (Code::ReservedAndOther, 4),
            (Code::ReservedAndOther, 6),
        ],
    );
}

/// `RNG-12`, `RNG-13`, `RNG-14`: who comes first wins.
#[test]
fn ranges_collide() {
    leaves(
        "PORT 15 TCP A\nPORTRANGE 10 10 TCP B\n 10 5 TCP C\n 14 1 TCP D\nPORT 14 TCP E 14 UDP F\n 10 TCP G",
        &["tcp 15-15 A", "tcp 10-14 C", "udp 14-14 F"],
        &[
            (Code::RangeOverPort, 2),
            (Code::RangeOverRange, 4),
            (Code::PortInRange, 5),
            (Code::PortInRange, 6),
        ],
    );
    // What was dropped is in nobody's way.
    leaves(
        "PORTRANGE 1 5 TCP A\n 3 5 TCP B\n 6 5 TCP C",
        &["tcp 1-5 A", "tcp 6-10 C"],
        &[(Code::RangeOverRange, 2)],
    );
}

/// `RNG-01`, `RNG-02`.
#[test]
fn ranges_are_clipped() {
    leaves(
        "PORTRANGE 4000 1000 TCP A\n 65000 536 TCP B\n 65535 1 UDP C\n",
        &["tcp 4000-4999 A", "tcp 65000-65535 B", "udp 65535-65535 C"],
        &[],
    );
    leaves(
        "PORTRANGE 65535 65535 TCP A\n 1 65535 UDP B",
        &["tcp 65535-65535 A", "udp 1-65535 B"],
        &[(Code::RangeClipped, 1)],
    );
    let (parsed, _) = run("PORTRANGE 65000 537 TCP A");
    assert!(!parsed.diagnostics.has_errors());
}

/// `DEL-01` to `DEL-05`, `OBY-02`.
#[test]
fn deleted_entries_make_room() {
    leaves(
        "PORT 7 TCP A 7 TCP B 8 UDP C\nPORTRANGE 10 5 TCP R\n\
         DELETE PORT 7 TCP A SAF X 8 UDP C\nDELETE PORTRANGE 10 5 TCP R\n\
         PORT 8 UDP D 10 TCP E 7 TCP A",
        &["tcp 7-7 B", "udp 8-8 D", "tcp 10-10 E", "tcp 7-7 A"],
        &[],
    );
    leaves(
        "PORT 7 TCP A\nPORTRANGE 10 5 TCP R\n\
         DELETE PORT 7 TCP B\n 7 UDP A\n 10 TCP R\n\
         DELETE PORTRANGE 10 4 TCP R\n 11 4 TCP R\n 10 5 TCP S\n 7 1 TCP A\n\
         PORT 12 TCP X",
        &["tcp 7-7 A", "tcp 10-14 R"],
        &[
            (Code::NothingToDelete, 3),
            (Code::NothingToDelete, 4),
            (Code::NothingToDelete, 5),
            (Code::NothingToDelete, 6),
            (Code::NothingToDelete, 7),
            (Code::NothingToDelete, 8),
            (Code::NothingToDelete, 9),
            (Code::PortInRange, 10),
        ],
    );
    // The last of several leaves the port free for a range.
    leaves(
        "PORT 7 TCP A 7 TCP B\nDELETE PORT 7 TCP A 7 TCP B\nPORTRANGE 7 1 TCP C\n\
         DELETE PORTRANGE 7 1 TCP C\nPORT 7 TCP RESERVED",
        &["tcp 7-7 RESERVED"],
        &[],
    );
}

/// What can't be enforced is refused if it is a rule on access.
#[test]
fn unsupported_rules_and_options() {
    leaves(
        "GLOBALCONFIG EXPLICITBINDPORTRANGE 5000 100\nPORT UNRSV TCP * DENY",
        &[],
        &[
            (Code::BindRangeUnsupported, 1),
            (Code::UnreservedUnsupported, 2),
        ],
    );
    let text = "PORT 1 TCP A NODELAYACKS\n 2 TCP B SMC";
    leaves(
        text,
        &["tcp 1-1 A", "tcp 2-2 B"],
        &[(Code::AcksShortened, 1), (Code::SmcUnsupported, 2)],
    );
    assert!(!run(text).0.diagnostics.has_errors());
    leaves(
        "PORT 1 TCP A NOAUTOLOG DELAYACKS NOSMC\n 2 TCP A SAF X\n 3 TCP A BIND 192.0.2.1\n\
         4 TCP A SHAREPORT\n 5 TCP A SHAREPORTWLM\nPORTRANGE 10 1 TCP AUTHPORT\nSACONFIG DISABLED\nAUTOLOG ENDAUTOLOG\n\
         TCPCONFIG RESTRICTLOWPORTS EPHEMERALPORTS 1024 65535",
        &[
            "tcp 1-1 A",
            "tcp 2-2 A",
            "tcp 3-3 A",
            "tcp 4-4 A",
            "tcp 5-5 A",
            "tcp 10-10 AUTHPORT",
        ],
        &[],
    );
}

/// `UNR-09`, `UNR-13`, `UNR-14`, `DEL-03`.
#[test]
fn unreserved_entries_agree() {
    leaves(
        "PORT UNRSV TCP A WHENBIND\n UNRSV UDP *\n UNRSV TCP * WHENBIND",
        &["tcp 0-0 A", "udp 0-0 *", "tcp 0-0 *"],
        &[],
    );
    leaves(
        "PORT UNRSV TCP A\n UNRSV TCP B WHENBIND\n UNRSV TCP *\n UNRSV TCP * DENY\n UNRSV TCP A",
        &[],
        &[
            (Code::UnreservedUnsupported, 1),
            (Code::MixedTiming, 2),
            (Code::UnreservedUnsupported, 3),
            (Code::SecondUnreservedStar, 4),
            (Code::Duplicate, 5),
        ],
    );
    leaves(
        "PORT UNRSV TCP A UNRSV TCP B\nDELETE PORT UNRSV TCP A UNRSV TCP B\nPORT UNRSV TCP C WHENBIND",
        &["tcp 0-0 C"],
        &[],
    );
    leaves(
        "DELETE PORT UNRSV TCP A",
        &[],
        &[(Code::NothingToDelete, 1)],
    );
}

/// `UNR-10`: what judges at listen is there or it isn't, or nobody knows.
#[test]
fn listen_takes_what_judges_it() {
    let text = "PORT UNRSV TCP * DENY\n UNRSV UDP * DENY";
    let left = |lsm: Option<&BpfLsm>| {
        let (parsed, entries) = run_on(lsm, &Config::default(), || None, text);
        let said = parsed.diagnostics.iter();
        let said: Vec<(Code, String)> = said
            .map(|d| {
                (
                    d.code,
                    format!("{} {}", d.message, d.help.as_deref().unwrap_or_default()),
                )
            })
            .collect();
        (entries.len(), said)
    };
    assert_eq!(left(Some(&BpfLsm::Active)), (2, Vec::new()));
    assert_eq!(left(None), (2, Vec::new()));
    let modules = "lockdown,capability,yama".to_owned();
    for (lsm, words) in [
        (
            BpfLsm::Inactive { modules },
            ["not active", "lsm=lockdown,yama,bpf,"],
        ),
        (BpfLsm::Unknown, ["can't be read", "mount -t securityfs"]),
    ] {
        let (entries, said) = left(Some(&lsm));
        let [(code, said)] = &said[..] else {
            panic!("{said:?}");
        };
        assert_eq!((entries, *code), (1, Code::UnreservedUnsupported));
        for word in [&words[..], &["WHENBIND"]].concat() {
            assert!(said.contains(word), "no {word} in {said}");
        }
    }
}

/// Accepted, the fallback is a warning at the first of the entries; it takes a kernel
/// that destroys sockets, and is none where listen can be refused.
#[test]
fn listeners_are_destroyed_if_that_is_accepted() {
    let text = "PORT UNRSV TCP A\n UNRSV TCP B\n UNRSV UDP C";
    let accepting = Config {
        degraded: Degraded::default().and(Feature::Listen),
        ..Config::default()
    };
    let inactive = BpfLsm::Inactive {
        modules: "yama".into(),
    };
    let on = |lsm: &BpfLsm, config: &Config, destroying, text| {
        let (parsed, entries) = run_on(Some(lsm), config, destroying, text);
        let said = parsed.diagnostics.iter();
        let said: Vec<_> = said
            .map(|said| {
                let help = said.help.clone().unwrap_or_default();
                let line = said.span.map(|span| parsed.sources.line(span));
                (said.severity, line, format!("{} {help}", said.message))
            })
            .collect();
        (entries.len(), said)
    };
    let (entries, said) = on(&inactive, &accepting, || None, text);
    let [(Severity::Warning, Some(1), said)] = &said[..] else {
        panic!("{said:?}");
    };
    assert_eq!(entries, 3);
    assert!(
        said.contains("destroyed") && said.contains("Multipath TCP"),
        "{said}"
    );
    let (entries, said) = on(&inactive, &accepting, || Some("it can't".into()), text);
    assert_eq!(entries, 1);
    assert!(
        said.iter()
            .all(|(severity, ..)| *severity == Severity::Error)
    );
    assert!(
        said[0]
            .2
            .contains("not active on this kernel, and it can't"),
        "{said:?}"
    );
    let (entries, said) = on(&inactive, &Config::default(), || None, text);
    assert_eq!(entries, 1);
    assert!(
        said[0].2.contains("`[degraded] accept = [\"listen\"]`"),
        "{said:?}"
    );
    let never: fn() -> Option<String> = || panic!("nobody asks");
    assert_eq!(
        on(&BpfLsm::Active, &accepting, never, text),
        (3, Vec::new())
    );
    let at_bind = "PORT UNRSV TCP A WHENBIND";
    assert_eq!(on(&inactive, &accepting, never, at_bind), (1, Vec::new()));
}

/// Collisions are judged before support, so that a profile means the same
/// reservations whatever is supported.
#[test]
fn unsupported_entries_still_come_first() {
    leaves(
        "PORT UNRSV TCP A UNRSV TCP A",
        &[],
        &[(Code::UnreservedUnsupported, 1), (Code::Duplicate, 1)],
    );
}

/// Many entries, many ranges, many deletions: none of it is quadratic.
#[test]
fn large_policies_are_fast() {
    let mut text = String::from("PORT\n");
    for port in 1..=65535 {
        text.push_str(&format!("{port} TCP J{port}\n{port} UDP J{port}\n"));
    }
    let (parsed, reservations) = run(&text);
    assert_eq!(reservations.len(), 131_070);
    assert!(parsed.diagnostics.is_empty());

    // Each range collides, at the end only.
    let (parsed, reservations) = run(&format!(
        "PORT 65535 TCP A\nPORTRANGE\n{}",
        "1 65535 TCP B\n".repeat(60_000)
    ));
    assert_eq!(reservations.len(), 1);
    assert_eq!(parsed.diagnostics.total(), 60_000);

    // One port, many jobs, all of them deleted in order.
    let jobs: String = (0..50_000).map(|n| format!("9 TCP J{n}\n")).collect();
    let (parsed, reservations) = run(&format!("PORT\n{jobs}DELETE PORT\n{jobs}"));
    assert_eq!(reservations.len(), 0);
    assert!(parsed.diagnostics.is_empty());
}
