//! The maps as one policy: the half that was in force when the call began.

use core::ptr;

use portreeve_common::{
    PolicyView,
    abi::{
        Active, BindAddress, Entry, MAX_ADDRESSES, MAX_ENTRIES, MAX_ENTRIES_PER_PORT, MAX_GLOBS,
        MAX_MATCHERS, Matcher, PROTOCOLS, Protocol, Slot, Unreserved,
        jobs::{IdentityKey, JobRules, MAX_AUTOMATON_WORDS, PlaceKey, Step, StepKey, WildKey},
    },
    decide::search,
    identity::JobTables,
    jobname::{Glob, Name},
};

use crate::maps::{
    ACTIVE, ADDRESSES, ENTRIES, GLOBS, JOB_IDENTITIES, JOB_PLACES, JOB_RULES, JOB_STEPS, JOB_WILD,
    JOB_WORDS, MATCHERS, SLOTS, UNRESERVED,
};

/// What `ACTIVE` says now. Read once per call: a second look could name the other half.
#[inline(always)]
pub fn active() -> Active {
    match ACTIVE.get_ptr(0) {
        // SAFETY: the pointer is to the map's one element, which is 8-byte
        // aligned and lives as long as the program; user space stores it whole.
        Some(word) => Active::from_word(unsafe { ptr::read_volatile(word) }),
        None => Active::NONE,
    }
}

/// One half of every table.
#[derive(Clone, Copy)]
pub struct Half(pub u32);

impl Half {
    /// Where element `index` of this half stands; nothing reaches the other half.
    #[inline(always)]
    fn index(&self, index: u32, per_half: u32) -> Option<u32> {
        if index < per_half {
            Some(self.0 * per_half + index)
        } else {
            None
        }
    }

    /// Whether the policy has a word for this very port: it is reserved, or
    /// restricted to users.
    #[inline(always)]
    pub fn names(self, protocol: Protocol, port: u16) -> bool {
        self.slot(protocol, port)
            .is_some_and(|slot| slot != Slot::default())
    }

    /// Whether nobody is to be handed this port out: the policy has a word for it that
    /// is enforced.
    #[inline(always)]
    pub fn keeps(self, protocol: Protocol, port: u16) -> bool {
        self.slot(protocol, port)
            .is_some_and(|slot| slot != Slot::default() && !slot.is_audited())
    }

    /// What defines jobs.
    #[inline(always)]
    pub fn job_rules(self) -> Option<&'static JobRules> {
        JOB_RULES.get(self.0)
    }
}

/// What stands in a hash table, copied: the agent changes the idle half only.
#[inline(always)]
pub fn copied<T: Copy>(value: Option<*const T>) -> Option<T> {
    // SAFETY: the pointer is to a value of the map, which stays readable until
    // the program ends, even if it is deleted meanwhile.
    value.map(|value| unsafe { *value })
}

impl JobTables for Half {
    #[inline(always)]
    fn half(&self) -> u32 {
        self.0
    }

    #[inline(always)]
    fn step(&self, key: &StepKey) -> Option<Step> {
        copied(JOB_STEPS.get_ptr(key))
    }

    #[inline(always)]
    fn wild_step(&self, key: &WildKey) -> Option<Step> {
        copied(JOB_WILD.get_ptr(key))
    }

    #[inline(always)]
    fn words(&self, index: u32) -> Option<u64> {
        JOB_WORDS
            .get(self.index(index, MAX_AUTOMATON_WORDS / 4)?)
            .copied()
    }

    #[inline(always)]
    fn identity(&self, key: &IdentityKey) -> u32 {
        copied(JOB_IDENTITIES.get_ptr(key)).unwrap_or(0)
    }

    #[inline(always)]
    fn place(&self, key: &PlaceKey) -> Option<u32> {
        copied(JOB_PLACES.get_ptr(key))
    }
}

impl PolicyView for Half {
    #[inline(always)]
    fn slot(&self, protocol: Protocol, port: u16) -> Option<Slot> {
        SLOTS.get(Slot::index(self.0, protocol, port)).copied()
    }

    #[inline(always)]
    fn unreserved(&self, protocol: Protocol) -> Option<Unreserved> {
        UNRESERVED
            .get(self.index(protocol as u32, PROTOCOLS)?)
            .copied()
    }

    #[inline(always)]
    fn address(&self, index: u32) -> Option<&BindAddress> {
        ADDRESSES.get(self.index(index, MAX_ADDRESSES)?)
    }

    #[inline(always)]
    fn entry(&self, index: u32) -> Option<&Entry> {
        ENTRIES.get(self.index(index, MAX_ENTRIES)?)
    }

    #[inline(always)]
    fn matcher(&self, index: u32) -> Option<&Matcher> {
        MATCHERS.get(self.index(index, MAX_MATCHERS)?)
    }

    #[inline(always)]
    fn glob(&self, index: u32) -> Option<&Glob> {
        GLOBS.get(self.index(index, MAX_GLOBS)?)
    }

    #[inline(always)]
    fn glob_matches(&self, index: u32, name: Name) -> Option<bool> {
        let [first, second] = name.words();
        match glob_matches(self.0, index, first, second) {
            NO_GLOB => None,
            answer => Some(answer != 0),
        }
    }

    #[inline(always)]
    fn first_meant(&self, entries: Slot, name: Name) -> u32 {
        let [first, second] = name.words();
        first_meant(self.0, entries.first(), entries.count(), first, second)
    }
}

/// A function of its own: what is kept ready for each turn of the loop takes much of the
/// stack.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn first_meant(half: u32, first: u32, count: u32, low: u64, high: u64) -> u32 {
    let mut offset = 0;
    while offset < MAX_ENTRIES_PER_PORT && offset < count {
        let found = meant_of_some(half, first + offset, count - offset, low, high);
        if found < SOME {
            return offset + found;
        }
        offset += SOME;
    }
    count
}

/// Entries that are looked at by [`meant_of_some`].
const SOME: u32 = 16;

/// [`search`] among the next few entries. The verifier walks it once, not for each few.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn meant_of_some(half: u32, first: u32, count: u32, low: u64, high: u64) -> u32 {
    match Slot::new(first, count) {
        Some(entries) => search::<SOME, Half>(entries, Name::from_words([low, high]), &Half(half)),
        // Behind the end of the table: whoever looks at the place finds nothing there.
        None => 0,
    }
}

/// [`glob_matches`]: there is no such automaton.
const NO_GLOB: u32 = 2;

/// A function of its own, because few entries need it, and it would be walked for each.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn glob_matches(half: u32, index: u32, low: u64, high: u64) -> u32 {
    match Half(half).glob(index) {
        Some(glob) => u32::from(glob.matches(Name::from_words([low, high]))),
        None => NO_GLOB,
    }
}
