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

    /// How many bits [`Self::rank`] has.
    pub const RANK_BITS: u32 = 27;

    /// The place in the order as a number: the smaller, the closer. No job name has more
    /// characters than the numbers in it can say.
    pub fn rank(self) -> u32 {
        let byte = |number: usize| number.min(0xff) as u32;
        let (class, literals, stars, prefix) = match self {
            Self::Exact => (0, 0, 0, 0),
            Self::Pattern {
                literals: Reverse(literals),
                stars,
                prefix: Reverse(prefix),
            } => (1, 0xff - byte(literals), byte(stars), 0xff - byte(prefix)),
            Self::Omvs => (2, 0, 0, 0),
            Self::Anyone => (3, 0, 0, 0),
            Self::Special => (4, 0, 0, 0),
        };
        class << 24 | literals << 16 | stars << 8 | prefix
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user() -> impl Strategy<Value = User> {
        prop_oneof![
            4 => "[AB*?]{1,15}".prop_map(|name| User::Job(name.into())),
            1 => Just(User::Anyone),
            1 => Just(User::Omvs),
            1 => Just(User::Reserved),
            1 => Just(User::Authport),
        ]
    }

    proptest! {
        /// The number says the same as the order it stands for.
        #[test]
        fn ranks_are_in_order(one in user(), other in user()) {
            let (one, other) = (Specificity::of(&one), Specificity::of(&other));
            prop_assert_eq!(one.cmp(&other), one.rank().cmp(&other.rank()));
            prop_assert!(one.rank() < 1 << Specificity::RANK_BITS);
        }
    }
}
