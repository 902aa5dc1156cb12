//! Ports for certain users only, as on IBM i (port-control section 7).
//!
//! A restriction is a list of users who may have a port; whom it doesn't name
//! may not. A port that several name is open to the users of all (`IBI-03`,
//! Membership in a group counts for nothing.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    iter::Peekable,
    vec,
};

use portreeve_common::abi::Protocol;

use super::{
    accounts::{self, Accounts, Id},
    permits::PermitSet,
};
use crate::{
    config,
    diagnostics::{Diagnostics, Span},
};

/// Ports that are for certain users only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restriction {
    /// Of which protocol.
    pub protocol: Protocol,
    /// First port.
    pub first: u16,
    /// Last port, inclusive.
    pub last: u16,
    /// The users, by number. If there are none, the ports are nobody's.
    pub users: BTreeSet<u32>,
    /// Where it is written.
    pub span: Span,
}

/// The restrictions of the config with their users looked up.
///
/// A user who doesn't exist is reported and left out; the restriction stays, so
/// a misspelt name never opens a port.
pub fn of_config(
    restrictions: &[config::Restriction],
    accounts: &dyn Accounts,
    diagnostics: &mut Diagnostics,
) -> Vec<Restriction> {
    let resolve = |restriction: &config::Restriction| {
        let mut users = BTreeSet::new();
        for account in &restriction.users {
            if let Some(Id::User(uid)) = accounts::resolve(account, accounts, diagnostics) {
                users.insert(uid);
            }
        }
        Restriction {
            protocol: restriction.protocol,
            first: restriction.first,
            last: restriction.last,
            users,
            span: restriction.span,
        }
    };
    restrictions.iter().map(resolve).collect()
}

/// Who may have which ports: the longest stretches of ports with the same users,
/// in order. Ports that no restriction names are in none (`IBI-02`).
pub fn per_port(
    restrictions: &[Restriction],
) -> impl Iterator<Item = (Protocol, u16, u16, PermitSet)> {
    Protocol::ALL.into_iter().flat_map(|protocol| {
        let sweep = Sweep::new(restrictions, protocol);
        sweep.map(move |(first, last, set)| (protocol, first, last, set))
    })
}

/// A restriction's ports begin or end.
#[derive(Clone, Copy)]
struct Edge<'a> {
    /// The first port that is affected; 65536 is behind all.
    port: u32,
    begins: bool,
    users: &'a BTreeSet<u32>,
}

/// Passes the ports of one protocol from edge to edge. Each restriction's users
/// are counted in once and out once; only what is returned is copied.
struct Sweep<'a> {
    edges: Peekable<vec::IntoIter<Edge<'a>>>,
    /// The first port of the stretch that is next.
    from: u32,
    /// How many restrictions hold here, and how many of them name each user.
    holding: usize,
    named: BTreeMap<u32, usize>,
}

impl<'a> Sweep<'a> {
    fn new(restrictions: &'a [Restriction], protocol: Protocol) -> Self {
        let mut edges = Vec::new();
        for restriction in restrictions {
            if restriction.protocol != protocol || restriction.first > restriction.last {
                continue;
            }
            let edge = |port, begins| Edge {
                port,
                begins,
                users: &restriction.users,
            };
            edges.push(edge(u32::from(restriction.first), true));
            edges.push(edge(u32::from(restriction.last) + 1, false));
        }
        edges.sort_by_key(|edge| edge.port);
        Self {
            edges: edges.into_iter().peekable(),
            from: 0,
            holding: 0,
            named: BTreeMap::new(),
        }
    }

    /// Passes all edges at `port`; says whether other users, or none at all, are
    /// named from there on.
    fn pass(&mut self, port: u32) -> bool {
        let held = self.holding;
        // How often each user is named now less how often before.
        let mut change: BTreeMap<u32, isize> = BTreeMap::new();
        while let Some(edge) = self.edges.next_if(|edge| edge.port == port) {
            let step = if edge.begins { 1 } else { -1 };
            self.holding = self.holding.saturating_add_signed(step);
            for user in edge.users {
                *change.entry(*user).or_default() += step;
            }
        }
        let mut different = (held == 0) != (self.holding == 0);
        for (user, step) in change {
            let before = self.named.get(&user).copied().unwrap_or(0);
            let after = before.saturating_add_signed(step);
            different |= (before == 0) != (after == 0);
            if after == 0 {
                self.named.remove(&user);
            } else {
                self.named.insert(user, after);
            }
        }
        different
    }
}

impl Iterator for Sweep<'_> {
    type Item = (u16, u16, PermitSet);

    fn next(&mut self) -> Option<Self::Item> {
        while self.holding == 0 {
            self.from = self.edges.peek()?.port;
            self.pass(self.from);
        }
        let first = self.from;
        let set = PermitSet {
            users: self.named.keys().copied().collect(),
            groups: BTreeSet::new(),
        };
        loop {
            // What holds has an end, so there is an edge to come.
            let port = self.edges.peek()?.port;
            if self.pass(port) {
                self.from = port;
                let last = u16::try_from(port - 1).ok()?;
                return Some((u16::try_from(first).ok()?, last, set));
            }
        }
    }
}
