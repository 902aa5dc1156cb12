//! The running agent: starts up, serves the control socket, reads the events.

pub mod agent;
mod change;
pub mod client;
pub mod control;
pub mod destroyer;
pub mod events;
pub mod executables;
pub mod held;
pub mod pool;
pub mod protocol;
pub mod run;
pub mod selftest;
