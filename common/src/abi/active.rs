//! The word that says which half is in force.

/// What happens to a bind that the policy refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Mode {
    /// It fails.
    Enforce = 1,
    /// It is counted and reported, and goes on.
    Audit = 2,
}

impl Mode {
    /// `"enforce"` or `"audit"`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Audit => "audit",
        }
    }
}

/// The word in `ACTIVE`: which half is in force, and how. Zero: nothing is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Active(u64);

impl Active {
    const MODE_SHIFT: u32 = 1;
    const REPORT_ALL: u64 = 1 << 3;
    const SHARING_STAYS: u64 = 1 << 4;
    const KEEPS_POOL: u64 = 1 << 5;

    /// No policy is in force.
    pub const NONE: Self = Self(0);

    /// The word for `generation` in `half` (0 or 1).
    pub const fn new(generation: u32, half: u32, mode: Mode, report_all: bool) -> Self {
        let report = if report_all { Self::REPORT_ALL } else { 0 };
        Self(
            ((generation as u64) << 32)
                | report
                | ((mode as u64) << Self::MODE_SHIFT)
                | (half & 1) as u64,
        )
    }

    /// The same, but `SO_REUSEPORT` that an application sets on a reserved TCP port
    /// without SHAREPORT stays.
    pub const fn leaving_sharing(self) -> Self {
        Self(self.0 | Self::SHARING_STAYS)
    }

    /// The same, with the agent keeping reserved ports out of the kernel's pool.
    pub const fn keeping_pool(self) -> Self {
        Self(self.0 | Self::KEEPS_POOL)
    }

    /// The word as read from the map.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// The word to store.
    pub const fn word(self) -> u64 {
        self.0
    }

    /// How refusals are treated; `None` when nothing is judged.
    #[inline(always)]
    pub const fn mode(self) -> Option<Mode> {
        match (self.0 >> Self::MODE_SHIFT) & 3 {
            1 => Some(Mode::Enforce),
            2 => Some(Mode::Audit),
            _ => None,
        }
    }

    /// The half that is in force.
    #[inline(always)]
    pub const fn half(self) -> u32 {
        (self.0 & 1) as u32
    }

    /// Whether permitted and unreserved binds make events too.
    #[inline(always)]
    pub const fn report_all(self) -> bool {
        self.0 & Self::REPORT_ALL != 0
    }

    /// Whether `SO_REUSEPORT` stays where the application sets it.
    #[inline(always)]
    pub const fn sharing_stays(self) -> bool {
        self.0 & Self::SHARING_STAYS != 0
    }

    /// Whether a reserved port that the kernel chose is a mistake.
    #[inline(always)]
    pub const fn keeps_pool(self) -> bool {
        self.0 & Self::KEEPS_POOL != 0
    }

    /// The number of the publication, from 1.
    #[inline(always)]
    pub const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}
