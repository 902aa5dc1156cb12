//! What is told of how things are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::PortNews;
use crate::kernel::{hooks::Neighbour, privileges::Kept};

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
    /// How watching who has which port goes; `None` without an agent.
    #[serde(default)]
    pub watch: Option<WatchStatus>,
    /// A change that waits to be confirmed.
    pub pending_confirm: Option<PendingConfirm>,
    /// What becomes of files that change; `None` without an agent.
    #[serde(default)]
    pub reload: Option<ReloadStatus>,
    /// Where messages and events go; empty without an agent.
    #[serde(default)]
    pub outputs: Vec<OutputStatus>,
    /// What the agent may do; `None` without one, or if that can't be told.
    #[serde(default)]
    pub privileges: Option<Kept>,
    /// Where metrics and the status page are served; `None` if nowhere, or without an agent.
    #[serde(default)]
    pub metrics: Option<MetricsStatus>,
    /// How managers are told by SNMP; `None` if they aren't, or without an agent.
    #[serde(default)]
    pub snmp: Option<SnmpStatus>,
    /// The running agent's process id; `None` without one.
    pub agent: Option<u32>,
    /// Version of the agent that loaded the programs.
    pub version: String,
}

/// How watching who has which port goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchStatus {
    /// How many sockets are known that have a port.
    pub sockets: usize,
    /// How often the kernel had no room to tell of one. Then its list was looked at.
    pub lost: u64,
    /// How many sockets were not known as the kernel lists them, though nothing was lost:
    /// mistakes of the agent.
    pub mistakes: u64,
    /// When the kernel's list was looked at last, as RFC 3339.
    pub looked_at: Option<String>,
    /// The ports that are not as expected for too long, or change all the time.
    #[serde(default)]
    pub alerts: Vec<PortNews>,
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

/// Somewhere messages and events go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputStatus {
    /// What it is called.
    pub to: String,
    /// Whether it gets events.
    pub events: bool,
    /// Whether it gets what the agent has to say itself.
    pub log: bool,
    /// How many wait to be written.
    pub waiting: usize,
    /// How many were dropped since the agent runs, because too many waited.
    pub dropped: u64,
    /// Why it can't be written at the moment.
    pub problem: Option<String>,
}

/// What is served over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricsStatus {
    /// Where it is to be: `http://ADDRESS:PORT/`, or `unix:PATH`.
    pub listen: String,
    /// Where it is; `None` if it could not be had, which is told as missing.
    pub serving: Option<String>,
}

/// The SNMP subagent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnmpStatus {
    /// Where the host's SNMP agent is: `unix:PATH`, or `tcp:ADDRESS:PORT`.
    pub master: String,
    /// What PORTREEVE-MIB is below.
    pub base: String,
    /// Whether managers can ask.
    pub registered: bool,
    /// Why they can't.
    pub problem: Option<String>,
    /// How many notifications were sent.
    pub notifications: u64,
    /// Events that found no room on their way to the subagent.
    pub dropped: u64,
}

/// What becomes of files that change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadStatus {
    /// Whether they are reloaded by themselves.
    pub watch: bool,
    /// They have changed, and are reloaded when the change in force is confirmed or taken
    /// back.
    pub waits_for_confirm: bool,
    /// The last reload, if it was refused.
    pub refused: Option<RefusedReload>,
}

/// A reload that was refused, and so were all after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedReload {
    /// When the first of them was, as RFC 3339.
    pub since: String,
    /// Why the last of them was.
    pub reason: String,
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
    /// Those of them that `[audit]` names, with one of their ports at least.
    #[serde(default)]
    pub audited: u32,
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
