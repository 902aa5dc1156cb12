//! Which defined job the caller is, by the tables of [`portreeve_common::abi::jobs`].

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

/// A caller that was identified: its name, if it has one that counts, and the
/// classes of its facts, two to a word.
#[derive(Clone, Copy)]
pub struct Known {
    half: u32,
    place: u64,
    self_said: u64,
    name: Name,
}

impl Identity for Known {
    #[inline(always)]
    fn name(&self) -> Name {
        self.name
    }

    #[inline(always)]
    fn place(&self, list: u32) -> Place {
        let table = u64::from(list) << 1 | u64::from(self.half);
        Place::from_bits(job_place(table, self.place, self.self_said))
    }
}

/// Who is calling. `None` if it can't be read.
///
/// Nothing here branches on what was found: the verifier would walk all that
/// follows once for each outcome.
#[inline(always)]
pub fn identify(active: Active) -> Option<Known> {
    let half = active.half();
    let name = Name::from_comm(task::comm()?);
    let [first, second] = name.words();
    let cgroup = cgroup::class_of_cgroup(u64::from(active.generation()) << 1 | u64::from(half));
    if cgroup > u64::from(u32::MAX) {
        return None;
    }
    let place = pair(cgroup as u32, class_of_exe(half));
    let self_said = pair(
        class_of_comm(half, first, second),
        class_of_user(half, task::euid()),
    );
    let mask = name_mask(half, place, self_said, first, second);
    let name = [first & mask | kernel_name(), second & mask];
    Some(Known {
        half,
        place,
        self_said,
        name: Name::from_words(name),
    })
}

#[inline(always)]
fn pair(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

#[inline(always)]
fn classes(place: u64, self_said: u64) -> Classes {
    Classes {
        cgroup: place as u32,
        exe: (place >> 32) as u32,
        comm: self_said as u32,
        user: (self_said >> 32) as u32,
    }
}

/// Whether a fact must be looked at: no definition names a kernel thread's.
#[inline(always)]
pub fn is_asked(half: Half, fact: Facts) -> bool {
    match half.job_rules() {
        Some(rules) => rules.facts.any_of(fact) && !task::is_kernel(),
        None => false,
    }
}

/// The class of the executable.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn class_of_exe(half: u32) -> u32 {
    if !is_asked(Half(half), Facts::EXE) {
        return 0;
    }
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

/// The class of the effective user.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn class_of_user(half: u32, uid: u32) -> u32 {
    if !is_asked(Half(half), Facts::USER) {
        return 0;
    }
    copied(JOB_USERS.get_ptr(&UserKey { half, uid })).unwrap_or(0)
}

/// The class of the process name, given as its two words.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn class_of_comm(half: u32, first: u64, second: u64) -> u32 {
    let tables = Half(half);
    if !is_asked(tables, Facts::COMM) {
        return 0;
    }
    let Some(rules) = tables.job_rules() else {
        return 0;
    };
    let automaton = rules.comm;
    let (mut row, mut first, mut second) = (FIRST_ROW, first, second);
    let mut index = 0;
    while index < 16 {
        row = next_row(automaton, &tables, row, first as u8);
        first = first >> 8 | second << 56;
        second >>= 8;
        index += 1;
    }
    class_of_row(automaton, &tables, row)
}

/// All ones if the caller's name counts: it is no defined job, no kernel thread
/// and not called like one.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn name_mask(half: u32, place: u64, self_said: u64, first: u64, second: u64) -> u64 {
    let name = Name::from_words([first, second]);
    if task::is_kernel() || name == Name::KERNEL {
        return 0;
    }
    let tables = Half(half);
    let Some(rules) = tables.job_rules() else {
        return 0;
    };
    if rules.signatures == 0 {
        return u64::MAX;
    }
    let key = JobNameKey {
        half,
        reserved: 0,
        name,
    };
    if JOB_NAMES.get_ptr(&key).is_some()
        || identity::is_job(rules.signatures, classes(place, self_said), &tables)
    {
        return 0;
    }
    u64::MAX
}

/// The first word of the name of a kernel thread; 0 for a process.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn kernel_name() -> u64 {
    if task::is_kernel() {
        Name::KERNEL.words()[0]
    } else {
        0
    }
}

/// Where in a list the caller's jobs stand. `table` is the list's number and,
/// lowest, the half.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn job_place(table: u64, place: u64, self_said: u64) -> u32 {
    let tables = Half(table as u32 & 1);
    let Some(rules) = tables.job_rules() else {
        return Place::NONE.bits();
    };
    let classes = classes(place, self_said);
    identity::place(rules.signatures, classes, (table >> 1) as u32, &tables).bits()
}
