//! What is right but may not be wise: each finding with its consequence.
//!
//! A finding is given once, at the first entry it is about, however many there are.

mod access;
mod host;
mod jobs;

use std::collections::HashMap;

use portreeve_common::abi::Protocol;

pub use self::host::Host;
use super::{
    jobs::Jobs,
    reservations::{Kind, Reservation},
    sharing::shared_ports,
};
use crate::{
    config::ServAuthProfile,
    diagnostics::{Code, Diagnostic, Diagnostics},
    kernel::sysctl::PortSettings,
    profile::ast::{Profile, Statement, User},
};

/// Source ports that clients of RPC, NFS and the r-commands bind one by one
/// until one is free (glibc's `bindresvport`, the kernel's RPC clients).
const RESERVED_SOURCE_PORTS: (u16, u16) = (512, 1023);
/// Where IKE daemons listen (`PRT-45`).
const IKE_PORTS: [u16; 2] = [500, 4500];

/// Where Enterprise Extender sends SNA over UDP (`LNT-10`).
const ENTERPRISE_EXTENDER_PORTS: (u16, u16) = (12000, 12004);

/// A policy and the host it is looked at on.
pub struct Lint<'a> {
    /// The profile.
    pub profile: &'a Profile,
    /// The entries that take effect.
    pub entries: &'a [Reservation],
    /// The jobs that the config defines.
    pub jobs: &'a Jobs,
    /// The resource profiles of the config.
    pub servauth: &'a [ServAuthProfile],
    /// Whether the kernel is told not to hand out reserved ports.
    pub pool_is_managed: bool,
    /// The host.
    pub host: &'a Host,
}

impl Lint<'_> {
    /// Reports what is unwise.
    pub fn run(&self, diagnostics: &mut Diagnostics) {
        jobs::name_only(self, diagnostics);
        jobs::unknown_names(self, diagnostics);
        jobs::forked_procedures(self, diagnostics);
        jobs::delegated_cgroups(self, diagnostics);
        access::low_ports_of_one_protocol(self, diagnostics);
        access::udp_denied(self, diagnostics);
        access::open_resources(self.servauth, diagnostics);
        if !self.pool_is_managed {
            ephemeral(self.entries, &self.host.ports, diagnostics);
        }
        reserved_source_ports(self.entries, diagnostics);
        ip_security(self.profile, self.entries, diagnostics);
        enterprise_extender(self.entries, diagnostics);
        delete_at_start(self.profile, diagnostics);
        bind_addresses(self.entries, diagnostics);
        one_user(self.entries, diagnostics);
    }
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

/// A list that fits into a sentence, with commas as the kernel wants them.
fn listed(words: &[String]) -> String {
    shortened(words, ",")
}

/// A list that fits into a sentence.
pub(super) fn in_words(words: &[String]) -> String {
    shortened(words, ", ")
}

fn shortened(words: &[String], separator: &str) -> String {
    const MOST: usize = 12;
    if words.len() <= MOST {
        return words.join(separator);
    }
    format!(
        "{}{separator}... ({} more)",
        words[..MOST].join(separator),
        words.len() - MOST
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

/// `LNT-10`: Enterprise Extender has one port per priority, and all belong to the
/// same server.
fn enterprise_extender(reservations: &[Reservation], diagnostics: &mut Diagnostics) {
    let (first, last) = ENTERPRISE_EXTENDER_PORTS;
    let on = |port: u16| {
        reservations.iter().find(move |entry| {
            entry.protocol == Protocol::Udp && (entry.first..=entry.last).contains(&port)
        })
    };
    let Some(meant) = (first..=last).find_map(on) else {
        return;
    };
    // Whose range happens to cover them thinks of something else.
    let elsewhere = meant.first < first || meant.last > last;
    let other: Vec<String> = (first..=last)
        .filter(|port| on(*port).is_none_or(|entry| entry.user != meant.user))
        .map(|port| port.to_string())
        .collect();
    if !elsewhere && !other.is_empty() {
        diagnostics.push(
            Diagnostic::warning(
                Code::EnterpriseExtender,
                meant.span,
                format!(
                    "Enterprise Extender uses UDP {first} to {last}, and {} is not reserved for {}",
                    in_words(&other),
                    meant.user
                ),
            )
            .help(format!(
                "reserve all five for the SNA node, such as `PORTRANGE {first} 5 UDP {}`",
                meant.user
            )),
        );
    }
}

/// `DEL-07`, `LNT-02`.
fn delete_at_start(profile: &Profile, diagnostics: &mut Diagnostics) {
    for statement in profile.at_start() {
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

/// `PRT-17`, `PRT-29`: Linux shares a port within one effective user.
fn one_user(reservations: &[Reservation], diagnostics: &mut Diagnostics) {
    let mut ports = shared_ports(reservations);
    ports.retain(|_, entries| *entries > 1);
    let named: Vec<String> = ports.keys().map(|port| format!("tcp/{port}")).collect();
    once(
        reservations,
        |entry| {
            entry.kind == Kind::Port
                && entry.protocol == Protocol::Tcp
                && ports.contains_key(&entry.first)
        },
        |first, _| {
            let message = format!(
                "jobs that share a port on Linux must run as the same user: {}",
                in_words(&named)
            );
            Diagnostic::info(Code::SharedByUser, first.span, message)
                .label("the first entry of them")
                .help("a server of another user finds the port taken (EADDRINUSE)")
        },
        diagnostics,
    );
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

#[cfg(test)]
mod tests;
