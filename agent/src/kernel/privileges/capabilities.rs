//! The capabilities that the agent needs, each with what for.

use std::{collections::HashSet, io};

use caps::{CapSet, Capability, CapsHashSet};
use nix::{errno::Errno, libc};

use super::super::KernelError;
use crate::config::{self, ScopeNetns};

/// One that the agent needs.
#[derive(Clone, Copy, Debug)]
pub struct Needed {
    /// Which.
    pub capability: Capability,
    /// What for: the end of a sentence that begins with "it is needed to".
    pub purpose: &'static str,
    /// Whether the policy can't be enforced without it.
    pub is_vital: bool,
    /// Whether it is kept when the agent has started.
    pub is_kept: bool,
}

/// All that the agent needs. What each is for is also in `docs/privileges.md`.
pub const NEEDED: [Needed; 7] = [
    Needed {
        capability: Capability::CAP_BPF,
        purpose: "load the programs and write their tables",
        is_vital: true,
        is_kept: true,
    },
    Needed {
        capability: Capability::CAP_PERFMON,
        purpose: "let the programs read who is calling",
        is_vital: true,
        is_kept: true,
    },
    Needed {
        capability: Capability::CAP_NET_ADMIN,
        purpose: "attach the programs to a cgroup, and destroy listeners",
        is_vital: true,
        is_kept: true,
    },
    Needed {
        capability: Capability::CAP_SYS_PTRACE,
        purpose: "tell which process of another user has a port, and which still runs a replaced executable",
        is_vital: false,
        is_kept: true,
    },
    Needed {
        capability: Capability::CAP_DAC_READ_SEARCH,
        purpose: "look into folders and processes of other users, and find a cgroup by its number",
        is_vital: false,
        is_kept: true,
    },
    Needed {
        capability: Capability::CAP_SYS_ADMIN,
        purpose: "take over from another version, and enter other network namespaces",
        is_vital: false,
        is_kept: false,
    },
    Needed {
        capability: Capability::CAP_SETPCAP,
        purpose: "give up capabilities for good",
        is_vital: false,
        is_kept: false,
    },
];

/// Which capabilities the agent is to have.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    is_limited: bool,
    enters_namespaces: bool,
}

impl Plan {
    /// As the config says. In other network namespaces than the own one, listeners can be
    /// destroyed only by who enters them.
    pub fn new(wanted: config::Capabilities, scope: ScopeNetns) -> Self {
        Self {
            is_limited: wanted == config::Capabilities::Needed,
            enters_namespaces: scope == ScopeNetns::All,
        }
    }

    /// Those kept when the agent has started.
    fn kept(self) -> CapsHashSet {
        let needed = NEEDED.iter().filter(|needed| {
            let enters = needed.capability == Capability::CAP_SYS_ADMIN && self.enters_namespaces;
            needed.is_kept || enters
        });
        needed.map(|needed| needed.capability).collect()
    }

    /// Gives up what isn't needed to start, and for all children everything.
    ///
    /// # Errors
    ///
    /// [`KernelError::Privileges`] if the kernel refuses that.
    pub fn begin(self) -> Result<(), KernelError> {
        if !self.is_limited {
            return Ok(());
        }
        let own = permitted()?;
        nix::sys::prctl::set_no_new_privs().map_err(|errno| refused("no new ones", errno))?;
        if own.contains(&Capability::CAP_SETPCAP) {
            forbid_children()?;
        }
        let needed = NEEDED.iter().map(|needed| needed.capability).collect();
        keep(&own, &needed)
    }

    /// Gives up, for the calling thread, what was needed to start.
    ///
    /// # Errors
    ///
    /// [`KernelError::Privileges`] if the kernel refuses that.
    pub fn settle(self) -> Result<(), KernelError> {
        if !self.is_limited {
            return Ok(());
        }
        keep(&permitted()?, &self.kept())
    }

    /// What can't be done for want of a capability, as a status lists it.
    ///
    /// # Errors
    ///
    /// [`KernelError::Privileges`] if the kernel doesn't tell what there is.
    pub fn lacking(self) -> Result<Vec<String>, KernelError> {
        let own = permitted()?;
        let lacking = NEEDED.iter().filter(|needed| {
            let has = own.contains(&needed.capability);
            // Without this one a start does, too, if it isn't limited.
            let is_moot = needed.capability == Capability::CAP_SETPCAP && !self.is_limited;
            !has && !is_moot
        });
        let told = lacking.map(|needed| {
            let Needed {
                capability,
                purpose,
                ..
            } = needed;
            format!("{capability}: the agent was started without it; it is needed to {purpose}")
        });
        Ok(told.collect())
    }
}

