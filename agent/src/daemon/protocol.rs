//! What the command line and a running agent say to each other: one line of JSON
//! each way, or a stream of lines for events. What is around them is [`handshake`]'s.

pub mod handshake;

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    kernel::hooks::Neighbour,
    policy::{diff::Diff, explain::Question},
};

/// Where the control socket is unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/portreeve/control.sock";
/// Longest request, in bytes.
pub const MAX_REQUEST: usize = 64 * 1024;

/// What is asked of the agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// A [`Status`].
    Status {},
    /// The register: [`PortRow`]s.
    Ports {},
    /// A [`crate::policy::suggestions::Suggestion`].
    Suggest {
        /// Only refusals since then, as RFC 3339.
        since: Option<String>,
        /// Ports that are open and not reserved, too.
        listeners: bool,
    },
    /// An [`crate::policy::explain::Answer`].
    Explain {
        /// Who asks for what.
        question: Question,
    },
    /// Read profile and config again: a [`Reloaded`].
    Reload {
        /// Only say what would change.
        dry_run: bool,
        /// Take it back after so many seconds, unless it is confirmed.
        confirm: Option<u64>,
        /// Whether diagnostics are rendered with colour.
        color: bool,
    },
    /// Put a change file on top of the policy in force: a [`Reloaded`].
    Obey {
        /// The file, as the agent is to open it.
        file: PathBuf,
        /// Only say what would change.
        dry_run: bool,
        /// Take it back after so many seconds, unless it is confirmed.
        confirm: Option<u64>,
        /// Whether diagnostics are rendered with colour.
        color: bool,
    },
    /// The change that waits to be confirmed is meant.
    Confirm {},
    /// [`EventLine`]s.
    Events {
        /// Go on with new ones until the client hangs up.
        follow: bool,
    },
    /// Stop enforcing, remove everything, end.
    Detach {},
}

/// The agent's answer; of [`Request::Events`] what comes before the stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// The answer.
    Done(serde_json::Value),
    /// Why there is none, in one sentence.
    Failed(String),
}

/// A line of the stream of events; the field names are a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EventLine {
    /// An event.
    Event(Box<EventRecord>),
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
    /// Who has it now: the first of `holders`.
    pub holder: Option<PortHolder>,
    /// Who has its ports now, one for each socket, in the order of the ports.
    pub holders: Vec<PortHolder>,
    /// How often it was refused since it is in force.
    pub refusals: u64,
    /// Who was refused its ports lately, as far as the agent keeps events; the last first.
    pub refused: Vec<PortRefusal>,
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
    /// When the process was started, as RFC 3339. Linux doesn't tell a socket's age.
    pub since: Option<String>,
    /// Other processes that have the same socket open.
    pub shared_with: Vec<u32>,
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

/// How things are; the field names are a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// `enforce`, `audit` or `none`.
    pub mode: String,
    /// Number of the policy in force.
    pub generation: u32,
    /// The profile in force.
    pub profile: ProfileStatus,
    /// Hooks that are attached.
    pub hooks: Vec<String>,
    /// What is not enforced, and why.
    pub missing: Vec<String>,
    /// The ports that the kernel hands out.
    pub pool: PoolStatus,
    /// Programs of others on the same hooks; known to a running agent.
    pub neighbours: Vec<Neighbour>,
    /// Where the hooks are attached.
    pub attach: AttachStatus,
    /// Judged binds of reserved ports, by reason.
    pub counters: BTreeMap<String, u64>,
    /// The same for audit mode: what would have happened.
    pub audited: BTreeMap<String, u64>,
    /// What did not get out.
    pub events: EventStatus,
    /// What became of listeners that were refused when they listened already.
    pub listeners: ListenerStatus,
    /// What others changed since the agent runs, what lasts last; empty without one.
    pub drift: Vec<DriftStatus>,
    /// The last proof that the hooks are alive; `None` without an agent.
    pub selftest: Option<SelftestStatus>,
    /// A change that waits to be confirmed.
    pub pending_confirm: Option<PendingConfirm>,
    /// The running agent's process id; `None` without one.
    pub agent: Option<u32>,
    /// Version of the agent that loaded the programs.
    pub version: String,
}

/// A change that is taken back unless it is confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingConfirm {
    /// Number of the policy in force, which waits.
    pub generation: u32,
    /// How long it still waits.
    pub seconds_left: u64,
    /// Hash of the profile that comes back, as in [`ProfileStatus::hash`].
    pub back_to: String,
}

