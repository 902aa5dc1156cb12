//! How a judged bind is told: the ring of events and the counters.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::{
    bindings::{BPF_NOEXIST, BPF_RB_AVAIL_DATA},
    helpers::generated::bpf_ktime_get_boot_ns,
};
use portreeve_common::{
    PolicyView as _, Verdict,
    abi::{
        Doomed, EVENT_RING_BYTES, Entry, Event, Field, MAX_ENTRIES, Mode, RepeatKey, Repeats,
        TOLD_PER_SECOND, counter,
    },
};

use crate::{
    judge::{Call, Kind},
    listen::netns_of,
    maps::{COUNTERS, DOOMED, EVENTS, OWN_NETNS, REFUSALS, REPEATS},
    policy::Half,
    socket::Socket,
    subject::id_of_cgroup,
    task::{self, Record, read_field},
};

const NANOSECONDS: u64 = 1_000_000_000;

/// Adds one to a counter of this CPU.
#[inline(always)]
pub fn count(index: u32) {
    add_one(COUNTERS.get_ptr_mut(index));
}

/// Adds one refusal to the entry that made it.
#[inline(always)]
pub fn count_refusal(half: u32, entry: u32) {
    if entry < MAX_ENTRIES {
        add_one(REFUSALS.get_ptr_mut(half * MAX_ENTRIES + entry));
    }
}

/// Atomic for the CPU's own counters too: a program can be preempted between a
/// load and its store, by another task's bind on the same CPU.
#[inline(always)]
pub fn add_one(counter: Option<*mut u64>) {
    if let Some(counter) = counter {
        // SAFETY: the pointer is to an 8-byte aligned element of a map, which
        // everybody changes by atomic additions only.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, 1) };
    }
}

/// Tells a refusal, or only counts it if this second has told enough like it:
/// somebody who is refused without end leaves room for others. The first of a
/// second may have the ring's last room, those that repeat it may not.
#[inline(always)]
pub fn report_refusal<K: Kind>(call: &Call<K>, verdict: &Verdict) {
    let time = now();
    let is_told = is_to_be_told(call, verdict, time);
    if is_to_be_destroyed(call) {
        // Then the agent tells it, with what became of the listener.
        if doom(call, verdict, time, !is_told) {
            return;
        }
        count(if is_of_own_netns(call.socket) && call.socket.mark_late() {
            counter::LISTENERS_LATE
        } else {
            counter::LISTENERS_LOST
        });
    }
    if is_told && !send(call, verdict, time, 0, call.address) {
        count(counter::EVENTS_LOST);
    }
}

/// Whether the listener is there in spite of the refusal, and must not stay.
#[inline(always)]
fn is_to_be_destroyed<K: Kind>(call: &Call<K>) -> bool {
    K::FLAGS & Event::AFTERWARDS != 0 && matches!(call.mode, Mode::Enforce)
}

/// Whether the agent can list the socket without a search.
#[inline(always)]
fn is_of_own_netns(socket: Socket) -> bool {
    OWN_NETNS.load() == netns_of(socket.address())
}

/// Whether a refusal makes an event of its own. If not, it is counted as one that
/// doesn't.
#[inline(always)]
fn is_to_be_told<K: Kind>(call: &Call<K>, verdict: &Verdict, time: u64) -> bool {
    let key = RepeatKey {
        cgroup: id_of_cgroup(),
        generation: call.active.generation(),
        entry: verdict.entry,
        uid: task::euid(),
        second: (time / NANOSECONDS) as u32,
        reason: verdict.reason as u32,
        flags: u32::from(of_mode(call.mode) | K::FLAGS & RepeatKey::FLAGS),
    };
    // Without room for the key it is told as if it were the first.
    if let Some(repeats) = repeats(&key) {
        // SAFETY: the pointers are to the two aligned words of a value in the map,
        // which everybody changes by atomic additions only. Two that come at once
        // may both find room for the last event.
        let told = unsafe { (&raw const (*repeats).told).read_volatile() };
        if told >= TOLD_PER_SECOND || (told > 0 && is_filled(ROOM_FOR_REPEATS)) {
            // SAFETY: as above.
            add_one(Some(unsafe { &raw mut (*repeats).suppressed }));
            count(counter::EVENTS_SUPPRESSED);
            return false;
        }
        // SAFETY: as above.
        add_one(Some(unsafe { &raw mut (*repeats).told }));
    }
    true
}

