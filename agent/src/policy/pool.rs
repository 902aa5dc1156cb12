//! The ports that the kernel hands out: what a policy asks of them, and what it
//! leaves of them.
//!
//! z/OS has a pool for each protocol (EPHEMERALPORTS, `port-control` 4.4). Linux
//! has one range and one list of exceptions for both, per network namespace.

#[cfg(test)]
mod tests;

use portreeve_common::abi::{Mode, Protocol};

use super::{
    audit::{Audited, Extent},
    bits::PortBits,
    reservations::{Kind, Reservation},
    restrictions::Restriction,
};
use crate::{
    config::{BelowFloor, Config},
    diagnostics::{Code, Diagnostic, Diagnostics, Span},
    kernel::sysctl::PortSettings,
    profile::ast::{Profile, Spanned, Statement},
};

/// A range of ports, first and last.
type Range = (u16, u16);

/// The pool that z/OS has when nothing is said.
const DEFAULT: Range = (1024, 65535);

/// What a policy asks of the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Ports that are handed out to nobody: every reserved or restricted one, of TCP
    /// or UDP.
    pub ports: PortBits,
    /// The range that ports are handed out from, if the profile says it.
    pub range: Option<Range>,
}

/// What a policy leaves of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// The range that ports are handed out from.
    pub range: Range,
    /// Ports that the kernel can hand out, the host's own exceptions left out.
    pub free: u32,
    /// Ports that the profile leaves to each protocol, as z/OS counts them.
    pub of_protocol: [u32; Protocol::ALL.len()],
}

/// What becomes of the pool under a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What is asked of it; `None` if it is not managed.
    pub kept: Option<Kept>,
    /// What is left of it; `None` if nobody knows the host's settings.
    pub left: Option<Left>,
}

/// What the profile and the config ask of a host with these settings (those of
/// portreeve itself left out).
pub fn plan(
    profile: &Profile,
    entries: &[Reservation],
    restrictions: &[Restriction],
    audited: &Audited,
    config: &Config,
    host: Option<&PortSettings>,
    diagnostics: &mut Diagnostics,
) -> Plan {
    let managed = config.ephemeral.manage;
    let said = range(profile, managed, diagnostics);
    let range = said.map(|said| said.value);
    let ports = kept_back(entries, restrictions, audited);
    let left = host.and_then(|host| {
        let range = range.or(host.ephemeral)?;
        let kept_out = match managed {
            true => host.kept_out.or(&ports),
            false => host.kept_out.clone(),
        };
        Some(Left {
            range,
            free: count(range, &kept_out),
            of_protocol: counts(profile, entries, range),
        })
    });
    if let Some(left) = left.filter(|_| managed) {
        // A pool that the policy does nothing to is none of its business.
        let blamed =
            takes_most(entries, restrictions, audited, left.range).or(said.map(|said| said.span));
        if let Some(span) = blamed {
            floor(left, config, span, diagnostics);
        }
    }
    // Nothing changes on the host for the sake of what is in audit.
    let applies = managed && config.mode == Mode::Enforce;
    Plan {
        kept: applies.then_some(Kept { ports, range }),
        left,
    }
}

/// The entry or restriction that takes most ports out of `range`, if one does.
fn takes_most(
    entries: &[Reservation],
    restrictions: &[Restriction],
    audited: &Audited,
    (low, high): Range,
) -> Option<Span> {
    let taken = |protocol: Protocol, first: u16, last: u16| {
        let (first, last) = (first.max(low), last.min(high));
        if first > last {
            return 0;
        }
        let all = u32::from(last) + 1 - u32::from(first);
        match audited.extent(protocol, first, last) {
            Extent::None => all,
            Extent::All => 0,
            Extent::Some(ports) => all - ports.len(),
        }
    };
    let entries = entries
        .iter()
        .filter(|entry| entry.kind != Kind::Unreserved)
        .map(|entry| {
            let taken = taken(entry.protocol, entry.first, entry.last);
            (taken, entry.span)
        });
    let restrictions = restrictions.iter().map(|restriction| {
        let (first, last) = (restriction.first, restriction.last);
        (taken(restriction.protocol, first, last), restriction.span)
    });
    let (most, span) = entries
        .chain(restrictions)
        .max_by_key(|(taken, _)| *taken)?;
    (most > 0).then_some(span)
}

/// `PRT-38`: what is reserved for either protocol, or for certain users, and is not in
/// audit. The list has no protocols. A restricted port would otherwise come to whoever binds port 0
/// or none at all, which nothing judges.
pub fn kept_back(
    entries: &[Reservation],
    restrictions: &[Restriction],
    audited: &Audited,
) -> PortBits {
    let reserved = reserved(entries);
    let of_protocol = |protocol: Protocol| {
        let restricted = restrictions
            .iter()
            .filter(|restriction| restriction.protocol == protocol)
            .map(|restriction| (restriction.first, restriction.last));
        let restricted: PortBits = restricted.collect();
        let named = reserved[protocol as usize].or(&restricted);
        named.minus(audited.ports(protocol))
    };
    let [tcp, udp] = Protocol::ALL.map(of_protocol);
    tcp.or(&udp)
}

