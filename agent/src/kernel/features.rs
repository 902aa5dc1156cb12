//! What the running kernel has of what older ones lack, tried one by one.
//!
//! A version number would say nothing of a distribution's kernel, so each is tried by
//! loading a program of a few instructions that uses it.

use std::{fmt, io};

use nix::libc;
use portreeve_common::abi::Feature;

use super::{KernelError, error::chain, netns, requirements, sys};
use crate::config;

/// What the running kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features([bool; Feature::ALL.len()]);

impl Features {
    /// Tries all of them.
    ///
    /// # Errors
    ///
    /// [`KernelError::Load`] if the kernel takes no program at all.
    pub fn of_running_kernel() -> Result<Self, KernelError> {
        requirements::raise_memory_limit();
        Self::ask(has).map_err(|error| KernelError::Load {
            message: chain(&error),
        })
    }

    /// The same, where it is no harm not to know: without root it can't be told.
    pub fn of_host() -> Option<Self> {
        requirements::root("trying programs").ok()?;
        Self::of_running_kernel().ok()
    }

    fn ask(mut has: impl FnMut(Feature) -> io::Result<bool>) -> io::Result<Self> {
        let mut found = [false; Feature::ALL.len()];
        for feature in Feature::ALL {
            found[feature as usize] = has(feature)?;
        }
        Ok(Self(found))
    }

    /// Whether the kernel has `feature`.
    pub const fn has(self, feature: Feature) -> bool {
        self.0[feature as usize]
    }

    /// The answers, as the programs take them.
    pub fn words(self) -> [u32; Feature::ALL.len()] {
        self.0.map(u32::from)
    }

    /// What is not as it should be for want of something.
    pub fn lacking(self) -> Vec<Lack> {
        let lacking = LACKS.into_iter().filter(|lack| !self.has(lack.of));
        lacking.collect()
    }

    /// A kernel that has them all.
    pub const ALL: Self = Self([true; Feature::ALL.len()]);

    /// A kernel that has none of them.
    pub const NONE: Self = Self([false; Feature::ALL.len()]);

    /// A kernel that lacks just `feature`.
    #[cfg(test)]
    pub fn all_but(feature: Feature) -> Self {
        let mut all = Self::ALL;
        all.0[feature as usize] = false;
        all
    }
}

/// Something that is not as it should be, because the kernel lacks a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lack {
    of: Feature,
    /// What a policy may need, if it can be said to.
    pub feature: Option<config::Feature>,
    name: &'static str,
    what: &'static str,
}

/// Each with what becomes of a bind. The others are only ways that the programs have.
const LACKS: [Lack; 4] = [
    Lack {
        of: Feature::Errno,
        feature: Some(config::Feature::Errno),
        name: config::Feature::Errno.word(),
        what: "a refused bind fails with EPERM, not with EACCES, and one of the kernel's own threads not with EADDRINUSE",
    },
    Lack {
        of: Feature::Grant,
        feature: Some(config::Feature::Grant),
        name: config::Feature::Grant.word(),
        what: "the rightful job of a low port needs CAP_NET_BIND_SERVICE all the same, or a lower net.ipv4.ip_unprivileged_port_start",
    },
    Lack {
        of: Feature::Options,
        feature: Some(config::Feature::Options),
        name: config::Feature::Options.word(),
        what: "SO_REUSEPORT stays as applications set it, so that a job's processes can share a port without SHAREPORT and can't with it, or with BIND beside none, unless they ask; acknowledgements are delayed as ever",
    },
    Lack {
        of: Feature::EarlierAnswer,
        feature: None,
        name: "neighbours",
        what: "a bind that somebody else's program has refused is judged, counted and told all the same",
    },
];

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, what, .. } = self;
        let release = requirements::release();
        write!(
            f,
            "{name}: {what}; Linux {release} lacks what it takes, 6.1 has it"
        )
    }
}

fn has(feature: Feature) -> io::Result<bool> {
    match feature {
        Feature::NetnsCookie => {
            Ok(takes(&[call(NETNS_COOKIE), set(0, 1), EXIT])? && netns::has_cookies())
        }
        Feature::Errno => takes(&[set(1, -libc::EACCES), call(SET_RETVAL), set(0, 0), EXIT]),
        Feature::EarlierAnswer => takes(&[call(GET_RETVAL), set(0, 1), EXIT]),
        Feature::Grant => takes(&[set(0, 3), EXIT]),
        Feature::TypedTask => takes(&[call(TASK_BTF), set(0, 1), EXIT]),
        Feature::Options => Ok(takes(&option(GETSOCKOPT))? && takes(&option(SETSOCKOPT))?),
    }
}

// Numbers of helpers, as in bpf(2).
const SETSOCKOPT: i32 = 49;
const GETSOCKOPT: i32 = 57;
const NETNS_COOKIE: i32 = 122;
const TASK_BTF: i32 = 158;
const GET_RETVAL: i32 = 186;
const SET_RETVAL: i32 = 187;

/// Calls `helper` for an option of the socket, whose value is on the stack.
fn option(helper: i32) -> [u64; 9] {
    const STACK: u8 = 10;
    [
        store(STACK, -4, 0),
        set(2, libc::SOL_SOCKET),
        set(3, libc::SO_REUSEPORT),
        copy(4, STACK),
        add(4, -4),
        set(5, 4),
        call(helper),
        set(0, 1),
        EXIT,
    ]
}

// Instructions, each: operation, registers, offset, number.
const EXIT: u64 = 0x95;

/// `register = number`
const fn set(register: u8, number: i32) -> u64 {
    0xb7 | (register as u64) << 8 | (number.cast_unsigned() as u64) << 32
}

/// `register += number`
const fn add(register: u8, number: i32) -> u64 {
    0x07 | (register as u64) << 8 | (number.cast_unsigned() as u64) << 32
}

/// `to = from`
const fn copy(to: u8, from: u8) -> u64 {
    0xbf | (to as u64) << 8 | (from as u64) << 12
}

/// `*(u32 *)(to + offset) = number`
const fn store(to: u8, offset: i16, number: i32) -> u64 {
    0x62 | (to as u64) << 8
        | (offset.cast_unsigned() as u64) << 16
        | (number.cast_unsigned() as u64) << 32
}

const fn call(helper: i32) -> u64 {
    0x85 | (helper.cast_unsigned() as u64) << 32
}

/// Whether the kernel takes a program on `bind4` of these instructions.
fn takes(instructions: &[u64]) -> io::Result<bool> {
    match sys::try_bind_program(instructions) {
        Ok(()) => Ok(true),
        // The verifier's words for what a program must not do.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EINVAL)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_is_kept_in_its_place() {
        for lacking in Feature::ALL {
            let features = Features::ask(|feature| Ok(feature != lacking)).unwrap();
            assert_eq!(features, Features::all_but(lacking));
            for feature in Feature::ALL {
                assert_eq!(features.has(feature), feature != lacking);
                assert_eq!(
                    features.words()[feature as usize],
                    u32::from(feature != lacking)
                );
            }
        }
        assert_eq!(Features::ask(|_| Ok(true)).unwrap(), Features::ALL);
    }

    #[test]
    fn an_answer_that_is_none_is_an_error() {
        let refused = |feature| match feature {
            Feature::Grant => Err(io::Error::from_raw_os_error(libc::EPERM)),
            _ => Ok(true),
        };
        assert!(Features::ask(refused).is_err());
    }
}
