//! Lints, each with a profile that deserves it and one that doesn't.

use std::{collections::HashSet, path::Path};

use super::*;
use crate::{
    config,
    diagnostics::Sources,
    policy::{accounts::FixedAccounts, reservations::resolve},
    profile::{ReadOptions, parse},
};

fn with(text: &str, toml: &str, names: Option<&[&str]>) -> Vec<(Code, u32, String)> {
    let parsed = parse(Path::new("p"), text.as_bytes(), &ReadOptions::default());
    let rules = resolve(&parsed.profile, &mut Diagnostics::new());
    let (mut sources, mut diagnostics): (Sources, _) = (parsed.sources, Diagnostics::new());
    let config = config::parse(Path::new("c"), toml, &mut sources, &mut diagnostics).unwrap();
    let jobs = Jobs::new(&config.jobs, &FixedAccounts::default(), &mut diagnostics);
    let host = Host {
        ports: PortSettings {
            ephemeral: Some((32768, 60999)),
            kept_out: [(50000, 50009)].into_iter().collect(),
            first_unprivileged: 1024,
        },
        names: names.map(|names| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<HashSet<_>>()
        }),
    };
    let lint = Lint {
        profile: &parsed.profile,
        entries: &rules.entries,
        jobs: &jobs,
        servauth: &config.servauth,
        pool_is_managed: config.ephemeral.manage,
        host: &host,
    };
    lint.run(&mut diagnostics);
    diagnostics
        .iter()
        .map(|d| {
            (
                d.code,
                d.span.map_or(0, |span| sources.line(span)),
                d.message.clone(),
            )
        })
        .collect()
}

fn found(text: &str) -> Vec<(Code, u32, String)> {
    with(text, "", None)
}

fn codes(found: &[(Code, u32, String)]) -> Vec<Code> {
    found.iter().map(|(code, ..)| *code).collect()
}

#[test]
fn names_are_counted_and_told_once() {
    let found = found("PORT 20 TCP *\n 21 TCP FTPD1\n 22 TCP SSH*\n 23 TCP RESERVED\n");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].0, found[0].1), (Code::NameOnly, 2));
    assert!(found[0].2.starts_with("2 of 4 "));
}

#[test]
fn ports_that_the_kernel_hands_out_are_named() {
    let unmanaged = |text| with(text, "[ephemeral]\nmanage = false\n", None);
    assert_eq!(
        unmanaged("PORT 61000 TCP *\nPORTRANGE 50000 10 TCP *\n"),
        []
    );
    let text = "PORT 61000 TCP *\n 60999 TCP RESERVED\nPORTRANGE 50000 11 UDP *\n";
    assert_eq!(found(text), [], "the agent sees to it");
    let found = unmanaged(text);
    assert_eq!((found[0].0, found[0].1), (Code::EphemeralOverlap, 2));
    assert!(found[0].2.starts_with("2 reservations"), "{found:?}");
}

#[test]
fn ranges_of_source_ports_are_told() {
    assert_eq!(found("PORT 513 TCP *\nPORTRANGE 400 112 TCP *\n"), []);
    assert_eq!(
        found("PORTRANGE 400 113 TCP *\n")[0].0,
        Code::ReservedSourcePorts
    );
    assert_eq!(
        found("PORTRANGE 1023 2 UDP RESERVED\n")[0].0,
        Code::ReservedSourcePorts
    );
}

/// `PRT-45`
#[test]
fn ike_ports_belong_to_somebody_when_ipsecurity_is_on() {
    let both = "PORT 500 UDP RESERVED\nPORT 4500 UDP RESERVED\n";
    assert_eq!(found(&format!("IPCONFIG IPSECURITY\n{both}")), []);
    assert_eq!(found(both), []);
    let half = found("IPCONFIG IPSECURITY\nPORT 500 UDP RESERVED\nPORT 4500 TCP RESERVED\n");
    assert_eq!(half[0].0, Code::IkePortsOpen);
    assert!(half[0].2.contains("UDP 4500"), "{half:?}");
}

