//! How a judged bind is told: the ring of events and the counters.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

use aya_ebpf::{
    EbpfContext as _,
    helpers::generated::{bpf_get_current_cgroup_id, bpf_ktime_get_boot_ns},
};
use portreeve_common::{
    Verdict,
    abi::{Event, MAX_ENTRIES, Mode, counter},
};

use crate::{
    judge::Call,
    maps::{COUNTERS, EVENTS, REFUSALS},
    subject::Caller,
};

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

/// Puts one event into the ring, or counts it as lost.
#[inline(always)]
pub fn report(call: &Call, verdict: &Verdict, flags: u8) {
    let caller = Caller::new(call.ctx);
    let audit = match call.mode {
        Mode::Audit => Event::AUDIT,
        Mode::Enforce => 0,
    };
    let event = Event {
        // SAFETY: neither helper takes an argument.
        time: unsafe { bpf_ktime_get_boot_ns() },
        // SAFETY: as above.
        cgroup: unsafe { bpf_get_current_cgroup_id() },
        address: call.address,
        comm: caller.comm().unwrap_or([0; 2]),
        pid: call.ctx.tgid(),
        uid: caller.euid(),
        generation: call.active.generation(),
        entry: verdict.entry,
        line: verdict.line,
        port: call.request.port,
        reason: verdict.reason as u16,
        hook: call.hook as u8,
        protocol: call.request.protocol as u8,
        flags: flags | audit,
        reserved: [0; 5],
    };
    match EVENTS.reserve::<Event>(0) {
        Some(mut room) => {
            room.write(event);
            room.submit(0);
        }
        None => count(counter::EVENTS_LOST),
    }
}
