//! The system calls that the agent makes, by what for. What the C library makes of a
//! look-up of users, by whatever services a host has for that, is among them.

use nix::libc::{self, c_int, c_long};

/// System calls for one purpose.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Their numbers, whatever their arguments are.
    pub calls: &'static [c_long],
}

/// Families of sockets: the control socket and services of the host; metrics, self-test and
/// directory services; what listens.
pub const FAMILIES: [c_int; 4] = [
    libc::AF_UNIX,
    libc::AF_INET,
    libc::AF_INET6,
    libc::AF_NETLINK,
];

/// What a new process must not get: namespaces of its own.
pub const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET)
    .cast_unsigned() as u64;

/// All that are allowed; `socket`, `socketpair`, `setns` and `clone` are besides, with some
/// arguments only.
pub const ALL: &[Group] = &[
    FILES,
    DESCRIPTORS,
    MEMORY,
    NETWORK,
    PROCESSES,
    SIGNALS,
    TIME,
    IDENTITY,
    BPF,
    #[cfg(target_arch = "x86_64")]
    LEGACY,
];

/// Files, folders and what is written in /proc, /sys and bpffs.
const FILES: Group = Group {
    calls: &[
        libc::SYS_chdir,
        libc::SYS_copy_file_range,
        libc::SYS_faccessat,
        libc::SYS_faccessat2,
        libc::SYS_fadvise64,
        libc::SYS_fallocate,
        libc::SYS_fchdir,
        libc::SYS_fdatasync,
        libc::SYS_fgetxattr,
        libc::SYS_flock,
        libc::SYS_fstat,
        libc::SYS_fstatfs,
        libc::SYS_fsync,
        libc::SYS_ftruncate,
        libc::SYS_getcwd,
        libc::SYS_getdents64,
        libc::SYS_getxattr,
        libc::SYS_inotify_add_watch,
        libc::SYS_inotify_init1,
        libc::SYS_inotify_rm_watch,
        libc::SYS_lgetxattr,
        libc::SYS_linkat,
        libc::SYS_lseek,
        libc::SYS_mkdirat,
        libc::SYS_name_to_handle_at,
        libc::SYS_newfstatat,
        libc::SYS_open_by_handle_at,
        libc::SYS_openat,
        libc::SYS_openat2,
        libc::SYS_pread64,
        libc::SYS_preadv,
        libc::SYS_pwrite64,
        libc::SYS_pwritev,
        libc::SYS_readlinkat,
        libc::SYS_renameat,
        libc::SYS_renameat2,
        libc::SYS_sendfile,
        libc::SYS_statfs,
        libc::SYS_statx,
        libc::SYS_symlinkat,
        libc::SYS_truncate,
        libc::SYS_umask,
        libc::SYS_unlinkat,
        libc::SYS_utimensat,
    ],
};

/// Descriptors and waiting for them.
const DESCRIPTORS: Group = Group {
    calls: &[
        libc::SYS_close,
        libc::SYS_close_range,
        libc::SYS_dup,
        libc::SYS_dup3,
        libc::SYS_epoll_create1,
        libc::SYS_epoll_ctl,
        libc::SYS_epoll_pwait,
        libc::SYS_epoll_pwait2,
        libc::SYS_eventfd2,
        libc::SYS_fcntl,
        libc::SYS_ioctl,
        libc::SYS_memfd_create,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_send_signal,
        libc::SYS_pipe2,
        libc::SYS_ppoll,
        libc::SYS_pselect6,
        libc::SYS_read,
        libc::SYS_readv,
        libc::SYS_signalfd4,
        libc::SYS_splice,
        libc::SYS_tee,
        libc::SYS_timerfd_create,
        libc::SYS_timerfd_gettime,
        libc::SYS_timerfd_settime,
        libc::SYS_write,
        libc::SYS_writev,
    ],
};

/// Memory.
const MEMORY: Group = Group {
    calls: &[
        libc::SYS_brk,
        libc::SYS_madvise,
        libc::SYS_membarrier,
        libc::SYS_mincore,
        libc::SYS_mlock,
        libc::SYS_mmap,
        libc::SYS_mprotect,
        libc::SYS_mremap,
        libc::SYS_msync,
        libc::SYS_munlock,
        libc::SYS_munmap,
    ],
};

