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
