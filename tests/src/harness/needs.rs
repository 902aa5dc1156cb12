//! What a test needs of the kernel. A kernel that is old enough to lack it is left
//! out with the reason; one that should have it fails the test.

use std::{fmt, fs, io};

use anyhow::{Context as _, Result, bail};
use nix::sys::utsname::uname;

use super::{neighbour, request::Kind, skip};

/// Something that kernels have from a release on, and some up to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// All that the product's programs call and answer.
    Hooks,
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
    /// Programs that change what those before them answered.
    SetRetval,
    /// Security modules in BPF, which are asked if the kernel was booted so.
    BpfLsm,
}

/// Number of a kernel release.
type Release = (u32, u32);

/// What the programs use: bpf(2)'s number of the helper, and its name.
const HELPERS: [(i32, &str); 5] = [
    (187, "bpf_set_retval"),
    (186, "bpf_get_retval"),
    (158, "bpf_get_current_task_btf"),
    (122, "bpf_get_netns_cookie"),
    (131, "the BPF ring buffer"),
];

impl Need {
    /// The first release that must have it; without one, it is there or not.
    fn since(self) -> Option<Release> {
        match self {
            Self::Dccp | Self::Sctp | Self::Smc => None,
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
            Self::SetRetval => {
                let is_there = neighbour::knows_helper(neighbour::SET_RETVAL)?;
                let what = "bpf_set_retval".to_owned();
                return Ok(if is_there { Vec::new() } else { vec![what] });
            }
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

/// What the product's programs use and this kernel lacks; found by loading programs
/// of our own, so that nothing of the product is needed for it.
pub fn missing_of_hooks() -> Result<Vec<String>> {
    let mut missing = Vec::new();
    for (helper, name) in HELPERS {
        if !neighbour::knows_helper(helper)? {
            missing.push(name.to_owned());
        }
    }
    // The answer "allowed, whatever the capabilities".
    if !neighbour::may_answer(3)? {
        missing.push("grants by bind hooks".to_owned());
    }
    Ok(missing)
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
