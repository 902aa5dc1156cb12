//! The current task, read field by field.
//!
//! Fields of the task and of what it points to are plain loads at offsets that
//! the agent takes from the running kernel's BTF: the verifier checks each
//! against the type of the structure, so a wrong offset is refused at load
//! instead of reading something else, and a pointer that is stale or NULL reads
//! as zeros. What the verifier can't type is read by a helper: all of it on kernels
//! that give the task no type ([`Feature::TypedTask`]).

use core::{mem::MaybeUninit, ptr};

use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_current_task_btf, bpf_probe_read_kernel,
};
use portreeve_common::abi::{Feature, Field};

use crate::maps::{has, offset};

/// `PF_KTHREAD`; io_uring's workers are no kernel threads in this sense.
const KERNEL_THREAD: u32 = 0x0020_0000;

/// A kernel structure, whose type the verifier knows if the kernel lets it.
#[derive(Clone, Copy)]
pub struct Record(*const u8);

impl Record {
    /// The current thread.
    #[inline(always)]
    pub fn task() -> Self {
        // SAFETY: the helpers take no argument.
        Self(unsafe {
            if has(Feature::TypedTask) {
                bpf_get_current_task_btf() as *const u8
            } else {
                bpf_get_current_task() as *const u8
            }
        })
    }

    /// The structure at `pointer`, which the verifier knows the type of.
    #[inline(always)]
    pub fn typed(pointer: *const u8) -> Self {
        Self(pointer)
    }

    /// A bit field, with what else is in its byte above it.
    #[inline(always)]
    pub fn bits(self, field: Field) -> u8 {
        let bit = offset(field);
        // SAFETY: as in [`Self::get_behind`].
        let byte = unsafe { ptr::read_volatile(self.0.add(bit as usize / 8)) };
        byte >> (bit % 8)
    }

    /// A field of `T`'s size.
    #[inline(always)]
    pub fn get<T: Copy>(self, field: Field) -> T {
        self.get_behind(field, 0)
    }

    /// What stands `bytes` behind the start of a field.
    #[inline(always)]
    pub fn get_behind<T: Copy>(self, field: Field, bytes: u32) -> T {
        let at = offset(field) + bytes;
        if !has(Feature::TypedTask) {
            return read(self.address() + u64::from(at));
        }
        // SAFETY: the verifier proves that the load lies inside the structure.
        // Volatile, so that it stays one load of this width at this offset, which
        // is what the verifier recognises.
        unsafe { ptr::read_volatile(self.0.add(at as usize).cast()) }
    }

    /// The structure that a field points to; `None` for NULL.
    #[inline(always)]
    pub fn follow(self, field: Field) -> Option<Self> {
        let pointer = self.get::<*const u8>(field);
        if pointer.is_null() {
            None
        } else {
            Some(Self(pointer))
        }
    }

    /// Where it is, for [`read`].
    #[inline(always)]
    pub fn address(self) -> u64 {
        self.0 as u64
    }
}

/// Reads a `T` from anywhere in kernel memory; zeros where nothing can be read.
///
/// The helper's answer isn't asked for: a path for each failure would multiply
/// what the verifier has to walk. It zeroes what it can't read.
#[inline(always)]
pub fn read<T: Copy>(address: u64) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes `size_of::<T>()` bytes to a place of that size,
    // whatever the address is; every `T` read here is a number or an array of them.
    unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            address as *const _,
        );
        value.assume_init()
    }
}

/// `address` as a mere number: the verifier knows where one comes from that it has
/// typed, and lets no function take it for a number.
#[inline(always)]
pub fn number(address: u64) -> u64 {
    let mut number = MaybeUninit::<u64>::uninit();
    // SAFETY: eight bytes are copied from one place on the stack to another.
    unsafe {
        bpf_probe_read_kernel(number.as_mut_ptr().cast(), 8, (&raw const address).cast());
        number.assume_init()
    }
}

/// A field of the structure at `address`.
#[inline(always)]
pub fn read_field<T: Copy>(address: u64, field: Field) -> T {
    read(address + u64::from(offset(field)))
}

/// A bit field of the structure at `address`, with what else is in its byte above it.
#[inline(always)]
pub fn read_bits(address: u64, field: Field) -> u8 {
    let bit = offset(field);
    let byte: u8 = read(address + u64::from(bit / 8));
    byte >> (bit % 8)
}

/// The caller's process, as the host numbers it. A helper knows it too, but not on
/// every kernel in every hook.
#[inline(always)]
pub fn pid() -> u32 {
    Record::task().get(Field::TaskProcess)
}

/// Whether the caller is one of the kernel's own threads.
#[inline(always)]
pub fn is_kernel() -> bool {
    kernel_mask(Record::task()) != 0
}

/// All ones if `task` is one of the kernel's own threads, else 0.
#[inline(always)]
pub fn kernel_mask(task: Record) -> u64 {
    let flags: u32 = task.get(Field::TaskFlags);
    u64::from(flags & KERNEL_THREAD != 0).wrapping_neg()
}

/// The name of the leader of `task`'s thread group. A thread may rename itself (tokio, Go
/// and io_uring workers do) without becoming another process.
#[inline(always)]
pub fn comm(task: Record) -> Option<[u64; 2]> {
    let leader = task.follow(Field::TaskLeader)?;
    Some([
        leader.get(Field::TaskComm),
        leader.get_behind(Field::TaskComm, 8),
    ])
}

/// The effective user id, in the initial user namespace. The helper for user ids
/// would give the real one.
#[inline(always)]
pub fn euid() -> u32 {
    match Record::task().follow(Field::TaskCred) {
        Some(cred) => cred.get(Field::CredEuid),
        None => u32::MAX,
    }
}
