//! The class of the caller's cgroup.

use core::ptr;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use portreeve_common::{
    abi::{
        Field,
        jobs::{CHUNK_CHARS, CHUNK_WORDS, CgroupKey, LONGEST_NAME, Step, StepKey},
    },
    identity::{self, CgroupPath, FIRST_ROW, JobTables, class_of_row, step_by_name},
};

use super::jobs::{COMPONENT, row_after};
use crate::{
    maps::{CGROUP_CLASSES, offset},
    policy::{Half, copied},
    task::{self, Record},
};

/// What can't be read.
const UNREADABLE: u64 = u64::MAX;

/// The cgroup of the caller's process: a thread that sits in a threaded cgroup counts
/// for the domain above it, because a thread can't be another process.
#[inline(always)]
fn of_process() -> Option<Record> {
    Record::task()
        .follow(Field::TaskCgroups)
        .and_then(|set| set.follow(Field::CssSetDomain))
        .and_then(|set| set.follow(Field::CssSetCgroup))
}

/// The id of the cgroup that the caller is judged by; 0 if it can't be told.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn id_of_cgroup() -> u64 {
    own_id()
}

#[inline(always)]
fn own_id() -> u64 {
    match of_process().and_then(|cgroup| cgroup.follow(Field::CgroupNode)) {
        Some(node) => node.get(Field::NodeId),
        None => 0,
    }
}

/// The class of the caller's cgroup; more than 32 bits if it can't be told.
/// `policy` is the generation and, lowest, the half.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn class_of_cgroup(policy: u64) -> u64 {
    let half = Half(policy as u32 & 1);
    let Some(rules) = half.job_rules() else {
        return UNREADABLE;
    };
    let id = own_id();
    if id == 0 {
        return UNREADABLE;
    }
    let key = CgroupKey {
        cgroup: id,
        generation: (policy >> 1) as u32,
        reserved: 0,
    };
    if let Some(class) = copied(CGROUP_CLASSES.get_ptr(&key)) {
        return u64::from(class);
    }
    let Some(cgroup) = of_process() else {
        return UNREADABLE;
    };
    let path = Path {
        half: half.0,
        cgroup: task::number(cgroup.address()),
    };
    let Some(class) = identity::cgroup_class(rules.start, &half, &path) else {
        return UNREADABLE;
    };
    // Without room it is walked again the next time.
    let _ = CGROUP_CLASSES.insert(&key, &class, 0);
    u64::from(class)
}

/// How many levels may lie between the caller's cgroup and one whose name is asked
/// for, where each knows only the next one above it.
const MAX_CLIMB: u32 = 64;

struct Path {
    half: u32,
    cgroup: u64,
}

/// Where the name stands that the cgroup at `cgroup`, or the one above it, has at
/// `level`; 0 if it can't be reached.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn name_at(cgroup: u64, level: u32) -> u64 {
    let ancestors = offset(Field::CgroupAncestors);
    let node = if ancestors == Field::MISSING {
        let depth: u32 = task::read_field(cgroup, Field::CgroupLevel);
        node_above(cgroup, depth.wrapping_sub(level))
    } else {
        let place = cgroup + u64::from(ancestors) + 8 * u64::from(level);
        task::read_field(task::read(place), Field::CgroupNode)
    };
    // Of no directory nothing is read, which makes its name 0.
    task::read_field(node, Field::NodeName)
}

/// The directory `steps` above that of the cgroup at `cgroup`; 0 if it is too far up.
/// It begins below each time: a place to keep what it passes on the way would be
/// another caller's too, because programs can be preempted.
#[inline(always)]
fn node_above(cgroup: u64, steps: u32) -> u64 {
    let mut node = task::read_field(cgroup, Field::CgroupNode);
    let mut step = 0;
    while step < MAX_CLIMB {
        if step == steps {
            return node;
        }
        node = task::read_field(node, Field::NodeParent);
        step += 1;
    }
    0
}

impl CgroupPath for Path {
    /// Its address.
    type Name = u64;

    #[inline(always)]
    fn depth(&self) -> u32 {
        // Read each time: kept, it takes stack that there isn't.
        task::read_field(self.cgroup, Field::CgroupLevel)
    }

    #[inline(always)]
    fn name(&self, level: u32) -> Option<u64> {
        let name = name_at(self.cgroup, level);
        if name == 0 { None } else { Some(name) }
    }

    #[inline(always)]
    fn read(name: u64, index: u32, key: &mut StepKey) -> bool {
        read_chunk(name, index, &mut key.chunk)
    }

    #[inline(always)]
    fn step<T: JobTables>(&self, state: u32, _: &T, name: u64) -> Option<Step> {
        match step_of_component(self.half, state, name) {
            UNREADABLE => None,
            word => Some(Step::from_word(word)),
        }
    }

    #[inline(always)]
    fn class(&self, name: u64) -> Option<u32> {
        u32::try_from(class_of_component(self.half, name)).ok()
    }
}

#[inline(always)]
fn read_chunk(name: u64, index: u32, chunk: &mut [u64; CHUNK_WORDS]) -> bool {
    clear(chunk);
    let at = name + u64::from(index) * CHUNK_CHARS as u64;
    let size = CHUNK_CHARS as u32 + 1;
    // SAFETY: the helper writes at most the chunk's bytes, a NUL last.
    let read =
        unsafe { bpf_probe_read_kernel_str(chunk.as_mut_ptr().cast(), size, at as *const _) };
    read > 0
}

/// Word by word: a `memset` here goes byte by byte.
#[inline(always)]
fn clear(chunk: &mut [u64; CHUNK_WORDS]) {
    for word in chunk {
        // SAFETY: a store through a reference.
        unsafe { ptr::write_volatile(word, 0) };
    }
}

/// [`step_by_name`], as [`Step::word`]; [`UNREADABLE`] if the name can't be read. The
/// verifier walks it once, not for each level.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn step_of_component(half: u32, state: u32, name: u64) -> u64 {
    match step_by_name::<Half, Path>(state, &Half(half), name) {
        Some(step) => step.word(),
        None => UNREADABLE,
    }
}

/// Characters that are read at once for the automaton, a NUL behind them.
const WORD: usize = 8;

/// The class of the cgroup's name at `name` by the automaton of components; more
/// than 32 bits if it can't be read.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn class_of_component(half: u32, name: u64) -> u64 {
    let tables = Half(half);
    let Some(rules) = tables.job_rules() else {
        return UNREADABLE;
    };
    let mut row = FIRST_ROW;
    let mut index = 0;
    while index < LONGEST_NAME.div_ceil(WORD) {
        let mut word = [0u64; 2];
        let size = WORD as u32 + 1;
        let at = name + (WORD * index) as u64;
        // SAFETY: the helper writes at most the word's bytes and a NUL.
        let read =
            unsafe { bpf_probe_read_kernel_str(word.as_mut_ptr().cast(), size, at as *const _) };
        if read <= 0 {
            return UNREADABLE;
        }
        row = row_after(half, COMPONENT, row, u64::from_le(word[0]));
        // What is counted has a NUL at its end.
        if read as usize <= WORD {
            break;
        }
        index += 1;
    }
    u64::from(class_of_row(rules.component, &tables, row))
}
