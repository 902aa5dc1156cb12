//! What entries point to: jobname operands and the addresses of BIND.

use crate::jobname::MaskedName;

/// One jobname operand: a name or a pattern, and the defined jobs it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Matcher {
    masked: MaskedName,
    /// 1 + index of the automaton, or 0 when the masked compare says it all.
    glob: u32,
    /// Set of defined jobs that the operand covers; 0 is none. The top bit says
    /// that their definitions can't be forged.
    jobs: u32,
}

impl Matcher {
    const VERIFIED: u32 = 1 << 31;

    /// A name or pattern that masked compares can say.
    pub const fn masked(masked: MaskedName, jobs: u32) -> Self {
        Self {
            masked,
            glob: 0,
            jobs,
        }
    }

    /// A pattern that needs automaton `index`.
    pub fn glob(index: u32, jobs: u32) -> Self {
        Self {
            masked: MaskedName::default(),
            glob: index.saturating_add(1),
            jobs,
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

    /// The set of defined jobs the operand covers; 0 is none.
    #[inline(always)]
    pub const fn jobs(&self) -> u32 {
        self.jobs & !Self::VERIFIED
    }

    /// Whether being one of those jobs is proven by more than what a process
    /// says of itself.
    #[inline(always)]
    pub const fn is_verified(&self) -> bool {
        self.jobs & Self::VERIFIED != 0
    }

    /// The same operand, with jobs that can't be forged.
    pub const fn verified(mut self) -> Self {
        self.jobs |= Self::VERIFIED;
        self
    }
}

/// An address of BIND: IPv4 in the first four bytes, or IPv6, in network order.
/// The all-zero value is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct BindAddress {
    bytes: [u8; 16],
    family: u32,
    reserved: u32,
}

impl BindAddress {
    /// An IPv4 address.
    pub fn v4(address: [u8; 4]) -> Self {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&address);
        Self {
            bytes,
            family: 4,
            reserved: 0,
        }
    }

    /// An IPv6 address.
    pub const fn v6(address: [u8; 16]) -> Self {
        Self {
            bytes: address,
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

    /// Its bytes in network order; IPv4 uses the first four.
    pub const fn bytes(&self) -> [u8; 16] {
        self.bytes
    }
}
