//! Rules into tables: direct-indexed slots, entries most specific first.

use std::{collections::BTreeMap, ops::Range};

use portreeve_common::abi::{
    Entry, EntryOptions, MAX_ENTRIES, MAX_ENTRIES_PER_PORT, Protocol, Slot, Unreserved, Who,
};
use portreeve_common::decide::FIRST_HIGH_PORT;

use super::{
    audit::Audited,
    identity::{JobImage, exes::Inodes},
    image::Image,
    jobs::Jobs,
    operands::Operands,
    reservations::{Kind, Reservation, Rules},
    restrictions::{self, Restriction},
    servauth::{Access, ServAuth},
    sharing::shared_ports,
    specificity::Specificity,
};
use crate::{
    config::GrantRule,
    diagnostics::{Code, Diagnostic, Diagnostics, Sources},
    profile::ast::User,
};

/// The tables of a policy, and which entry of the rules each came from.
#[derive(Debug, Default)]
pub struct Compiled {
    /// The tables.
    pub image: Image,
    /// Per table entry: index of the rule's entry.
    pub origins: Vec<u32>,
}

/// What the rules are compiled with.
pub struct Surroundings<'a> {
    /// Which entries grant low ports.
    pub grant: GrantRule,
    /// The defined jobs.
    pub jobs: &'a Jobs,
    /// Where their executables are looked up.
    pub inodes: &'a dyn Inodes,
    /// Who may read which SAF resource.
    pub servauth: &'a ServAuth,
    /// The jobs that AUTHPORT stands for.
    pub authport: &'a [String],
    /// Ports for certain users only.
    pub restrictions: &'a [Restriction],
    /// The ports whose rules are in audit.
    pub audited: &'a Audited,
    /// The texts, for lines.
    pub sources: &'a Sources,
}

/// Compiles `rules`. What exceeds a limit is reported and left out.
pub fn compile(rules: &Rules, with: &Surroundings<'_>, diagnostics: &mut Diagnostics) -> Compiled {
    let mut compiler = Compiler {
        with,
        diagnostics,
        operands: Operands::default(),
        compiled: Compiled::default(),
        line: 0,
    };
    compiler.compiled.origins.reserve_exact(rules.entries.len());
    let entries = &mut compiler.compiled.image.entries;
    entries.reserve_exact(rules.entries.len().min(MAX_ENTRIES as usize));
    for (_, index) in order(&rules.entries) {
        compiler.add(&rules.entries[index as usize], index);
    }
    for protocol in Protocol::ALL {
        compiler.settle_unreserved(rules, protocol);
    }
    compiler.list_jobs();
    compiler.restrict();
    compiler.share(rules);
    compiler.audit();
    let lists = &compiler.compiled.image.lists;
    let jobs = JobImage::new(with.jobs, lists, with.inodes, compiler.diagnostics);
    let (mut compiled, operands) = (compiler.compiled, compiler.operands);
    compiled.image.matchers = operands.matchers;
    compiled.image.globs = operands.globs;
    compiled.image.jobs = jobs;
    compiled
}

/// The order of the entries in the tables: those of a port side by side, the closest
/// first, and what ties in that as it is written (`PRT-37`, A-03).
fn order(entries: &[Reservation]) -> Vec<(u64, u32)> {
    let key = |entry: &Reservation| {
        let group = u64::from(entry.kind == Kind::Unreserved) << 1 | entry.protocol as u64;
        let port = group << u16::BITS | u64::from(entry.first);
        port << Specificity::RANK_BITS | u64::from(Specificity::of(&entry.user).rank())
    };
    let keys = entries.iter().map(key);
    let mut order: Vec<(u64, u32)> = keys.zip(0..).collect();
    order.sort_unstable();
    order
}

struct Compiler<'a, 'd> {
    with: &'a Surroundings<'a>,
    diagnostics: &'d mut Diagnostics,
    operands: Operands,
    compiled: Compiled,
    /// Where the entry before stands: the next one is hardly ever far.
    line: u32,
}

