//! Debian's packages without installing them: fetched by an apt with a state of its own,
//! and unpacked in the cache folder.

pub mod apt;
pub mod programs;
pub mod tree;