/// Sockets: the control socket, metrics, the journal, netlink, directory services.
const NETWORK: Group = Group {
    calls: &[
        libc::SYS_accept,
        libc::SYS_accept4,
        libc::SYS_bind,
        libc::SYS_connect,
        libc::SYS_getpeername,
        libc::SYS_getsockname,
        libc::SYS_getsockopt,
        libc::SYS_listen,
        libc::SYS_recvfrom,
        libc::SYS_recvmmsg,
        libc::SYS_recvmsg,
        libc::SYS_sendmmsg,
        libc::SYS_sendmsg,
        libc::SYS_sendto,
        libc::SYS_setsockopt,
        libc::SYS_shutdown,
    ],
};

/// Threads, and the process of the self-test.
const PROCESSES: Group = Group {
    calls: &[
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_futex,
        libc::SYS_futex_waitv,
        libc::SYS_get_robust_list,
        libc::SYS_getpgid,
        libc::SYS_getpid,
        libc::SYS_getppid,
        libc::SYS_getpriority,
        libc::SYS_getrusage,
        libc::SYS_getsid,
        libc::SYS_gettid,
        libc::SYS_kill,
        libc::SYS_prctl,
        libc::SYS_prlimit64,
        libc::SYS_rseq,
        libc::SYS_sched_getaffinity,
        libc::SYS_sched_getparam,
        libc::SYS_sched_getscheduler,
        libc::SYS_sched_yield,
        libc::SYS_set_robust_list,
        libc::SYS_set_tid_address,
        libc::SYS_setpgid,
        libc::SYS_setsid,
        libc::SYS_tgkill,
        libc::SYS_tkill,
        libc::SYS_wait4,
        libc::SYS_waitid,
    ],
};

/// Signals.
const SIGNALS: Group = Group {
    calls: &[
        libc::SYS_restart_syscall,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigpending,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigqueueinfo,
        libc::SYS_rt_sigreturn,
        libc::SYS_rt_sigsuspend,
        libc::SYS_rt_sigtimedwait,
        libc::SYS_rt_tgsigqueueinfo,
        libc::SYS_sigaltstack,
    ],
};

/// Time, and random numbers.
const TIME: Group = Group {
    calls: &[
        libc::SYS_clock_getres,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_getitimer,
        libc::SYS_getrandom,
        libc::SYS_gettimeofday,
        libc::SYS_nanosleep,
        libc::SYS_setitimer,
        libc::SYS_times,
    ],
};

/// Who and where it is.
const IDENTITY: Group = Group {
    calls: &[
        libc::SYS_capget,
        libc::SYS_capset,
        libc::SYS_getcpu,
        libc::SYS_getegid,
        libc::SYS_geteuid,
        libc::SYS_getgid,
        libc::SYS_getgroups,
        libc::SYS_getresgid,
        libc::SYS_getresuid,
        libc::SYS_getuid,
        libc::SYS_sysinfo,
        libc::SYS_uname,
    ],
};

/// Programs, tables and links.
const BPF: Group = Group {
    calls: &[libc::SYS_bpf],
};

/// What newer architectures have other calls for.
#[cfg(target_arch = "x86_64")]
const LEGACY: Group = Group {
    calls: &[
        libc::SYS_access,
        libc::SYS_arch_prctl,
        libc::SYS_dup2,
        libc::SYS_epoll_create,
        libc::SYS_epoll_wait,
        libc::SYS_eventfd,
        libc::SYS_fork,
        libc::SYS_getdents,
        libc::SYS_getpgrp,
        libc::SYS_getrlimit,
        libc::SYS_inotify_init,
        libc::SYS_link,
        libc::SYS_lstat,
        libc::SYS_mkdir,
        libc::SYS_open,
        libc::SYS_pause,
        libc::SYS_pipe,
        libc::SYS_poll,
        libc::SYS_readlink,
        libc::SYS_rename,
        libc::SYS_rmdir,
        libc::SYS_select,
        libc::SYS_setrlimit,
        libc::SYS_stat,
        libc::SYS_symlink,
        libc::SYS_time,
        libc::SYS_unlink,
        libc::SYS_vfork,
    ],
};
