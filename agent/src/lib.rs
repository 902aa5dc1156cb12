//! portreeve: mainframe port control for Linux.
//!
//! A profile in the language of z/OS's PROFILE.TCPIP says which job may bind
//! which port; eBPF programs enforce it on every bind. The modules stand in the
//! order in which a policy passes them: [`profile`] and [`config`] read texts and
//! report [`diagnostics`], [`policy`] makes tables of them, [`kernel`] puts those
//! in force, [`state`] remembers it, [`autolog`] supervises
//! procedures, [`daemon`] serves a running agent, and [`report`] shows what [`cli`]
//! was asked for. [`ports`] knows what listens on the host, whatever the policy says, and
//! [`snmp`] tells managers what the agent knows.

pub mod autolog;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod diagnostics;
pub mod files;
pub mod kernel;
pub mod oid;
pub mod policy;
pub mod ports;
pub mod profile;
pub mod report;
pub mod snmp;
pub mod state;