impl Compiler<'_, '_> {
    /// Appends what a rule's entry becomes: one table entry, or for AUTHPORT one
    /// per job that it stands for.
    fn add(&mut self, rule: &Reservation, origin: u32) {
        let with = self.with;
        let first = self.compiled.image.entries.len() as u32;
        match &rule.user {
            User::Reserved => self.push(rule, origin, Who::Blocked),
            User::Anyone | User::Omvs => self.push(rule, origin, Who::Anyone),
            // Without a job in the config nobody is the FTP server, which uses TCP only.
            User::Authport if with.authport.is_empty() || rule.protocol == Protocol::Udp => {
                self.push(rule, origin, Who::Nobody);
            }
            User::Authport => {
                for job in with.authport {
                    self.push_job(rule, origin, job);
                }
            }
            User::Job(name) => self.push_job(rule, origin, name),
        }
        let added = first..self.compiled.image.entries.len() as u32;
        if !added.is_empty() && rule.kind != Kind::Unreserved {
            self.point_to(rule, added);
        }
    }

    fn push_job(&mut self, rule: &Reservation, origin: u32, job: &str) {
        match self.operands.job(job, self.with.jobs) {
            Ok(who) => self.push(rule, origin, who),
            Err(limit) => self.diagnostics.push(
                Diagnostic::error(
                    Code::TooManyNames,
                    rule.span,
                    format!("the policy has more than {limit} different job names of this kind; this entry is dropped"),
                )
                .help("use fewer patterns, for example one per family of servers"),
            ),
        }
    }

    fn push(&mut self, rule: &Reservation, origin: u32, who: Who) {
        if self.compiled.image.entries.len() == MAX_ENTRIES as usize {
            self.diagnostics.push(Diagnostic::error(
                Code::TooManyEntries,
                rule.span,
                format!("the policy has more than {MAX_ENTRIES} entries; this one is dropped"),
            ));
            return;
        }
        let options = self.options(rule, who);
        let line = self.with.sources.line_near(rule.span, self.line);
        self.line = line;
        self.compiled
            .image
            .entries
            .push(Entry::new(who, options, line));
        self.compiled.origins.push(origin);
    }

    fn options(&mut self, rule: &Reservation, who: Who) -> EntryOptions {
        let saf = rule.options.saf.as_ref().map(|saf| &saf.value);
        let access = saf.map(|name| self.with.servauth.access(name));
        let checks_user = matches!(access, Some(Access::Only(_)));
        let image = &mut self.compiled.image;
        let saf = match access {
            None | Some(Access::Everyone) => 0,
            Some(Access::Only(set)) => image.permits.id(set),
            // No decision is a refusal: a check was asked for.
            Some(Access::NotCovered) => image.permits.id(Default::default()),
        };
        let low =
            rule.kind != Kind::Unreserved && rule.first < FIRST_HIGH_PORT && who != Who::Blocked;
        EntryOptions {
            grant: low && (self.with.grant == GrantRule::Any || checks_user),
            grant_verified: low,
            deny: rule.options.deny.is_some(),
            no_delay_acks: rule.options.delay_acks.is_some_and(|acks| !acks.value),
            saf,
            bind: rule
                .options
                .bind
                .map_or(0, |bind| image.address(bind.value)),
        }
    }

    /// Lets the slots of the rule's ports point to its table entries.
    fn point_to(&mut self, rule: &Reservation, added: Range<u32>) {
        let index = |port: u16| Slot::index(0, rule.protocol, port) as usize;
        // The entries of one port follow each other, because they were sorted so.
        let present = self.compiled.image.slots[index(rule.first)];
        let first = if present.count() == 0 {
            added.start
        } else {
            present.first()
        };
        let Some(slot) = Slot::new(first, added.end - first) else {
            self.diagnostics.push(Diagnostic::error(
                Code::TooManyOnPort,
                rule.span,
                format!(
                    "port {} has more than {MAX_ENTRIES_PER_PORT} entries; this one is dropped",
                    rule.first
                ),
            ));
            return;
        };
        let slot = self.flagged(slot);
        for port in rule.first..=rule.last {
            self.compiled.image.slots[index(port)] = slot;
        }
    }

    /// The slot with the flags that its entries ask for.
    fn flagged(&self, slot: Slot) -> Slot {
        let entries = self.of_slot(slot);
        if entries
            .clone()
            .any(|entry| matches!(entry.who(), Who::Job(_)))
        {
            return slot.asking_for_name();
        }
        slot
    }

