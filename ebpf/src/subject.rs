//! Who is calling, read from the current task.
//!
//! The fields are plain loads at offsets that the agent takes from the running
//! kernel's BTF: the verifier checks each against the type of the structure, so a
//! wrong offset is refused at load instead of reading something else.

use core::ptr;

use aya_ebpf::{
    helpers::generated::{bpf_get_current_task_btf, bpf_get_netns_cookie},
    programs::SockAddrContext,
};
use portreeve_common::{Subject, jobname::Name};

use crate::maps::{CRED_EUID, SCOPE_NETNS, TASK_COMM, TASK_CRED, TASK_GROUP_LEADER};

/// The process that makes the call `ctx` describes.
pub struct Caller<'a> {
    ctx: &'a SockAddrContext,
}

impl<'a> Caller<'a> {
    #[inline(always)]
    pub const fn new(ctx: &'a SockAddrContext) -> Self {
        Self { ctx }
    }

    /// The thread-group leader's name. A thread may rename itself (tokio, Go and
    /// io_uring workers do) without becoming another process.
    #[inline(always)]
    pub fn comm(&self) -> Option<[u64; 2]> {
        // SAFETY: the helper returns the current task, and the verifier proves
        // each load below to lie inside the structure its pointer is of; a
        // pointer that is stale or NULL reads as zeros.
        unsafe {
            let task = bpf_get_current_task_btf() as *const u8;
            let leader = load::<*const u8>(task, TASK_GROUP_LEADER.load());
            if leader.is_null() {
                return None;
            }
            let comm = TASK_COMM.load();
            Some([load(leader, comm), load(leader, comm + 8)])
        }
    }

    /// The effective user id, in the initial user namespace. The helper for user
    /// ids would give the real one.
    #[inline(always)]
    pub fn euid(&self) -> u32 {
        // SAFETY: as in `comm`.
        unsafe {
            let task = bpf_get_current_task_btf() as *const u8;
            let cred = load::<*const u8>(task, TASK_CRED.load());
            if cred.is_null() {
                u32::MAX
            } else {
                load(cred, CRED_EUID.load())
            }
        }
    }
}

impl Subject for Caller<'_> {
    #[inline(always)]
    fn in_scope(&self) -> bool {
        let scope = SCOPE_NETNS.load();
        // SAFETY: the helper reads the namespace of the socket that `ctx` is about.
        scope == 0 || scope == unsafe { bpf_get_netns_cookie(self.ctx.sock_addr.cast()) }
    }

    #[inline(always)]
    fn name(&self) -> Option<Name> {
        self.comm().map(Name::from_comm)
    }

    /// The agent publishes no policy whose entries define jobs.
    #[inline(always)]
    fn in_jobs(&self, _set: u32) -> bool {
        false
    }

    /// The agent publishes no policy whose entries ask for users; nobody is let in.
    #[inline(always)]
    fn is_permitted(&self, _set: u32) -> bool {
        false
    }

    /// The agent publishes no policy that restricts low ports; nobody is let in.
    #[inline(always)]
    fn is_privileged(&self) -> bool {
        false
    }
}

/// Reads a field. Volatile, so that the load stays one load of this width at
/// this offset, which is what the verifier recognises.
#[inline(always)]
unsafe fn load<T: Copy>(base: *const u8, offset: u32) -> T {
    // SAFETY: the caller's, checked by the verifier.
    unsafe { ptr::read_volatile(base.add(offset as usize).cast()) }
}
