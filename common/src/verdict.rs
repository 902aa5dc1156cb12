//! The answer to one request, and the one word that it fits into.

use crate::abi::{MAX_ADDRESSES, Mode, NO_ENTRY};
use crate::reason::Reason;

/// The address that a wildcard is replaced by (port-control 4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// None: the address stays as asked for.
    Keep,
    /// The address with this index, in the socket's own family.
    To(u32),
    /// The IPv4 address with this index, as an IPv4-mapped IPv6 address (`PRT-24`).
    Mapped(u32),
}

/// The answer to one request, and what goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Why; says whether it is a refusal.
    pub reason: Reason,
    /// Index of the entry that decided, or the port's first one when none admits
    /// the caller; [`NO_ENTRY`] when no entry did.
    pub entry: u32,
    /// The bind goes on without `CAP_NET_BIND_SERVICE`.
    pub grant: bool,
    /// What becomes of the address.
    pub rewrite: Rewrite,
    /// The port may be shared by several listeners (`PRT-14`).
    pub shared: bool,
    /// Acknowledgements are sent at once (`PRT-13`).
    pub no_delay_acks: bool,
    /// The rules that made it are in audit: a refusal is told and not made, and a bind
    /// that is permitted is given nothing.
    pub audited: bool,
}

/// The bits of a word: the entry above 32, below it the address, the flags, the reason.
const REASON: u64 = 0xff;
const GRANT: u64 = 1 << 8;
const SHARED: u64 = 1 << 9;
const NO_DELAY_ACKS: u64 = 1 << 10;
const AUDITED: u64 = 1 << 11;
const TO: u64 = 1 << 12;
const MAPPED: u64 = 1 << 13;
const ADDRESS_SHIFT: u32 = 14;
const ADDRESS: u64 = 0x3ffff;
const ENTRY_SHIFT: u32 = 32;

const _: () = assert!(MAX_ADDRESSES as u64 <= ADDRESS + 1);

impl Verdict {
    #[inline(always)]
    pub(crate) const fn new(reason: Reason, entry: u32) -> Self {
        Self {
            reason,
            entry,
            grant: false,
            rewrite: Rewrite::Keep,
            shared: false,
            no_delay_acks: false,
            audited: false,
        }
    }

    /// The same verdict by rules that are in audit, or not.
    #[inline(always)]
    pub(crate) const fn in_audit(mut self, audited: bool) -> Self {
        self.audited = audited;
        self
    }

    /// A verdict that no entry made.
    #[inline(always)]
    pub const fn without_entry(reason: Reason) -> Self {
        Self::new(reason, NO_ENTRY)
    }

    /// Whether the bind is refused.
    pub const fn refuses(&self) -> bool {
        self.reason.refuses()
    }

    /// How it is treated under a policy in `mode`.
    #[inline(always)]
    pub const fn mode(&self, mode: Mode) -> Mode {
        if self.audited { Mode::Audit } else { mode }
    }

    /// The verdict as a number. The verifier walks a function that returns a number
    /// once, and what comes after it once, instead of the second for each way through
    /// the first.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        let (kind, address) = match self.rewrite {
            Rewrite::Keep => (0, 0),
            Rewrite::To(index) => (TO, index as u64),
            Rewrite::Mapped(index) => (MAPPED, index as u64),
        };
        self.reason as u64
            | flag(self.grant, GRANT)
            | flag(self.shared, SHARED)
            | flag(self.no_delay_acks, NO_DELAY_ACKS)
            | flag(self.audited, AUDITED)
            | kind
            | (address & ADDRESS) << ADDRESS_SHIFT
            | (self.entry as u64) << ENTRY_SHIFT
    }

    /// The verdict that [`Self::word`] made a number of. Of a reason that there isn't,
    /// [`Reason::BadTable`].
    #[inline(always)]
    pub fn from_word(word: u64) -> Self {
        let address = (word >> ADDRESS_SHIFT & ADDRESS) as u32;
        Self {
            reason: Reason::from_code((word & REASON) as u16).unwrap_or(Reason::BadTable),
            entry: (word >> ENTRY_SHIFT) as u32,
            grant: word & GRANT != 0,
            rewrite: if word & TO != 0 {
                Rewrite::To(address)
            } else if word & MAPPED != 0 {
                Rewrite::Mapped(address)
            } else {
                Rewrite::Keep
            },
            shared: word & SHARED != 0,
            no_delay_acks: word & NO_DELAY_ACKS != 0,
            audited: word & AUDITED != 0,
        }
    }
}

#[inline(always)]
const fn flag(is_set: bool, bit: u64) -> u64 {
    if is_set { bit } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_says_the_whole_verdict() {
        let rewrites = [
            Rewrite::Keep,
            Rewrite::To(0),
            Rewrite::To(MAX_ADDRESSES - 1),
            Rewrite::Mapped(0),
            Rewrite::Mapped(MAX_ADDRESSES - 1),
        ];
        for reason in Reason::ALL {
            for entry in [0, 1, 131_071, NO_ENTRY] {
                for rewrite in rewrites {
                    for flags in 0..16 {
                        let verdict = Verdict {
                            reason: *reason,
                            entry,
                            grant: flags & 1 != 0,
                            rewrite,
                            shared: flags & 2 != 0,
                            no_delay_acks: flags & 4 != 0,
                            audited: flags & 8 != 0,
                        };
                        assert_eq!(Verdict::from_word(verdict.word()), verdict);
                    }
                }
            }
        }
    }

    #[test]
    fn a_word_of_nothing_grants_nothing() {
        let nothing = Verdict::from_word(0);
        assert!(!nothing.grant && !nothing.shared && nothing.rewrite == Rewrite::Keep);
        let no_reason = Verdict::from_word(REASON);
        assert!(no_reason.refuses() && no_reason.reason == Reason::BadTable);
    }
}
