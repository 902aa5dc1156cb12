//! What is told of binds that were judged.

use serde::{Deserialize, Serialize};

use super::PortNews;

/// A line of the stream of events; the field names are a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EventLine {
    /// An event.
    Event(Box<EventRecord>),
    /// News of a port, for who asks for those.
    Port(Box<PortNews>),
    /// Some that the client was too slow for.
    Missed {
        /// How many.
        missed: u64,
    },
}

/// One event as reported; the field names are a contract.
///
/// Refusals that repeat others of the same second come as one event, with the
/// fields of the last that had one of its own. Should that have been lost, what
/// isn't common to all of them is `null`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRecord {
    /// When, as RFC 3339.
    pub time: String,
    /// `bind4`, `bind6`, `post_bind4`, `post_bind6` or `listen`.
    pub hook: Option<String>,
    /// `deny`, `would-deny` (audit) or `allow`.
    pub verdict: String,
    /// The reason's id.
    pub reason: String,
    /// What the caller sees, if it is refused; `null` of a listener that is destroyed.
    pub errno: Option<String>,
    /// `tcp` or `udp`.
    pub protocol: Option<String>,
    /// The address asked for.
    pub address: Option<String>,
    /// The port asked for; of the post_bind hooks, the port that the socket got.
    pub port: Option<u16>,
    /// The process, as the host numbers it.
    pub pid: Option<u32>,
    /// The process's name: its thread-group leader's.
    pub comm: Option<String>,
    /// The defined job that the process is, of several all, with blanks between; if
    /// none, its name folded. `null` if that is a defined job's, so that it is none,
    /// or if it can't be told any more.
    pub job: Option<String>,
    /// Whether it is a thread of the kernel, which is the job KERNEL.
    pub kernel: bool,
    /// Effective user id, as the host numbers it.
    pub uid: u32,
    /// Path of its cgroup; `#ID` when the path can't be told any more.
    pub cgroup: String,
    /// The bind went on without `CAP_NET_BIND_SERVICE`.
    pub granted: bool,
    /// BIND put another address in the wildcard's place.
    pub rewritten: Option<Rewritten>,
    /// What became of `SO_REUSEPORT`: `switched-on`, `switched-off`, or `failed` if
    /// it could not be switched; `null` if it stayed as it was.
    pub sharing: Option<String>,
    /// What became of a listener that could not be refused, because the BPF LSM is not
    /// active: `destroyed`, `closed` if its owner was faster, `stays` if it could not be
    /// destroyed, or `late` if it came too fast to be looked at by itself. `null` for
    /// everything else.
    pub listener: Option<String>,
    /// The policy that decided.
    pub generation: u32,
    /// The entry that decided.
    pub entry: Option<EventEntry>,
    /// 0 for one bind. Else this stands for so many refusals that made no event of
    /// their own: by the same entry and for the same reason, of the same cgroup and
    /// user, in one second.
    pub repeated: u64,
}

/// An address that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewritten {
    /// The address asked for.
    pub from: String,
    /// The address bound.
    pub to: String,
}

/// The entry of an event. Only the line is known of a policy that an earlier
/// agent published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventEntry {
    /// The file.
    pub file: Option<String>,
    /// The line, from 1.
    pub line: u32,
    /// The entry as written, in one line.
    pub text: Option<String>,
}
