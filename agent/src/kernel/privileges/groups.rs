//! The system calls that the agent makes: those that it is seen to make, by what for, and
//! those that it makes elsewhere or seldom, by why. A test traces an agent and compares.

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

/// Those that it makes on x86-64 with Debian's C library, all of them, when everything is
/// done that it can do. `socket`, `setns` and `clone` are besides, with some arguments only.
pub const USED: &[Group] = &[
    FILES,
    DESCRIPTORS,
    MEMORY,
    NETWORK,
    PROCESSES,
    SIGNALS,
    IDENTITY,
    BPF,
    #[cfg(target_arch = "x86_64")]
    OLDER,
];

/// Those that are allowed besides.
pub const OTHERWISE: &[Group] = &[
    STARTING,
    SELDOM,
    CLOCKS,
    OTHER_LIBRARIES,
    #[cfg(target_arch = "x86_64")]
    OLDER_LIBRARIES,
    DIRECTORIES,
];

/// Files, folders and what is written in /proc, /sys and bpffs.
const FILES: Group = Group {
    calls: &[
        libc::SYS_fdatasync,
        libc::SYS_flock,
        libc::SYS_getdents64,
        libc::SYS_inotify_add_watch,
        libc::SYS_inotify_init1,
        libc::SYS_inotify_rm_watch,
        libc::SYS_lseek,
        libc::SYS_newfstatat,
        libc::SYS_open_by_handle_at,
        libc::SYS_openat,
        libc::SYS_pwrite64,
        libc::SYS_readlinkat,
        libc::SYS_statfs,
        libc::SYS_statx,
        libc::SYS_umask,
    ],
};

/// Descriptors and waiting for them.
const DESCRIPTORS: Group = Group {
    calls: &[
        libc::SYS_close,
        libc::SYS_epoll_create1,
        libc::SYS_epoll_ctl,
        libc::SYS_eventfd2,
        libc::SYS_fcntl,
        libc::SYS_ioctl,
        libc::SYS_pidfd_open,
        libc::SYS_pipe2,
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_writev,
    ],
};

/// Memory.
const MEMORY: Group = Group {
    calls: &[
        libc::SYS_madvise,
        libc::SYS_mmap,
        libc::SYS_mprotect,
        libc::SYS_munmap,
    ],
};

/// Sockets: the control socket, metrics, the journal, netlink.
const NETWORK: Group = Group {
    calls: &[
        libc::SYS_accept4,
        libc::SYS_bind,
        libc::SYS_connect,
        libc::SYS_getsockopt,
        libc::SYS_listen,
        libc::SYS_recvfrom,
        libc::SYS_sendto,
        libc::SYS_setsockopt,
        libc::SYS_shutdown,
    ],
};

/// Threads, the process of the self-test, and random numbers.
const PROCESSES: Group = Group {
    calls: &[
        libc::SYS_clock_nanosleep,
        libc::SYS_execve,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_futex,
        libc::SYS_getpid,
        libc::SYS_getrandom,
        libc::SYS_gettid,
        libc::SYS_prctl,
        libc::SYS_prlimit64,
        libc::SYS_sched_getaffinity,
        libc::SYS_wait4,
    ],
};

/// Signals.
const SIGNALS: Group = Group {
    calls: &[
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
    ],
};

/// Who and where it is.
const IDENTITY: Group = Group {
    calls: &[libc::SYS_capget, libc::SYS_capset, libc::SYS_uname],
};

/// Programs, tables and links.
const BPF: Group = Group {
    calls: &[libc::SYS_bpf],
};

/// What newer architectures have other calls for.
#[cfg(target_arch = "x86_64")]
const OLDER: Group = Group {
    calls: &[
        libc::SYS_dup2,
        libc::SYS_epoll_wait,
        libc::SYS_mkdir,
        libc::SYS_poll,
        libc::SYS_readlink,
        libc::SYS_rename,
        libc::SYS_rmdir,
        libc::SYS_unlink,
    ],
};

/// What the C library does when a process or a thread begins: each version something else.
const STARTING: Group = Group {
    calls: &[
        libc::SYS_brk,
        libc::SYS_faccessat,
        libc::SYS_pread64,
        libc::SYS_rseq,
        libc::SYS_set_robust_list,
        libc::SYS_set_tid_address,
    ],
};

/// What comes with bad luck: a process that hangs, a lock that is fought for, memory that grows in its place, a signal
/// that stops the agent in a wait, a file of another user, a disk that is full, a path that is
/// relative, an abort.
const SELDOM: Group = Group {
    calls: &[
        libc::SYS_ftruncate,
        libc::SYS_getcwd,
        libc::SYS_geteuid,
        libc::SYS_kill,
        libc::SYS_mremap,
        libc::SYS_restart_syscall,
        libc::SYS_sched_yield,
        libc::SYS_tgkill,
    ],
};

/// The time, where the kernel's clock can't be read without a call, as in some virtual machines.
const CLOCKS: Group = Group {
    calls: &[libc::SYS_clock_gettime, libc::SYS_gettimeofday],
};

/// What stands for calls above where those aren't there, as on arm64 and RISC-V, or in other
/// versions of the C library.
const OTHER_LIBRARIES: Group = Group {
    calls: &[
        libc::SYS_dup3,
        libc::SYS_epoll_pwait,
        libc::SYS_faccessat2,
        libc::SYS_fstat,
        libc::SYS_mkdirat,
        libc::SYS_nanosleep,
        libc::SYS_ppoll,
        // RISC-V has the newer one only.
        #[cfg(not(target_arch = "riscv64"))]
        libc::SYS_renameat,
        libc::SYS_renameat2,
        libc::SYS_unlinkat,
    ],
};

/// The same of the older calls.
#[cfg(target_arch = "x86_64")]
const OLDER_LIBRARIES: Group = Group {
    calls: &[
        libc::SYS_access,
        libc::SYS_arch_prctl,
        libc::SYS_lstat,
        libc::SYS_stat,
        libc::SYS_time,
    ],
};

/// What the C library and plug-ins of directory services (SSSD, systemd, LDAP) do to look up a
/// user in the agent's own process, besides the above; and what D-Bus takes, over which
/// systemd is asked for procedures.
const DIRECTORIES: Group = Group {
    calls: &[
        libc::SYS_fstatfs,
        libc::SYS_getegid,
        libc::SYS_getgid,
        libc::SYS_getpeername,
        libc::SYS_getsockname,
        libc::SYS_getuid,
        libc::SYS_pselect6,
        libc::SYS_readv,
        libc::SYS_recvmmsg,
        libc::SYS_recvmsg,
        libc::SYS_sendmmsg,
        libc::SYS_sendmsg,
        libc::SYS_signalfd4,
        libc::SYS_timerfd_create,
        libc::SYS_timerfd_settime,
    ],
};