/// The ports that the kernel hands out where the agent is: by bind to port 0,
/// listen without bind, connect and sendto.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// Whether reserved ports are kept out of them.
    pub managed: bool,
    /// First and last port of the range; `None` if it can't be told from here.
    pub range: Option<(u16, u16)>,
    /// The range that EPHEMERALPORTS took the place of.
    pub range_before: Option<(u16, u16)>,
    /// Ports that we keep out and nobody else did, in the kernel's notation.
    pub added: String,
    /// How many ports are left; `None` if it can't be told from here.
    pub free: Option<u32>,
    /// The last time that others undid it; `None` if they never did since the
    /// agent runs.
    pub dropped: Option<PoolDropped>,
}

/// Others undid what keeps reserved ports from being handed out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolDropped {
    /// When it was noticed, as RFC 3339.
    pub at: String,
    /// Ports that were missing in the list, in the kernel's notation.
    pub ports: String,
    /// The range that was found in the place of that of EPHEMERALPORTS.
    pub range: Option<(u16, u16)>,
    /// How often it was noticed since the agent runs.
    pub times: u64,
    /// Why it is still so; `None` once it is mended.
    pub problem: Option<String>,
}

/// The profile in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileStatus {
    /// Its path.
    pub path: String,
    /// SHA-256 as it was read; if change files were obeyed, of the hashes of all.
    pub hash: String,
    /// Whether profile, an included file or the config is different now;
    /// `None` when only an agent could tell.
    pub differs_from_file: Option<bool>,
    /// Change files that were obeyed on top of it, in order; `None` when only an
    /// agent could tell.
    pub changes: Option<Vec<String>>,
    /// Entries in force.
    pub entries: u32,
    /// Entries that were written and dropped, as `on_error = "skip"` allows (`LNT-06`);
    /// `None` when only an agent could tell.
    pub dropped: Option<usize>,
    /// When it was published, as RFC 3339.
    pub published: String,
}

/// Where the hooks are attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachStatus {
    /// Path of the cgroup; `None` when only its id is known.
    pub path: Option<String>,
    /// Its id.
    pub id: u64,
}

/// Events that did not get out. Refusals with an event of their own, those
/// `suppressed` and those `lost` are all refusals there were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventStatus {
    /// Refusals whose event found no room in the ring.
    pub lost: u64,
    /// Refusals that were only counted, because the same second told enough like them.
    pub suppressed: u64,
    /// Binds that went on and found the ring half full; the rest is for refusals.
    pub reports_lost: u64,
}

/// What became of listeners that could not be refused, because the BPF LSM is not active.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// Those destroyed since the agent runs; `None` without one.
    pub destroyed: Option<u64>,
    /// Those that their owners closed first; `None` without an agent.
    pub closed: Option<u64>,
    /// Those that could not be destroyed and were left to listen; `None` without an
    /// agent.
    pub stay: Option<u64>,
    /// Those that came too fast to be named to the agent, since the hooks were attached
    /// first. Such of them as it finds listening are among the others too.
    pub late: u64,
    /// Those that it can't find so and that were left to listen.
    pub lost: u64,
}

/// A proof that the hooks are alive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelftestStatus {
    /// When, as RFC 3339.
    pub at: String,
    /// Whether every hook answered for every protocol.
    pub ok: bool,
    /// What was wrong, if anything.
    pub problem: Option<String>,
    /// When it was wrong first, as RFC 3339, if it has been ever since.
    pub failing_since: Option<String>,
}

/// Something that somebody changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftStatus {
    /// What it is about: a hook, the maps, the policy, the cgroup, another program.
    pub of: String,
    /// What was found.
    pub problem: String,
    /// When it was noticed, as RFC 3339.
    pub since: String,
    /// When it was over; `None` while it lasts.
    pub until: Option<String>,
    /// What the agent did about it, if that helped.
    pub mended: Option<String>,
    /// How often it came about since the agent runs.
    pub times: u64,
}

/// What a reload or a change did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Whether the new policy is in force now.
    pub applied: bool,
    /// Number of the policy in force.
    pub generation: u32,
    /// What changes, or would.
    pub diff: Diff,
    /// Change files whose effect ends with it, or would.
    pub dropped: Vec<String>,
    /// All there is to say about the files.
    pub diagnostics: Vec<serde_json::Value>,
    /// The same for people.
    pub rendered: String,
    /// Why it was not applied, if not for the diagnostics.
    pub refused: Option<String>,
    /// It is taken back after so many seconds, unless it is confirmed.
    pub confirm_within: Option<u64>,
}
