//! The tables by which the programs know a defined job (design: "who is calling").
//!
//! A definition names facts of a process: cgroup, executable, process name, user.
//! Each fact has **classes**: numbers that say which of the config's conditions on
//! it hold, 0 for none. The classes of all facts together lead to an **identity**,
//! the set of defined jobs that the process is, and an identity and a port's list
//! of entries to a [`Place`]: the first entry that covers one of those jobs.

use crate::jobname::Name;

/// Most components of a cgroup pattern; what lies deeper needn't be looked at.
pub const MAX_CGROUP_DEPTH: u32 = 32;
/// Bytes of a cgroup's name that are compared at once, a NUL behind them.
pub const CHUNK_CHARS: usize = 55;
/// Words of a chunk.
pub const CHUNK_WORDS: usize = 7;
/// Bytes of the longest name (`NAME_MAX`).
pub const LONGEST_NAME: usize = 255;
/// Chunks of the longest name.
pub const MAX_CHUNKS: u32 = 5;
/// Most [`StepKey`]s of one policy.
pub const MAX_STEPS: u32 = 32_768;
/// Most [`WildKey`]s of one policy.
pub const MAX_WILD_STEPS: u32 = 8192;
/// Words of one policy's automata, kept four to an element.
pub const MAX_AUTOMATON_WORDS: u32 = 524_288;
/// Most executables in the definitions of one policy, former files included.
pub const MAX_EXES: u32 = 4096;
/// Most users in the definitions of one policy.
pub const MAX_JOB_USERS: u32 = 16_384;
/// Most defined jobs of one policy.
pub const MAX_JOBS: u32 = 16_384;
/// Most [`IdentityKey`]s of one policy.
pub const MAX_IDENTITIES: u32 = 65_536;
/// Most [`PlaceKey`]s of one policy.
pub const MAX_PLACES: u32 = 131_072;
/// Cgroups whose class is remembered.
pub const CGROUP_CACHE: u32 = 8192;

/// A set of facts that a definition names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(transparent)]
pub struct Facts(pub u32);

impl Facts {
    /// The cgroup it is in, own or above.
    pub const CGROUP: Self = Self(1);
    /// The file it runs.
    pub const EXE: Self = Self(2);
    /// Its process name.
    pub const COMM: Self = Self(4);
    /// Its effective user.
    pub const USER: Self = Self(8);
    /// How many different sets there are.
    pub const SETS: u32 = 16;

    /// These and those.
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether one of `other` is among them.
    #[inline(always)]
    pub const fn any_of(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether they hold something that a process can't choose for itself: its
    /// cgroup or its user (`PRT-39`).
    #[inline(always)]
    pub const fn is_proof(self) -> bool {
        self.any_of(Self::CGROUP.with(Self::USER))
    }
}

/// A state of the walk from the root of the cgroups towards the caller's. Zero: stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(C)]
pub struct Step {
    /// The state's number; 0 is none.
    pub state: u32,
    /// The class of a cgroup that the walk has reached.
    pub class: u32,
    /// 1 if patterns with `*` go on from here ([`WildKey`]).
    pub wild: u32,
    /// 0.
    pub reserved: u32,
}

impl Step {
    const WILD: u64 = 1 << 63;

    /// As a number, for the one register that the programs can hand it over in; all ones
    /// is none's. A state's number has less than 31 bits ([`MAX_STEPS`]).
    #[inline(always)]
    pub const fn word(self) -> u64 {
        let wild = if self.wild != 0 { Self::WILD } else { 0 };
        self.class as u64 | (self.state as u64) << 32 | wild
    }

    /// From [`Self::word`].
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self {
            state: ((word & !Self::WILD) >> 32) as u32,
            class: word as u32,
            wild: (word >> 63) as u32,
            reserved: 0,
        }
    }
}

/// An automaton in the table of words: 256 words say the column of each byte value,
/// then come rows of `width` words, the first of them the row's class and the
/// others the next row per column. Row 0 is a dead end, texts begin in row 1, and
/// a NUL leads back to its own row, so padding changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(C)]
pub struct Automaton {
    /// Index of its first word in its half.
    pub start: u32,
    /// Words of a row; 0 when there is no automaton.
    pub width: u32,
}

