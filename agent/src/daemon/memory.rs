//! What the agent keeps of the memory that it once needed.

use nix::libc;

use super::agent::Agent;

impl Agent {
    /// Gives back to the kernel what making policies has left, which is several times what
    /// a policy takes. Not at once: whoever changes a policy hasn't to wait for that.
    pub fn tend_memory(&self) {
        let forgotten = !self.backlog.get() && self.log.borrow_mut().forget_policies();
        if self.has_leftovers.take() || forgotten {
            give_back();
        }
    }
}

/// The C library keeps what is freed for the next time, page by page of it.
#[cfg(target_env = "gnu")]
fn give_back() {
    // SAFETY: it has no requirement; what is in use stays where it is.
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries give back by themselves.
#[cfg(not(target_env = "gnu"))]
fn give_back() {}