/// The counts of `key`, which may have to give way to others later. It is looked
/// up before it is made: to make what is there costs another its place.
#[inline(always)]
fn repeats(key: &RepeatKey) -> Option<*mut Repeats> {
    if let Some(known) = REPEATS.get_ptr_mut(key) {
        return Some(known);
    }
    // Another CPU may be faster.
    let _ = REPEATS.insert(key, &Repeats::default(), u64::from(BPF_NOEXIST));
    REPEATS.get_ptr_mut(key)
}

/// Bytes of the ring that binds that go on may fill.
const ROOM_FOR_ALLOWED: u32 = EVENT_RING_BYTES / 2;
/// Bytes of the ring that refusals like one of the same second may fill.
const ROOM_FOR_REPEATS: u32 = EVENT_RING_BYTES / 4 * 3;

/// Whether more of the ring than `room` waits to be read.
#[inline(always)]
fn is_filled(room: u32) -> bool {
    EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) > u64::from(room)
}

/// Tells a bind that goes on, unless the ring is half full: the other half is for
/// refusals.
#[inline(always)]
pub fn report_allowed<K: Kind>(call: &Call<K>, verdict: &Verdict, flags: u8, bound: [u32; 4]) {
    if is_filled(ROOM_FOR_ALLOWED) || !send(call, verdict, now(), flags, bound) {
        count(counter::REPORTS_LOST);
    }
}

/// Puts an event into the ring. `false` if there is no room.
#[inline(always)]
fn send<K: Kind>(call: &Call<K>, verdict: &Verdict, time: u64, flags: u8, bound: [u32; 4]) -> bool {
    let Some(mut room) = EVENTS.reserve::<Event>(0) else {
        return false;
    };
    room.write(event(call, verdict, time, flags, bound));
    room.submit(0);
    true
}

/// Leaves the listener of `call` to the agent, which reads of it before anything
/// else. `silent` if the refusal makes no event. `false` if there is no room.
#[inline(always)]
fn doom<K: Kind>(call: &Call<K>, verdict: &Verdict, time: u64, silent: bool) -> bool {
    let Some(mut room) = DOOMED.reserve::<Doomed>(0) else {
        return false;
    };
    let socket = call.socket.address();
    let network: u64 = read_field(socket, Field::SockNet);
    room.write(Doomed {
        event: event(call, verdict, time, 0, call.address),
        socket: call.cookie(),
        netns: read_field(network, Field::NetCookie),
        device: read_field(socket, Field::SockDevice),
        family: read_field(socket, Field::SockFamily),
        silent: u16::from(silent),
    });
    room.submit(0);
    true
}

#[inline(always)]
fn event<K: Kind>(
    call: &Call<K>,
    verdict: &Verdict,
    time: u64,
    flags: u8,
    bound: [u32; 4],
) -> Event {
    let kernel = if task::is_kernel() { Event::KERNEL } else { 0 };
    Event {
        time,
        cgroup: id_of_cgroup(),
        address: call.address,
        bound,
        comm: task::comm(Record::task()).unwrap_or([0; 2]),
        pid: task::pid(),
        uid: task::euid(),
        generation: call.active.generation(),
        entry: verdict.entry,
        line: Half(call.active.half())
            .entry(verdict.entry)
            .map_or(0, Entry::line),
        port: call.port,
        reason: verdict.reason as u16,
        hook: K::HOOK as u8,
        protocol: call.protocol as u8,
        flags: flags | of_mode(call.mode) | kernel | K::FLAGS,
        reserved: [0; 5],
    }
}

#[inline(always)]
const fn of_mode(mode: Mode) -> u8 {
    match mode {
        Mode::Audit => Event::AUDIT,
        Mode::Enforce => 0,
    }
}

/// Nanoseconds since boot, suspend included.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the helper takes no argument.
    unsafe { bpf_ktime_get_boot_ns() }
}
