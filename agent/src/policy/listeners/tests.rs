//! Listeners from a list against small policies.

use std::{io, path::Path};

use super::*;
use crate::{
    config,
    diagnostics::Sources,
    policy::{
        build::{Ingredients, build},
        lint::Host,
    },
    ports::FixedListeners,
    profile::{ReadOptions, parse},
};

fn socket(target: &str) -> Socket {
    let (protocol, port) = target.split_once('/').unwrap();
    let port: u16 = port.parse().unwrap();
    Socket {
        protocol: crate::policy::explain::protocol(protocol).unwrap(),
        address: "0.0.0.0".parse().unwrap(),
        port,
        connected: false,
        idle: false,
        uid: 7,
        inode: u64::from(port),
        cgroup: None,
    }
}

/// A socket at `target` that processes of these names have.
pub(crate) fn held(target: &str, names: &[&str]) -> Listener {
    let holder = |name: &&str| Holder {
        pid: 100 + name.len() as u32,
        comm: (*name).to_owned(),
        cgroup: Some(format!("/system.slice/{name}.service")),
        uid: 7,
        ..Holder::default()
    };
    Listener {
        socket: socket(target),
        holders: names.iter().map(holder).collect(),
    }
}

pub(crate) fn settings() -> PortSettings {
    PortSettings {
        ephemeral: Some((32768, 60999)),
        kept_out: "50051".parse().unwrap(),
        first_unprivileged: 1024,
    }
}

/// The policy that these texts make.
pub(crate) fn policy(profile: &str, toml: &str) -> Policy {
    made(profile, toml, None, false).0
}

/// What is said about `listeners`: code, line and message with the help behind it.
fn said(
    profile: &str,
    toml: &str,
    listeners: &dyn Listeners,
    lint: bool,
) -> Vec<(Code, u32, String)> {
    let (policy, diagnostics) = made(profile, toml, Some(listeners), lint);
    let ours = [
        Code::HeldByOther,
        Code::ServersUnreserved,
        Code::LowPortsUnreserved,
        Code::ListenersUnknown,
        Code::SocketUnitRefused,
    ];
    diagnostics
        .iter()
        .filter(|said| ours.contains(&said.code))
        .map(|said| {
            let line = said.span.map_or(0, |span| policy.sources.line(span));
            let help = said.help.clone().unwrap_or_default();
            (said.code, line, format!("{}; {help}", said.message))
        })
        .collect()
}

fn made(
    profile: &str,
    toml: &str,
    listeners: Option<&dyn Listeners>,
    lint: bool,
) -> (Policy, Diagnostics) {
    let parsed = parse(Path::new("p"), profile.as_bytes(), &ReadOptions::default());
    let mut sources: Sources = parsed.sources;
    let mut diagnostics = Diagnostics::new();
    let config = config::parse(Path::new("c"), toml, &mut sources, &mut diagnostics).unwrap();
    let ingredients = Ingredients {
        lint: lint.then(|| Host {
            ports: settings(),
            names: None,
        }),
        listeners,
        ..Ingredients::of_no_host(config, parsed.profile, sources)
    };
    let policy = build(ingredients, &mut diagnostics);
    (policy, diagnostics)
}

fn of(profile: &str, toml: &str, listeners: Vec<Listener>, lint: bool) -> Vec<(Code, u32, String)> {
    said(profile, toml, &FixedListeners(listeners), lint)
}

/// Those that UNRSV refuses now, unless the kernel may have chosen the port.
#[test]
fn who_has_an_unreserved_port_that_is_not_his() {
    let listeners = || {
        vec![
            held("tcp/5000", &["web"]),
            held("tcp/5001", &["app"]),
            held("tcp/40000", &["web"]),
            held("udp/5000", &["web"]),
        ]
    };
    for when in ["", " WHENBIND"] {
        let profile = format!("PORT UNRSV TCP APP{when}\n");
        let said = of(&profile, "", listeners(), true);
        let held: Vec<_> = said
            .iter()
            .filter(|(code, ..)| *code == Code::HeldByOther)
            .collect();
        let [(_, 1, text)] = &held[..] else {
            panic!("{said:?}");
        };
        assert!(text.contains("tcp/5000 by web"), "{text}");
        assert!(!text.contains("5001") && !text.contains("udp"), "{text}");
    }
}

