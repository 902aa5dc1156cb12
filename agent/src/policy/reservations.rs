//! Which entries take effect, when several speak of the same port.
//!
//! [`resolve`] walks the statements in order and keeps what `port-control` 2.6,
//! 3.9 and 4.6 keep: who comes first wins. Its cost is that of one look-up per
//! entry and, for a range, one pass over a bit set, so a policy for every port
//! takes no longer to resolve than to parse.

mod by_port;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use portreeve_common::abi::Protocol;

use by_port::Entries;

use super::bits::PortBits;
use super::unreserved;
use crate::diagnostics::{Code, Diagnostic, Diagnostics, Severity, Span, escaped};
use crate::profile::ast::{Options, PortEntry, Profile, Statement, Target, User, When};

/// What kind of entry a reservation came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// One port.
    Port,
    /// A range, even if of one port.
    Range,
    /// UNRSV: every port that is not reserved.
    Unreserved,
}

/// An entry that takes effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// What it came from.
    pub kind: Kind,
    /// Whose table it is in.
    pub protocol: Protocol,
    /// First port; 0 for UNRSV.
    pub first: u16,
    /// Last port, inclusive; the first one for a port, 0 for UNRSV.
    pub last: u16,
    /// Who may have the ports.
    pub user: User,
    /// How.
    pub options: Options,
    /// The whole entry.
    pub span: Span,
    /// The comment beside it.
    pub description: Option<Box<str>>,
}

/// What a profile rules about ports, once statements that speak of the same
/// thing are settled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// The entries that take effect, in the order in which they are written;
    /// those for unreserved ports come last.
    pub entries: Vec<Reservation>,
    /// How many entries DELETE took away.
    pub deleted: usize,
    /// Per protocol: where RESTRICTLOWPORTS was said, if it holds (`LOW-01`).
    pub restrict_low: [Option<Span>; Protocol::ALL.len()],
}

impl Rules {
    /// The entries for unreserved ports.
    pub fn unreserved(&self) -> &[Reservation] {
        let is_reserved = |entry: &Reservation| entry.kind != Kind::Unreserved;
        let (_, unreserved) = self
            .entries
            .split_at(self.entries.partition_point(is_reserved));
        unreserved
    }

    /// Whether UNRSV entries of `protocol` are judged at listen; UDP never is
    /// (`UNR-10`, `UNR-11`).
    pub fn unreserved_at_listen(&self, protocol: Protocol) -> bool {
        let first = self
            .unreserved()
            .iter()
            .find(|entry| entry.protocol == protocol);
        protocol == Protocol::Tcp
            && first.is_some_and(|entry| unreserved::when(&entry.options) == When::Listen)
    }
}

/// Settles what `profile` rules. What is dropped on the way is reported as an error.
pub fn resolve(profile: &Profile, diagnostics: &mut Diagnostics) -> Rules {
    let mut resolver = Resolver {
        diagnostics,
        kept: Vec::with_capacity(profile.listed()),
        deleted: 0,
        tables: [Table::default(), Table::default()],
    };
    for statement in &profile.statements {
        match statement {
            Statement::Port(list) | Statement::PortRange(list) => {
                list.entries.iter().for_each(|entry| resolver.add(entry));
            }
            Statement::DeletePort(list) | Statement::DeletePortRange(list) => {
                list.entries.iter().for_each(|entry| resolver.delete(entry));
            }
            _ => {}
        }
    }
    let Resolver {
        kept, mut deleted, ..
    } = resolver;
    let unreserved = unreserved::resolve(profile, diagnostics);
    let kept = kept.into_iter().flatten();
    // To the byte: they stay as long as the policy does.
    let most = kept.size_hint().1.unwrap_or_default();
    let mut entries = Vec::with_capacity(most + unreserved.entries.len());
    entries.extend(kept.map(Kept::reservation));
    entries.extend(unreserved.entries);
    deleted += unreserved.deleted;
    let restrict_low = Protocol::ALL.map(|protocol| low_ports(profile, protocol));
    Rules {
        entries,
        deleted,
        restrict_low,
    }
}

/// The last word on low ports counts; the others of its statement stay (`OBY-05`).
pub(super) fn low_ports(profile: &Profile, protocol: Protocol) -> Option<Span> {
    let said = profile
        .statements
        .iter()
        .rev()
        .find_map(|statement| match statement {
            Statement::ProtocolConfig(config) if config.protocol == protocol => {
                config.restrict_low_ports
            }
            _ => None,
        })?;
    said.value.then_some(said.span)
}