/// Whether there is every capability that nothing can be enforced without.
///
/// # Errors
///
/// [`KernelError::NoCapability`] for the first that is missing.
pub fn check() -> Result<(), KernelError> {
    let own = permitted()?;
    let mut vital = NEEDED.iter().filter(|needed| needed.is_vital);
    match vital.find(|needed| !own.contains(&needed.capability)) {
        None => Ok(()),
        Some(missing) => Err(KernelError::NoCapability {
            name: missing.capability.to_string(),
            purpose: missing.purpose,
        }),
    }
}

/// Gives up everything, for the calling thread: it needs nothing.
///
/// # Errors
///
/// What the kernel says.
pub fn give_up_all() -> Result<(), KernelError> {
    keep(&HashSet::new(), &HashSet::new())
}

/// The names of those in a set as the kernel writes it.
pub(super) fn names(set: u64) -> Vec<String> {
    let known = |index: u32| {
        let mut all = caps::all().into_iter();
        let capability = all.find(|capability| u32::from(capability.index()) == index);
        capability.map_or_else(
            || format!("CAP_{index}"),
            |capability| capability.to_string(),
        )
    };
    (0..u64::BITS)
        .filter(|index| set & (1 << index) != 0)
        .map(known)
        .collect()
}

fn permitted() -> Result<CapsHashSet, KernelError> {
    caps::read(None, CapSet::Permitted).map_err(|error| KernelError::Privileges {
        message: error.to_string(),
    })
}

/// Keeps those of `own` that are `needed`.
fn keep(own: &CapsHashSet, needed: &CapsHashSet) -> Result<(), KernelError> {
    let kept: CapsHashSet = own.intersection(needed).copied().collect();
    // A capability that is effective can't be dropped from those permitted.
    for set in [CapSet::Inheritable, CapSet::Effective, CapSet::Permitted] {
        let value = match set {
            CapSet::Inheritable => &CapsHashSet::new(),
            _ => &kept,
        };
        caps::set(None, set, value).map_err(|error| KernelError::Privileges {
            message: error.to_string(),
        })?;
    }
    Ok(())
}

/// Lets no process that this one starts have a capability, root's included.
fn forbid_children() -> Result<(), KernelError> {
    /// NOROOT, NO_SETUID_FIXUP, no KEEP_CAPS, NO_CAP_AMBIENT_RAISE, all locked:
    /// `linux/securebits.h`.
    const SECUREBITS: libc::c_ulong = 0b1110_1111;
    for capability in caps::runtime::thread_all_supported() {
        caps::drop(None, CapSet::Bounding, capability).map_err(|error| {
            KernelError::Privileges {
                message: error.to_string(),
            }
        })?;
    }
    // SAFETY: this prctl takes a number, and nothing of ours is read or written.
    let done = unsafe { libc::prctl(libc::PR_SET_SECUREBITS, SECUREBITS, 0, 0, 0) };
    Errno::result(done).map_err(|errno| refused("what children get", errno))?;
    Ok(())
}

fn refused(what: &str, errno: Errno) -> KernelError {
    KernelError::Privileges {
        message: format!("{what}: {}", io::Error::from(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_told_by_name() {
        let set = 1 << Capability::CAP_BPF.index() | 1 << Capability::CAP_NET_ADMIN.index();
        assert_eq!(names(set), ["CAP_NET_ADMIN", "CAP_BPF"]);
        assert_eq!(names(1 << 63), ["CAP_63"]);
        assert!(names(0).is_empty());
    }

    #[test]
    fn other_namespaces_are_entered_with_one_more() {
        let kept = |scope| Plan::new(config::Capabilities::Needed, scope).kept();
        let more: Vec<_> = kept(ScopeNetns::All)
            .difference(&kept(ScopeNetns::Own))
            .copied()
            .collect();
        assert_eq!(more, [Capability::CAP_SYS_ADMIN]);
        assert_eq!(kept(ScopeNetns::Own).len(), 5);
    }
}
