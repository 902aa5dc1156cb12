//! What the programs keep with a socket.

/// What is remembered of a socket between its binds. Zero: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Remembered {
    /// 1 + the port that its last bind was judged for; 0 for none.
    pub judged: u32,
    /// What was changed for that bind: [`Remembered::SHARED`] and so on.
    pub changed: u32,
}

impl Remembered {
    /// `SO_REUSEPORT` was switched on.
    pub const SHARED: u32 = 1;
    /// `SO_REUSEPORT` was switched off.
    pub const UNSHARED: u32 = 2;
    /// Acknowledgements are held back for a shorter time.
    pub const SHORT_DELAY: u32 = 4;
    /// The kernel asks for no capability in that bind.
    pub const GRANTED: u32 = 8;
    /// Nothing that was changed: the socket listens, the policy refuses that, and the ring
    /// of those to destroy had no room for it.
    pub const LATE: u32 = 16;
}

/// Which port the bind under way of a socket was judged for: for binds that leave nothing to
/// be taken back, which are nearly all. It takes a store, where the socket's own memory has
/// to be allocated.
///
/// A socket is known by its cookie, which no other socket ever has. Two binds at the same
/// time may want the same place; who finds the other's word judges once more, which changes
/// nothing. Every bind that goes on puts its word there or keeps it with the socket, so the
/// word that a bind finds of its socket is its own, and one that finds none has lost it:
/// words are never taken away, because that would look the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged(u64);

/// Places for [`Judged`].
pub const JUDGED_PLACES: u32 = 4096;

impl Judged {
    const PORT_BITS: u32 = 16;

    /// That the socket of `cookie` was judged for `port`; for 0, that the kernel was let
    /// choose.
    #[inline(always)]
    pub const fn new(cookie: u64, port: u16) -> Self {
        Self(cookie << Self::PORT_BITS | port as u64)
    }

    /// As it stands in the map. Zero: nobody's, as no socket's cookie is 0.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// As it stands in the map.
    #[inline(always)]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// Where that of the socket of `cookie` stands. Processors number their sockets in
    /// stretches of 4096, so that neighbours in the map are of the same one.
    #[inline(always)]
    pub const fn place(cookie: u64) -> u32 {
        const STRETCH_BITS: u32 = 12;
        const APART: u64 = 8;
        ((cookie + (cookie >> STRETCH_BITS) * APART) % JUDGED_PLACES as u64) as u32
    }

    /// The port that the socket of `cookie` was judged for, if it is that one's word.
    #[inline(always)]
    pub const fn of(self, cookie: u64) -> Option<u16> {
        if self.0 >> Self::PORT_BITS == cookie & (u64::MAX >> Self::PORT_BITS) {
            Some(self.0 as u16)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_of_one_socket() {
        let judged = Judged::new(4711, 65_535);
        assert_eq!(judged.of(4711), Some(65_535));
        assert_eq!(judged.of(4712), None);
        assert_eq!(Judged::from_word(judged.word()), judged);
        assert_eq!(Judged::new(4711, 0).of(4711), Some(0));
        // A map begins with zeros.
        assert_eq!(Judged::from_word(0).of(1), None);
    }

    #[test]
    fn places_are_in_the_map_and_apart_for_processors() {
        for cookie in [0, 1, 4095, 4096, u64::MAX >> 16] {
            assert!(Judged::place(cookie) < JUDGED_PLACES);
        }
        assert_eq!(Judged::place(4096 + 5).abs_diff(Judged::place(5)), 8);
    }
}
