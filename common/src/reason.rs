//! Why a bind was allowed or refused: every reason code, once.

/// The `errno` of a refusal that portreeve makes (`EACCES`, port-control 4.8).
pub const EACCES: u16 = 13;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $id:literal, $refuses:literal, $text:literal;)+) => {
        /// The outcome of one judged bind, as counted and reported.
        ///
        /// The discriminant is the index of the reason's counter and the code in an
        /// event; [`Reason::id`] is the name used in JSON and in the manual.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Reason {
            $($(#[$doc])* $variant = $code,)+
        }

        impl Reason {
            /// Every reason, in the order of the codes.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)+];

            /// The stable name used in JSON, metrics and the manual.
            pub const fn id(self) -> &'static str {
                match self { $(Reason::$variant => $id,)+ }
            }

            /// One sentence for people.
            pub const fn text(self) -> &'static str {
                match self { $(Reason::$variant => $text,)+ }
            }

            /// Whether this reason refuses the bind.
            pub const fn refuses(self) -> bool {
                match self { $(Reason::$variant => $refuses,)+ }
            }
        }
    };
}

reasons! {
    /// Nothing to judge: port 0, where the kernel chooses (port-control 4.4).
    NotJudged = 0, "not-judged", false, "the kernel chooses the port; nothing to judge";
    /// No entry names the port (`PRT-44`).
    Unreserved = 1, "unreserved", false, "no reservation names this port";
    /// The caller is a job the reservation names.
    Permitted = 2, "permitted", false, "the port is reserved for this job";
    /// The port is reserved, but not for the caller (`PRT-02`).
    OtherJob = 3, "other-job", true, "the port is reserved for another job";
    /// The port is RESERVED: nobody may have it (`PRT-07`).
    Blocked = 4, "blocked", true, "the port is RESERVED; nobody may bind it";
    /// The kernel program could not read who is calling.
    NoIdentity = 5, "no-identity", true, "the caller's identity could not be read, so a reserved port is refused";
    /// The tables in the kernel contradict each other; nothing is granted.
    BadTable = 6, "bad-table", true, "the policy tables in the kernel are damaged; reload the policy";
}

/// How many reasons there are; the size of a table indexed by reason.
pub const REASONS: usize = Reason::ALL.len();

impl Reason {
    /// The reason with this code, as read from an event or a counter's index.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The `errno` the caller sees, or `None` if the bind goes on.
    pub const fn errno(self) -> Option<u16> {
        if self.refuses() { Some(EACCES) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_positions() {
        for (position, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, position);
            assert_eq!(Reason::from_code(position as u16), Some(*reason));
        }
        assert_eq!(Reason::from_code(REASONS as u16), None);
    }

    #[test]
    fn ids_are_unique() {
        for (position, reason) in Reason::ALL.iter().enumerate() {
            assert!(
                Reason::ALL[..position]
                    .iter()
                    .all(|other| other.id() != reason.id())
            );
        }
    }

    #[test]
    fn refusals_have_an_errno() {
        for reason in Reason::ALL {
            assert_eq!(reason.errno().is_some(), reason.refuses());
        }
    }
}
