//! The SNMP subagent of `SACONFIG`: what managers may read of the reservations, and what they
//! are told of them, through whatever SNMP agent the host has.
//!
//! It talks AgentX with that agent on a thread of its own and answers from a copy, so that
//! neither waits for the event loop nor is it waited for.

pub mod agentx;
pub mod connection;
pub mod mib;
pub mod notices;
pub mod session;
