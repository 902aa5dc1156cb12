//! Many nodes' status in one table: which policy each has, and whether it is proven there.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use portreeve_common::Reason;
use serde::Serialize;

use super::{status::is_proven, table};
use crate::{daemon::protocol::Status, diagnostics::escaped};

/// How much older than the newest proof of all another may be: agents prove their mode far
/// more often, and nobody gathers for so long.
const STALE: SignedDuration = SignedDuration::from_mins(30);
/// Digits of a hash that are shown to people.
const DIGITS: usize = 12;

/// A node, and what it says of itself.
pub struct Node {
    /// What it is called.
    pub name: String,
    /// Its status; why there is none.
    pub status: Result<Status, String>,
}

/// All nodes; the field names are a contract.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Fleet {
    /// Every node has the same policy and mode, proven, and as its files say.
    pub ok: bool,
    /// What is in force, what most nodes have first.
    pub policies: Vec<PolicyRow>,
    /// The nodes: those first with which something is wrong, then those of rare policies.
    pub nodes: Vec<NodeRow>,
}

/// A policy and a mode, and how many nodes have them.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct PolicyRow {
    /// SHA-256 of the profile, as in a status.
    pub hash: String,
    /// `enforce`, `audit` or `none`.
    pub mode: String,
    /// How many nodes.
    pub nodes: usize,
    /// Those of them that have proven it.
    pub proven: usize,
}

/// A node.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct NodeRow {
    /// What it is called.
    pub node: String,
    /// `enforce`, `audit` or `none`; `None` without a status, like all that follows.
    pub mode: Option<String>,
    /// Whether an agent answered, and has proven its mode.
    pub proven: bool,
    /// When, as RFC 3339.
    pub proven_at: Option<String>,
    /// SHA-256 of the profile.
    pub hash: Option<String>,
    /// Number of the policy.
    pub generation: Option<u32>,
    /// Entries in force.
    pub entries: Option<u32>,
    /// Binds that were refused.
    pub refused: Option<u64>,
    /// Binds that would have been, but for audit.
    pub would_be_refused: Option<u64>,
    /// Version of the agent that loaded the programs.
    pub version: Option<String>,
    /// What is wrong with it.
    pub problems: Vec<String>,
    /// What else is worth a look.
    pub remarks: Vec<String>,
}

/// What there is to say of `nodes`.
pub fn fleet(nodes: Vec<Node>) -> Fleet {
    let proofs = nodes
        .iter()
        .filter_map(|node| proof(node.status.as_ref().ok()?));
    let newest = proofs.max();
    let mut rows: Vec<NodeRow> = nodes.into_iter().map(|node| row(node, newest)).collect();
    let mut policies: BTreeMap<(&str, &str), PolicyRow> = BTreeMap::new();
    for row in &rows {
        let (Some(hash), Some(mode)) = (&row.hash, &row.mode) else {
            continue;
        };
        let policy = policies.entry((hash, mode)).or_insert_with(|| PolicyRow {
            hash: hash.clone(),
            mode: mode.clone(),
            nodes: 0,
            proven: 0,
        });
        policy.nodes += 1;
        policy.proven += usize::from(row.proven);
    }
    let mut policies: Vec<PolicyRow> = policies.into_values().collect();
    policies.sort_by_key(|policy| std::cmp::Reverse(policy.nodes));
    let is_sound = |row: &NodeRow| row.proven && row.problems.is_empty();
    let ok = policies.len() == 1 && rows.iter().all(is_sound);
    let others = |row: &NodeRow| {
        let own = |policy: &&PolicyRow| {
            Some(&policy.hash) == row.hash.as_ref() && Some(&policy.mode) == row.mode.as_ref()
        };
        policies.iter().find(own).map_or(0, |policy| policy.nodes)
    };
    rows.sort_by_cached_key(|row| (is_sound(row), others(row), row.node.clone()));
    Fleet {
        ok,
        policies,
        nodes: rows,
    }
}

/// When a node proved its mode.
fn proof(status: &Status) -> Option<Timestamp> {
    let test = status.selftest.as_ref().filter(|test| test.ok)?;
    test.at.parse().ok()
}

