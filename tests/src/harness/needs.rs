//! What a test needs of the kernel. A kernel that is old enough to lack it is left
//! out with the reason; one that should have it fails the test.

use std::{fmt, fs, io, sync::OnceLock};

use anyhow::{Context as _, Result, bail};
use nix::{errno::Errno, sys::utsname::uname};

use super::{neighbour, request::Kind, skip};

/// Something that kernels have from a release on, and some up to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// All that the product's programs can't do without.
    Hooks,
    /// Refusals with an errno of their own.
    Errno,
    /// Programs are told what those before them answered.
    EarlierAnswer,
    /// Low ports without a capability.
    Grant,
    /// Socket options that are switched in a bind.
    Options,
    /// Multipath TCP.
    Mptcp,
    /// UDP-Lite.
    UdpLite,
    /// DCCP, a module.
    Dccp,
    /// SCTP, a module.
    Sctp,
    /// Shared memory communications, a module.
    Smc,
    /// Binds by `io_uring`.
    Ring,
    /// Security modules in BPF, which are asked if the kernel was booted so.
    BpfLsm,
}

/// Number of a kernel release.
type Release = (u32, u32);

/// What the programs can't do without: bpf(2)'s number of the helper, and its name.
const HELPERS: [(i32, &str); 4] = [
    (35, "bpf_get_current_task"),
    (113, "bpf_probe_read_kernel"),
    (107, "bpf_sk_storage_get"),
    (131, "the BPF ring buffer"),
];

/// What the product's config calls something that it can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The need.
    pub need: Need,
    /// The word.
    pub word: &'static str,
}

/// All that older kernels lack.
pub const ACCEPTED: [Accepted; 3] = [
    Accepted {
        need: Need::Errno,
        word: "errno",
    },
    Accepted {
        need: Need::Grant,
        word: "grant",
    },
    Accepted {
        need: Need::Options,
        word: "options",
    },
];

impl Need {
    /// The first release that must have it; without one, it is there or not.
    fn since(self) -> Option<Release> {
        match self {
            Self::Dccp | Self::Sctp | Self::Smc => None,
            Self::Hooks => Some((5, 10)),
            Self::Ring => Some((6, 11)),
            _ => Some((6, 1)),
        }
    }

    /// The first release that needn't have it any more.
    fn until(self) -> Option<Release> {
        // Removed from the kernel in 7.1.
        (self == Self::UdpLite).then_some((7, 1))
    }

    /// What of it is missing.
    fn missing(self) -> Result<Vec<String>> {
        let kind = match self {
            Self::Hooks => return missing_of_hooks(),
            Self::Errno => return missing_helper(187, "bpf_set_retval"),
            Self::EarlierAnswer => return missing_helper(186, "bpf_get_retval"),
            Self::Options => return missing_helper(49, "bpf_setsockopt in binds"),
            Self::Grant => {
                // The answer "allowed, whatever the capabilities".
                let is_there = neighbour::may_answer(3)?;
                let what = "grants by bind hooks".to_owned();
                return Ok(if is_there { Vec::new() } else { vec![what] });
            }
            Self::BpfLsm => {
                let names = security_modules("/sys/kernel/security/lsm");
                let is_there = names.iter().any(|name| name == "bpf");
                let what = "the BPF LSM among its security modules".to_owned();
                return Ok(if is_there { Vec::new() } else { vec![what] });
            }
            Self::Mptcp => Kind::Mptcp,
            Self::UdpLite => Kind::UdpLite,
            Self::Dccp => Kind::Dccp,
            Self::Sctp => Kind::Sctp,
            Self::Smc => Kind::Smc,
            Self::Ring => return Ok(complaint(self, crate::actors::can_bind_by_ring())),
        };
        Ok(complaint(kind, crate::actors::can_open(kind)))
    }

