//! Which of several matching entries is the closest.

use std::cmp::Reverse;

use crate::profile::ast::User;

/// The closest match first (port-control 4.6, A-03): exact names, then patterns
/// with more literal characters, fewer `*` and a longer literal prefix, then
/// `OMVS`, then `*`. What admits nobody has its port alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Specificity {
    /// A name.
    Exact,
    /// A pattern.
    Pattern {
        /// Characters that are neither `*` nor `?`.
        literals: Reverse<usize>,
        /// How many `*`.
        stars: usize,
        /// Characters before the first `*` or `?`.
        prefix: Reverse<usize>,
    },
    /// `OMVS`.
    Omvs,
    /// `*`.
    Anyone,
    /// `RESERVED` and `AUTHPORT`.
    Special,
}

impl Specificity {
    /// How closely `user` matches whom it matches.
    pub fn of(user: &User) -> Self {
        match user {
            User::Job(name) if !name.contains(['*', '?']) => Self::Exact,
            User::Job(pattern) => Self::Pattern {
                literals: Reverse(pattern.chars().filter(|c| !matches!(c, '*' | '?')).count()),
                stars: pattern.matches('*').count(),
                prefix: Reverse(pattern.find(['*', '?']).unwrap_or(pattern.len())),
            },
            User::Omvs => Self::Omvs,
            User::Anyone => Self::Anyone,
            User::Reserved | User::Authport => Self::Special,
        }
    }

    /// In a few words, for people.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Exact => "an exact name",
            Self::Pattern { .. } => "a pattern; more literal characters come first",
            Self::Omvs => "OMVS, after all names",
            Self::Anyone => "*, after everything else",
            Self::Special => "alone on its ports",
        }
    }
}
