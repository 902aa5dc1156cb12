//! What is told of reserved ports.

use serde::{Deserialize, Serialize};

/// One row of the register; the field names are a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRow {
    /// The port, of a range the first.
    pub port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// Who may have it, as written.
    pub jobname: String,
    /// Flag letters of port-control 6.1.
    pub flags: String,
    /// `enforce`; `audit`, if what it refuses is only told; `partly`, if that holds for
    /// some of its ports.
    pub mode: String,
    /// The ports for which it holds, if it is `partly`, in the kernel's notation.
    pub audited: Option<String>,
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
    /// The address of BIND.
    pub address: Option<String>,
    /// The SAF resource.
    pub saf: Option<String>,
    /// The comment beside the entry.
    pub description: Option<String>,
    /// Its line in the profile.
    pub line: u32,
    /// The file it stands in.
    pub file: String,
    /// Which of the port's entries is looked at when, from 1.
    pub order: u32,
    /// Why it has that place.
    pub closeness: String,
    /// `blocked`, `closed`, `bound`, `open` or `contradicted`, of the ports, whichever of
    /// their entries this is. `None` for UNRSV, and if the kernel lists no sockets.
    pub state: Option<String>,
    /// What is expected of its ports, of several things the first: `open` or `closed`.
    #[serde(default)]
    pub expected: Option<String>,
    /// Who answers for them, by what is expected.
    #[serde(default)]
    pub owner: Option<String>,
    /// What they are for, by what is expected; else the comment beside the entry.
    #[serde(default)]
    pub purpose: Option<String>,
    /// Who has it now: the first of `holders`.
    pub holder: Option<PortHolder>,
    /// Who has its ports now, one for each socket, in the order of the ports.
    pub holders: Vec<PortHolder>,
    /// How often it was refused since it is in force.
    pub refusals: u64,
    /// Who was refused its ports lately, as far as the agent keeps events; the last first.
    pub refused: Vec<PortRefusal>,
    /// What its ports became lately, as far as the agent has seen it; the last first.
    #[serde(default)]
    pub changes: Vec<PortChange>,
}

/// A reserved port that became something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortChange {
    /// The port.
    pub port: u16,
    /// When, as RFC 3339.
    pub time: String,
    /// What it was, as in [`PortRow::state`].
    pub from: String,
    /// What it was from then on.
    pub to: String,
    /// Why, as in [`super::PortNews::cause`].
    pub cause: String,
    /// The process that did it.
    pub pid: Option<u32>,
    /// Its name.
    pub comm: Option<String>,
}

/// A reserved port that somebody has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenPort {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The port.
    pub port: u16,
    /// `bound`, `open` or `contradicted`, as in [`PortRow::state`].
    pub state: String,
    /// The process that makes it so; `None` if none is to be seen.
    pub pid: Option<u32>,
    /// Its name.
    pub comm: Option<String>,
}

/// A socket that has a port, and who has that; the field names are a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortHolder {
    /// The port.
    pub port: u16,
    /// The address it is bound to.
    pub address: String,
    /// Whether it listens; of UDP, whether anybody may send to it.
    pub listens: bool,
    /// Whether the policy would let the process have it now; `None` if no process is
    /// to be seen.
    pub rightful: Option<bool>,
    /// Line of the entry that says so.
    pub line: Option<u32>,
    /// The process; `None` if none is to be seen.
    pub pid: Option<u32>,
    /// Its name.
    pub comm: Option<String>,
    /// The jobs that it is to the policy, as events have them.
    pub job: Option<String>,
    /// systemd's unit whose cgroup it is in; of a socket unit's, that one.
    pub unit: Option<String>,
    /// Id of the container whose cgroup it is in.
    pub container: Option<String>,
    /// Its effective user; the socket's if no process is to be seen.
    pub uid: u32,
    /// When the process was started, as RFC 3339.
    pub since: Option<String>,
    /// When the socket was bound, as RFC 3339; `None` if no agent has seen it. Linux doesn't
    /// tell a socket's age.
    #[serde(default)]
    pub bound: Option<String>,
    /// Other processes that have the same socket open.
    pub shared_with: Vec<u32>,
    /// Why it belongs to nobody any more, if it doesn't.
    #[serde(default)]
    pub orphan: Option<String>,
}

/// Whether ports are as they are expected to be; the field names are a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectRow {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
    /// What they are to be: `open` or `closed`.
    pub expected: String,
    /// The procedure that AUTOLOG watches them for; `None` if the config says so.
    pub procedure: Option<String>,
    /// Who answers for them.
    pub owner: Option<String>,
    /// What they are for.
    pub purpose: Option<String>,
    /// The file in which it is written.
    pub file: String,
    /// The line there.
    pub line: u32,
    /// Whether they are so.
    pub met: bool,
    /// What they are, as in [`PortRow::state`]: of those that are not as expected the
    /// worst, else of all.
    pub state: String,
    /// Those that are not as expected, in the kernel's notation.
    pub broken: Option<String>,
    /// Who has them now, one for each socket.
    pub holders: Vec<PortHolder>,
}

/// Refusals of one caller for one reason; the field names are a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRefusal {
    /// The last time, as RFC 3339.
    pub time: String,
    /// The port, the last time.
    pub port: u16,
    /// `deny` or `would-deny`.
    pub verdict: String,
    /// The reason's id.
    pub reason: String,
    /// The process's name.
    pub comm: Option<String>,
    /// The job that it was.
    pub job: Option<String>,
    /// Its effective user.
    pub uid: u32,
    /// Its cgroup.
    pub cgroup: String,
    /// How often.
    pub count: u64,
}

/// A socket that is known to have a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchedSocket {
    /// `tcp` or `udp`.
    pub protocol: String,
    /// The port.
    pub port: u16,
    /// The address it is bound to.
    pub address: String,
    /// TCP: whether it listens.
    pub listens: bool,
    /// Its number in the file system of sockets.
    pub inode: u64,
    /// Who bound it; `None` if that was before anybody watched.
    pub pid: Option<u32>,
    /// When that was, as RFC 3339; `None` likewise.
    pub since: Option<String>,
}
