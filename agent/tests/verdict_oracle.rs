//! The verdict against a slow and obvious oracle.
//!
//! Profiles are generated as text and go the whole way: parse, resolve, compile,
//! `decide`. The oracle works on the generated entries with the rules of
//! port-control 2.6 and 4.6 written down one by one, and shares no code with it.

use std::path::Path;

use portreeve::{
    config::GrantRule,
    diagnostics::Diagnostics,
    policy::{
        compile::{Compiled, compile},
        reservations::{Reservation, resolve},
    },
    profile::{self, ReadOptions},
};
use portreeve_common::{Reason, Request, Subject, abi::Protocol, decide, jobname::Name};
use proptest::prelude::*;

/// One generated entry; it stands alone on its line.
#[derive(Clone, Debug)]
struct Line {
    protocol: Protocol,
    first: u16,
    count: Option<u16>,
    user: String,
}

impl Line {
    fn last(&self) -> u16 {
        let count = self.count.unwrap_or(1);
        self.first.saturating_add(count - 1)
    }

    fn text(&self) -> String {
        let protocol = self.protocol.name();
        match self.count {
            None => format!("PORT {} {protocol} {}", self.first, self.user),
            Some(count) => format!("PORTRANGE {} {count} {protocol} {}", self.first, self.user),
        }
    }
}

/// What the oracle says: the reason, and the line that decides or stands for the port.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    reason: Reason,
    line: u32,
    grant: bool,
}

mod oracle {
    use super::*;

    /// A job name as it is compared: upper case, and stars in a row are one.
    fn folded(user: &str) -> String {
        let mut name = user.to_ascii_uppercase();
        while name.contains("**") {
            name = name.replace("**", "*");
        }
        name
    }

    /// The entries that take effect, with their line numbers (port-control 2.6).
    pub fn kept(lines: &[Line]) -> Vec<(u32, &Line)> {
        let mut kept: Vec<(u32, &Line)> = Vec::new();
        for (number, line) in (1..).zip(lines) {
            let overlapping: Vec<&Line> = kept
                .iter()
                .map(|(_, other)| *other)
                .filter(|other| other.protocol == line.protocol)
                .filter(|other| other.first <= line.last() && line.first <= other.last())
                .collect();
            let dropped = if line.count.is_some() {
                // A range over anything is refused whole.
                !overlapping.is_empty()
            } else {
                overlapping.iter().any(|other| {
                    let range = other.count.is_some();
                    let same = folded(&other.user) == folded(&line.user);
                    let second_udp = line.protocol == Protocol::Udp;
                    let reserved = [other, line]
                        .iter()
                        .any(|one| folded(&one.user) == "RESERVED");
                    range || same || second_udp || reserved
                })
            };
            if !dropped {
                kept.push((number, line));
            }
        }
        kept
    }

    fn glob(pattern: &[char], name: &[char]) -> bool {
        match pattern {
            [] => name.is_empty(),
            ['*', rest @ ..] => (0..=name.len()).any(|skip| glob(rest, &name[skip..])),
            ['?', rest @ ..] => !name.is_empty() && glob(rest, &name[1..]),
            [c, rest @ ..] => name.first() == Some(c) && glob(rest, &name[1..]),
        }
    }

    fn matches(user: &str, name: &str) -> bool {
        let upper = |text: &str| text.to_ascii_uppercase().chars().collect::<Vec<char>>();
        match folded(user).as_str() {
            "*" | "OMVS" => true,
            "RESERVED" => false,
            user => glob(&upper(user), &upper(name)),
        }
    }

