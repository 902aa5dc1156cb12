//! Object identifiers.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// Most numbers of an object identifier (RFC 2578, section 3.5).
pub const MOST: usize = 128;

/// An object identifier. Their order is that in which an agent is walked.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Oid(Vec<u32>);

/// Why a text is no object identifier.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("it is not numbers with dots between them")]
pub struct NoOid;

impl Oid {
    /// Of `numbers`.
    pub fn new(numbers: impl Into<Vec<u32>>) -> Self {
        Self(numbers.into())
    }

    /// The one below this with `numbers` added.
    pub fn below(&self, numbers: &[u32]) -> Self {
        let mut all = Vec::with_capacity(self.0.len() + numbers.len());
        all.extend_from_slice(&self.0);
        all.extend_from_slice(numbers);
        Self(all)
    }

    /// Its numbers.
    pub fn numbers(&self) -> &[u32] {
        &self.0
    }

    /// What follows `root` in it; `None` if it is not there or below.
    pub fn after<'o>(&'o self, root: &Self) -> Option<&'o [u32]> {
        self.0.strip_prefix(root.0.as_slice())
    }
}

impl fmt::Display for Oid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for number in &self.0 {
            write!(formatter, "{between}{number}")?;
            between = ".";
        }
        Ok(())
    }
}

impl FromStr for Oid {
    type Err = NoOid;

    /// Of two numbers at least, with or without a dot before them.
    fn from_str(text: &str) -> Result<Self, NoOid> {
        let text = text.strip_prefix('.').unwrap_or(text);
        let number = |word: &str| match word.bytes().all(|byte| byte.is_ascii_digit()) {
            true => word.parse().map_err(|_| NoOid),
            false => Err(NoOid),
        };
        let numbers: Vec<u32> = text.split('.').map(number).collect::<Result<_, _>>()?;
        match numbers.len() {
            2..=MOST => Ok(Self(numbers)),
            _ => Err(NoOid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_numbers_with_dots() {
        let oid: Oid = "1.3.6.1.4.1".parse().unwrap();
        assert_eq!(oid.to_string(), "1.3.6.1.4.1");
        assert_eq!(".1.3.6.1.4.1".parse(), Ok(oid));
        for text in [
            "",
            ".",
            "1",
            "1.",
            "1..3",
            "1.x",
            "1.+3",
            "1.4294967296",
            "-1.3",
        ] {
            assert_eq!(text.parse::<Oid>(), Err(NoOid), "{text}");
        }
        assert!(vec!["1"; MOST].join(".").parse::<Oid>().is_ok());
        assert!(vec!["1"; MOST + 1].join(".").parse::<Oid>().is_err());
    }

    #[test]
    fn what_is_below_comes_after() {
        let root = Oid::new([1, 3, 6]);
        assert!(root < root.below(&[0]) && root.below(&[0]) < root.below(&[0, 0]));
        assert!(root.below(&[u32::MAX]) < Oid::new([1, 3, 7]));
        assert_eq!(root.below(&[4, 1]).after(&root), Some(&[4, 1][..]));
        assert_eq!(Oid::new([1, 3]).after(&root), None);
    }
}
