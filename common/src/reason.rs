//! Why a bind was allowed or refused: every reason code, once.

/// The `errno` of a refusal that portreeve makes (`EACCES`, port-control 4.8).
pub const EACCES: u16 = 13;
/// What every refusal ends with where the kernel lets us choose no errno (`EPERM`).
pub const EPERM: u16 = 1;
/// What the kernel's own threads see instead: their loops go on to the next port
/// for nothing else (`EADDRINUSE`).
pub const EADDRINUSE: u16 = 98;
/// What the kernel itself answers to a family that doesn't go with the address
/// (`EAFNOSUPPORT`).
pub const EAFNOSUPPORT: u16 = 97;

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
    /// The job is right, but its user has no READ on the SAF resource (`PRT-34`).
    NoPermit = 7, "no-permit", true, "the caller's user is not permitted to the entry's SAF resource";
    /// A low port that nobody reserved, under RESTRICTLOWPORTS (`LOW-01`).
    LowPort = 8, "low-port", true, "unreserved ports below 1024 are for privileged processes";
    /// The same, by a caller who may (`LOW-02`).
    PrivilegedLowPort = 9, "privileged-low-port", false, "unreserved low ports are open to privileged processes";
    /// An UNRSV entry admits the caller (`UNR-02`).
    UnreservedPermitted = 10, "unreserved-permitted", false, "the profile admits this job to unreserved ports";
    /// UNRSV entries exist and none of them is for the caller (`UNR-03`).
    UnreservedOther = 11, "unreserved-other", true, "the profile admits other jobs to unreserved ports, but not this one";
    /// The closest UNRSV entry says DENY (`UNR-05`).
    UnreservedDenied = 12, "unreserved-denied", true, "the profile denies unreserved ports to this job";
    /// The rules for jobs allow it, but the port is restricted to other users (`IBI-01`).
    OtherUser = 13, "other-user", true, "the port is restricted to other users";
    /// The entry's BIND can't be had: the address can't be changed in a bind whose
    /// family is `AF_UNSPEC`, and the wildcard it asks for isn't what the entry gives.
    AddressFamily = 14, "address-family", true, "the entry's BIND needs the address family to be named in the bind";
}

/// How many reasons there are; the size of a table indexed by reason.
pub const REASONS: usize = Reason::ALL.len();

impl Reason {
    /// The reason with this code, as read from an event or a counter's index.
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The `errno` a process sees, or `None` if the bind goes on.
    pub const fn errno(self) -> Option<u16> {
        match self {
            Self::AddressFamily => Some(EAFNOSUPPORT),
            reason if reason.refuses() => Some(EACCES),
            _ => None,
        }
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
