//! What must be there before anything is touched.

use aya::{
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
};
use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};

use super::KernelError;

/// Helpers without which nothing can be judged, and what for. What the programs can do
/// without is in [`super::features`].
const HELPERS: [(BpfHelper, &str, &str); 4] = [
    (
        BpfHelper::BPF_FUNC_get_current_task,
        "bpf_get_current_task",
        "find who is calling",
    ),
    (
        BpfHelper::BPF_FUNC_probe_read_kernel,
        "bpf_probe_read_kernel",
        "read who is calling",
    ),
    (
        BpfHelper::BPF_FUNC_sk_storage_get,
        "bpf_sk_storage_get",
        "remember what was judged of a socket",
    ),
    (
        BpfHelper::BPF_FUNC_ringbuf_reserve,
        "the BPF ring buffer",
        "report refusals",
    ),
];

/// Refuses with one sentence if `what` can't be done with these privileges.
///
/// # Errors
///
/// [`KernelError::NotRoot`].
pub fn root(what: &'static str) -> Result<(), KernelError> {
    if nix::unistd::geteuid().is_root() {
        Ok(())
    } else {
        Err(KernelError::NotRoot { what })
    }
}

/// Lets programs and maps take the memory they need: before Linux 5.11 it counts as
/// locked. Where the limit can't be raised and is too low, loading says so.
pub(super) fn raise_memory_limit() {
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
}

/// Tries each helper by loading a program that calls it; a version number would
/// say nothing of a distribution's kernel.
///
/// # Errors
///
/// [`KernelError::MissingFeature`] for the first one that is missing.
pub fn helpers() -> Result<(), KernelError> {
    raise_memory_limit();
    for (helper, feature, purpose) in HELPERS {
        match is_helper_supported(ProgramType::CgroupSockAddr, helper) {
            Ok(true) => {}
            Ok(false) => {
                return Err(KernelError::MissingFeature {
                    release: release(),
                    feature,
                    purpose,
                });
            }
            Err(error) => {
                return Err(KernelError::Load {
                    message: super::error::chain(&error),
                });
            }
        }
    }
    Ok(())
}

/// `uname -r`.
pub fn release() -> String {
    nix::sys::utsname::uname()
        .map(|uname| uname.release().to_string_lossy().into_owned())
        .unwrap_or_else(|_| "unknown".into())
}
