//! What holds for any text.

use std::path::Path;

use proptest::prelude::*;

use super::super::{ReadOptions, Symbols, parse as parse_bytes};
use super::{parse, wrong};
use crate::diagnostics::{Diagnostics, json, render};
use crate::policy::reservations::{self, resolve};
use crate::profile::options;
use crate::profile::statements::{Kind, STATEMENTS};

/// Words that mean something somewhere, and some that nearly do.
fn word() -> impl Strategy<Value = String> {
    let mut words: Vec<String> = [
        "TCP",
        "UDP",
        "UNRSV",
        "RESERVED",
        "AUTHPORT",
        "OMVS",
        "*",
        "A*",
        "FTPD1",
        "A;b",
        ";",
        ";c",
        "RESTRICTLOWPORTS",
        "EPHEMERALPORTS",
        "EXPLICITBINDPORTRANGE",
        "JOBNAME",
        "PARMSTRING",
        "DELAYSTART",
        "DVIPA",
        "TTLS",
        "'a",
        "a'",
        "\"x y\"",
        "COMMUNITY",
        "AGENT",
        "ENABLED",
        "192.0.2.1",
        "::1",
        "::ffff:1.2.3.4",
        "ENDAUTOLOG",
        "PROT",
        "&X.",
        "&Y.",
        "&",
        "\n",
        "\n",
        "\r\n",
        "\t",
        "21",
        "1",
        "0",
        "65535",
        "65536",
        "1024",
        "9x",
        "-1",
        "é",
        "\u{1b}",
    ]
    .map(str::to_owned)
    .into();
    words.extend(options::names().map(str::to_owned));
    for statement in STATEMENTS {
        words.push(statement.name.to_owned());
        if let Kind::Block(end) = statement.kind {
            words.push(end.name.to_owned());
        }
    }
    // PORT must not be rare among so many.
    words.extend(
        ["PORT", "PORTRANGE", "DELETE"]
            .repeat(8)
            .into_iter()
            .map(str::to_owned),
    );
    prop::sample::select(words)
}

/// A well-formed entry of PORT.
fn entry() -> impl Strategy<Value = String> {
    let user = prop_oneof![
        "[A-Z@#$][A-Z0-9@#$]{0,7}",
        "[A-Z]{0,3}[*?][A-Z?*]{0,3}",
        Just("*".to_owned()),
        Just("OMVS".to_owned()),
    ];
    let options = [
        "NOAUTOLOG",
        "DELAYA",
        "SHAREP",
        "BIND 192.0.2.1",
        "SAF X",
        "NOSMC",
    ];
    let options = prop::sample::subsequence(options.to_vec(), 0..=6);
    let comment = prop::option::of("[ -~]{0,20}");
    (1..=12u16, any::<bool>(), user, options, comment).prop_map(
        |(port, tcp, user, options, comment)| {
            let options: Vec<&str> = options
                .into_iter()
                .filter(|option| tcp || *option != "SHAREP")
                .collect();
            let protocol = if tcp { "TCP" } else { "UDP" };
            let comment = comment.map_or(String::new(), |text| format!("; {text}"));
            format!("{port} {protocol} {user} {} {comment}\n", options.join(" "))
        },
    )
}

/// The same for PORTRANGE.
fn range() -> impl Strategy<Value = String> {
    (
        1..=65535u16,
        1..=40u16,
        "UDP|TCP",
        "RESERVED|OMVS|APP[0-9]",
        "( SAF Y)?",
    )
        .prop_map(|(first, count, protocol, user, saf)| {
            let saf = if user == "RESERVED" { "" } else { &saf };
            format!("{first} {count} {protocol} {user}{saf}\n")
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_bytes_are_parsed_and_reported(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let parsed = parse_bytes(Path::new("none/p"), &bytes, &ReadOptions::default());
        let shown = render::all(&parsed.diagnostics, &parsed.sources, false);
        prop_assert!(!shown.contains('\x1b'));
        json::all(&parsed.diagnostics, &parsed.sources);
    }

    #[test]
    fn any_words_are_parsed_and_resolved(words in prop::collection::vec(word(), 0..60)) {
        let symbols: Symbols = [("X".to_owned(), "21 TCP".to_owned())].into();
        let options = ReadOptions { strict: true, symbols: Some(&symbols), ..ReadOptions::default() };
        let text = words.join(" ");
        let mut parsed = parse_bytes(Path::new("none/p"), text.as_bytes(), &options);
        let reservations = resolve(&parsed.profile, &mut parsed.diagnostics);
        for entry in &reservations.entries {
            let is_port = entry.kind != reservations::Kind::Unreserved;
            prop_assert!(entry.first <= entry.last && (entry.first >= 1) == is_port);
        }
        render::all(&parsed.diagnostics, &parsed.sources, true);
        // What was understood is understood again; what was not kept is a comment.
        let printed = parsed.profile.to_string();
        let kept: Vec<&str> = printed.lines().filter(|line| !line.starts_with("; ")).collect();
        let again = parse(&printed).profile.to_string();
        prop_assert_eq!(again.lines().collect::<Vec<_>>(), kept);
    }

    #[test]
    fn a_printed_profile_means_the_same(
        entries in prop::collection::vec(entry(), 0..20),
        ranges in prop::collection::vec(range(), 0..10),
    ) {
        let text = format!("PORT\n{}PORTRANGE\n{}", entries.concat(), ranges.concat());
        let parsed = parse(&text);
        let errors: Vec<_> = wrong(&parsed).into_iter().filter(|(code, _)| *code != "PRV120").collect();
        prop_assert_eq!(errors, []);
        let again = parse(&parsed.profile.to_string());
        let meaning = |parsed: &super::Parsed| -> Vec<String> {
            resolve(&parsed.profile, &mut Diagnostics::new())
                .entries
                .into_iter()
                .map(|r| format!(
                    "{:?} {} {}-{} {}{} {:?}",
                    r.kind, r.protocol.name(), r.first, r.last, r.user, r.options, r.description
                ))
                .collect()
        };
        prop_assert_eq!(meaning(&parsed), meaning(&again));
    }
}
