//! What is right but may not be wise: each finding with its consequence.
//!
//! A finding is given once, at the first entry it is about, however many there are.

use std::collections::HashMap;

use portreeve_common::{abi::Protocol, decide::FIRST_HIGH_PORT};

use super::reservations::{Kind, Reservation, low_ports};
use crate::{
    diagnostics::{Code, Diagnostic, Diagnostics},
    kernel::sysctl::PortSettings,
    profile::ast::{Profile, Statement, User},
};

/// Source ports that clients of RPC, NFS and the r-commands bind one by one
/// until one is free (glibc's `bindresvport`, the kernel's RPC clients).
const RESERVED_SOURCE_PORTS: (u16, u16) = (512, 1023);
/// Where IKE daemons listen (`PRT-45`).
const IKE_PORTS: [u16; 2] = [500, 4500];

/// Reports what is unwise in `profile`, whose entries in force are `reservations`,
/// on a host with these settings.
pub fn lint(
    profile: &Profile,
    reservations: &[Reservation],
    host: &PortSettings,
    diagnostics: &mut Diagnostics,
) {
    name_only(reservations, diagnostics);
    ephemeral(reservations, host, diagnostics);
    reserved_source_ports(reservations, diagnostics);
    ip_security(profile, reservations, diagnostics);
    delete_at_start(profile, diagnostics);
    bind_addresses(reservations, diagnostics);
    low_ports_of_one_protocol(profile, reservations, diagnostics);
}

/// Gives one warning for all reservations that `concerned` picks.
fn once<'a>(
    reservations: &'a [Reservation],
    concerned: impl Fn(&Reservation) -> bool,
    warning: impl FnOnce(&'a Reservation, usize) -> Diagnostic,
    diagnostics: &mut Diagnostics,
) {
    let mut found = reservations
        .iter()
        .filter(|reservation| concerned(reservation));
    if let Some(first) = found.next() {
        diagnostics.push(warning(first, 1 + found.count()));
    }
}

fn name_only(reservations: &[Reservation], diagnostics: &mut Diagnostics) {
    let total = reservations.len();
    once(
        reservations,
        |reservation| matches!(reservation.user, User::Job(_)),
        |first, count| {
            Diagnostic::warning(
                Code::NameOnly,
                first.span,
                format!("{count} of {total} reservations rest on the process name alone, which any process can choose for itself"),
            )
            .label("the first of them")
            .help("they keep servers from taking each other's ports by mistake, but are no boundary against a program that lies about its name")
        },
        diagnostics,
    );
}

fn ephemeral(reservations: &[Reservation], host: &PortSettings, diagnostics: &mut Diagnostics) {
    let Some((low, high)) = host.ephemeral else {
        return;
    };
    let handed_out: Vec<String> = reservations
        .iter()
        .filter(|reservation| host.hands_out(reservation.first, reservation.last))
        .map(|reservation| match (reservation.first, reservation.last) {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}-{last}"),
        })
        .collect();
    once(
        reservations,
        |reservation| host.hands_out(reservation.first, reservation.last),
        |first, count| {
            Diagnostic::warning(
                Code::EphemeralOverlap,
                first.span,
                format!("{count} reservations lie in {low}-{high}, the ports this host's kernel hands out, so any process can be given one of them"),
            )
            .label("the first of them")
            .help(format!("set net.ipv4.ip_local_reserved_ports to {}", listed(&handed_out)))
        },
        diagnostics,
    );
}

/// A list that fits into a sentence.
fn listed(ports: &[String]) -> String {
    const MOST: usize = 12;
    if ports.len() <= MOST {
        return ports.join(",");
    }
    format!(
        "{},... ({} more)",
        ports[..MOST].join(","),
        ports.len() - MOST
    )
}

fn reserved_source_ports(reservations: &[Reservation], diagnostics: &mut Diagnostics) {
    let (low, high) = RESERVED_SOURCE_PORTS;
    once(
        reservations,
        |reservation| {
            // A single well-known port is one try among hundreds for such a client.
            reservation.first <= high
                && reservation.last >= low
                && reservation.last > reservation.first
        },
        |first, count| {
            Diagnostic::warning(
                Code::ReservedSourcePorts,
                first.span,
                format!("{count} ranges cover ports in {low}-{high}, where NFS, RPC and rsh clients look for a source port; those give up at the first port that is refused"),
            )
            .label("the first of them")
            .help("leave such clients some hundred ports there, or reserve single ports instead of ranges")
        },
        diagnostics,
    );
}

fn ip_security(profile: &Profile, reservations: &[Reservation], diagnostics: &mut Diagnostics) {
    let asked = profile
        .statements
        .iter()
        .find_map(|statement| match statement {
            Statement::IpConfig(config) => config.ip_security.as_ref(),
            _ => None,
        });
    let Some(asked) = asked else {
        return;
    };
    let open: Vec<String> = IKE_PORTS
        .into_iter()
        .filter(|port| {
            !reservations.iter().any(|reservation| {
                reservation.protocol == Protocol::Udp
                    && (reservation.first..=reservation.last).contains(port)
            })
        })
        .map(|port| port.to_string())
        .collect();
    if !open.is_empty() {
        diagnostics.push(
            Diagnostic::warning(
                Code::IkePortsOpen,
                asked.span,
                format!(
                    "IPSECURITY is on, but UDP {} may be bound by any process",
                    open.join(" and ")
                ),
            )
            .help("reserve UDP 500 and 4500 for the IKE daemon, or as RESERVED if there is none"),
        );
    }
}

