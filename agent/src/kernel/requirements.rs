//! What must be there before anything is touched.

use aya::{
    programs::ProgramType,
    sys::{BpfHelper, is_helper_supported},
};

use super::KernelError;

/// Helpers the programs call, and what for.
const HELPERS: [(BpfHelper, &str, &str); 5] = [
    (
        BpfHelper::BPF_FUNC_set_retval,
        "bpf_set_retval",
        "refuse a bind with EACCES",
    ),
    (
        BpfHelper::BPF_FUNC_get_retval,
        "bpf_get_retval",
        "leave another program's refusal alone",
    ),
    (
        BpfHelper::BPF_FUNC_get_current_task_btf,
        "bpf_get_current_task_btf",
        "read who is calling",
    ),
    (
        BpfHelper::BPF_FUNC_get_netns_cookie,
        "bpf_get_netns_cookie",
        "tell network namespaces apart",
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

/// Tries each helper by loading a program that calls it; a version number would
/// say nothing of a distribution's kernel.
///
/// # Errors
///
/// [`KernelError::MissingFeature`] for the first one that is missing.
pub fn helpers() -> Result<(), KernelError> {
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
