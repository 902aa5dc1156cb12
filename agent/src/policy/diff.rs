//! What changes from one policy to the next, entry by entry.

use std::collections::HashMap;

use portreeve_common::abi::Protocol;
use serde::{Deserialize, Serialize};

use super::{
    build::{EntryPlace, Policy},
    reservations::Reservation,
};
use crate::profile::ast::User;

/// What identifies an entry: protocol, ports and who (z/OS's key for DELETE).
type Key<'a> = (Protocol, u16, u16, &'a User);

fn key(reservation: &Reservation) -> Key<'_> {
    (
        reservation.protocol,
        reservation.first,
        reservation.last,
        &reservation.user,
    )
}

/// The difference between two policies; its JSON form is what `reload` prints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diff {
    /// Entries that only the new one has.
    pub added: Vec<EntryPlace>,
    /// Entries that only the old one has.
    pub removed: Vec<EntryPlace>,
    /// Entries of both with other options, as the new one has them.
    pub changed: Vec<EntryPlace>,
    /// How many entries are the same.
    pub unchanged: usize,
}

impl Diff {
    /// Whether both policies mean the same.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    /// The difference from `old` to `new`.
    pub fn between(old: &Policy, new: &Policy) -> Self {
        let before: HashMap<Key<'_>, &Reservation> = old
            .reservations
            .iter()
            .map(|reservation| (key(reservation), reservation))
            .collect();
        let after: HashMap<Key<'_>, &Reservation> = new
            .reservations
            .iter()
            .map(|reservation| (key(reservation), reservation))
            .collect();
        let mut diff = Self::default();
        for reservation in &new.reservations {
            match before.get(&key(reservation)) {
                None => diff.added.push(new.place_of(reservation)),
                Some(old) if !same_options(old, reservation) => {
                    diff.changed.push(new.place_of(reservation));
                }
                Some(_) => diff.unchanged += 1,
            }
        }
        for reservation in &old.reservations {
            if !after.contains_key(&key(reservation)) {
                diff.removed.push(old.place_of(reservation));
            }
        }
        diff
    }
}

/// Options compare by value; where they stand in the text doesn't matter.
fn same_options(old: &Reservation, new: &Reservation) -> bool {
    let values = |reservation: &Reservation| {
        let options = &reservation.options;
        (
            options.no_autolog.is_some(),
            options.delay_acks.as_ref().map(|option| option.value),
            options.share.as_ref().map(|option| option.value),
            options.bind.as_ref().map(|option| option.value),
            options.saf.as_ref().map(|option| option.value.clone()),
            options.smc.as_ref().map(|option| option.value),
            options.deny.is_some(),
            options.when.as_ref().map(|option| option.value),
        )
    };
    values(old) == values(new)
}

/// Table entries that both policies have: (index in `old`, index in `new`).
/// Their refusals go on being counted together.
pub fn kept_entries(old: &Policy, new: &Policy) -> Vec<(u32, u32)> {
    let places: HashMap<Key<'_>, u32> = (0u32..)
        .zip(&old.compiled.origins)
        .filter_map(|(index, origin)| Some((key(old.reservations.get(*origin)?), index)))
        .collect();
    (0u32..)
        .zip(&new.compiled.origins)
        .filter_map(|(index, origin)| {
            let reservation = new.reservations.get(*origin)?;
            Some((*places.get(&key(reservation))?, index))
        })
        .collect()
}
