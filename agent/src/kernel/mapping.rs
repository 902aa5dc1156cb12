//! Array maps as memory: a table is filled by one copy instead of 131072 calls.

use std::{
    io, marker::PhantomData, mem::size_of, num::NonZeroUsize, os::fd::AsFd, ptr::NonNull,
    sync::atomic::AtomicU64,
};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use portreeve_common::{
    abi::{
        BindAddress, Doomed, Entry, Event, Head, Info, Matcher, RepeatKey, Repeats, Slot,
        Unreserved, Watched,
        jobs::{
            ExeKey, IdentityKey, JobNameKey, JobRules, PermitKey, PlaceKey, Step, StepKey, UserKey,
            WildKey,
        },
    },
    jobname::Glob,
};

/// A type that any bytes are a value of and that has no padding.
///
/// # Safety
///
/// Both must hold.
pub unsafe trait Element: Copy + 'static {}

macro_rules! elements {
    ($($element:ty),+) => {$(
        // SAFETY: integers only; sizes are asserted in `portreeve_common::abi`, and
        // are the sums of those of the fields.
        unsafe impl Element for $element {}
    )+};
}

elements!(
    u32,
    u64,
    Slot,
    Entry,
    Matcher,
    Glob,
    Unreserved,
    BindAddress,
    Head,
    Info,
    JobRules,
    Step,
    StepKey,
    WildKey,
    ExeKey,
    UserKey,
    JobNameKey,
    IdentityKey,
    PlaceKey,
    PermitKey,
    RepeatKey,
    Repeats,
    Event,
    Doomed,
    Watched
);

/// The `T` that `bytes` are; `None` if one is of another size.
pub fn of_bytes<T: Element>(bytes: &[u8]) -> Option<T> {
    // SAFETY: there are as many bytes as a `T` has, any bytes are a `T`, and it may lie
    // anywhere.
    (bytes.len() == size_of::<T>()).then(|| unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// An array map in this process's memory. Other processes and running programs
/// see every store; nothing here is ever borrowed, only copied in and out.
#[derive(Debug)]
pub struct Mapping<T: Element> {
    start: NonNull<T>,
    elements: usize,
    _elements: PhantomData<T>,
}

// SAFETY: the mapping belongs to the process, not to a thread.
unsafe impl<T: Element> Send for Mapping<T> {}

impl<T: Element> Mapping<T> {
    const BYTES: usize = {
        assert!(
            size_of::<T>().is_multiple_of(8),
            "the kernel spaces elements by eight bytes"
        );
        size_of::<T>()
    };

    /// Maps the first `elements` elements of the array map `fd`.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the map is smaller than that or was made without
    /// `BPF_F_MMAPABLE`; `EPERM` without the right to write it.
    pub fn new(fd: impl AsFd, elements: u32, writable: bool) -> io::Result<Self> {
        let elements = elements as usize;
        let length = NonZeroUsize::new(elements * Self::BYTES)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut protection = ProtFlags::PROT_READ;
        protection.set(ProtFlags::PROT_WRITE, writable);
        // SAFETY: a new mapping at an address of the kernel's choice overlaps
        // nothing of ours.
        let start = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, fd, 0) }?;
        Ok(Self {
            start: start.cast(),
            elements,
            _elements: PhantomData,
        })
    }

    /// Pointer to element `index`, after a check that `count` elements are there.
    fn at(&self, index: u32, count: usize) -> NonNull<T> {
        let index = index as usize;
        assert!(
            index
                .checked_add(count)
                .is_some_and(|end| end <= self.elements),
            "element {index}+{count} of {}",
            self.elements
        );
        // SAFETY: inside the mapping, just checked.
        unsafe { self.start.add(index) }
    }

    /// Copies `values` to the elements from `first` on. The caller sees to it
    /// that no program reads them meanwhile.
    pub fn write(&self, first: u32, values: &[T]) {
        let target = self.at(first, values.len());
        // SAFETY: `at` checked the room; the mapping overlaps no Rust object.
        unsafe { target.copy_from_nonoverlapping(NonNull::from(values).cast(), values.len()) };
    }

    /// Element `index`.
    pub fn read(&self, index: u32) -> T {
        // SAFETY: inside the mapping, and any bytes are a `T`. Volatile, because
        // others write there too.
        unsafe { self.at(index, 1).read_volatile() }
    }
}

impl Mapping<u64> {
    /// Element `index` as a word that programs change at the same time.
    pub fn atomic(&self, index: u32) -> &AtomicU64 {
        // SAFETY: inside the mapping, which is page-aligned and lives as long as
        // `self`; everybody else accesses these words atomically.
        unsafe { AtomicU64::from_ptr(self.at(index, 1).as_ptr()) }
    }
}

impl<T: Element> Drop for Mapping<T> {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped; nothing borrows from it. Failure
        // would leave it mapped until the process ends, which is harmless.
        let _ = unsafe { munmap(self.start.cast(), self.elements * Self::BYTES) };
    }
}