/// `LNT-07`: socket, job and rule.
#[test]
fn who_has_a_port_that_is_now_anothers() {
    let profile = "PORT\n 80 TCP NGINX\n 23 TCP RESERVED\nPORTRANGE 4000 10 UDP APP*\n";
    let listeners = vec![
        held("tcp/80", &["apache2"]),
        held("tcp/23", &["telnetd"]),
        held("udp/4001", &["app1"]),
        held("udp/4002", &["other"]),
        held("udp/4003", &["another"]),
        held("udp/80", &["apache2"]),
    ];
    let found = of(profile, "", listeners, false);
    let places: Vec<_> = found.iter().map(|(code, line, _)| (*code, *line)).collect();
    let expected = [2, 3, 4].map(|line| (Code::HeldByOther, line));
    assert_eq!(places, expected, "{found:?}");
    assert!(
        found[0].2.contains("tcp/80 by apache2 (pid 107, user 7)"),
        "{found:?}"
    );
    assert!(found[0].2.contains("end process 107"), "{found:?}");
    assert!(found[2].2.contains("udp/4002 by other") && found[2].2.contains("udp/4003"));
    assert!(!found[2].2.contains("4001"), "{found:?}");
}

/// One holder who may have it is enough; nobody to be seen says nothing.
#[test]
fn nobody_is_told_to_end_the_agent() {
    let mut agent = held("tcp/80", &["portreeve"]);
    agent.holders[0].pid = process::id();
    assert_eq!(of("PORT 80 TCP APACHE\n", "", vec![agent], false), []);
}

#[test]
fn a_rightful_holder_is_no_finding() {
    let profile = "PORT 80 TCP NGINX\n";
    for holders in [&["nginx"][..], &["supervisor", "nginx"], &[]] {
        assert_eq!(of(profile, "", vec![held("tcp/80", holders)], false), []);
    }
    let jobs = "[jobs.WEB]\ncgroup = \"/system.slice/httpd.service\"\n";
    let httpd = || vec![held("tcp/80", &["httpd"])];
    assert_eq!(of("PORT 80 TCP WEB\n", jobs, httpd(), false), []);
    assert_eq!(of("PORT 80 TCP HTTPD\n", jobs, httpd(), false).len(), 1);
}

/// `IBI-16`: a port that is restricted to other users than its server's.
#[test]
fn a_server_whose_user_is_not_named_can_not_start_again() {
    let restricted = |users: &str| {
        let toml =
            format!("[[restriction]]\nports = \"21\"\nprotocol = \"tcp\"\nusers = [{users}]\n");
        of("", &toml, vec![held("tcp/21", &["vsftpd"])], false)
    };
    assert_eq!(restricted("\"7\""), []);
    let found = restricted("\"1042\"");
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, Code::HeldByOther);
    assert!(
        found[0].2.contains("tcp/21 by vsftpd (pid 106, user 7)"),
        "{found:?}"
    );
    assert!(
        found[0].2.contains("can't bind the port again"),
        "{found:?}"
    );
}

/// `LNT-08`, `LNT-09`: advice, with entries to copy.
#[test]
fn servers_without_an_entry() {
    let mut client = held("udp/5000", &["client"]);
    client.socket.connected = true;
    let listeners = || {
        vec![
            held("tcp/22", &["sshd"]),
            held("tcp/22", &["sshd"]),
            held("udp/123", &[]),
            held("tcp/5432", &["postgres"]),
            held("udp/5353", &["avahi-daemon"]),
            held("tcp/8080", &["nginx"]),
            held("tcp/40000", &["chosen"]),
            held("tcp/50051", &["kept-out"]),
            client.clone(),
        ]
    };
    let found = of("PORT 8080 TCP NGINX\n", "", listeners(), true);
    let codes: Vec<_> = found.iter().map(|(code, ..)| *code).collect();
    assert_eq!(
        codes,
        [Code::LowPortsUnreserved, Code::ServersUnreserved],
        "{found:?}"
    );
    let (low, high) = (&found[0].2, &found[1].2);
    assert!(low.contains("tcp/22 (sshd), udp/123 (user 7);"), "{low}");
    assert!(low.ends_with("run: `PORT 22 TCP SSHD`"), "{low}");
    assert!(
        high.contains("udp/5353 (avahi-daemon), tcp/5432 (postgres), tcp/50051 (kept-out);"),
        "{high}"
    );
    assert!(
        high.contains("`PORT 5353 UDP AVAHI-DAEMON`, `PORT 5432 TCP POSTGRES`"),
        "{high}"
    );
    assert_eq!(
        of("PORT 8080 TCP NGINX\n", "", listeners(), false),
        [],
        "only as advice"
    );
    // Where UNRSV judges, the ports are not anybody's.
    let judged = "PORT UNRSV TCP * WHENBIND\nPORT UNRSV UDP *\n";
    assert_eq!(of(judged, "", listeners(), true), []);
}

