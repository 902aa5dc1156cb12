//! Lints about rules that admit or refuse more than may be meant.

use portreeve_common::{abi::Protocol, decide::FIRST_HIGH_PORT};

use super::Lint;
use crate::{
    config::{ServAuthProfile, Uacc},
    diagnostics::{Code, Diagnostic, Diagnostics, quoted},
    policy::reservations::{Kind, low_ports},
};

/// `LNT-01`: the low ports of one protocol are restricted and the other's aren't.
pub(super) fn low_ports_of_one_protocol(lint: &Lint<'_>, diagnostics: &mut Diagnostics) {
    let restricted = Protocol::ALL.map(|protocol| low_ports(lint.profile, protocol));
    let missing = match restricted {
        [Some(span), None] => Some((span, "UDPCONFIG")),
        [None, Some(span)] => Some((span, "TCPCONFIG")),
        _ => None,
    };
    // Without any reservation of a low port nobody cares for them.
    if let Some((span, statement)) = missing
        && lint
            .entries
            .iter()
            .any(|entry| entry.first < FIRST_HIGH_PORT)
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

/// Many UDP clients bind a port that they choose.
pub(super) fn udp_denied(lint: &Lint<'_>, diagnostics: &mut Diagnostics) {
    let denied = lint.entries.iter().find(|entry| {
        entry.kind == Kind::Unreserved
            && entry.protocol == Protocol::Udp
            && entry.options.deny.is_some()
    });
    if let Some(entry) = denied {
        diagnostics.push(
            Diagnostic::warning(
                Code::UdpDenied,
                entry.span,
                "resolvers that choose their source port, DHCP and QUIC clients bind unreserved UDP ports too, and are refused",
            )
            .help("admit them with entries of their own, such as `PORT UNRSV UDP NAMED*`; audit mode shows who they are"),
        );
    }
}

/// `LNT-04`: a resource profile that admits everybody.
pub(super) fn open_resources(profiles: &[ServAuthProfile], diagnostics: &mut Diagnostics) {
    for profile in profiles.iter().filter(|profile| profile.uacc == Uacc::Read) {
        diagnostics.push(
            Diagnostic::warning(
                Code::OpenResource,
                profile.name.span,
                format!(
                    "the resource profile {} admits every user, so the SAF checks that it covers check nothing",
                    quoted(&profile.name.value)
                ),
            )
            .help("say `uacc = \"none\"` and name those who are permitted"),
        );
    }
}
