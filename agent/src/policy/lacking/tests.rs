//! Small policies on kernels that lack something.

use std::path::Path;

use portreeve_common::abi::Feature as KernelFeature;

use super::*;
use crate::{
    config,
    policy::build::{Ingredients, Purpose, build},
    profile::{ReadOptions, parse},
};

/// What is said of it on such a kernel: severity, line, and message with help.
fn said(features: Features, profile: &str, toml: &str) -> Vec<(Severity, u32, String)> {
    let parsed = parse(Path::new("p"), profile.as_bytes(), &ReadOptions::default());
    let mut sources = parsed.sources;
    let mut diagnostics = Diagnostics::new();
    let config = config::parse(Path::new("c"), toml, &mut sources, &mut diagnostics).unwrap();
    let ingredients = Ingredients {
        purpose: Purpose::Enforce,
        features: Some(features),
        ..Ingredients::of_no_host(config, parsed.profile, sources)
    };
    let policy = build(ingredients, &mut diagnostics);
    let of_kernel = diagnostics.iter().filter(|d| d.code == Code::KernelLacks);
    of_kernel
        .map(|said| {
            let line = said.span.map_or(0, |span| policy.sources.line(span));
            let help = said.help.clone().unwrap_or_default();
            (said.severity, line, format!("{}; {help}", said.message))
        })
        .collect()
}

/// The lines at which it is refused for want of `feature` alone; 0 for the whole.
fn refused(feature: KernelFeature, profile: &str, toml: &str) -> Vec<u32> {
    let said = said(Features::all_but(feature), profile, toml);
    assert!(
        said.iter().all(|said| said.0 == Severity::Error),
        "{said:?}"
    );
    said.into_iter().map(|(_, line, _)| line).collect()
}

const NOWHERE: [u32; 0] = [];
const BOTH: &str = "PORT\n 7000 UDP APP\n 21 TCP FTPD\n 7001 TCP APP\n";

#[test]
fn nothing_is_lacking_where_all_is_there() {
    for toml in ["", "[degraded]\naccept = ['errno', 'grant', 'options']\n"] {
        assert!(said(Features::ALL, BOTH, toml).is_empty(), "{toml}");
    }
}

#[test]
fn every_policy_that_refuses_needs_the_errno() {
    assert_eq!(refused(KernelFeature::Errno, BOTH, ""), [0]);
    assert_eq!(refused(KernelFeature::Errno, "", ""), [0]);
    assert_eq!(
        refused(KernelFeature::Errno, BOTH, "mode = 'audit'"),
        NOWHERE
    );
}

#[test]
fn a_grant_is_needed_where_one_would_be_given() {
    let lines = |profile, toml| refused(KernelFeature::Grant, profile, toml);
    let any = "[grant]\nrequire = 'any'\n";
    let by_user = "[jobs.FTPD]\nuser = 0\n";
    let by_exe = "[jobs.FTPD]\nexe = '/bin/sh'\n";
    assert_eq!(lines(BOTH, any), [3]);
    assert_eq!(lines(BOTH, by_user), [3]);
    assert_eq!(lines("PORT\n 21 TCP FT*\n", by_user), [2]);
    let audited = format!("{any}[audit]\nports = ['tcp/21']\n");
    assert_eq!(lines(BOTH, &audited), NOWHERE);
    assert_eq!(lines("PORTRANGE\n 21 2 TCP A\n", &audited), [2]);
    let by_saf = "[servauth.'EZB.PORTACCESS.HOST1.TCPIP.FTP']\npermit = [7]\n";
    assert_eq!(lines("PORT\n 21 TCP FTPD SAF FTP\n", by_saf), [2]);
    assert_eq!(
        lines(
            "PORTRANGE\n 21 1 TCP AUTHPORT\n",
            "[authport]\njobs = ['FTPD']\n[jobs.FTPD]\nuser = 0\n"
        ),
        [2]
    );
    for (profile, toml) in [
        (BOTH, ""),
        (BOTH, by_exe),
        ("PORT\n 7000 UDP FTPD\n", by_user),
        ("PORT\n 7000 UDP FTPD\n", any),
        ("PORT\n 21 TCP RESERVED\n", any),
        ("PORT\n 21 TCP SSHD\n", by_user),
        ("PORT\n UNRSV UDP FTPD\n", any),
    ] {
        assert_eq!(lines(profile, toml), NOWHERE, "{profile} {toml}");
    }
}

#[test]
fn options_are_needed_where_they_would_be_switched() {
    let lines = |profile, toml| refused(KernelFeature::Options, profile, toml);
    let free = "[sharing]\nsame_job = 'allow'\n";
    assert_eq!(lines(BOTH, ""), [3]);
    assert_eq!(lines(BOTH, free), NOWHERE);
    let audited = "[audit]\nports = ['tcp/7001']\n";
    assert_eq!(lines("PORT\n 7001 TCP APP\n", audited), NOWHERE);
    assert_eq!(lines("PORT\n 7001 TCP APP\n 7002 TCP APP\n", audited), [3]);
    assert_eq!(
        lines("PORT\n 7000 UDP APP\n 7001 TCP RESERVED\n", ""),
        NOWHERE
    );
    assert_eq!(lines("PORT\n UNRSV TCP APP WHENBIND\n", ""), NOWHERE);
    let pair = "PORT\n 7001 TCP APP BIND 127.0.0.2\n 7001 TCP OTHER\n";
    for (profile, line) in [
        ("PORT\n 7001 TCP APP SHAREPORT\n", 2),
        ("PORT\n 7000 TCP APP\n 7001 TCP APP NODELAYACKS\n", 3),
        (pair, 2),
    ] {
        assert_eq!(lines(profile, free), [line], "{profile}");
    }
    assert_eq!(lines("PORT\n 7001 TCP APP BIND 127.0.0.2\n", free), NOWHERE);
}

#[test]
fn what_is_accepted_is_a_warning() {
    for (feature, word) in [
        (KernelFeature::Errno, "errno"),
        (KernelFeature::Grant, "grant"),
        (KernelFeature::Options, "options"),
    ] {
        let policy = |accept: &str| {
            let toml = format!("[grant]\nrequire = 'any'\n[degraded]\naccept = [{accept}]\n");
            said(Features::all_but(feature), BOTH, &toml)
        };
        let others = "'listen'";
        for (accept, severity) in [
            (others.to_owned(), Severity::Error),
            (format!("{others}, '{word}'"), Severity::Warning),
        ] {
            let said = policy(&accept);
            let [(found, _, text)] = said.as_slice() else {
                panic!("{said:?}");
            };
            assert_eq!(*found, severity, "{text}");
            assert!(text.contains(&format!("{word}: ")), "{text}");
            assert!(text.contains(&format!("`{word}`")), "{text}");
        }
    }
}

#[test]
fn other_ways_of_the_programs_are_nobodys_need() {
    for feature in [
        KernelFeature::EarlierAnswer,
        KernelFeature::TypedTask,
        KernelFeature::NetnsCookie,
    ] {
        assert_eq!(
            refused(feature, BOTH, "[grant]\nrequire = 'any'\n"),
            NOWHERE
        );
    }
}
