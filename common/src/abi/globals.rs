//! Values that user space puts into the object before it is loaded.

/// Byte offset of `group_leader` in `struct task_struct`.
pub const TASK_GROUP_LEADER: &str = "TASK_GROUP_LEADER";
/// Byte offset of `comm` in `struct task_struct`.
pub const TASK_COMM: &str = "TASK_COMM";
/// Byte offset of `cred` in `struct task_struct`.
pub const TASK_CRED: &str = "TASK_CRED";
/// Byte offset of `euid` in `struct cred`.
pub const CRED_EUID: &str = "CRED_EUID";
/// Cookie of the network namespace the policy governs; 0 for all of them.
pub const SCOPE_NETNS: &str = "SCOPE_NETNS";
