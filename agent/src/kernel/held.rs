//! What the kernel holds, read from the pins where no agent answers.

use portreeve_common::abi::{ABI_VERSION, Active, Info, names};

use super::{
    KernelError,
    counters::{self, Counters},
    hooks::{attached, cgroup_of},
    pins::{Found, Pins},
    pool::{Pool, Recorded},
    requirements,
    tables::Tables,
};

/// What the kernel holds where no agent answers.
#[derive(Debug)]
pub struct Held {
    /// What is in force.
    pub active: Active,
    /// What filled the tables.
    pub info: Info,
    /// The counters.
    pub counters: Counters,
    /// What was changed in the kernel's pool of ports.
    pub pool: Recorded,
    /// Hooks that are attached.
    pub hooks: Vec<&'static str>,
    /// Id of the cgroup they are attached to.
    pub cgroup: Option<u64>,
}

/// What tells the policy in force from every other. `None` if there is none, or nobody
/// can tell.
pub fn policy_in_force(pins: &Pins) -> Option<[u8; 32]> {
    match pins.inspect().ok()? {
        Found::Nothing => return None,
        Found::Other(other) => return Some(other.policy_hash),
        Found::Complete => {}
    }
    let tables = Tables::open(pins).ok()?;
    tables.active().mode().map(|_| tables.policy_hash())
}

/// Reads what is pinned, without an agent.
///
/// # Errors
///
/// [`KernelError::NothingPinned`] if there is nothing, and what keeps it from
/// being read.
pub fn held(pins: &Pins) -> Result<Held, KernelError> {
    requirements::root("reading the policy in force")?;
    let path = pins.base();
    match pins.inspect()? {
        Found::Complete => {}
        Found::Nothing => return Err(KernelError::NothingPinned { path: path.into() }),
        Found::Other(other) => {
            return Err(KernelError::OtherLayout {
                path: path.into(),
                found: other.abi,
                ours: ABI_VERSION,
                agent: other.agent,
            });
        }
    }
    let tables = Tables::open(pins)?;
    let counters = counters::open(pins)?;
    Ok(Held {
        active: tables.active(),
        info: tables.info(),
        counters: counters::read(&counters)?,
        pool: Pool::open(pins)?.recorded(),
        hooks: attached(pins),
        cgroup: cgroup_of(pins, names::BIND4).ok(),
    })
}
