//! Which rules are in audit while the others are enforced.

#[cfg(test)]
mod tests;

use std::fmt;

use portreeve_common::abi::{Mode, Protocol};

use super::{
    bits::PortBits,
    reservations::{Kind, Reservation},
    restrictions::Restriction,
};
use crate::{
    config::AuditedPorts,
    diagnostics::{Code, Diagnostic, Diagnostics},
    profile::ast::{PortEntry, Profile, Statement, Target},
};

/// The ports whose rules are in audit, by the config's `[audit]`. What the mode of the
/// whole policy says is not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    ports: [PortBits; Protocol::ALL.len()],
    unreserved: [bool; Protocol::ALL.len()],
}

/// How much of an entry is in audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Nothing.
    None,
    /// All of its ports.
    All,
    /// These of its ports.
    Some(PortBits),
}

impl Extent {
    /// `enforce`, `audit`, or `partly` if it depends on the port.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::None => Mode::Enforce.name(),
            Self::All => Mode::Audit.name(),
            Self::Some(_) => "partly",
        }
    }
}

impl fmt::Display for Extent {
    /// `enforce`, `audit`, or `audit of` some ports.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Some(ports) => write!(formatter, "audit of {ports}"),
            _ => formatter.write_str(self.name()),
        }
    }
}

impl Audited {
    /// What `asked` means for what `profile` and the restrictions say of ports. Ports that
    /// nothing is said of are an error: what was to be watched would be something else.
    pub fn new(
        asked: &[AuditedPorts],
        profile: &Profile,
        restrictions: &[Restriction],
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let mut audited = Self::default();
        for one in asked {
            let index = one.protocol as usize;
            match one.ports {
                Some((first, last)) => audited.ports[index].set(first, last, true),
                None => audited.unreserved[index] = true,
            }
        }
        if !asked.is_empty() {
            let named = Named::new(profile, restrictions);
            // `unreserved` stands for both protocols; one of them is enough.
            for same in asked.chunk_by(|one, other| one.span == other.span) {
                if !same.iter().any(|one| named.has(one)) {
                    diagnostics.push(nothing_to_watch(same));
                }
            }
        }
        audited
    }

    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        self.ports.iter().all(PortBits::is_empty) && !self.unreserved.contains(&true)
    }

    /// Whether the port's own rules are in audit: its entries and its restriction.
    pub fn has(&self, protocol: Protocol, port: u16) -> bool {
        self.ports[protocol as usize].first_in(port, port).is_some()
    }

    /// The ports whose own rules are.
    pub const fn ports(&self, protocol: Protocol) -> &PortBits {
        &self.ports[protocol as usize]
    }

    /// Whether the rules for ports that no entry names are.
    pub const fn has_unreserved(&self, protocol: Protocol) -> bool {
        self.unreserved[protocol as usize]
    }

    /// How much of `entry` is.
    pub fn extent_of(&self, entry: &Reservation) -> Extent {
        if entry.kind == Kind::Unreserved {
            return match self.has_unreserved(entry.protocol) {
                true => Extent::All,
                false => Extent::None,
            };
        }
        self.extent(entry.protocol, entry.first, entry.last)
    }

    /// How much of the ports from `first` to `last` is.
    pub fn extent(&self, protocol: Protocol, first: u16, last: u16) -> Extent {
        let ports = self.ports(protocol);
        // Most policies are enforced whole, and entries can be very many.
        if ports.first_in(first, last).is_none() {
            return Extent::None;
        }
        if first == last {
            return Extent::All;
        }
        let all = PortBits::from_iter([(first, last)]);
        let audited = all.and(ports);
        if audited == all {
            Extent::All
        } else {
            Extent::Some(audited)
        }
    }

    /// Whether nothing of `entry` is enforced.
    pub fn is_whole(&self, entry: &Reservation) -> bool {
        self.extent_of(entry) == Extent::All
    }
}

/// What the profile and the restrictions speak of. What was dropped, deleted or taken
/// back counts: the config need not follow every change file.
#[derive(Default)]
struct Named {
    ports: [PortBits; Protocol::ALL.len()],
    unreserved: [bool; Protocol::ALL.len()],
}

impl Named {
    fn new(profile: &Profile, restrictions: &[Restriction]) -> Self {
        let mut named = Self::default();
        for statement in &profile.statements {
            match statement {
                Statement::Port(list) | Statement::PortRange(list) => {
                    list.entries.iter().for_each(|entry| named.add(entry));
                }
                Statement::ProtocolConfig(config) => {
                    let restricts = config.restrict_low_ports.is_some_and(|said| said.value);
                    named.unreserved[config.protocol as usize] |= restricts;
                }
                _ => {}
            }
        }
        for restriction in restrictions {
            let ports = &mut named.ports[restriction.protocol as usize];
            ports.set(restriction.first, restriction.last, true);
        }
        named
    }

    fn add(&mut self, entry: &PortEntry) {
        let index = entry.protocol as usize;
        match entry.target {
            Target::Port(port) => self.ports[index].set(port, port, true),
            Target::Range { first, count } => {
                let last = u32::from(first) + count.saturating_sub(1);
                let last = u16::try_from(last).unwrap_or(u16::MAX);
                self.ports[index].set(first, last, true);
            }
            Target::Unrsv => self.unreserved[index] = true,
        }
    }

    fn has(&self, asked: &AuditedPorts) -> bool {
        let index = asked.protocol as usize;
        match asked.ports {
            Some((first, last)) => self.ports[index].first_in(first, last).is_some(),
            None => self.unreserved[index],
        }
    }
}

/// `same` stand in one place.
fn nothing_to_watch(same: &[AuditedPorts]) -> Diagnostic {
    let first = &same[0];
    let protocol = first.protocol.name();
    let message = match (first.ports, same.len()) {
        (Some((first, last)), _) if first == last => {
            format!("{protocol}/{first} is to be in audit, and no entry or restriction names it")
        }
        (Some((first, last)), _) => format!(
            "{protocol}/{first}-{last} is to be in audit, and no entry or restriction names any of it"
        ),
        (None, 1) => format!(
            "unreserved {protocol} ports are to be in audit, and neither UNRSV nor RESTRICTLOWPORTS says anything of them"
        ),
        (None, _) => "unreserved ports are to be in audit, and neither UNRSV nor RESTRICTLOWPORTS says anything of them".to_owned(),
    };
    Diagnostic::error(Code::NothingToAudit, first.span, message)
        .help("what is meant by it may be enforced instead: mend it, or take it out of [audit]")
}
