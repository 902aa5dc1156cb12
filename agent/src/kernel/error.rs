//! What can keep the agent from enforcing, one sentence each.

use std::{io, path::PathBuf};

use nix::errno::Errno;
use thiserror::Error;

use super::{btf::BtfError, cgroup::CgroupError};

/// Why the kernel side is not as asked. Nothing is half-applied: what was in
/// force before the call still is.
#[derive(Debug, Error)]
pub enum KernelError {
    /// The agent has no right to do this.
    #[error("{what} needs root; run it with sudo")]
    NotRoot {
        /// The verb that was tried.
        what: &'static str,
    },
    /// The agent was started without a capability that it can't do without.
    #[error(
        "{name} is missing, which is needed to {purpose}; give it to the agent (CapabilityBoundingSet= of its unit, or the container's capabilities)"
    )]
    NoCapability {
        /// The capability.
        name: String,
        /// What it is for.
        purpose: &'static str,
    },
    /// The agent's privileges can't be limited.
    #[error(
        "the privileges of the agent can't be limited: {message}; `[privileges]` in the config can leave them as they are"
    )]
    Privileges {
        /// What was refused.
        message: String,
    },
    /// The agent was built without its eBPF object.
    #[error(
        "this portreeve was built with PORTREEVE_SKIP_EBPF and carries no kernel programs; build it again without that variable"
    )]
    NoObject,
    /// The kernel lacks something the programs use.
    #[error(
        "this kernel ({release}) lacks {feature}, which portreeve needs to {purpose}; Linux 5.10 and later have it"
    )]
    MissingFeature {
        /// `uname -r`
        release: String,
        /// What is missing.
        feature: &'static str,
        /// What it is for.
        purpose: &'static str,
    },
    /// The directory for the pins is not on a BPF file system.
    #[error(
        "{path} is not on a BPF file system; mount one with `mount -t bpf bpf /sys/fs/bpf`, or name another directory with --bpffs"
    )]
    NoBpffs {
        /// The nearest existing directory.
        path: PathBuf,
    },
    /// Another agent serves the same pins.
    #[error(
        "another portreeve agent is running on {path}; see `portreeve status`, or name another directory with --bpffs"
    )]
    AlreadyRunning {
        /// The directory of the pins.
        path: PathBuf,
    },
    /// A policy is in force by maps of another layout; an agent would take over.
    #[error(
        "the policy in force at {path} was loaded by portreeve {agent} with map layout {found}, and this one has layout {ours}; ask that version, or `portreeve run` of this one to take over from it"
    )]
    OtherLayout {
        /// The directory of the pins.
        path: PathBuf,
        /// Layout of the pinned maps.
        found: u32,
        /// Layout of this agent.
        ours: u32,
        /// Version of the agent that made them.
        agent: String,
    },
    /// The same, and no agent of this version can take over.
    #[error(
        "the policy in force at {path} was loaded by portreeve {agent} with map layout {found}, from which this agent, with layout {ours}, can't take over; it stays in force. Run that version, or `portreeve detach` first"
    )]
    NoHandover {
        /// The directory of the pins.
        path: PathBuf,
        /// Layout of the pinned maps.
        found: u32,
        /// Layout of this agent.
        ours: u32,
        /// Version of the agent that made them, if readable.
        agent: String,
    },
    /// Pins are missing although a policy is in force.
    #[error(
        "the pins at {path} are damaged ({what} is missing) while a policy is in force; run `portreeve detach` and start again"
    )]
    Damaged {
        /// The directory of the pins.
        path: PathBuf,
        /// The missing pin.
        what: &'static str,
    },
    /// The hooks are attached to another cgroup than the one asked for.
    #[error(
        "the hooks at {path} are attached to the cgroup with id {found}, not to {wanted} (id {wanted_id}); run `portreeve detach` first to move them"
    )]
    OtherCgroup {
        /// The directory of the pins.
        path: PathBuf,
        /// Id of the cgroup they are attached to.
        found: u64,
        /// The cgroup asked for.
        wanted: PathBuf,
        /// Its id.
        wanted_id: u64,
    },
    /// No agent ever ran here, or it was detached.
    #[error("no policy is in force at {path}")]
    NothingPinned {
        /// The directory of the pins.
        path: PathBuf,
    },
    /// The kernel's verifier refused a program.
    #[error("the kernel refused the program {program}: {message}")]
    Refused {
        /// Name of the program.
        program: &'static str,
        /// What the kernel said, verifier log included.
        message: String,
    },
    /// The embedded object could not be loaded.
    #[error("the eBPF object could not be loaded: {message}")]
    Load {
        /// What aya said.
        message: String,
    },
    /// A map is not as this agent makes it.
    #[error("map {map} is not usable: {message}")]
    Map {
        /// Name of the map.
        map: &'static str,
        /// What was wrong.
        message: String,
    },
    /// The executables of defined jobs are not what the policy was read with.
    #[error("the executables of jobs are not as they were when the policy was read:\n{message}")]
    Executables {
        /// What is wrong with them.
        message: String,
    },
    /// The kernel's pool of ports can't be managed.
    #[error(
        "reserved ports can't be kept out of the ports that the kernel hands out: {message}; with `[ephemeral] manage = false` that is left to you"
    )]
    Pool {
        /// What was tried, and what came of it.
        message: String,
    },
    /// The policy has rules for listen, and nothing judges there.
    #[error(
        "the policy has UNRSV for TCP at listen, which nothing judges: {why}; with WHENBIND on all of these entries the bind is judged instead"
    )]
    NotAtListen {
        /// What keeps it from being judged.
        why: String,
    },
    /// What was changed in the kernel's pool of ports is still so.
    #[error(
        "what was changed in the ports that the kernel hands out could not be set back: {message}; it stays recorded for another try"
    )]
    PoolNotRestored {
        /// What was tried, and what came of it.
        message: String,
    },
    /// See [`BtfError`].
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// See [`CgroupError`].
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// A hook is not where it was attached, as far as can be told.
    #[error(
        "hook {hook} is not attached any more: {why}; what is in force stays as it is, and nothing new is claimed to be. Bring its pin back, or start the agent again"
    )]
    HookGone {
        /// The hook.
        hook: &'static str,
        /// What is wrong with its pin.
        why: String,
    },
    /// A system call failed.
    #[error("{what}: {error}{}", advice(error))]
    Io {
        /// What was being done.
        what: String,
        /// What the kernel said.
        error: io::Error,
    },
}

impl KernelError {
    /// A failed system call while doing `what`.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self::Io { what, error }
    }
}

/// What can be done where the machine denies something, as the end of a sentence;
/// nothing if the error says it all.
fn advice(error: &io::Error) -> &'static str {
    match Errno::from_raw(error.raw_os_error().unwrap_or_default()) {
        Errno::EROFS => "; mount it writable, with `mount -o remount,rw`",
        Errno::ENOSPC => "; make room there",
        Errno::ENOMEM => {
            "; free memory, or raise the limit of the agent's cgroup (MemoryMax= of its unit)"
        }
        Errno::EMFILE => "; raise the limit of the agent's descriptors (LimitNOFILE= of its unit)",
        Errno::EPERM => {
            "; something keeps root from it, such as a container, a seccomp filter or a security module"
        }
        _ => "",
    }
}

/// An error with its causes in one line, as aya nests them, and what can be done.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let denied =
        |error: &(dyn std::error::Error + 'static)| error.downcast_ref().map_or("", advice);
    let mut help = denied(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        help = denied(error);
        let part = error.to_string();
        if !text.contains(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        cause = error.source();
    }
    text + help
}