/// `PRT-17`, `PRT-29`
#[test]
fn jobs_that_share_a_port_are_of_one_user() {
    let said = |text: &str| -> Vec<(u32, String)> {
        let found = found(text).into_iter();
        found
            .filter(|(code, ..)| *code == Code::SharedByUser)
            .map(|(_, line, message)| (line, message))
            .collect()
    };
    let both =
        "PORT 22 TCP A\n 23 TCP A BIND 192.0.2.1\n 23 TCP B\n 24 TCP A\n 24 TCP B SHAREPORT\n";
    let found = said(both);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, 2);
    assert!(found[0].1.ends_with(": tcp/23, tcp/24"), "{found:?}");
    let own = "PORT 23 TCP A BIND 192.0.2.1\n 23 TCP B BIND 192.0.2.2\n";
    assert_eq!(said(own), [], "nothing is shared");
    assert_eq!(said("PORT 23 TCP A SHAREPORT\n"), [], "one job is one user");
    assert_eq!(said("PORT 23 TCP A\n 23 TCP B\n"), [], "nothing is shared");
}

/// `PRT-28`, `PRT-30`
#[test]
fn servers_on_one_port_need_their_own_addresses() {
    let lines = |text: &str| -> Vec<(Code, u32)> {
        let is_bind = |code: &Code| matches!(code, Code::SameBindAddress | Code::BindBehindPlain);
        found(text)
            .into_iter()
            .map(|(code, line, _)| (code, line))
            .filter(|(code, _)| is_bind(code))
            .collect()
    };
    assert_eq!(
        lines("PORT 23 TCP A BIND 192.0.2.1\n 23 TCP B BIND 192.0.2.2\n 23 TCP *\n"),
        []
    );
    assert_eq!(lines("PORT 23 TCP A\n 23 TCP B BIND 192.0.2.2\n"), []);
    assert_eq!(
        lines("PORT 23 TCP A BIND 192.0.2.1\n 23 TCP B BIND 192.0.2.1\n"),
        [(Code::SameBindAddress, 2)]
    );
    assert_eq!(
        lines("PORT 23 TCP *\n 23 TCP B BIND 192.0.2.1\n"),
        [(Code::BindBehindPlain, 2)]
    );
}

/// `LNT-01`
#[test]
fn low_ports_are_restricted_for_both_protocols() {
    let half = found("TCPCONFIG RESTRICTLOWPORTS\nPORT 21 TCP *\n");
    assert_eq!(half[0].0, Code::LowPortsHalf);
    assert!(half[0].2.contains("UDPCONFIG"), "{half:?}");
    assert_eq!(
        found("TCPCONFIG RESTRICTLOWPORTS\nUDPCONFIG RESTRICTLOWPORTS\nPORT 21 TCP *\n"),
        []
    );
}

/// `LNT-10`
#[test]
fn enterprise_extender_has_five_ports() {
    let told = |text: &str| {
        let found = found(text).into_iter();
        found
            .filter(|(code, ..)| *code == Code::EnterpriseExtender)
            .map(|(_, line, said)| (line, said))
            .collect::<Vec<_>>()
    };
    assert_eq!(told("PORTRANGE 12000 5 UDP VTAM\n"), []);
    assert_eq!(
        told("PORTRANGE 12000 2 UDP VTAM\nPORTRANGE 12002 3 UDP VTAM\n"),
        []
    );
    assert_eq!(
        told("PORT 12000 TCP WEB\nPORTRANGE 11000 5000 UDP APP*\n"),
        []
    );
    let part = told("PORT 80 TCP *\n 12001 UDP VTAM\n 12002 UDP OTHER\n");
    assert_eq!(part.len(), 1);
    assert_eq!(part[0].0, 2);
    assert!(part[0].1.contains("12000, 12002, 12003, 12004"), "{part:?}");
}

/// `DEL-07`, `LNT-02`
#[test]
fn delete_is_not_for_profiles() {
    let found = found("PORT 21 TCP *\nDELETE PORT 21 TCP *\n");
    assert_eq!((found[0].0, found[0].1), (Code::DeleteAtStart, 2));
}

