//! The eBPF toolchain: which versions, how they are found and installed, and
//! how the object is built with them.
//!
//! The agent's build script only looks and builds ([`object::build`]);
//! installing is left to `cargo xtask setup` ([`install::setup`]), because a
//! build shouldn't change the machine it runs on.

pub mod command;
pub mod install;
pub mod kit;
pub mod linker;
pub mod object;
pub mod packages;
pub mod pins;
pub mod probe;
pub mod route;
