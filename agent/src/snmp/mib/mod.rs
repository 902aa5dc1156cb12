//! The variables of `PORTREEVE-MIB`, answered from a copy of how things were.

mod objects;
mod rows;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, sync::Arc};

use portreeve_common::{Reason, abi::Mode};

use self::{
    objects::{OBJECTS, Object, What},
    rows::Row,
};
use super::{
    agentx::{Value, VarBind},
    session::Objects,
};
use crate::{
    oid::Oid,
    policy::{
        build::Policy,
        holdings::{Holding, State},
    },
};

pub use self::{
    objects::{NOTIFICATIONS, NOTIFIED, octets, state_number},
    rows::protocol_number,
};

/// How things are, as far as managers are told.
pub struct Facts<'f> {
    /// The policy in force.
    pub policy: Arc<Policy>,
    /// Its mode; `None` if nothing is enforced.
    pub mode: Option<Mode>,
    /// Its number.
    pub generation: u32,
    /// The master's `sysUpTime` when it came into force, in hundredths of a second.
    pub last_change: u32,
    /// For each reason how often it was why, in enforce and in audit mode.
    pub judged: HashMap<Reason, [u64; 2]>,
    /// Compiled entries that refused, and how often.
    pub refusals: &'f [(u32, u64)],
    /// Who has which port; `None` if that isn't known.
    pub holdings: Option<&'f [Holding]>,
}

/// The variables at one moment.
pub struct View {
    base: Oid,
    policy: Arc<Policy>,
    mode: Option<Mode>,
    generation: u32,
    last_change: u32,
    judged: Vec<(Reason, [u64; 2])>,
    rows: Vec<Row>,
    /// By reservation: how often it refused.
    refusals: HashMap<u32, u64>,
    /// By reservation: what its ports are if somebody has one, and who that is.
    held: Option<HashMap<u32, (State, String)>>,
}

impl View {
    /// Of `facts`, below `base`.
    pub fn new(base: Oid, facts: Facts<'_>) -> Self {
        let policy = facts.policy;
        let mut refusals: HashMap<u32, u64> = HashMap::new();
        for (entry, count) in facts.refusals {
            if let Some(origin) = policy.compiled.origins.get(*entry as usize) {
                *refusals.entry(*origin).or_default() += count;
            }
        }
        let of = |reason: &Reason| facts.judged.get(reason).copied().unwrap_or_default();
        Self {
            base,
            mode: facts.mode,
            generation: facts.generation,
            last_change: facts.last_change,
            judged: Reason::ALL
                .iter()
                .map(|reason| (*reason, of(reason)))
                .collect(),
            rows: rows::of(&policy.reservations),
            refusals,
            held: facts.holdings.map(|holdings| rows::held(&policy, holdings)),
            policy,
        }
    }

    /// The policy that it is of.
    pub const fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// How many instances `object` has.
    const fn count(&self, object: &Object) -> usize {
        match object.what {
            What::Scalar(_) => 1,
            What::Reservation(_) => self.rows.len(),
            What::Reason(_) => self.judged.len(),
        }
    }

    /// What tells instance `place` of `object` from others.
    fn index(&self, object: &Object, place: usize) -> Index {
        match object.what {
            What::Scalar(_) => Index::One([0]),
            What::Reservation(_) => Index::Three(self.rows[place].index()),
            What::Reason(_) => Index::One([1 + self.judged[place].0 as u32]),
        }
    }

    fn value(&self, object: &Object, place: usize) -> Value {
        match object.what {
            What::Scalar(value) => value(self),
            What::Reservation(value) => value(self, &self.rows[place]),
            What::Reason(value) => value(&self.judged[place]),
        }
    }

    /// The first instance of `object` behind `index`, or at it if it is included.
    fn first_after(&self, object: &Object, index: &[u32], includes: bool) -> Option<usize> {
        let is_before = |place: usize| {
            let at = self.index(object, place);
            match includes {
                true => at.numbers() < index,
                false => at.numbers() <= index,
            }
        };
        // As `partition_point`, of what is not a slice.
        let (mut low, mut high) = (0, self.count(object));
        while low < high {
            let middle = low.midpoint(high);
            match is_before(middle) {
                true => low = middle + 1,
                false => high = middle,
            }
        }
        (low < self.count(object)).then_some(low)
    }
}

/// What tells instances of an object apart.
enum Index {
    One([u32; 1]),
    Three([u32; 3]),
}

impl Index {
    const fn numbers(&self) -> &[u32] {
        match self {
            Self::One(numbers) => numbers,
            Self::Three(numbers) => numbers,
        }
    }
}

impl Objects for View {
    fn get(&self, name: &Oid) -> Value {
        let rest = name.after(&self.base).unwrap_or_default();
        let object = OBJECTS
            .iter()
            .find_map(|object| Some((object, rest.strip_prefix(object.place)?)));
        let Some((object, index)) = object else {
            return Value::NoSuchObject;
        };
        let found = self.first_after(object, index, true);
        match found.filter(|place| self.index(object, *place).numbers() == index) {
            Some(place) => self.value(object, place),
            None => Value::NoSuchInstance,
        }
    }

    fn next(&self, start: &Oid, includes_start: bool) -> Option<VarBind> {
        let rest = match start.after(&self.base) {
            Some(rest) => rest,
            None if *start < self.base => &[],
            None => return None,
        };
        OBJECTS.iter().find_map(|object| {
            let place = match rest.strip_prefix(object.place) {
                Some(index) => self.first_after(object, index, includes_start)?,
                None if rest < object.place && self.count(object) > 0 => 0,
                None => return None,
            };
            let index = self.index(object, place);
            Some(VarBind {
                name: self.base.below(object.place).below(index.numbers()),
                value: self.value(object, place),
            })
        })
    }
}
