//! What entries point to: jobname operands and the addresses of BIND.

use crate::jobname::MaskedName;

/// One jobname operand: a name or a pattern. Which defined jobs it covers is said
/// by the lists of [`super::jobs`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Matcher {
    masked: MaskedName,
    /// 1 + index of the automaton, or 0 when the masked compare says it all.
    glob: u32,
    reserved: u32,
}

impl Matcher {
    /// A name or pattern that masked compares can say.
    pub const fn masked(masked: MaskedName) -> Self {
        Self {
            masked,
            glob: 0,
            reserved: 0,
        }
    }

    /// A pattern that needs automaton `index`.
    pub fn glob(index: u32) -> Self {
        Self {
            masked: MaskedName::default(),
            glob: index.saturating_add(1),
            reserved: 0,
        }
    }

    /// The masked compare; matches nothing when [`Self::glob_index`] is given.
    #[inline(always)]
    pub const fn masked_name(&self) -> &MaskedName {
        &self.masked
    }

    /// Index of the automaton in its half.
    #[inline(always)]
    pub const fn glob_index(&self) -> Option<u32> {
        self.glob.checked_sub(1)
    }
}

/// An address of BIND: IPv4 in the first four bytes, or IPv6, in network order.
/// The all-zero value is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct BindAddress {
    /// Each in network order.
    words: [u32; 4],
    family: u32,
    reserved: u32,
}

impl BindAddress {
    /// An IPv4 address.
    pub const fn v4(address: [u8; 4]) -> Self {
        Self {
            words: [u32::from_ne_bytes(address), 0, 0, 0],
            family: 4,
            reserved: 0,
        }
    }

    /// An IPv6 address.
    pub fn v6(address: [u8; 16]) -> Self {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(address.as_chunks().0) {
            *word = u32::from_ne_bytes(*bytes);
        }
        Self {
            words,
            family: 6,
            reserved: 0,
        }
    }

    /// Whether it is an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        self.family == 4
    }

    /// Whether it is an IPv6 address.
    #[inline(always)]
    pub const fn is_v6(&self) -> bool {
        self.family == 6
    }

    /// Its words in network order, as in [`super::Event::address`].
    #[inline(always)]
    pub const fn words(&self) -> [u32; 4] {
        self.words
    }

    /// Its bytes in network order; IPv4 uses the first four.
    pub fn bytes(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(self.words) {
            *bytes = word.to_ne_bytes();
        }
        bytes
    }
}
