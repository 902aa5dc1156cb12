//! Supervision of procedures: AUTOLOG's rules as a machine without a clock of its own, what
//! of a host they look at, and who does what they want: a systemd, or the agent itself.

pub mod advice;
mod commands;
pub mod conditions;
pub mod live;
pub mod machine;
pub mod manager;
pub mod procedures;
pub mod starter;
pub mod systemd;
