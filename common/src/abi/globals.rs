//! Values that user space puts into the object before it is loaded.

/// Where the running kernel keeps each [`super::Field`], in the order of [`super::FIELDS`].
pub const OFFSETS: &str = "OFFSETS";
/// Which [`super::Feature`]s the running kernel has, as 1 or 0 each.
pub const FEATURES: &str = "FEATURES";
/// The network namespace the policy governs; 0 for all of them. The programs tell
/// namespaces apart by their cookies, on a kernel without
/// [`super::Feature::NetnsCookie`] by their inode numbers.
pub const SCOPE_NETNS: &str = "SCOPE_NETNS";
/// The same of the agent's own network namespace, whose pool of ports it can keep clean.
pub const OWN_NETNS: &str = "OWN_NETNS";
/// Id of the cgroup whose sockets are judged at listen, with those below it.
pub const SCOPE_CGROUP: &str = "SCOPE_CGROUP";
