//! AgentX, the protocol between an SNMP agent, the master, and its subagents (RFC 2741): its
//! messages, and how they are written. Only those that a subagent like ours sends or gets.

mod decode;
mod encode;
#[cfg(test)]
mod tests;

use crate::oid::Oid;

pub use self::{
    decode::{DecodeError, decode, payload_length},
    encode::encode,
};

/// Bytes of the head of a message.
pub const HEAD: usize = 20;
/// Most bytes that follow a head, in either direction.
pub const MOST_PAYLOAD: usize = 64 << 10;

/// What all messages have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The session; 0 as long as it isn't known.
    pub session: u32,
    /// What belongs to one request of a manager.
    pub transaction: u32,
    /// What an answer is to.
    pub packet: u32,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What all have.
    pub head: Head,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A subagent introduces itself.
    Open {
        /// Seconds after which the master gives an answer up; 0 for its default.
        timeout: u8,
        /// What it is.
        id: Oid,
        /// The same in words.
        description: String,
    },
    /// One side ends the session.
    Close(CloseReason),
    /// A subagent answers for what is below `subtree`.
    Register {
        /// As in [`Body::Open`].
        timeout: u8,
        /// Of two for the same, the lower goes first.
        priority: u8,
        /// What it answers for.
        subtree: Oid,
    },
    /// A subagent says what it implements, for `sysORTable`.
    AddAgentCaps {
        /// What that is called.
        id: Oid,
        /// The same in words.
        description: String,
    },
    /// What are these.
    Get(Vec<SearchRange>),
    /// What comes after these.
    GetNext(Vec<SearchRange>),
    /// What comes after these, and after that.
    GetBulk {
        /// Of how many of them only the next.
        non_repeaters: u16,
        /// How many of the others.
        max_repetitions: u16,
        /// After what.
        ranges: Vec<SearchRange>,
    },
    /// Whether these could be set.
    TestSet(Vec<VarBind>),
    /// They are to be.
    CommitSet,
    /// They are not to have been.
    UndoSet,
    /// Nothing comes of it. Not answered.
    CleanupSet,
    /// A subagent has something to tell.
    Notify(Vec<VarBind>),
    /// Whether somebody is there.
    Ping,
    /// The answer to any of these.
    Response {
        /// The master's `sysUpTime` in hundredths of a second; a subagent says 0.
        uptime: u32,
        /// 0 for none: see [`error`].
        error: u16,
        /// Which variable it is about, from 1.
        index: u16,
        /// The answers.
        values: Vec<VarBind>,
    },
    /// Something of a context other than the default one, or that the master never sends to a
    /// subagent like ours.
    Other {
        /// Which message.
        kind: u8,
        /// Whether it is for another context.
        has_context: bool,
    },
}

/// Errors of a response: those of SNMP itself (RFC 3416), and from 256 on those of AgentX.
pub mod error {
    /// The answer doesn't fit into a message.
    pub const TOO_BIG: u16 = 1;
    /// Nothing was written.
    pub const COMMIT_FAILED: u16 = 14;
    /// Nothing was taken back.
    pub const UNDO_FAILED: u16 = 15;
    /// The variable can't be written.
    pub const NOT_WRITABLE: u16 = 17;
    /// There is no such session.
    pub const NOT_OPEN: u16 = 257;
    /// There is no such context.
    pub const UNSUPPORTED_CONTEXT: u16 = 262;
    /// Another session answers for the same.
    pub const DUPLICATE_REGISTRATION: u16 = 263;
    /// It could not be done.
    pub const PROCESSING: u16 = 268;
}

/// Why a session is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CloseReason {
    /// None of the others.
    Other = 1,
    /// A message could not be read.
    ParseError = 2,
    /// A message made no sense.
    ProtocolError = 3,
    /// Answers took too long.
    Timeouts = 4,
    /// Whoever says so ends.
    Shutdown = 5,
    /// A manager asked for it.
    ByManager = 6,
}

/// Of what something is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SearchRange {
    /// Where it begins.
    pub start: Oid,
    /// Whether what stands there is meant too.
    pub includes_start: bool,
    /// Before what it ends; empty for nothing.
    pub end: Oid,
}

/// A variable and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VarBind {
    /// Which.
    pub name: Oid,
    /// Its value.
    pub value: Value,
}

/// The value of a variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// `INTEGER`, `Integer32`
    Integer(i32),
    /// `OCTET STRING`, `BITS`
    Octets(Vec<u8>),
    /// Nothing.
    Null,
    /// `OBJECT IDENTIFIER`
    Oid(Oid),
    /// `IpAddress`
    IpAddress([u8; 4]),
    /// `Counter32`
    Counter32(u32),
    /// `Gauge32`, `Unsigned32`
    Gauge32(u32),
    /// `TimeTicks`, in hundredths of a second.
    TimeTicks(u32),
    /// `Opaque`
    Opaque(Vec<u8>),
    /// `Counter64`
    Counter64(u64),
    /// There is no such object.
    NoSuchObject,
    /// There is one, but not this instance.
    NoSuchInstance,
    /// Nothing comes after.
    EndOfView,
}

/// Numbers of messages.
mod kind {
    pub const OPEN: u8 = 1;
    pub const CLOSE: u8 = 2;
    pub const REGISTER: u8 = 3;
    pub const GET: u8 = 5;
    pub const GET_NEXT: u8 = 6;
    pub const GET_BULK: u8 = 7;
    pub const TEST_SET: u8 = 8;
    pub const COMMIT_SET: u8 = 9;
    pub const UNDO_SET: u8 = 10;
    pub const CLEANUP_SET: u8 = 11;
    pub const NOTIFY: u8 = 12;
    pub const PING: u8 = 13;
    pub const ADD_AGENT_CAPS: u8 = 16;
    pub const RESPONSE: u8 = 18;
    /// The greatest.
    pub const LAST: u8 = RESPONSE;
}

/// Numbers of values.
mod tag {
    pub const INTEGER: u16 = 2;
    pub const OCTETS: u16 = 4;
    pub const NULL: u16 = 5;
    pub const OID: u16 = 6;
    pub const IP_ADDRESS: u16 = 64;
    pub const COUNTER32: u16 = 65;
    pub const GAUGE32: u16 = 66;
    pub const TIME_TICKS: u16 = 67;
    pub const OPAQUE: u16 = 68;
    pub const COUNTER64: u16 = 70;
    pub const NO_SUCH_OBJECT: u16 = 128;
    pub const NO_SUCH_INSTANCE: u16 = 129;
    pub const END_OF_VIEW: u16 = 130;
}

const VERSION: u8 = 1;
/// A context stands before what the message says.
const NON_DEFAULT_CONTEXT: u8 = 1 << 3;
/// Numbers have their greatest byte first.
const NETWORK_BYTE_ORDER: u8 = 1 << 4;
/// What most identifiers begin with; a number after it is written in a byte.
const INTERNET: [u32; 4] = [1, 3, 6, 1];