/// The reserved ports, per protocol.
fn reserved(entries: &[Reservation]) -> [PortBits; Protocol::ALL.len()] {
    let mut reserved = [PortBits::default(), PortBits::default()];
    for entry in entries {
        if entry.kind != Kind::Unreserved {
            reserved[entry.protocol as usize].set(entry.first, entry.last, true);
        }
    }
    reserved
}

/// Configured ephemeral ports per protocol, as z/OS counts them (`EPH-08`): the
/// protocol's range, or `default`, less what is reserved for it and, for TCP, the
/// pool of EXPLICITBINDPORTRANGE.
pub fn counts(
    profile: &Profile,
    entries: &[Reservation],
    default: Range,
) -> [u32; Protocol::ALL.len()] {
    let mut reserved = reserved(entries);
    Protocol::ALL.map(|protocol| {
        let taken = &mut reserved[protocol as usize];
        if protocol == Protocol::Tcp
            && let Some((first, count)) = explicit(profile)
        {
            let last = first.saturating_add(count.saturating_sub(1));
            taken.set(first, last, true);
        }
        let range = said(profile, protocol).map_or(default, |said| said.value);
        count(range, taken)
    })
}

fn count(range: Range, taken: &PortBits) -> u32 {
    PortBits::from_iter([range]).minus(taken).len()
}

/// What EXPLICITBINDPORTRANGE says last: first port and count.
fn explicit(profile: &Profile) -> Option<(u16, u16)> {
    let mut statements = profile.statements.iter().rev();
    statements.find_map(|statement| match statement {
        Statement::GlobalConfig(config) => config.bind_range.map(|range| range.value),
        _ => None,
    })
}

/// What EPHEMERALPORTS says last for `protocol`.
fn said(profile: &Profile, protocol: Protocol) -> Option<Spanned<Range>> {
    let mut statements = profile.statements.iter().rev();
    statements.find_map(|statement| match statement {
        Statement::ProtocolConfig(config) if config.protocol == protocol => config.ephemeral,
        _ => None,
    })
}

/// `EPH-01`: the range that EPHEMERALPORTS asks for, if Linux can have it. The
/// default of z/OS said for one protocol asks for no limit.
fn range(
    profile: &Profile,
    managed: bool,
    diagnostics: &mut Diagnostics,
) -> Option<Spanned<Range>> {
    let [tcp, udp] = Protocol::ALL.map(|protocol| said(profile, protocol));
    let one_for_both = "because Linux has one range for both protocols";
    let (said, why, help) = match (tcp, udp) {
        (None, None) => return None,
        (Some(tcp), Some(udp)) if tcp.value == udp.value => {
            if managed {
                return Some(tcp);
            }
            let why = "because the kernel's pool of ports is not managed";
            let help = "remove it, or leave out `[ephemeral] manage = false` and --leave-pool";
            (udp, why.to_owned(), help.to_owned())
        }
        (Some(_), Some(udp)) => {
            let why = format!("{one_for_both}, and TCPCONFIG says another");
            let help = "say the same range in TCPCONFIG and UDPCONFIG";
            (udp, why, help.to_owned())
        }
        (Some(one), None) | (None, Some(one)) if one.value == DEFAULT => return None,
        (Some(one), None) | (None, Some(one)) => {
            let other = if tcp.is_some() {
                "UDPCONFIG"
            } else {
                "TCPCONFIG"
            };
            let (first, last) = one.value;
            let help =
                format!("if it is meant for both, add `{other} EPHEMERALPORTS {first} {last}`");
            (one, one_for_both.to_owned(), help)
        }
    };
    diagnostics.push(
        Diagnostic::error(
            Code::EphemeralUnsupported,
            said.span,
            format!("EPHEMERALPORTS can't be enforced here, {why}"),
        )
        .help(help),
    );
    None
}

/// Reports a pool that is too small to live on.
fn floor(left: Left, config: &Config, span: Span, diagnostics: &mut Diagnostics) {
    let floor = u32::from(config.ephemeral.floor);
    if left.free >= floor {
        return;
    }
    let (first, last) = left.range;
    let message = format!(
        "the policy leaves {} of the ports {first}-{last} that the kernel hands out, and [ephemeral] floor is {floor}",
        left.free
    );
    diagnostics.push(match config.ephemeral.below_floor {
        BelowFloor::Refuse => Diagnostic::error(Code::PoolTooSmall, span, message)
            .label("this takes most of them")
            .help("reserve fewer ports there, widen the range, lower the floor, or say `below_floor = \"accept\"`"),
        BelowFloor::Accept => Diagnostic::warning(Code::PoolTooSmall, span, message),
    });
}
