//! Every map and every value set at load. Layouts and names: [`portreeve_common::abi`].

use aya_ebpf::{
    Global,
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, PerCpuArray, RingBuf},
};
use portreeve_common::{
    abi::{
        BindAddress, EVENT_RING_BYTES, Entry, Info, MAX_ADDRESSES, MAX_ENTRIES, MAX_GLOBS,
        MAX_MATCHERS, Matcher, PROTOCOLS, SLOTS as SLOTS_PER_HALF, Slot, Unreserved, counter, pool,
    },
    jobname::Glob,
};

/// The agent fills the idle half through a mapping of the whole table.
const POLICY: u32 = BPF_F_MMAPABLE;

#[map]
pub static ACTIVE: Array<u64> = Array::with_max_entries(1, POLICY);

#[map]
pub static INFO: Array<Info> = Array::with_max_entries(1, POLICY);

#[map]
pub static SLOTS: Array<Slot> = Array::with_max_entries(2 * SLOTS_PER_HALF, POLICY);

#[map]
pub static ENTRIES: Array<Entry> = Array::with_max_entries(2 * MAX_ENTRIES, POLICY);

#[map]
pub static MATCHERS: Array<Matcher> = Array::with_max_entries(2 * MAX_MATCHERS, POLICY);

#[map]
pub static GLOBS: Array<Glob> = Array::with_max_entries(2 * MAX_GLOBS, POLICY);

#[map]
pub static UNRESERVED: Array<Unreserved> = Array::with_max_entries(2 * PROTOCOLS, POLICY);

#[map]
pub static ADDRESSES: Array<BindAddress> = Array::with_max_entries(2 * MAX_ADDRESSES, POLICY);

#[map]
pub static SELFTEST: Array<u64> = Array::with_max_entries(2, POLICY);

/// For user space alone: what to set back when enforcement ends.
#[map]
pub static POOL: Array<u64> = Array::with_max_entries(pool::WORDS, POLICY);

#[map]
pub static REFUSALS: Array<u64> = Array::with_max_entries(2 * MAX_ENTRIES, POLICY);

#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::COUNT, 0);

#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(EVENT_RING_BYTES, 0);

#[unsafe(no_mangle)]
pub static TASK_GROUP_LEADER: Global<u32> = Global::new(0);

#[unsafe(no_mangle)]
pub static TASK_COMM: Global<u32> = Global::new(0);

#[unsafe(no_mangle)]
pub static TASK_CRED: Global<u32> = Global::new(0);

#[unsafe(no_mangle)]
pub static CRED_EUID: Global<u32> = Global::new(0);

#[unsafe(no_mangle)]
pub static SCOPE_NETNS: Global<u64> = Global::new(0);
