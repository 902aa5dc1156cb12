//! Every map and every value set at load. Layouts and names: [`portreeve_common::abi`].

use aya_ebpf::{
    Global,
    bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC},
    btf_maps::SkStorage,
    macros::{btf_map, map},
    maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf},
};
use portreeve_common::{
    abi::{
        BindAddress, DOOMED_RING_BYTES, EVENT_RING_BYTES, Entry, FIELDS, Feature, Field, Info,
        JUDGED_PLACES, MAX_ADDRESSES, MAX_ENTRIES, MAX_GLOBS, MAX_MATCHERS, MAX_PERMITS,
        MAX_REPEATS, Matcher, PROTOCOLS, Remembered, RepeatKey, Repeats, SLOTS as SLOTS_PER_HALF,
        Slot, TRACKED_WORDS, Unreserved, WATCH_RING_BYTES, counter,
        jobs::{
            CGROUP_CACHE, CgroupKey, ExeKey, IdentityKey, JobNameKey, JobRules,
            MAX_AUTOMATON_WORDS, MAX_EXES, MAX_IDENTITIES, MAX_JOB_USERS, MAX_JOBS, MAX_PLACES,
            MAX_STEPS, MAX_WILD_STEPS, PermitKey, PlaceKey, Step, StepKey, UserKey, WildKey,
        },
        pool,
    },
    jobname::Glob,
};

/// The agent fills the idle half through a mapping of the whole table.
const POLICY: u32 = BPF_F_MMAPABLE;
/// Filled by the agent with one call per element; takes room for those only.
const SPARSE: u32 = BPF_F_NO_PREALLOC;

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
pub static JOB_RULES: Array<JobRules> = Array::with_max_entries(2, POLICY);

#[map]
pub static JOB_WORDS: Array<u64> = Array::with_max_entries(2 * MAX_AUTOMATON_WORDS / 4, POLICY);

#[map]
pub static JOB_STEPS: HashMap<StepKey, Step> = HashMap::with_max_entries(2 * MAX_STEPS, SPARSE);

#[map]
pub static JOB_WILD: HashMap<WildKey, Step> = HashMap::with_max_entries(2 * MAX_WILD_STEPS, SPARSE);

#[map]
pub static JOB_EXES: HashMap<ExeKey, u32> = HashMap::with_max_entries(2 * MAX_EXES, SPARSE);

#[map]
pub static JOB_USERS: HashMap<UserKey, u32> = HashMap::with_max_entries(2 * MAX_JOB_USERS, SPARSE);

#[map]
pub static JOB_NAMES: HashMap<JobNameKey, u32> = HashMap::with_max_entries(2 * MAX_JOBS, SPARSE);

#[map]
pub static JOB_IDENTITIES: HashMap<IdentityKey, u32> =
    HashMap::with_max_entries(2 * MAX_IDENTITIES, SPARSE);

#[map]
pub static JOB_PLACES: HashMap<PlaceKey, u32> = HashMap::with_max_entries(2 * MAX_PLACES, SPARSE);

#[map]
pub static PERMITS: HashMap<PermitKey, u32> = HashMap::with_max_entries(2 * MAX_PERMITS, SPARSE);

#[map]
pub static CGROUP_CLASSES: LruHashMap<CgroupKey, u32> =
    LruHashMap::with_max_entries(CGROUP_CACHE, 0);

#[map]
pub static REPEATS: LruHashMap<RepeatKey, Repeats> = LruHashMap::with_max_entries(MAX_REPEATS, 0);

#[btf_map]
pub static SOCKETS: SkStorage<Remembered> = SkStorage::new();

/// Whether there was ever anything in `SOCKETS`.
#[map]
pub static REMEMBERS: Array<u64> = Array::with_max_entries(1, 0);

#[map]
pub static JUDGED: Array<u64> = Array::with_max_entries(JUDGED_PLACES, 0);

#[map]
pub static SELFTEST: Array<u64> = Array::with_max_entries(2, POLICY);

/// What a file was identified as.
#[map]
pub static IDENTIFIED: Array<ExeKey> = Array::with_max_entries(1, POLICY);

/// For user space alone: what to set back when enforcement ends.
#[map]
pub static POOL: Array<u64> = Array::with_max_entries(pool::WORDS, POLICY);

#[map]
pub static REFUSALS: Array<u64> = Array::with_max_entries(2 * MAX_ENTRIES, POLICY);

#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(counter::COUNT, 0);

#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(EVENT_RING_BYTES, 0);

#[map]
pub static DOOMED: RingBuf = RingBuf::with_byte_size(DOOMED_RING_BYTES, 0);

#[map]
pub static WATCHED: RingBuf = RingBuf::with_byte_size(WATCH_RING_BYTES, 0);

#[map]
pub static TRACKED: Array<u64> = Array::with_max_entries(TRACKED_WORDS, POLICY);

#[map]
pub static WATCH_LOST: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// What judges at listen: replaced in one store, which the attached program can't be.
#[map]
pub static LISTENING: ProgramArray = ProgramArray::with_max_entries(1, 0);

#[unsafe(no_mangle)]
static OFFSETS: Global<[u32; FIELDS.len()]> = Global::new([0; _]);

#[unsafe(no_mangle)]
static FEATURES: Global<[u32; Feature::ALL.len()]> = Global::new([0; _]);

#[unsafe(no_mangle)]
pub static SCOPE_NETNS: Global<u64> = Global::new(0);

#[unsafe(no_mangle)]
pub static OWN_NETNS: Global<u64> = Global::new(0);

#[unsafe(no_mangle)]
pub static SCOPE_CGROUP: Global<u64> = Global::new(0);

/// Where the running kernel keeps `field`: in bytes, or in bits if it is one.
#[inline(always)]
pub fn offset(field: Field) -> u32 {
    let first = (&raw const OFFSETS).cast::<u32>();
    // SAFETY: there is one element for every field. The load is volatile, as
    // `Global::load` has it: the agent sets the value after we are compiled.
    unsafe { first.add(field as usize).read_volatile() }
}

/// Whether the running kernel has `feature`.
#[inline(always)]
pub fn has(feature: Feature) -> bool {
    let first = (&raw const FEATURES).cast::<u32>();
    // SAFETY: there is one element for every feature. The load is volatile as above.
    unsafe { first.add(feature as usize).read_volatile() != 0 }
}