    /// Smaller is closer (port-control 4.6, A-03).
    fn distance(user: &str) -> (u8, i32, i32, i32) {
        let user = folded(user);
        let count = |wanted: fn(char) -> bool| user.chars().filter(|c| wanted(*c)).count() as i32;
        match user.as_str() {
            "RESERVED" => (9, 0, 0, 0),
            "*" => (4, 0, 0, 0),
            "OMVS" => (3, 0, 0, 0),
            _ if count(|c| c == '*' || c == '?') == 0 => (1, 0, 0, 0),
            _ => {
                let literals = count(|c| c != '*' && c != '?');
                let stars = count(|c| c == '*');
                let prefix = user.chars().take_while(|c| *c != '*' && *c != '?').count() as i32;
                (2, -literals, stars, -prefix)
            }
        }
    }

    pub fn verdict(lines: &[Line], protocol: Protocol, port: u16, name: &str) -> Answer {
        let nothing = |reason| Answer {
            reason,
            line: 0,
            grant: false,
        };
        if port == 0 {
            return nothing(Reason::NotJudged);
        }
        let mut of_port: Vec<(u32, &Line)> = kept(lines)
            .into_iter()
            .filter(|(_, line)| {
                line.protocol == protocol && line.first <= port && port <= line.last()
            })
            .collect();
        of_port.sort_by_key(|(number, line)| (distance(&line.user), *number));
        let Some((first, _)) = of_port.first().copied() else {
            return nothing(Reason::Unreserved);
        };
        if of_port
            .iter()
            .any(|(_, line)| folded(&line.user) == "RESERVED")
        {
            return Answer {
                reason: Reason::Blocked,
                line: first,
                grant: false,
            };
        }
        match of_port.iter().find(|(_, line)| matches(&line.user, name)) {
            Some((line, _)) => Answer {
                reason: Reason::Permitted,
                line: *line,
                grant: port < 1024,
            },
            None => Answer {
                reason: Reason::OtherJob,
                line: first,
                grant: false,
            },
        }
    }
}

/// Few names, ports and letters, so that entries meet and patterns match.
fn line() -> impl Strategy<Value = Line> {
    let user = prop_oneof![
        4 => "[AB]{1,4}",
        1 => "[ab]{1,3}",
        4 => "[AB][AB?*]{0,3}",
        2 => "[?*AB]{2,4}",
        2 => Just("*".to_owned()),
        1 => Just("OMVS".to_owned()),
        1 => Just("RESERVED".to_owned()),
    ];
    let first = prop_oneof![1u16..=12, 1018u16..=1030, 65530u16..=65535];
    let protocol = prop_oneof![3 => Just(Protocol::Tcp), 1 => Just(Protocol::Udp)];
    (
        protocol,
        first,
        proptest::option::weighted(0.25, 1u16..=6),
        user,
    )
        .prop_map(|(protocol, first, count, user)| Line {
            protocol,
            first,
            count,
            user,
        })
}

fn compiled(lines: &[Line]) -> (Vec<Reservation>, Compiled) {
    let text: String = lines.iter().map(|line| line.text() + "\n").collect();
    let parsed = profile::parse(Path::new("p"), text.as_bytes(), &ReadOptions::default());
    assert!(!parsed.diagnostics.has_errors(), "{text}");
    let mut diagnostics = Diagnostics::new();
    let reservations = resolve(&parsed.profile, &mut diagnostics);
    let compiled = compile(
        &reservations,
        GrantRule::Any,
        &parsed.sources,
        &mut diagnostics,
    );
    (reservations, compiled)
}

/// Generated policies; each is asked some hundreds of questions.
fn cases() -> u32 {
    std::env::var("PORTREEVE_LONG").map_or(1500, |_| 50_000)
}

struct Job(Name);

impl Subject for Job {
    fn in_scope(&self) -> bool {
        true
    }

    fn name(&self) -> Option<Name> {
        Some(self.0)
    }

    fn in_jobs(&self, _set: u32) -> bool {
        false
    }
}

