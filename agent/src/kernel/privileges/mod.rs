//! What the agent may do, and what it gives up: whoever gets hold of it gets no more than
//! this.

pub mod capabilities;
mod filter;
mod groups;

use procfs::process::Process;
use serde::{Deserialize, Serialize};

pub use self::filter::filter;
use super::KernelError;

/// What this process has kept, as the kernel says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its capabilities, by name.
    pub capabilities: Vec<String>,
    /// Whether nothing that it starts can have more than it has.
    pub no_new_privileges: bool,
    /// Whether its system calls are filtered.
    pub syscalls_filtered: bool,
}

/// What the calling thread has kept.
///
/// # Errors
///
/// [`KernelError::Io`] if the kernel doesn't tell.
pub fn kept() -> Result<Kept, KernelError> {
    let failed = |error: procfs::ProcError| {
        KernelError::io("can't read the own privileges")(std::io::Error::other(error))
    };
    let process = Process::myself().map_err(failed)?;
    let status = process.status().map_err(failed)?;
    /// `SECCOMP_MODE_FILTER`
    const FILTER: u32 = 2;
    Ok(Kept {
        capabilities: capabilities::names(status.capprm),
        no_new_privileges: status.nonewprivs == Some(1),
        syscalls_filtered: status.seccomp == Some(FILTER),
    })
}