/// A definition that names cgroup or user is more than a name; so is a SAF check.
#[test]
fn what_is_verified_is_not_name_only() {
    let jobs =
        "[jobs.FTPD1]\ncgroup = \"/system.slice/ftpd.service\"\n[jobs.WEB]\ncomm = \"WEB\"\n";
    assert_eq!(with("PORT 21 TCP FTPD1\n", jobs, None), []);
    assert_eq!(
        codes(&with("PORT 21 TCP WEB\n", jobs, None)),
        [Code::NameOnly]
    );
    assert_eq!(
        codes(&with("PORT 21 TCP FTPD*\n", jobs, None)),
        [Code::NameOnly]
    );
    assert!(!codes(&found("PORT 20 TCP A SAF FTPDATA\n")).contains(&Code::NameOnly));
}

#[test]
fn names_that_nothing_has_are_told() {
    let text = "PORT 21 TCP FTPD1\n 22 TCP SSHD\n 23 TCP TN*\n 24 TCP MADE\n";
    let jobs = "[jobs.MADE]\nuser = \"7\"\n";
    let told = with(text, jobs, Some(&["SSHD"]));
    let unknown: Vec<_> = told
        .iter()
        .filter(|(code, ..)| *code == Code::UnknownNames)
        .collect();
    assert_eq!(unknown.len(), 1);
    assert_eq!(unknown[0].1, 1);
    assert!(unknown[0].2.contains("called FTPD1,"), "{unknown:?}");
    assert!(!codes(&with(text, jobs, Some(&["SSHD", "FTPD1"]))).contains(&Code::UnknownNames));
    assert!(!codes(&with(text, jobs, None)).contains(&Code::UnknownNames));
    // The kernel is no process, and no process can take its name.
    assert_eq!(with("PORT 700 TCP KERNEL\n", jobs, Some(&[])), []);
}

/// `PRT-46`: what AUTOLOG starts is not always what listens.
#[test]
fn autolog_of_a_daemon_that_forks_needs_its_jobname() {
    let forked = |text: &str| codes(&found(text)).contains(&Code::ForkedProcedure);
    assert!(forked("AUTOLOG\n FTPD\nENDAUTOLOG\nPORT 21 TCP FTPD1\n"));
    assert!(!forked(
        "AUTOLOG\n FTPD JOBNAME FTPD1\nENDAUTOLOG\nPORT 21 TCP FTPD1\n"
    ));
    assert!(!forked(
        "AUTOLOG\n FTPD\nENDAUTOLOG\nPORT 21 TCP FTPD1\n 20 TCP FTPD\n"
    ));
    assert!(!forked("AUTOLOG\n FTPD\nENDAUTOLOG\nPORT 21 TCP FTPDX\n"));
}

#[test]
fn cgroups_that_users_make_are_told() {
    let job = |cgroup: &str| {
        codes(&with(
            "",
            &format!("[jobs.J]\ncgroup = \"{cgroup}\"\n"),
            None,
        ))
    };
    assert_eq!(job("/user.slice/user-1000.slice"), [Code::DelegatedCgroup]);
    assert_eq!(job("/user.slicer"), []);
    assert_eq!(job("/system.slice/a.service"), []);
}

#[test]
fn denying_udp_hits_clients() {
    assert_eq!(codes(&found("PORT UNRSV UDP * DENY\n")), [Code::UdpDenied]);
    assert_eq!(codes(&found("PORT UNRSV TCP * DENY WHENBIND\n")), []);
}

/// `LNT-04`
#[test]
fn a_resource_open_to_all_checks_nothing() {
    let resource = |uacc: &str| {
        codes(&with(
            "",
            &format!("[servauth.\"EZB.PORTACCESS.**\"]\nuacc = \"{uacc}\"\n"),
            None,
        ))
    };
    assert_eq!(resource("read"), [Code::OpenResource]);
    assert_eq!(resource("none"), []);
}