/// What one half defines jobs by. Zero: no job at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(C)]
pub struct JobRules {
    /// Bit `s` is set if some definition names exactly the facts `s`.
    pub signatures: u32,
    /// All facts that some definition names.
    pub facts: Facts,
    /// Where walks begin.
    pub start: Step,
    /// Process names.
    pub comm: Automaton,
    /// Components of cgroup patterns with `*`.
    pub component: Automaton,
}

/// The way on from a state by one chunk of a cgroup's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct StepKey {
    /// Half.
    pub half: u32,
    /// [`Step::state`]
    pub state: u32,
    /// [`CHUNK_CHARS`] bytes, or fewer at the name's end, padded with NULs.
    pub chunk: [u64; CHUNK_WORDS],
}

impl StepKey {
    /// Whether the name ends in this chunk. One whose length is a multiple of
    /// [`CHUNK_CHARS`] ends in an empty chunk.
    #[inline(always)]
    pub const fn ends_name(&self) -> bool {
        (u64::from_le(self.chunk[CHUNK_WORDS - 1]) >> 48) & 0xff == 0
    }
}

/// The way on from a state by a whole name that no [`StepKey`] leads on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct WildKey {
    /// Half.
    pub half: u32,
    /// [`Step::state`]
    pub state: u32,
    /// The name's class by the automaton of components.
    pub component: u32,
}

/// An executable: an inode, as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct ExeKey {
    /// Half.
    pub half: u32,
    /// `super_block.s_dev`
    pub device: u32,
    /// `inode.i_ino`
    pub inode: u64,
    /// `inode.i_generation`
    pub generation: u32,
    /// 0.
    pub reserved: u32,
}

/// An effective user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct UserKey {
    /// Half.
    pub half: u32,
    /// Its number in the initial user namespace.
    pub uid: u32,
}

/// The name of a defined job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct JobNameKey {
    /// Half.
    pub half: u32,
    /// 0.
    pub reserved: u32,
    /// The name.
    pub name: Name,
}

/// The classes of a process's facts; 0 where none of the config's conditions holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(C)]
pub struct Classes {
    /// Of its cgroup.
    pub cgroup: u32,
    /// Of its executable.
    pub exe: u32,
    /// Of its process name.
    pub comm: u32,
    /// Of its user.
    pub user: u32,
}

impl Classes {
    /// The classes of the facts in `facts` only.
    #[inline(always)]
    pub const fn only(self, facts: Facts) -> Self {
        const fn keep(class: u32, facts: Facts, fact: Facts) -> u32 {
            if facts.any_of(fact) { class } else { 0 }
        }
        Self {
            cgroup: keep(self.cgroup, facts, Facts::CGROUP),
            exe: keep(self.exe, facts, Facts::EXE),
            comm: keep(self.comm, facts, Facts::COMM),
            user: keep(self.user, facts, Facts::USER),
        }
    }
}

/// The classes of the facts that definitions of one signature name. Leads to the
/// number of a set of jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct IdentityKey {
    /// Half.
    pub half: u32,
    /// The facts that the definitions name.
    pub facts: Facts,
    /// The classes of those facts, 0 of others.
    pub classes: Classes,
}

/// Leads to the offset of the first entry of `list` that covers a job of the
/// identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct PlaceKey {
    /// Half.
    pub half: u32,
    /// [`super::Entry::list`] of a port's first entry.
    pub list: u32,
    /// The set of jobs.
    pub identity: u32,
}

/// Where in a port's list a defined job stands. Zero: nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Place(u32);

impl Place {
    const PROVEN: u32 = 1 << 31;

    /// No entry covers the caller's jobs, or it is none.
    pub const NONE: Self = Self(0);

    /// The entry at `offset` in its list, for a caller who is proven to be the
    /// job by more than what it says of itself.
    #[inline(always)]
    pub const fn new(offset: u32, proven: bool) -> Self {
        Self((offset + 1) | if proven { Self::PROVEN } else { 0 })
    }

