//! Which defined job the caller is, by the tables of [`portreeve_common::abi::jobs`].

use core::ptr;

use portreeve_common::{
    abi::{
        Active, Field,
        jobs::{Classes, ExeKey, Facts, JobNameKey, Place, UserKey},
    },
    decide::Identity,
    identity::{self, FIRST_ROW, class_of_row, next_row},
    jobname::Name,
};

use super::cgroup;
use crate::{
    maps::{JOB_EXES, JOB_NAMES, JOB_USERS},
    policy::{Half, copied},
    task::{self, Record},
};

/// Who is calling, to the entries of `list`. `None` if it can't be read.
///
/// Each call of a function takes its time: where no jobs are defined, nothing is looked for.
#[inline(always)]
pub fn identify(active: Active, list: u32) -> Option<Identity> {
    let half = active.half();
    let task = Record::task();
    let name = Name::from_comm(task::comm(task)?);
    let kernel = task::kernel_mask(task);
    let [first, second] = name.words();
    let (mut place, mut mask) = (Place::NONE.bits(), !kernel);
    if Half(half).job_rules()?.signatures != 0 {
        let given = given_classes(active)?;
        let chosen = chosen_classes(half, first, second);
        if list != 0 {
            place = job_place(u64::from(list) << 1 | u64::from(half), given, chosen);
        }
        // Who has a place is a defined job, and needs no name.
        mask &= if place == Place::NONE.bits() {
            name_mask(half, given, chosen, first, second)
        } else {
            0
        };
    }
    if name == Name::KERNEL {
        mask = 0;
    }
    let of_kernel = Name::KERNEL.words()[0] & kernel;
    Some(Identity {
        name: Name::from_words([first & mask | of_kernel, second & mask]),
        place: Place::from_bits(place),
    })
}

#[inline(always)]
fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

#[inline(always)]
fn classes(given: u64, chosen: u64) -> Classes {
    Classes {
        cgroup: given as u32,
        exe: (given >> 32) as u32,
        comm: chosen as u32,
        user: (chosen >> 32) as u32,
    }
}

/// Which facts must be looked at: no definition names a kernel thread's.
#[inline(always)]
fn asked(half: u32) -> Facts {
    match Half(half).job_rules() {
        Some(rules) if !task::is_kernel() => rules.facts,
        _ => Facts(0),
    }
}

/// The classes of the caller's cgroup and executable. `None` if they can't be told. No
/// exported function: each takes its room on the stack, and there is little left for what
/// walks a cgroup's path.
#[inline(always)]
fn given_classes(active: Active) -> Option<u64> {
    let half = active.half();
    let facts = asked(half);
    let (mut cgroup, mut exe) = (0, 0);
    if facts.any_of(Facts::CGROUP) {
        cgroup = cgroup::class_of_cgroup(u64::from(active.generation()) << 1 | u64::from(half));
    }
    if cgroup > u64::from(u32::MAX) {
        return None;
    }
    if facts.any_of(Facts::EXE) {
        exe = class_of_exe(half);
    }
    Some(pair(cgroup as u32, exe))
}

/// The classes of the process name, given as its two words, and of the effective user.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn chosen_classes(half: u32, first: u64, second: u64) -> u64 {
    let facts = asked(half);
    let (mut comm, mut user) = (0, 0);
    if facts.any_of(Facts::COMM) {
        comm = class_of_comm(half, first, second);
    }
    if facts.any_of(Facts::USER) {
        let key = UserKey {
            half,
            uid: task::euid(),
        };
        user = copied(JOB_USERS.get_ptr(&key)).unwrap_or(0);
    }
    pair(comm, user)
}

/// The class of the executable.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn class_of_exe(half: u32) -> u32 {
    let Some(file) = Record::task()
        .follow(Field::TaskMm)
        .and_then(|mm| mm.follow(Field::MmExe))
    else {
        return 0;
    };
    let Some(inode) = file.follow(Field::FileInode) else {
        return 0;
    };
    let Some(file_system) = inode.follow(Field::InodeSuper) else {
        return 0;
    };
    let key = ExeKey {
        half,
        device: file_system.get(Field::SuperDevice),
        inode: inode.get(Field::InodeNumber),
        generation: inode.get(Field::InodeGeneration),
        reserved: 0,
    };
    copied(JOB_EXES.get_ptr(&key)).unwrap_or(0)
}

/// The class of the process name, given as its two words.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn class_of_comm(half: u32, first: u64, second: u64) -> u32 {
    let tables = Half(half);
    let Some(rules) = tables.job_rules() else {
        return 0;
    };
    let row = row_after(half, COMM, FIRST_ROW, first);
    let row = row_after(half, COMM, row, second);
    class_of_row(rules.comm, &tables, row)
}

/// [`row_after`]: the automaton of process names.
const COMM: u32 = 0;
/// [`row_after`]: the automaton of components of cgroup paths.
pub const COMPONENT: u32 = 1;

/// The row that the eight characters of `word`, the lowest first, lead to from `row` of
/// the automaton that `which` says. The verifier walks it once, not for each word.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn row_after(half: u32, which: u32, row: u32, word: u64) -> u32 {
    let tables = Half(half);
    let Some(rules) = tables.job_rules() else {
        return 0;
    };
    let automaton = if which == COMM {
        &raw const rules.comm
    } else {
        &raw const rules.component
    };
    let (mut row, mut word) = (row, word);
    let mut index = 0;
    while index < 8 {
        // SAFETY: the pointer is to an element of the map. Read each time: kept, it takes
        // stack that there isn't.
        let automaton = unsafe { ptr::read_volatile(automaton) };
        row = next_row(automaton, &tables, row, word as u8);
        word >>= 8;
        index += 1;
    }
    row
}

/// All ones if the name of a process counts: it is no defined job, and not called like
/// one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn name_mask(half: u32, given: u64, chosen: u64, first: u64, second: u64) -> u64 {
    let tables = Half(half);
    let Some(rules) = tables.job_rules() else {
        return 0;
    };
    let key = JobNameKey {
        half,
        reserved: 0,
        name: Name::from_words([first, second]),
    };
    if JOB_NAMES.get_ptr(&key).is_some()
        || identity::is_job(rules.signatures, classes(given, chosen), &tables)
    {
        return 0;
    }
    u64::MAX
}

/// Where in a list the caller's jobs stand. `table` is the list's number and,
/// lowest, the half.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn job_place(table: u64, given: u64, chosen: u64) -> u32 {
    let tables = Half(table as u32 & 1);
    let Some(rules) = tables.job_rules() else {
        return Place::NONE.bits();
    };
    let classes = classes(given, chosen);
    identity::place(rules.signatures, classes, (table >> 1) as u32, &tables).bits()
}
