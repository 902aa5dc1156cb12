//! The filter of system calls, over all threads of the agent.

use std::{collections::BTreeMap, env::consts::ARCH, io};

use nix::{errno::Errno, libc};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::{super::KernelError, groups};
use crate::config::Syscalls;

/// Numbers behind those of every system call that is known here (Linux 6.18). A C library
/// that tries a newer one has to be told that there is none, so that it does without.
const NEWER: u32 = 470;

/// Lets only the system calls pass that the agent needs, in all of its threads and for what
/// it starts. Others fail with `EPERM` and are logged by the kernel, or are only logged, as
/// `wanted` says.
///
/// # Errors
///
/// [`KernelError::Privileges`] if no filter can be had.
pub fn filter(wanted: Syscalls) -> Result<(), KernelError> {
    let otherwise = match wanted {
        Syscalls::All => return Ok(()),
        Syscalls::Log => SeccompAction::Log,
        Syscalls::Needed => SeccompAction::Errno(Errno::EPERM as u32),
    };
    let allowed = program(otherwise).map_err(|message| KernelError::Privileges { message })?;
    nix::sys::prctl::set_no_new_privs().map_err(|errno| refused(errno.into()))?;
    install(&[missing(), allowed].concat()).map_err(refused)
}

fn refused(error: io::Error) -> KernelError {
    KernelError::Privileges {
        message: format!("no filter of system calls: {error}"),
    }
}

fn program(otherwise: SeccompAction) -> Result<BpfProgram, String> {
    let arch = TargetArch::try_from(ARCH).map_err(|error| error.to_string())?;
    let rules = rules().map_err(|error| error.to_string())?;
    let filter = SeccompFilter::new(rules, otherwise, SeccompAction::Allow, arch);
    let filter = filter.map_err(|error| error.to_string())?;
    filter
        .try_into()
        .map_err(|error: seccompiler::BackendError| error.to_string())
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn rules() -> Result<Rules, seccompiler::BackendError> {
    // Without a rule, a call is allowed whatever its arguments are.
    let mut rules: Rules = [groups::USED, groups::OTHERWISE]
        .concat()
        .iter()
        .flat_map(|group| group.calls)
        .map(|call| (*call, Vec::new()))
        .collect();
    let word = SeccompCmpArgLen::Dword;
    let mut one_of = |call: libc::c_long, argument, values: &[libc::c_int]| {
        let rule = |value: &libc::c_int| {
            let value = u64::from(value.cast_unsigned());
            SeccompRule::new(vec![SeccompCondition::new(
                argument,
                word.clone(),
                SeccompCmpOp::Eq,
                value,
            )?])
        };
        let of_call = values.iter().map(rule).collect::<Result<Vec<_>, _>>()?;
        rules.insert(call, of_call);
        Ok::<_, seccompiler::BackendError>(())
    };
    one_of(libc::SYS_socket, 0, &groups::FAMILIES)?;
    one_of(libc::SYS_setns, 1, &[libc::CLONE_NEWNET])?;
    let no_namespaces = SeccompCondition::new(
        0,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::MaskedEq(groups::NAMESPACES),
        0,
    )?;
    rules.insert(
        libc::SYS_clone,
        vec![SeccompRule::new(vec![no_namespaces])?],
    );
    Ok(rules)
}

/// Says of system calls that are not known here, and of one whose arguments can't be seen,
/// that there are none, and goes on behind its end with all others.
fn missing() -> BpfProgram {
    // Where `struct seccomp_data` has the number.
    const NUMBER: u32 = 0;
    let instruction = |code: u32, jt, jf, k| seccompiler::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let compare = |kind: u32| libc::BPF_JMP | kind | libc::BPF_K;
    let none = libc::SECCOMP_RET_ERRNO | Errno::ENOSYS as u32;
    vec![
        instruction(load, 0, 0, NUMBER),
        instruction(compare(libc::BPF_JGE), 1, 0, NEWER),
        instruction(compare(libc::BPF_JEQ), 0, 1, libc::SYS_clone3 as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, none),
    ]
}

/// Installs `program` in all threads. What it denies is logged by the kernel.
fn install(program: &BpfProgram) -> io::Result<()> {
    let flags = libc::SECCOMP_FILTER_FLAG_TSYNC | libc::SECCOMP_FILTER_FLAG_LOG;
    let length = u16::try_from(program.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: the kernel copies `length` instructions, which are laid out as it has them,
    // from a program that outlives the call, and writes nothing.
    let done = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    match Errno::result(done)? {
        0 => Ok(()),
        thread => Err(io::Error::other(format!(
            "thread {thread} has another filter"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_compiles_and_fits() {
        let program = program(SeccompAction::Errno(1)).unwrap();
        assert!(program.len() < 4096, "{}", program.len());
    }

    #[test]
    fn what_reaches_further_is_not_among_the_allowed() {
        let rules = rules().unwrap();
        for call in [
            libc::SYS_ptrace,
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_init_module,
            libc::SYS_finit_module,
            libc::SYS_kexec_load,
            libc::SYS_reboot,
            libc::SYS_unshare,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_setuid,
            libc::SYS_setresuid,
            libc::SYS_setgroups,
            libc::SYS_chmod,
            libc::SYS_fchmodat,
            libc::SYS_fchownat,
            libc::SYS_keyctl,
            libc::SYS_clone3,
            libc::SYS_process_madvise,
            libc::SYS_memfd_create,
            libc::SYS_linkat,
            libc::SYS_symlinkat,
        ] {
            assert!(!rules.contains_key(&call), "{call}");
        }
    }
}
