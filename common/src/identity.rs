//! Which defined jobs a process is, by tables: written once for the programs and
//! for the tests that hold them against the definitions.

use crate::abi::jobs::{
    Automaton, Classes, Facts, IdentityKey, MAX_CGROUP_DEPTH, MAX_CHUNKS, Place, PlaceKey, Step,
    StepKey, WildKey,
};

/// The tables of one half. `None` for a key means that nothing stands there.
pub trait JobTables {
    /// The half, for keys.
    fn half(&self) -> u32;

    /// The way on by a chunk.
    fn step(&self, key: &StepKey) -> Option<Step>;

    /// The way on by a name's class.
    fn wild_step(&self, key: &WildKey) -> Option<Step>;

    /// Words `4 * index` to `4 * index + 3` of the automata, the first one lowest.
    fn words(&self, index: u32) -> Option<u64>;

    /// The set of jobs that `key` leads to; 0 for none.
    fn identity(&self, key: &IdentityKey) -> u32;

    /// The offset of the entry that `key` leads to.
    fn place(&self, key: &PlaceKey) -> Option<u32>;
}

/// The names of a cgroup and those above it.
pub trait CgroupPath {
    /// One name, or what leads to it.
    type Name: Copy;

    /// How far below the root the cgroup is; 0 is the root itself.
    fn depth(&self) -> u32;

    /// The name at `level`, from 1. `None` if it can't be read.
    fn name(&self, level: u32) -> Option<Self::Name>;

    /// Reads chunk `index` of `name` into `key`, padded with NULs. `false` if it
    /// can't be read.
    fn read(name: Self::Name, index: u32, key: &mut StepKey) -> bool;

    /// The way on from `state` by `name`; zero for none. It is always [`step_by_name`]:
    /// the programs keep that in a function of its own.
    #[inline(always)]
    fn step<T: JobTables>(&self, state: u32, tables: &T, name: Self::Name) -> Option<Step>
    where
        Self: Sized,
    {
        step_by_name::<T, Self>(state, tables, name)
    }

    /// The class of `name` by the automaton of components.
    fn class(&self, name: Self::Name) -> Option<u32>;
}

/// The class of a cgroup: which of the config's patterns it or one above it
/// satisfies. `None` if its names can't be read.
#[inline(always)]
pub fn cgroup_class<T: JobTables, C: CgroupPath>(
    start: Step,
    tables: &T,
    cgroup: &C,
) -> Option<u32> {
    let mut at = start;
    let mut level = 1;
    // No pattern is longer, so what lies deeper changes nothing.
    while level <= MAX_CGROUP_DEPTH {
        if level > cgroup.depth() || at.state == 0 {
            break;
        }
        let name = cgroup.name(level)?;
        let mut next = cgroup.step(at.state, tables, name)?;
        if next.state == 0 && at.wild != 0 {
            let key = WildKey {
                half: tables.half(),
                state: at.state,
                component: cgroup.class(name)?,
            };
            next = tables.wild_step(&key).unwrap_or_default();
        }
        // What was satisfied on the way stays so.
        if next.state == 0 {
            break;
        }
        at = next;
        level += 1;
    }
    Some(at.class)
}

/// The way on from `state` by the whole of `name`, chunk by chunk. `None` if it can't be
/// read.
#[inline(always)]
pub fn step_by_name<T: JobTables, C: CgroupPath>(
    state: u32,
    tables: &T,
    name: C::Name,
) -> Option<Step> {
    let mut key = StepKey {
        half: tables.half(),
        state,
        chunk: [0; _],
    };
    let mut index = 0;
    while index < MAX_CHUNKS {
        if !C::read(name, index, &mut key) {
            return None;
        }
        let Some(next) = tables.step(&key) else {
            return Some(Step::default());
        };
        if key.ends_name() {
            return Some(next);
        }
        key.state = next.state;
        index += 1;
    }
    Some(Step::default())
}

/// Where a text begins in an automaton. Row 0 is a dead end, where damage leads too.
pub const FIRST_ROW: u32 = 1;

/// The row that `byte` leads to from `row`.
#[inline(always)]
pub fn next_row<T: JobTables>(automaton: Automaton, tables: &T, row: u32, byte: u8) -> u32 {
    let column = word(automaton.start + byte as u32, tables);
    word(first_word(automaton, row) + column, tables)
}

/// The class of a text that ends in `row`.
#[inline(always)]
pub fn class_of_row<T: JobTables>(automaton: Automaton, tables: &T, row: u32) -> u32 {
    word(first_word(automaton, row), tables)
}

#[inline(always)]
const fn first_word(automaton: Automaton, row: u32) -> u32 {
    automaton.start + 256 + row * automaton.width
}

#[inline(always)]
fn word<T: JobTables>(index: u32, tables: &T) -> u32 {
    let four = tables.words(index / 4).unwrap_or(0);
    (four >> (16 * (index % 4))) as u32 & 0xffff
}

/// Whether a process with these classes is a defined job.
#[inline(always)]
pub fn is_job<T: JobTables>(signatures: u32, classes: Classes, tables: &T) -> bool {
    let mut facts = 1;
    while facts < Facts::SETS {
        if signatures & (1 << facts) != 0 && identity(Facts(facts), classes, tables) != 0 {
            return true;
        }
        facts += 1;
    }
    false
}

/// The first entry of `list` that covers a job of a process with these classes.
#[inline(always)]
pub fn place<T: JobTables>(signatures: u32, classes: Classes, list: u32, tables: &T) -> Place {
    let mut found = Place::NONE;
    let mut facts = 1;
    while facts < Facts::SETS {
        if signatures & (1 << facts) != 0 {
            let key = PlaceKey {
                half: tables.half(),
                list,
                identity: identity(Facts(facts), classes, tables),
            };
            if let Some(offset) = tables.place(&key) {
                found = found.or(Place::new(offset, Facts(facts).is_proof()));
            }
        }
        facts += 1;
    }
    found
}

#[inline(always)]
fn identity<T: JobTables>(facts: Facts, classes: Classes, tables: &T) -> u32 {
    tables.identity(&IdentityKey {
        half: tables.half(),
        facts,
        classes: classes.only(facts),
    })
}
