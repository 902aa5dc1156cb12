//! What is right but may not be wise: each finding with its consequence.
//!
//! A finding is given once, at the first entry it is about, however many there are.

use portreeve_common::abi::Protocol;

use super::reservations::Reservation;
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

    /// `DEL-07`, `LNT-02`
    #[test]
    fn delete_is_not_for_profiles() {
        let found = found("PORT 21 TCP *\nDELETE PORT 21 TCP *\n");
        assert_eq!((found[0].0, found[0].1), (Code::DeleteAtStart, 2));
    }
}