fn ask(compiled: &Compiled, protocol: Protocol, port: u16, name: &str) -> Answer {
    let subject = Job(Name::new(name).expect("generated names are short"));
    let verdict = decide(Request { protocol, port }, &subject, &compiled.image);
    Answer {
        reason: verdict.reason,
        line: verdict.line,
        grant: verdict.grant,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: cases(),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn generated_policies_mean_what_the_reference_says(
        lines in proptest::collection::vec(line(), 0..12),
        names in proptest::collection::vec("[ABab]{1,5}", 1..4),
    ) {
        let (_, compiled) = compiled(&lines);
        let ports = (0u16..=18).chain(1016..=1036).chain(65528..=65535);
        for port in ports {
            for protocol in Protocol::ALL {
                for name in &names {
                    prop_assert_eq!(
                        ask(&compiled, protocol, port, name),
                        oracle::verdict(&lines, protocol, port, name),
                        "{} {} {}\n{:?}", protocol.name(), port, name, lines
                    );
                }
            }
        }
    }
}

/// `PRT-44`: an empty profile reserves nothing, on no port.
#[test]
fn an_empty_policy_judges_no_port() {
    let (_, compiled) = compiled(&[]);
    for protocol in Protocol::ALL {
        for port in 1..=u16::MAX {
            assert_eq!(
                ask(&compiled, protocol, port, "A").reason,
                Reason::Unreserved
            );
        }
    }
}

/// A single entry decides about its own port and about nothing else.
#[test]
fn one_entry_is_one_port() {
    for user in ["A", "RESERVED", "A*B"] {
        let only = Line {
            protocol: Protocol::Tcp,
            first: 21,
            count: None,
            user: user.into(),
        };
        let (_, compiled) = compiled(std::slice::from_ref(&only));
        for protocol in Protocol::ALL {
            for port in 0..=u16::MAX {
                for name in ["A", "AXB", "B"] {
                    assert_eq!(
                        ask(&compiled, protocol, port, name),
                        oracle::verdict(std::slice::from_ref(&only), protocol, port, name)
                    );
                }
            }
        }
    }
}

/// Every port of both protocols reserved: the largest table there is.
#[test]
fn all_ports_can_be_reserved_one_by_one() {
    let lines: Vec<Line> = Protocol::ALL
        .into_iter()
        .flat_map(|protocol| {
            (1..=u16::MAX).map(move |first| Line {
                protocol,
                first,
                count: None,
                user: format!("J{}", first % 1000),
            })
        })
        .collect();
    let (reservations, compiled) = compiled(&lines);
    assert_eq!(reservations.len(), 131_070);
    for port in [1, 2, 1000, 32_768, 65_535] {
        let owner = format!("J{}", port % 1000);
        assert_eq!(
            ask(&compiled, Protocol::Udp, port, &owner).reason,
            Reason::Permitted
        );
        assert_eq!(
            ask(&compiled, Protocol::Tcp, port, "J").reason,
            Reason::OtherJob
        );
    }
}

/// The most entries of one port, and one more (`PRT-09`).
#[test]
fn a_port_takes_256_entries() {
    for (count, fits) in [(256, true), (257, false)] {
        let lines: Vec<Line> = (0..count)
            .map(|n| Line {
                protocol: Protocol::Tcp,
                first: 21,
                count: None,
                user: format!("J{n}"),
            })
            .collect();
        let text: String = lines.iter().map(|line| line.text() + "\n").collect();
        let parsed = profile::parse(Path::new("p"), text.as_bytes(), &ReadOptions::default());
        let mut diagnostics = Diagnostics::new();
        let reservations = resolve(&parsed.profile, &mut diagnostics);
        let compiled = compile(
            &reservations,
            GrantRule::Any,
            &parsed.sources,
            &mut diagnostics,
        );
        assert_eq!(diagnostics.has_errors(), !fits);
        assert_eq!(
            ask(&compiled, Protocol::Tcp, 21, "J255").reason,
            Reason::Permitted
        );
        assert_eq!(
            ask(&compiled, Protocol::Tcp, 21, "J256").reason,
            Reason::OtherJob
        );
    }
}
