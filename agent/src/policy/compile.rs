//! Reservations into tables: direct-indexed slots, entries most specific first.

use std::{cmp::Reverse, collections::HashMap};

use portreeve_common::{
    abi::{Entry, MAX_ENTRIES, MAX_ENTRIES_PER_PORT, MAX_GLOBS, MAX_MATCHERS, Matcher, Slot, Who},
    decide::FIRST_HIGH_PORT,
    jobname::{Glob, MaskedName},
};

use super::{
    image::Image,
    reservations::{Kind, Reservation},
};
use crate::{
    config::GrantRule,
    diagnostics::{Code, Diagnostic, Diagnostics, Sources},
    profile::ast::User,
};

/// The tables of a policy, and which reservation each entry came from.
#[derive(Debug)]
pub struct Compiled {
    /// The tables.
    pub image: Image,
    /// Per entry: index of its reservation.
    pub origins: Vec<usize>,
}

/// Compiles `reservations`. What exceeds a limit is reported and left out.
pub fn compile(
    reservations: &[Reservation],
    grant: GrantRule,
    sources: &Sources,
    diagnostics: &mut Diagnostics,
) -> Compiled {
    let mut order: Vec<usize> = (0..reservations.len()).collect();
    // A stable sort: what ties in specificity stays in list order (`PRT-37`, A-03).
    order.sort_by_cached_key(|index| {
        let reservation = &reservations[*index];
        (
            reservation.protocol,
            reservation.first,
            Specificity::of(&reservation.user),
        )
    });

    let mut tables = Tables::default();
    let mut compiled = Compiled {
        image: Image::default(),
        origins: Vec::new(),
    };
    for index in order {
        let reservation = &reservations[index];
        match tables.who(&reservation.user) {
            Ok(who) => place(&mut compiled, reservation, index, who, grant, sources, diagnostics),
            Err(limit) => diagnostics.push(
                Diagnostic::error(
                    Code::TooManyNames,
                    reservation.span,
                    format!("the policy has more than {limit} different job names of this kind; this entry is dropped"),
                )
                .help("use fewer patterns, for example one per family of servers"),
            ),
        }
    }
    compiled.image.matchers = tables.matchers;
    compiled.image.globs = tables.globs;
    compiled
}

/// Appends the entry and lets the slots of its ports point to it.
fn place(
    compiled: &mut Compiled,
    reservation: &Reservation,
    origin: usize,
    who: Who,
    grant: GrantRule,
    sources: &Sources,
    diagnostics: &mut Diagnostics,
) {
    let image = &mut compiled.image;
    let index = image.entries.len() as u32;
    if index == MAX_ENTRIES {
        diagnostics.push(Diagnostic::error(
            Code::TooManyEntries,
            reservation.span,
            format!("the policy has more than {MAX_ENTRIES} entries; this one is dropped"),
        ));
        return;
    }
    let needs_name = matches!(who, Who::Job(_));
    let slots = &mut image.slots;
    let slot_of = |port: u16| Slot::index(0, reservation.protocol, port) as usize;
    let slot = match reservation.kind {
        Kind::Range => Slot::new(index, 1, needs_name),
        Kind::Port => {
            // The entries of one port follow each other: they were sorted so.
            let present = slots[slot_of(reservation.first)];
            let first = if present.count() == 0 {
                index
            } else {
                present.first()
            };
            Slot::new(
                first,
                present.count() + 1,
                present.needs_name() || needs_name,
            )
        }
    };
    let Some(slot) = slot else {
        diagnostics.push(Diagnostic::error(
            Code::TooManyOnPort,
            reservation.span,
            format!(
                "port {} has more than {MAX_ENTRIES_PER_PORT} entries; this one is dropped",
                reservation.first
            ),
        ));
        return;
    };
    for port in reservation.first..=reservation.last {
        slots[slot_of(port)] = slot;
    }
    let grants = match grant {
        GrantRule::Any => who != Who::Blocked && reservation.first < FIRST_HIGH_PORT,
        // A process name is what a process says of itself; nothing verified is
        // part of any entry yet.
        GrantRule::Verified => false,
    };
    image
        .entries
        .push(Entry::new(who, grants, sources.line(reservation.span)));
    compiled.origins.push(origin);
}

/// The closest match first (port-control 4.6, A-03): exact names, then patterns
/// with more literal characters, fewer `*` and a longer literal prefix, then
/// `OMVS`, then `*`. What admits nobody has its port alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Specificity {
    Exact,
    Pattern {
        literals: Reverse<usize>,
        stars: usize,
        prefix: Reverse<usize>,
    },
    Omvs,
    Anyone,
    Nobody,
}

impl Specificity {
    fn of(user: &User) -> Self {
        match user {
            User::Job(name) if !name.contains(['*', '?']) => Self::Exact,
            User::Job(pattern) => Self::Pattern {
                literals: Reverse(pattern.chars().filter(|c| !matches!(c, '*' | '?')).count()),
                stars: pattern.matches('*').count(),
                prefix: Reverse(pattern.find(['*', '?']).unwrap_or(pattern.len())),
            },
            User::Omvs => Self::Omvs,
            User::Anyone => Self::Anyone,
            User::Reserved | User::Authport => Self::Nobody,
        }
    }
}

/// Jobname operands seen so far, each stored once.
#[derive(Default)]
struct Tables {
    matchers: Vec<Matcher>,
    globs: Vec<Glob>,
    known: HashMap<String, u32>,
}

impl Tables {
    /// Whom `user` admits; the limit if there is no room for its name.
    fn who(&mut self, user: &User) -> Result<Who, u32> {
        match user {
            User::Reserved => Ok(Who::Blocked),
            User::Anyone | User::Omvs => Ok(Who::Anyone),
            // Nobody can be the FTP server as long as nothing says who it is.
            User::Authport => Ok(Who::Nobody),
            User::Job(name) => self.matcher(name).map(Who::Job),
        }
    }

    fn matcher(&mut self, name: &str) -> Result<u32, u32> {
        if let Some(index) = self.known.get(name) {
            return Ok(*index);
        }
        if self.matchers.len() == MAX_MATCHERS as usize {
            return Err(MAX_MATCHERS);
        }
        let matcher = match MaskedName::new(name) {
            Some(masked) => Matcher::masked(masked, 0),
            None => self.automaton(name)?,
        };
        let index = self.matchers.len() as u32;
        self.matchers.push(matcher);
        self.known.insert(name.to_owned(), index);
        Ok(index)
    }

    fn automaton(&mut self, pattern: &str) -> Result<Matcher, u32> {
        if self.globs.len() == MAX_GLOBS as usize {
            return Err(MAX_GLOBS);
        }
        // A name the parser let pass is short enough; if not, it matches nobody.
        Ok(match Glob::new(pattern) {
            Some(glob) => {
                self.globs.push(glob);
                Matcher::glob(self.globs.len() as u32 - 1, 0)
            }
            None => Matcher::default(),
        })
    }
}