/// `DEL-07`, `LNT-02`.
fn delete_at_start(profile: &Profile, diagnostics: &mut Diagnostics) {
    for statement in &profile.statements {
        if let Statement::DeletePort(list) | Statement::DeletePortRange(list) = statement {
            diagnostics.push(
                Diagnostic::warning(
                    Code::DeleteAtStart,
                    list.span,
                    "DELETE in a profile takes away what stands above it; whoever reads only the upper part is misled",
                )
                .help("remove the entries themselves; DELETE is for changes to a policy in force"),
            );
        }
    }
}

/// `PRT-28`, `PRT-30`: several servers on one port, told apart by BIND.
fn bind_addresses(reservations: &[Reservation], diagnostics: &mut Diagnostics) {
    let mut of_port: HashMap<(Protocol, u16), Vec<&Reservation>> = HashMap::new();
    let ports = reservations
        .iter()
        .filter(|reservation| reservation.kind == Kind::Port);
    for reservation in ports {
        let earlier = of_port
            .entry((reservation.protocol, reservation.first))
            .or_default();
        let Some(bind) = &reservation.options.bind else {
            earlier.push(reservation);
            continue;
        };
        let address = |other: &&&Reservation| {
            other
                .options
                .bind
                .is_some_and(|other| other.value == bind.value)
        };
        if let Some(same) = earlier.iter().find(address) {
            diagnostics.push(
                Diagnostic::warning(
                    Code::SameBindAddress,
                    bind.span,
                    format!(
                        "two entries for port {} bind {}, so the second server finds it taken",
                        reservation.first, bind.value
                    ),
                )
                .related(same.span, "this is the first")
                .help("give each server on the port an address of its own"),
            );
        }
        if let Some(plain) = earlier
            .iter()
            .find(|other| other.options.bind.is_none() && overlap(other, reservation))
        {
            diagnostics.push(
                Diagnostic::warning(
                    Code::BindBehindPlain,
                    reservation.span,
                    format!("an entry for port {} without BIND stands before this one and can mean the same job", reservation.first),
                )
                .related(plain.span, "this stands first")
                .help("put the entry with BIND first; z/OS asks for that order"),
            );
        }
        earlier.push(reservation);
    }
}

/// Whether two entries can mean a common job: exact names that differ can't.
fn overlap(one: &Reservation, other: &Reservation) -> bool {
    match (&one.user, &other.user) {
        (User::Job(one), User::Job(other)) => {
            let is_pattern = |name: &str| name.contains(['*', '?']);
            is_pattern(one) || is_pattern(other) || one == other
        }
        _ => true,
    }
}

/// `LNT-01`: the low ports of one protocol are restricted and the other's aren't.
fn low_ports_of_one_protocol(
    profile: &Profile,
    reservations: &[Reservation],
    diagnostics: &mut Diagnostics,
) {
    let restricted = Protocol::ALL.map(|protocol| low_ports(profile, protocol));
    let missing = match restricted {
        [Some(span), None] => Some((span, "UDPCONFIG")),
        [None, Some(span)] => Some((span, "TCPCONFIG")),
        _ => None,
    };
    // Without any reservation of a low port nobody cares for them.
    if let Some((span, statement)) = missing
        && reservations
            .iter()
            .any(|reservation| reservation.first < FIRST_HIGH_PORT)
    {
        diagnostics.push(
            Diagnostic::warning(
                Code::LowPortsHalf,
                span,
                format!("low ports are restricted for one protocol only; {statement} doesn't say RESTRICTLOWPORTS"),
            )
            .help(format!("add `{statement} RESTRICTLOWPORTS`, or take it from both")),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        policy::reservations::resolve,
        profile::{ReadOptions, parse},
    };

    fn found(text: &str) -> Vec<(Code, u32, String)> {
        let parsed = parse(Path::new("p"), text.as_bytes(), &ReadOptions::default());
        let reservations = resolve(&parsed.profile, &mut Diagnostics::new()).entries;
        let host = PortSettings {
            ephemeral: Some((32768, 60999)),
            kept_out: vec![(50000, 50009)],
            first_unprivileged: 1024,
        };
        let mut diagnostics = Diagnostics::new();
        lint(&parsed.profile, &reservations, &host, &mut diagnostics);
        diagnostics
            .iter()
            .map(|d| {
                (
                    d.code,
                    d.span.map_or(0, |span| parsed.sources.line(span)),
                    d.message.clone(),
                )
            })
            .collect()
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
        assert_eq!(found("PORT 61000 TCP *\nPORTRANGE 50000 10 TCP *\n"), []);
        let found = found("PORT 61000 TCP *\n 60999 TCP RESERVED\nPORTRANGE 50000 11 UDP *\n");
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

    /// `PRT-28`, `PRT-30`
    #[test]
    fn servers_on_one_port_need_their_own_addresses() {
        let lines = |text: &str| -> Vec<(Code, u32)> {
            let is_bind =
                |code: &Code| matches!(code, Code::SameBindAddress | Code::BindBehindPlain);
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

    /// `DEL-07`, `LNT-02`
    #[test]
    fn delete_is_not_for_profiles() {
        let found = found("PORT 21 TCP *\nDELETE PORT 21 TCP *\n");
        assert_eq!((found[0].0, found[0].1), (Code::DeleteAtStart, 2));
    }
}
