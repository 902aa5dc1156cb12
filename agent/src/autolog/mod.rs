//! Supervision of procedures: AUTOLOG's rules as a machine without a clock of its own, what
//! of a host they look at, and the systemd that does what they want.

pub mod advice;
pub mod conditions;
pub mod live;
pub mod machine;
pub mod procedures;
pub mod systemd;