    /// Offset in the list; [`u32::MAX`] if there is none.
    #[inline(always)]
    pub const fn offset(self) -> u32 {
        (self.0 & !Self::PROVEN).wrapping_sub(1)
    }

    /// Whether the caller is proven to be the job.
    #[inline(always)]
    pub const fn is_proven(self) -> bool {
        self.0 & Self::PROVEN != 0
    }

    /// The closer one of the two, proven if one of those that are as close is.
    #[inline(always)]
    pub const fn or(self, other: Self) -> Self {
        if other.offset() < self.offset() {
            other
        } else if other.offset() == self.offset() {
            Self(self.0 | other.0)
        } else {
            self
        }
    }

    /// As a number, for the one register that the programs can hand it over in.
    #[inline(always)]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// From [`Self::bits`].
    #[inline(always)]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

/// Who may have something: a member of a permit set (`SAF-10`, `IBI-02`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct PermitKey {
    /// Half.
    pub half: u32,
    /// The permit set.
    pub set: u32,
    /// [`PermitKey::USER`] or [`PermitKey::GROUP`].
    pub kind: u32,
    /// Number of the user or group in the initial user namespace.
    pub id: u32,
}

impl PermitKey {
    /// [`PermitKey::id`] is a user's.
    pub const USER: u32 = 1;
    /// [`PermitKey::id`] is a group's.
    pub const GROUP: u32 = 2;
}

/// A cgroup under one policy, whose class is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct CgroupKey {
    /// The cgroup's id, which no other cgroup ever gets.
    pub cgroup: u64,
    /// [`super::Active::generation`]
    pub generation: u32,
    /// 0.
    pub reserved: u32,
}

const _: () = {
    assert!(size_of::<Step>() == 16);
    assert!(size_of::<JobRules>() == 40);
    assert!(size_of::<StepKey>() == 64);
    assert!(CHUNK_CHARS + 1 == 8 * CHUNK_WORDS);
    assert!(CHUNK_CHARS * MAX_CHUNKS as usize > LONGEST_NAME);
    assert!(size_of::<WildKey>() == 12);
    assert!(size_of::<ExeKey>() == 24);
    assert!(size_of::<UserKey>() == 8);
    assert!(size_of::<JobNameKey>() == 24);
    assert!(size_of::<IdentityKey>() == 24);
    assert!(size_of::<PlaceKey>() == 12);
    assert!(size_of::<PermitKey>() == 16);
    assert!(size_of::<CgroupKey>() == 16);
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_a_word() {
        for (state, class, wild) in [(0, 0, 0), (1, u32::MAX, 0), (MAX_STEPS, 7, 1)] {
            let step = Step {
                state,
                class,
                wild,
                reserved: 0,
            };
            assert_eq!(Step::from_word(step.word()), step);
            assert_ne!(step.word(), u64::MAX);
        }
    }

    #[test]
    fn the_closer_place_counts() {
        let (near, far) = (Place::new(0, false), Place::new(255, true));
        assert_eq!(near.or(far), near);
        assert_eq!(far.or(near), near);
        assert_eq!(Place::NONE.or(far), far);
        assert_eq!(far.or(Place::NONE), far);
        let proven = near.or(Place::new(0, true));
        assert!(proven.is_proven() && proven.offset() == 0);
        assert_eq!(Place::from_bits(far.bits()), far);
        assert_eq!(Place::default().offset(), u32::MAX);
    }

    #[test]
    fn only_the_facts_asked_for_stay() {
        let classes = Classes {
            cgroup: 1,
            exe: 2,
            comm: 3,
            user: 4,
        };
        let kept = classes.only(Facts::EXE.with(Facts::USER));
        assert_eq!(
            kept,
            Classes {
                exe: 2,
                user: 4,
                ..Classes::default()
            }
        );
        assert!(Facts::CGROUP.is_proof() && !Facts::EXE.with(Facts::COMM).is_proof());
    }
}