    /// Ends a test that needs this where the kernel lacks it.
    ///
    /// # Errors
    ///
    /// A skip on a kernel that may lack it, a failure on one that may not.
    pub fn check(self) -> Result<()> {
        let missing = self.missing()?;
        if missing.is_empty() {
            return Ok(());
        }
        let (text, release) = running()?;
        let missing = missing.join(", ");
        if self.is_due(release) && (self != Self::BpfLsm || is_asked_for_bpf()) {
            bail!("Linux {text} lacks {missing}, which it should have");
        }
        Err(skip(format!("Linux {text} lacks {missing}")))
    }

    /// Whether the kernel has it.
    ///
    /// # Errors
    ///
    /// When that can't be told.
    pub fn is_there(self) -> Result<bool> {
        Ok(self.missing()?.is_empty())
    }

    fn is_due(self, release: Release) -> bool {
        self.since().is_some_and(|since| release >= since)
            && self.until().is_none_or(|until| release < until)
    }
}

/// What is missing if an attempt failed.
fn complaint(what: impl fmt::Debug, attempt: Result<()>) -> Vec<String> {
    match attempt {
        Ok(()) => Vec::new(),
        Err(error) => vec![format!("{what:?} ({error:#})")],
    }
}

/// How a refusal by the product ends on this kernel.
pub fn refusal() -> Errno {
    static ERRNO: OnceLock<Errno> = OnceLock::new();
    // One that doesn't let it be tried fails many tests anyway.
    *ERRNO.get_or_init(|| match Need::Errno.is_there() {
        Ok(false) => Errno::EPERM,
        _ => Errno::EACCES,
    })
}

/// How a refusal by the product ends that has another errno than most: with that one,
/// if the kernel lets it choose.
pub fn refusal_with(chosen: Errno) -> Errno {
    match refusal() {
        Errno::EACCES => chosen,
        given => given,
    }
}

/// Text for a config that accepts all that this kernel lacks, and the words `also`; empty
/// if that is nothing.
pub fn accepting(also: &[&'static str]) -> String {
    static WORDS: OnceLock<Vec<&'static str>> = OnceLock::new();
    let lacking = WORDS.get_or_init(|| {
        let lacks = |accepted: &Accepted| matches!(accepted.need.is_there(), Ok(false));
        let lacking = ACCEPTED.into_iter().filter(lacks);
        lacking.map(|accepted| accepted.word).collect()
    });
    let words = [lacking, also].concat();
    if words.is_empty() {
        return String::new();
    }
    format!("\n[degraded]\naccept = {words:?}\n")
}

/// What the product's programs use and this kernel lacks; found by loading programs
/// of our own, so that nothing of the product is needed for it.
pub fn missing_of_hooks() -> Result<Vec<String>> {
    let mut missing = Vec::new();
    for (helper, name) in HELPERS {
        missing.extend(missing_helper(helper, name)?);
    }
    Ok(missing)
}

fn missing_helper(helper: i32, name: &str) -> Result<Vec<String>> {
    let is_known = neighbour::knows_helper(helper)?;
    Ok(if is_known {
        Vec::new()
    } else {
        vec![name.to_owned()]
    })
}

/// The names in a list that the kernel shows or was given; none if there isn't one.
fn security_modules(file: &str) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.trim().split(',').map(str::to_owned).collect()
}

/// Whether the kernel was booted to ask security modules in BPF.
fn is_asked_for_bpf() -> bool {
    let line = fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let list = line
        .split_whitespace()
        .rev()
        .find_map(|word| word.strip_prefix("lsm="));
    list.is_some_and(|list| list.split(',').any(|name| name == "bpf"))
}

/// `uname -r`, and its number.
pub fn running() -> Result<(String, Release)> {
    let name = uname().map_err(io::Error::from)?;
    let text = name.release().to_string_lossy().into_owned();
    let release = parse(&text).with_context(|| format!("{text} is no release"))?;
    Ok((text, release))
}

fn parse(text: &str) -> Option<Release> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}
