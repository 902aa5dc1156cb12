//! Which entries stand on which port.

use std::collections::{HashMap, VecDeque};

use super::Kept;
use crate::profile::ast::User;

/// The entries of each port that has some of its own. Nearly every port has one, and
/// that costs no search.
#[derive(Default)]
pub(super) struct Entries<'a> {
    /// By port: 1 + the number of its only entry, or 0. Empty, or one for each port.
    only: Vec<u32>,
    /// Ports that have, or had, several.
    several: HashMap<u16, Several<'a>>,
}

/// Entries of one port.
#[derive(Default)]
struct Several<'a> {
    /// In order; deleted ones stay until they are seen.
    order: VecDeque<usize>,
    by_user: HashMap<&'a User, usize>,
}

impl<'a> Entries<'a> {
    fn only(&self, port: u16) -> Option<usize> {
        let number = *self.only.get(usize::from(port))?;
        (number as usize).checked_sub(1)
    }

    /// The entry of `port` for `user`.
    pub fn of(&self, port: u16, user: &User, kept: &[Option<Kept<'a>>]) -> Option<usize> {
        let only = self.only(port);
        let is_for = |index: &usize| kept[*index].is_some_and(|kept| kept.entry.user == *user);
        only.filter(is_for)
            .or_else(|| self.several.get(&port)?.by_user.get(user).copied())
    }

    /// The first entry of `port` that is not deleted.
    pub fn first(&mut self, port: u16, kept: &[Option<Kept<'a>>]) -> Option<usize> {
        if let Some(only) = self.only(port) {
            return Some(only);
        }
        let order = &mut self.several.get_mut(&port)?.order;
        while let Some(index) = order.front() {
            if kept[*index].is_some() {
                return Some(*index);
            }
            order.pop_front();
        }
        None
    }

    /// Adds the entry of this number.
    pub fn add(&mut self, port: u16, index: usize, kept: &[Option<Kept<'a>>]) {
        let earlier = self.only(port);
        if earlier.is_none() && !self.several.contains_key(&port) {
            if self.only.is_empty() {
                self.only = vec![0; 1 << u16::BITS];
            }
            self.only[usize::from(port)] = index as u32 + 1;
            return;
        }
        if earlier.is_some() {
            self.only[usize::from(port)] = 0;
        }
        let several = self.several.entry(port).or_default();
        for index in earlier.into_iter().chain([index]) {
            if let Some(kept) = kept[index] {
                several.order.push_back(index);
                several.by_user.insert(&kept.entry.user, index);
            }
        }
    }

    /// Takes away the entry of `port` for `user`.
    pub fn remove(&mut self, port: u16, user: &User, kept: &[Option<Kept<'a>>]) -> Option<usize> {
        let index = self.of(port, user, kept)?;
        match self.several.get_mut(&port) {
            Some(several) => drop(several.by_user.remove(user)),
            None => self.only[usize::from(port)] = 0,
        }
        Some(index)
    }
}
