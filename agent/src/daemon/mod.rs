//! The running agent: starts up, serves the control socket, reads the events.

pub mod agent;
pub mod break_glass;
pub mod change;
pub mod client;
mod confirm;
pub mod control;
pub mod destroyer;
mod drift;
pub mod events;
pub mod executables;
pub mod held;
mod intake;
mod memory;
pub mod metrics;
pub mod outputs;
pub mod pool;
mod procedures;
pub mod protocol;
mod register;
pub mod reload;
pub mod run;
pub mod selftest;
pub mod start;
mod status;
mod systemd;
pub mod watched;
mod wishes;
