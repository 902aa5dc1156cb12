//! What kernels learned after the oldest one that the programs run on.
//!
//! The agent tries each and hands the answers over as constants. So one object does
//! for every kernel: the verifier knows the constants, and never looks at what stands
//! behind one that is 0, be it unknown to the kernel.

/// Something that a kernel may lack without which the programs still judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Feature {
    /// A refusal ends with the errno that the program chooses: `bpf_set_retval`.
    Errno,
    /// It is told what programs before ours answered: `bpf_get_retval`.
    EarlierAnswer,
    /// A bind hook may answer that a low port asks for no capability.
    Grant,
    /// A bind hook reads and sets options of the socket: `bpf_getsockopt`,
    /// `bpf_setsockopt`.
    Options,
    /// The current task comes with its type, so that its fields are plain loads:
    /// `bpf_get_current_task_btf`.
    TypedTask,
    /// User space is told the cookie of its network namespace: `SO_NETNS_COOKIE`.
    NetnsCookie,
}

impl Feature {
    /// Every one, in order.
    pub const ALL: [Self; 6] = [
        Self::Errno,
        Self::EarlierAnswer,
        Self::Grant,
        Self::Options,
        Self::TypedTask,
        Self::NetnsCookie,
    ];
}
