//! Everything the agent does in the kernel: load, attach, pin, publish.
//!
//! The only part of user space, with `ports`, that talks to the kernel. State
//! lives in pinned objects under one bpffs directory, so the agent's death
//! changes nothing and the next agent adopts what it finds.

pub mod btf;
pub mod cgroup;
pub mod counters;
mod error;
pub mod executables;
pub mod features;
pub mod folders;
mod half_table;
mod handover;
pub mod held;
pub mod hooks;
pub mod identify;
mod job_tables;
pub mod keeper;
pub mod listen;
pub mod listened;
pub mod load;
pub mod lsm;
mod map_set;
mod mapping;
pub mod netns;
mod object;
pub mod pins;
pub mod pool;
pub mod privileges;
mod programs;
pub mod refusals;
mod repeats;
pub mod requirements;
pub mod stream;
mod sys;
pub mod sysctl;
pub mod tables;
pub mod watch;

pub use error::KernelError;