/// `PRT-41`: what counts is the port that inetd really has, wherever it took it from;
/// if `/etc/services` has another one than the profile, that is seen.
#[test]
fn a_service_of_inetd_has_the_reserved_port() {
    let profile = "PORT\n  513 TCP INETD*\n  2323 TCP TELNETD\n";
    let told = |target: &str| of(profile, "", vec![held(target, &["inetd"])], true);
    assert_eq!(told("tcp/513"), []);
    let other = told("tcp/5513");
    assert_eq!(other.len(), 1);
    assert_eq!(other[0].0, Code::ServersUnreserved);
    assert!(other[0].2.contains("tcp/5513 (inetd)"), "{other:?}");
    let taken = told("tcp/2323");
    assert_eq!((taken[0].0, taken[0].1), (Code::HeldByOther, 3));
}

/// A socket that systemd has for a socket unit, and its service perhaps too.
fn of_socket_unit(port: &str, unit: &str, service: &[&str]) -> Listener {
    let mut listener = held(port, service);
    listener.holders.push(Holder {
        pid: 1,
        comm: "(sd-listen)".into(),
        cgroup: Some(format!("/system.slice/{unit}")),
        unit: Some(unit.to_owned()),
        ..Holder::default()
    });
    listener
}

/// What counts is the cgroup of the socket unit, whoever has the socket by now.
#[test]
fn a_socket_unit_must_be_its_jobs() {
    let profile = "PORT\n 21 TCP FTPD1\n 990 TCP FTPD1\n 23 TCP RESERVED\n";
    let listeners = || {
        vec![
            of_socket_unit("tcp/21", "vsftpd.socket", &["vsftpd"]),
            of_socket_unit("tcp/990", "vsftpd.socket", &[]),
            of_socket_unit("tcp/23", "telnet.socket", &[]),
        ]
    };
    let job = |cgroups: &str| format!("[jobs.FTPD1]\ncgroup = [{cgroups}]\n");
    let service = "\"/system.slice/vsftpd.service\"";
    let found = of(profile, &job(service), listeners(), false);
    let places: Vec<_> = found.iter().map(|(code, line, _)| (*code, *line)).collect();
    let expected = [2, 3, 4].map(|line| (Code::SocketUnitRefused, line));
    assert_eq!(places, expected, "{found:?}");
    let text = &found[0].2;
    assert!(text.contains("vsftpd.socket listens on tcp/21,"), "{text}");
    let help = "add \"/system.slice/vsftpd.socket\" to `cgroup` of job FTPD1:";
    assert!(text.contains(help), "{text}");
    assert!(found[2].2.contains("listen, admit it"), "{found:?}");

    let both = format!("{service}, \"/system.slice/vsftpd.socket\"");
    let found = of(profile, &job(&both), listeners(), false);
    assert_eq!(found.len(), 1, "{found:?}");
    let by_name = "[jobs.FTPD1]\ncomm = \"(sd-listen)\"\n";
    assert_eq!(of(profile, by_name, listeners(), false).len(), 1);
}

/// Advice names the unit; an entry for whom, only the config can say.
#[test]
fn a_socket_unit_without_an_entry() {
    let listeners = vec![of_socket_unit("tcp/22", "ssh.socket", &[])];
    let found = of("", "", listeners, true);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].2.ends_with("tcp/22 (ssh.socket); "), "{found:?}");
}

/// A kernel that lists no sockets is said, and nothing made of it.
#[test]
fn sockets_that_can_not_be_listed() {
    struct Nothing;
    impl Listeners for Nothing {
        fn of(&self, _: &dyn Fn(&Socket) -> bool) -> io::Result<Vec<Listener>> {
            Err(io::ErrorKind::NotFound.into())
        }
    }
    let found = said("PORT 80 TCP NGINX\n", "", &Nothing, false);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, Code::ListenersUnknown);
}