/// An entry that was accepted.
#[derive(Clone, Copy)]
struct Kept<'a> {
    entry: &'a PortEntry,
    kind: Kind,
    first: u16,
    last: u16,
}

impl Kept<'_> {
    fn reservation(self) -> Reservation {
        let Self {
            entry,
            kind,
            first,
            last,
        } = self;
        Reservation {
            kind,
            protocol: entry.protocol,
            first,
            last,
            user: entry.user.clone(),
            options: entry.options.clone(),
            span: entry.span,
            description: entry.description.clone(),
        }
    }
}

/// What one protocol has reserved so far. Numbers index [`Resolver::kept`].
#[derive(Default)]
struct Table<'a> {
    /// Ports with an entry of their own.
    ports: PortBits,
    /// Ports in a range.
    in_ranges: PortBits,
    /// By first port.
    ranges: BTreeMap<u16, usize>,
    /// Entries of single ports.
    entries: Entries<'a>,
}

struct Resolver<'a, 'd> {
    diagnostics: &'d mut Diagnostics,
    /// Every entry that was accepted; `None` once it is deleted.
    kept: Vec<Option<Kept<'a>>>,
    deleted: usize,
    tables: [Table<'a>; Protocol::ALL.len()],
}

impl<'a> Resolver<'a, '_> {
    fn table(&mut self, protocol: Protocol) -> &mut Table<'a> {
        &mut self.tables[protocol as usize]
    }

    fn add(&mut self, entry: &'a PortEntry) {
        match entry.target {
            Target::Port(port) => self.add_port(entry, port),
            Target::Range { first, count } => self.add_range(entry, first, count),
            // Not a reservation; `unreserved` settles those.
            Target::Unrsv => {}
        }
    }

    fn keep(&mut self, entry: &'a PortEntry, kind: Kind, first: u16, last: u16) -> usize {
        self.kept.push(Some(Kept {
            entry,
            kind,
            first,
            last,
        }));
        self.kept.len() - 1
    }

    fn add_port(&mut self, entry: &'a PortEntry, port: u16) {
        let name = || port_name(entry.protocol, port);
        if let Some(range) = self.range_at(entry.protocol, port) {
            return self.collision(Code::PortInRange, entry.span, range, || {
                format!("{} lies in a range that is reserved already", name())
            });
        }
        let table = &self.tables[entry.protocol as usize];
        if let Some(earlier) = table.entries.of(port, &entry.user, &self.kept) {
            return self.collision(Code::Duplicate, entry.span, earlier, || {
                format!("{} is reserved for {} already", name(), who(&entry.user))
            });
        }
        if let Some(earlier) = self.first_at(entry.protocol, port)
            && let Some(holder) = self.kept[earlier].map(|kept| &kept.entry.user)
        {
            if *holder == User::Reserved || entry.user == User::Reserved {
                let (holder, user) = (who(holder), who(&entry.user));
                return self.collision(Code::ReservedAndOther, entry.span, earlier, || {
                    format!("{} can't be both for {holder} and for {user}", name())
                });
            }
            if entry.protocol == Protocol::Udp {
                let holder = who(holder);
                return self.collision(Code::SecondUdpJob, entry.span, earlier, || {
                    format!("{} is reserved for {holder} already", name())
                });
            }
        }
        let index = self.keep(entry, Kind::Port, port, port);
        let table = &mut self.tables[entry.protocol as usize];
        table.ports.set(port, port, true);
        table.entries.add(port, index, &self.kept);
    }

    fn add_range(&mut self, entry: &'a PortEntry, first: u16, count: u32) {
        let end = u32::from(first) + count - 1;
        let last = last_port(first, count);
        let name = || range_name(entry.protocol, first, last);
        let table = self.table(entry.protocol);
        if let Some(port) = table.in_ranges.first_in(first, last)
            && let Some(earlier) = self.range_at(entry.protocol, port)
        {
            return self.collision(Code::RangeOverRange, entry.span, earlier, || {
                format!("{} overlaps an earlier range at port {port}", name())
            });
        }
        let table = self.table(entry.protocol);
        if let Some(port) = table.ports.first_in(first, last)
            && let Some(earlier) = self.first_at(entry.protocol, port)
        {
            return self.collision(Code::RangeOverPort, entry.span, earlier, || {
                format!("{} covers port {port}, which is reserved already", name())
            });
        }
        if end > u32::from(u16::MAX) {
            self.diagnostics.push_with(Severity::Warning, || {
                let message = format!("the range runs to {end}; only {first} to 65535 is reserved");
                let most = 65536 - u32::from(first);
                Diagnostic::warning(Code::RangeClipped, entry.span, message)
                    .help(format!("from {first} there are {most} ports; the second number is a count, not the last port"))
            });
        }
        let index = self.keep(entry, Kind::Range, first, last);
        let table = self.table(entry.protocol);
        table.in_ranges.set(first, last, true);
        table.ranges.insert(first, index);
    }

    /// DELETE names port, protocol and job, or first port, count, protocol and
    /// job (`DEL-01`, `DEL-04`).
    fn delete(&mut self, entry: &'a PortEntry) {
        let table = &mut self.tables[entry.protocol as usize];
        let found = match entry.target {
            Target::Port(port) => table.entries.remove(port, &entry.user, &self.kept),
            Target::Range { first, count } => {
                let last = last_port(first, count);
                let same = |index: &usize| {
                    let range = self.kept[*index];
                    range.is_some_and(|range| range.last == last && range.entry.user == entry.user)
                };
                let found = table.ranges.get(&first).copied().filter(same);
                if found.is_some() {
                    table.ranges.remove(&first);
                    table.in_ranges.set(first, last, false);
                }
                found
            }
            Target::Unrsv => return,
        };
        self.deleted += usize::from(found.is_some());
        match (found, entry.target) {
            (Some(index), Target::Port(port)) => {
                self.kept[index] = None;
                if self.first_at(entry.protocol, port).is_none() {
                    self.table(entry.protocol).ports.set(port, port, false);
                }
            }
            (Some(index), _) => self.kept[index] = None,
            (None, _) => self.diagnostics.push_with(Severity::Error, || {
                let message = format!("there is no entry `{}` to delete", key(entry));
                Diagnostic::error(Code::NothingToDelete, entry.span, message)
                    .help("DELETE needs the same numbers, protocol and job name as the entry")
            }),
        }
    }

    /// The range that covers `port`.
    fn range_at(&self, protocol: Protocol, port: u16) -> Option<usize> {
        let table = &self.tables[protocol as usize];
        table.in_ranges.first_in(port, port)?;
        let (_, index) = table.ranges.range(..=port).next_back()?;
        Some(*index)
    }

    /// The first entry of `port` that is not deleted.
    fn first_at(&mut self, protocol: Protocol, port: u16) -> Option<usize> {
        self.tables[protocol as usize]
            .entries
            .first(port, &self.kept)
    }

    fn collision(
        &mut self,
        code: Code,
        span: Span,
        earlier: usize,
        message: impl FnOnce() -> String,
    ) {
        let place = self.kept[earlier].map(|kept| kept.entry.span);
        self.diagnostics.push_with(Severity::Error, || {
            let diagnostic = Diagnostic::error(code, span, message()).label("this is dropped");
            match place {
                Some(place) => diagnostic.related(place, "this came first"),
                None => diagnostic,
            }
        });
    }
}

/// The last port of a range, clipped at 65535 (`RNG-02`).
fn last_port(first: u16, count: u32) -> u16 {
    u16::try_from(u32::from(first) + count - 1).unwrap_or(u16::MAX)
}

fn port_name(protocol: Protocol, port: u16) -> String {
    format!("{}/{port}", protocol.name())
}

fn range_name(protocol: Protocol, first: u16, last: u16) -> String {
    if first == last {
        return port_name(protocol, first);
    }
    format!("{}/{first}-{last}", protocol.name())
}

fn who(user: &User) -> String {
    match user {
        User::Reserved => "nobody (RESERVED)".to_owned(),
        User::Anyone => "everybody (*)".to_owned(),
        _ => escaped(&user.to_string()),
    }
}

fn key(entry: &PortEntry) -> String {
    let protocol = entry.protocol.name().to_ascii_uppercase();
    escaped(&format!("{} {protocol} {}", entry.target, entry.user))
}