fn row(node: Node, newest: Option<Timestamp>) -> NodeRow {
    let status = match node.status {
        Ok(status) => status,
        Err(why) => {
            return NodeRow {
                node: node.name,
                problems: vec![why],
                ..NodeRow::default()
            };
        }
    };
    let problems = problems(&status, newest);
    let remarks = remarks(&status);
    let test = status.selftest.as_ref().filter(|test| test.ok);
    NodeRow {
        node: node.name,
        proven: is_proven(&status),
        proven_at: test.map(|test| test.at.clone()),
        generation: Some(status.generation),
        entries: Some(status.profile.entries),
        refused: Some(refused(&status.counters)),
        would_be_refused: Some(refused(&status.audited)),
        mode: Some(status.mode),
        hash: Some(status.profile.hash),
        version: Some(status.version),
        problems,
        remarks,
    }
}

/// How many of those that were judged were refused. Another version may have other reasons.
fn refused(counts: &BTreeMap<String, u64>) -> u64 {
    let refusals = Reason::ALL.iter().filter(|reason| reason.refuses());
    refusals.filter_map(|reason| counts.get(reason.id())).sum()
}

fn problems(status: &Status, newest: Option<Timestamp>) -> Vec<String> {
    let mut problems = Vec::new();
    match &status.selftest {
        _ if status.agent.is_none() => problems.push("no agent answers there".to_owned()),
        Some(test) if test.ok => {}
        test => {
            let why = test.as_ref().and_then(|test| test.problem.as_deref());
            problems.push(format!("not proven: {}", why.unwrap_or("no reason known")));
        }
    }
    if let (Some(at), Some(newest)) = (proof(status), newest)
        && newest.duration_since(at) > STALE
    {
        problems.push(format!("the status is old: its proof is of {at}"));
    }
    if status.profile.differs_from_file == Some(true) {
        problems.push("the files are not what is in force".to_owned());
    }
    let refused = status
        .reload
        .as_ref()
        .and_then(|reload| reload.refused.as_ref());
    if let Some(refused) = refused {
        problems.push(format!("reloads are refused: {}", refused.reason));
    }
    problems
}

fn remarks(status: &Status) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(pending) = &status.pending_confirm {
        remarks.push(format!("unconfirmed, {} s left", pending.seconds_left));
    }
    remarks.extend(status.missing.iter().map(|what| format!("missing: {what}")));
    let alerts = status.watch.as_ref().map_or(0, |watch| watch.alerts.len());
    if alerts > 0 {
        remarks.push(format!("{alerts} alerts about ports"));
    }
    if status.events.lost > 0 {
        remarks.push(format!("{} refusals were lost", status.events.lost));
    }
    remarks
}

/// The table, and under it the policies.
pub fn text(fleet: &Fleet) -> String {
    let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let rows = fleet.nodes.iter().map(|row| {
        let said = row.problems.iter().chain(&row.remarks);
        let said: Vec<String> = said.map(|text| escaped(text).to_string()).collect();
        vec![
            escaped(&row.node).to_string(),
            or_dash(row.mode.as_deref().map(|mode| escaped(mode).to_string())),
            if row.proven { "yes" } else { "NO" }.to_owned(),
            or_dash(row.hash.as_deref().map(short)),
            or_dash(row.entries.map(|entries| entries.to_string())),
            or_dash(row.refused.map(|count| count.to_string())),
            or_dash(row.would_be_refused.map(|count| count.to_string())),
            or_dash(row.version.as_deref().map(|text| escaped(text).to_string())),
            said.join("; "),
        ]
    });
    let header = [
        "NODE", "MODE", "PROVEN", "PROFILE", "ENTRIES", "REFUSED", "IN AUDIT", "VERSION", "NOTES",
    ];
    let table = table(&header, rows.collect(), &["NOTES", "VERSION", "IN AUDIT"]);
    let mut lines = vec![table, String::new()];
    for policy in &fleet.policies {
        lines.push(format!(
            "profile {} in mode {}: {} nodes, {} proven",
            short(&policy.hash),
            escaped(&policy.mode),
            policy.nodes,
            policy.proven
        ));
    }
    let silent = fleet.nodes.iter().filter(|row| row.hash.is_none()).count();
    if silent > 0 {
        lines.push(format!("no status: {silent} nodes"));
    }
    lines.push(
        match fleet.ok {
            true => "all nodes have the same policy in force, and it is proven",
            false => "NOT all nodes have the same policy in force and proven",
        }
        .to_owned(),
    );
    lines.join("\n")
}

/// The first digits of a hash.
fn short(hash: &str) -> String {
    escaped(&hash.chars().take(DIGITS).collect::<String>()).to_string()
}

#[cfg(test)]
mod tests;
