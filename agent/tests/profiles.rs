//! Whole profiles, read as a user's would be.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use portreeve::diagnostics::{Code, Diagnostics, Severity};
use portreeve::policy::reservations::{Kind, Reservation, resolve};
use portreeve::policy::unsupported::{AtListen, keep_supported};
use portreeve::profile::ast::User;
use portreeve::profile::{self, ReadOptions};
use portreeve_common::abi::Protocol;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

fn run(text: &str) -> (Vec<Reservation>, Diagnostics) {
    let path = Path::new("profile.tcpip");
    let mut parsed = profile::parse(path, text.as_bytes(), &ReadOptions::default());
    let rules = resolve(&parsed.profile, &mut parsed.diagnostics);
    let rules = keep_supported(
        &parsed.profile,
        rules,
        &AtListen::Refused,
        &mut parsed.diagnostics,
    );
    (rules.entries, parsed.diagnostics)
}

#[test]
fn the_mainframe_profile_reserves_28_ports() {
    let options = ReadOptions {
        strict: true,
        ..ReadOptions::default()
    };
    let mut parsed = profile::read(&data("mainframe.tcpip"), &options).unwrap();
    let reservations = resolve(&parsed.profile, &mut parsed.diagnostics).entries;
    assert_eq!(parsed.diagnostics.total(), 0);
    assert_eq!(reservations.len(), 28);
    assert!(
        reservations
            .iter()
            .all(|r| r.kind == Kind::Port && r.first == r.last)
    );
    assert!(reservations.iter().all(|r| r.description.is_some()));
    let ftp = reservations.iter().find(|r| r.first == 21).unwrap();
    assert_eq!(ftp.user, User::Job("FTPD1".into()));
    assert_eq!(ftp.protocol, Protocol::Tcp);
    assert_eq!(ftp.description.as_deref(), Some("file transfer, control"));
    let data = reservations.iter().find(|r| r.first == 20).unwrap();
    assert_eq!(data.user, User::Anyone);
    assert!(data.options.no_autolog.is_some());
}

/// `text` with the semicolon taken from in front of each statement or entry in a
/// comment, one at a time (AUTOLOG as a whole).
fn activated(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let without = |range: std::ops::RangeInclusive<usize>| -> String {
        let line = |(index, line): (usize, &&str)| match line.strip_prefix(';') {
            Some(rest) if range.contains(&index) => rest.to_owned(),
            _ => (*line).to_owned(),
        };
        let lines: Vec<String> = lines.iter().enumerate().map(line).collect();
        lines.join("\n")
    };
    let mut result = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let words: Vec<&str> = line
            .strip_prefix(';')
            .unwrap_or("")
            .split_whitespace()
            .collect();
        let number = |at: usize| {
            words
                .get(at)
                .is_some_and(|word| word.parse::<u16>().is_ok())
        };
        match words.first() {
            Some(&"AUTOLOG") if number(1) => {
                let end = lines
                    .iter()
                    .position(|line| line.contains("ENDAUTOLOG"))
                    .expect("the block has an end");
                result.push(without(index..=end));
            }
            Some(&"PORTRANGE") if number(1) => result.push(without(index..=index)),
            Some(_) if number(0) && matches!(words.get(1), Some(&"TCP" | &"UDP")) => {
                result.push(without(index..=index));
            }
            _ => {}
        }
    }
    result
}

/// `SYN-21`: each commented line can be activated: it parses, and then counts,
/// or is a duplicate or collision by the language's own rules, or isn't
/// supported yet.
#[test]
fn every_commented_entry_parses_when_activated() {
    let text = std::fs::read_to_string(data("mainframe.tcpip")).unwrap();
    let profiles = activated(&text);
    assert_eq!(profiles.len(), 20);
    let mut outcomes = HashSet::new();
    for profile in profiles {
        let (reservations, diagnostics) = run(&profile);
        for diagnostic in diagnostics.iter() {
            assert!(
                diagnostic.code >= Code::DenyNotStar,
                "{}",
                diagnostic.message
            );
            outcomes.insert(diagnostic.code);
        }
        match diagnostics.count(Severity::Error) {
            0 => assert!(reservations.len() >= 28),
            1 => assert_eq!(reservations.len(), 28),
            _ => panic!("{:?}", diagnostics.iter().collect::<Vec<_>>()),
        }
    }
    let expected = [Code::Duplicate, Code::SecondUdpJob, Code::RangeOverPort];
    assert_eq!(outcomes, HashSet::from(expected));
}

/// `LOW-10`: RESTRICTLOWPORTS counts on TCPCONFIG, and is only pointed at on IPCONFIG.
#[test]
fn low_ports_on_tcpconfig_and_ipconfig() {
    let mut parsed = profile::read(&data("low-ports.tcpip"), &ReadOptions::default()).unwrap();
    let rules = resolve(&parsed.profile, &mut parsed.diagnostics);
    let rules = keep_supported(
        &parsed.profile,
        rules,
        &AtListen::Refused,
        &mut parsed.diagnostics,
    );
    let found: Vec<(Code, u32)> = parsed
        .diagnostics
        .iter()
        .filter_map(|d| Some((d.code, parsed.sources.line(d.span?))))
        .collect();
    let expected = [(Code::NoEffectHere, 5)];
    assert_eq!(found, expected);
    assert_eq!(rules.entries.len(), 7);
}

/// `SYN-20`: what the pages of a manual carry around their examples is no language,
/// and none of it is left in the profiles that are read here.
#[test]
fn no_residue_of_pages_is_in_the_profiles() {
    const RESIDUE: [&str; 3] = ["START OF CHANGE", "END OF CHANGE", "&NBSP"];
    let folders =
        ["tests/data", "../examples"].map(|f| Path::new(env!("CARGO_MANIFEST_DIR")).join(f));
    let mut seen = 0;
    for folder in folders {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path
                .extension()
                .is_none_or(|extension| extension != "tcpip")
            {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap().to_uppercase();
            for residue in RESIDUE {
                assert!(!text.contains(residue), "{residue} in {}", path.display());
            }
            assert!(text.is_ascii(), "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 3, "only {seen} profiles were found");
    // Where it is, it is an error and never passes for a rule.
    let (entries, diagnostics) = run("PORT\n  520 UDP OMPROUTE\nStart of change521 UDP OMPROUTE\n");
    assert_eq!(entries.len(), 1);
    assert!(diagnostics.has_errors());
}
