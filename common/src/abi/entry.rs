//! The entries of reservations and of UNRSV.

/// Whom an entry admits. Zero is nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// Nobody, without a word: an element that was never filled.
    Nobody,
    /// RESERVED: nobody, said by the profile (`PRT-07`).
    Blocked,
    /// `*` or `OMVS`: every process (`PRT-05`, `PRT-06`; Linux has no Pascal API).
    Anyone,
    /// The jobs that the matcher with this index names.
    Job(u32),
}

/// What an entry says besides whom it admits. Zero: nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct EntryOptions {
    /// Its job may bind the low port without `CAP_NET_BIND_SERVICE`, however it
    /// was recognised (`PRT-39`).
    pub grant: bool,
    /// The same, if it was recognised by a definition that can't be forged.
    pub grant_verified: bool,
    /// DENY: whoever it matches is refused (`UNR-05`).
    pub deny: bool,
    /// NODELAYACKS (`PRT-13`).
    pub no_delay_acks: bool,
    /// Permit set of its SAF resource; 0 for no check (`PRT-34`).
    pub saf: u32,
    /// 1 + index of the address of its BIND; 0 for none (`PRT-22`).
    pub bind: u32,
}

/// One entry of a reservation or of UNRSV, as the programs see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Entry {
    who: u16,
    flags: u16,
    matcher: u32,
    line: u32,
    saf: u32,
    bind: u32,
    list: u32,
}

impl Entry {
    const BLOCKED: u16 = 1;
    const ANYONE: u16 = 2;
    const JOB: u16 = 3;

    const GRANT: u16 = 1;
    const GRANT_VERIFIED: u16 = 2;
    const DENY: u16 = 4;
    const NO_DELAY_ACKS: u16 = 8;

    /// An entry that stands in line `line` of its file.
    pub const fn new(who: Who, options: EntryOptions, line: u32) -> Self {
        let (who, matcher) = match who {
            Who::Nobody => (0, 0),
            Who::Blocked => (Self::BLOCKED, 0),
            Who::Anyone => (Self::ANYONE, 0),
            Who::Job(matcher) => (Self::JOB, matcher),
        };
        let mut flags = 0;
        if options.grant {
            flags |= Self::GRANT;
        }
        if options.grant_verified {
            flags |= Self::GRANT_VERIFIED;
        }
        if options.deny {
            flags |= Self::DENY;
        }
        if options.no_delay_acks {
            flags |= Self::NO_DELAY_ACKS;
        }
        Self {
            who,
            matcher,
            flags,
            line,
            saf: options.saf,
            bind: options.bind,
            list: 0,
        }
    }

    /// The same entry, as the first one of a port whose entries cover defined
    /// jobs as list `list` says; 0 for none.
    pub const fn leading(mut self, list: u32) -> Self {
        self.list = list;
        self
    }

    /// Whom the entry admits.
    #[inline(always)]
    pub const fn who(&self) -> Who {
        match self.who {
            Self::BLOCKED => Who::Blocked,
            Self::ANYONE => Who::Anyone,
            Self::JOB => Who::Job(self.matcher),
            _ => Who::Nobody,
        }
    }

    /// Whether a caller that was recognised so goes on without
    /// `CAP_NET_BIND_SERVICE`.
    #[inline(always)]
    pub const fn grants(&self, verified: bool) -> bool {
        self.flags & Self::GRANT != 0 || (verified && self.flags & Self::GRANT_VERIFIED != 0)
    }

    /// Whether the entry refuses whom it matches.
    #[inline(always)]
    pub const fn denies(&self) -> bool {
        self.flags & Self::DENY != 0
    }

    /// Whether acknowledgements are sent at once.
    #[inline(always)]
    pub const fn no_delay_acks(&self) -> bool {
        self.flags & Self::NO_DELAY_ACKS != 0
    }

    /// Permit set of the SAF resource; 0 for no check.
    #[inline(always)]
    pub const fn saf(&self) -> u32 {
        self.saf
    }

    /// Index of the address of BIND.
    #[inline(always)]
    pub const fn bind(&self) -> Option<u32> {
        self.bind.checked_sub(1)
    }

    /// Of a port's first entry: the list that says which entries cover which
    /// defined jobs ([`super::jobs::PlaceKey`]); 0 when none does.
    #[inline(always)]
    pub const fn list(&self) -> u32 {
        self.list
    }

    /// Line in its file, from 1.
    #[inline(always)]
    pub const fn line(&self) -> u32 {
        self.line
    }
}
