//! SACONFIG's subagent, as part of a running agent: when it runs, what it answers from, and
//! what it is told of.

mod keeper;
mod subagent;
mod told;

pub use self::keeper::SnmpKeeper;