    fn of_slot(&self, slot: Slot) -> impl Iterator<Item = &Entry> + Clone {
        let first = slot.first() as usize;
        self.compiled.image.entries[first..first + slot.count() as usize].iter()
    }

    /// Says of every stretch of entries, in its first one, which of them cover
    /// which defined jobs.
    fn list_jobs(&mut self) {
        if self.with.jobs.is_empty() {
            return;
        }
        let image = &self.compiled.image;
        let of_unreserved = image.unreserved.iter().map(|rules| rules.entries);
        // The ports of a range share their entries.
        let stretches: BTreeMap<u32, u32> = image
            .slots
            .iter()
            .copied()
            .chain(of_unreserved)
            .filter(|slot| slot.needs_name())
            .map(|slot| (slot.first(), slot.count()))
            .collect();
        for (first, count) in stretches {
            let image = &mut self.compiled.image;
            let entries = &image.entries[first as usize..(first + count) as usize];
            let covered = entries
                .iter()
                .map(|entry| self.operands.covered(entry.who()));
            let number = image.lists.number(covered);
            let leading = &mut image.entries[first as usize];
            *leading = leading.leading(number);
        }
    }

    /// The UNRSV entries of a protocol were sorted to stand side by side.
    fn settle_unreserved(&mut self, rules: &Rules, protocol: Protocol) {
        let origins = &self.compiled.origins;
        let before = |protocol: Protocol| {
            origins.partition_point(|origin| {
                let rule = &rules.entries[*origin as usize];
                (rule.kind == Kind::Unreserved, rule.protocol) < (true, protocol)
            })
        };
        let first = before(protocol);
        let end = match protocol {
            Protocol::Tcp => before(Protocol::Udp),
            Protocol::Udp => origins.len(),
        };
        let count = (end - first) as u32;
        if count > MAX_ENTRIES_PER_PORT {
            let beyond = first + MAX_ENTRIES_PER_PORT as usize;
            self.diagnostics.push(Diagnostic::error(
                Code::TooManyOnPort,
                rules.entries[origins[beyond] as usize].span,
                format!(
                    "there are more than {MAX_ENTRIES_PER_PORT} UNRSV entries for {}; this one and those less close are dropped",
                    protocol.name()
                ),
            ));
        }
        let first = if count == 0 { 0 } else { first as u32 };
        let entries = Slot::new(first, count.min(MAX_ENTRIES_PER_PORT)).unwrap_or_default();
        let mut entries = self.flagged(entries);
        if self.with.audited.has_unreserved(protocol) {
            entries = entries.in_audit();
        }
        self.compiled.image.unreserved[protocol as usize] = Unreserved::new(
            entries,
            rules.unreserved_at_listen(protocol),
            rules.restrict_low[protocol as usize].is_some(),
        );
    }

    /// Ports for certain users only, reserved or not (`IBI-01`, `IBI-20`).
    fn restrict(&mut self) {
        for (protocol, first, last, set) in restrictions::per_port(self.with.restrictions) {
            let Ok(set) = u16::try_from(self.compiled.image.permits.id(set)) else {
                // More sets than ports can name: the limit on permits comes first.
                continue;
            };
            for port in first..=last {
                let slot = &mut self.compiled.image.slots[Slot::index(0, protocol, port) as usize];
                *slot = slot.restricted_to(set);
            }
        }
    }

    /// Marks the ports whose own rules are in audit; those that have none are left as
    /// they are, so that the tables still say nothing of them.
    fn audit(&mut self) {
        for protocol in Protocol::ALL {
            for (first, last) in self.with.audited.ports(protocol).ranges() {
                for port in first..=last {
                    let index = Slot::index(0, protocol, port) as usize;
                    let slot = &mut self.compiled.image.slots[index];
                    if *slot != Slot::default() {
                        *slot = slot.in_audit();
                    }
                }
            }
        }
    }

    /// Marks the TCP ports that several listeners share.
    fn share(&mut self, rules: &Rules) {
        for port in shared_ports(&rules.entries).into_keys() {
            let index = Slot::index(0, Protocol::Tcp, port) as usize;
            let slot = &mut self.compiled.image.slots[index];
            *slot = slot.shared();
        }
    }
}
