//! How a judged bind is told: the ring of events and the counters.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::{
    bindings::{BPF_NOEXIST, BPF_RB_AVAIL_DATA},
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{bpf_get_current_cgroup_id, bpf_ktime_get_boot_ns},
    },
};
use portreeve_common::{
    Verdict,
    abi::{EVENT_RING_BYTES, Event, MAX_ENTRIES, Mode, RepeatKey, counter},
};

use crate::{
    judge::Call,
    maps::{COUNTERS, EVENTS, REFUSALS, REPEATS},
    task,
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
fn add_one(counter: Option<*mut u64>) {
    if let Some(counter) = counter {
        // SAFETY: the pointer is to an 8-byte aligned element of a map, which
        // everybody changes by atomic additions only.
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, 1) };
    }
}

/// Tells a refusal, or counts it as the repetition of one that this second has
/// told already: somebody who is refused without end leaves room for others.
#[inline(always)]
pub fn report_refusal(call: &Call, verdict: &Verdict) {
    let event = event(call, verdict, 0, call.address);
    let key = RepeatKey {
        cgroup: event.cgroup,
        generation: event.generation,
        entry: event.entry,
        uid: event.uid,
        second: (event.time / NANOSECONDS) as u32,
        reason: u32::from(event.reason),
        audit: u32::from(event.flags & Event::AUDIT),
    };
    // Only one of several who come at once can be the first.
    if REPEATS.insert(key, 0, u64::from(BPF_NOEXIST)).is_err()
        && let Some(repetitions) = REPEATS.get_ptr_mut(key)
    {
        add_one(Some(repetitions));
        count(counter::EVENTS_SUPPRESSED);
        return;
    }
    send(event, counter::EVENTS_LOST);
}

/// Tells a bind that goes on, unless the ring is half full: the other half is for
/// refusals.
#[inline(always)]
pub fn report_allowed(call: &Call, verdict: &Verdict, flags: u8, bound: [u32; 4]) {
    if EVENTS.query(u64::from(BPF_RB_AVAIL_DATA)) > u64::from(EVENT_RING_BYTES) / 2 {
        count(counter::REPORTS_LOST);
        return;
    }
    send(event(call, verdict, flags, bound), counter::REPORTS_LOST);
}

#[inline(always)]
fn event(call: &Call, verdict: &Verdict, flags: u8, bound: [u32; 4]) -> Event {
    let audit = match call.mode {
        Mode::Audit => Event::AUDIT,
        Mode::Enforce => 0,
    };
    let kernel = if task::is_kernel() { Event::KERNEL } else { 0 };
    Event {
        // SAFETY: neither helper takes an argument.
        time: unsafe { bpf_ktime_get_boot_ns() },
        // SAFETY: as above.
        cgroup: unsafe { bpf_get_current_cgroup_id() },
        address: call.address,
        bound,
        comm: task::comm().unwrap_or([0; 2]),
        pid: (bpf_get_current_pid_tgid() >> 32) as u32,
        uid: task::euid(),
        generation: call.active.generation(),
        entry: verdict.entry,
        line: verdict.line,
        port: call.port,
        reason: verdict.reason as u16,
        hook: call.hook as u8,
        protocol: call.protocol as u8,
        flags: flags | audit | kernel,
        reserved: [0; 5],
    }
}

/// Puts one event into the ring, or counts it as `lost`.
#[inline(always)]
fn send(event: Event, lost: u32) {
    match EVENTS.reserve::<Event>(0) {
        Some(mut room) => {
            room.write(event);
            room.submit(0);
        }
        None => count(lost),
    }
}
