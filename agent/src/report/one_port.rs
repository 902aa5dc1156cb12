//! All there is to say about one port, a line for each fact.

use portreeve_common::Reason;

use super::{port_news, ports::process};
use crate::{
    daemon::protocol::{PortChange, PortHolder, PortRefusal, PortRow},
    diagnostics::escaped,
    policy::bits::PortBits,
};

/// The port `protocol`/`port` for people; `rows` are the entries that cover it, in the
/// order in which they are looked at, and `refused` those who were refused it lately.
pub fn text(rows: &[PortRow], refused: &[PortRefusal], protocol: &str, port: u16) -> String {
    let name = format!("{protocol}/{port}");
    let Some(first) = rows.first() else {
        return format!("{name} is reserved by no entry");
    };
    // A row of a range is about all of its ports.
    let holders = first.holders.iter().filter(|holder| holder.port == port);
    let holders: Vec<&PortHolder> = holders.collect();
    let mut lines = vec![format!("{name} {}", state(first, &holders))];
    for row in rows {
        lines.push(entry(row));
    }
    lines.extend(expected(first));
    if is_audited(first, port) {
        lines.push("in audit: what these entries refuse is told and goes on".into());
    }
    lines.extend(holders.iter().map(|found| holder(found)));
    for row in rows {
        let entry = row.line;
        lines.push(match row.refusals {
            0 => format!("the entry in line {entry} has refused nobody since it is in force"),
            count => format!(
                "the entry in line {entry} has refused {} since it is in force",
                times(count)
            ),
        });
    }
    let changes = first.changes.iter().filter(|change| change.port == port);
    lines.extend(changes.map(change));
    lines.extend(refused.iter().map(refusal));
    lines.push("sockets of other network namespaces than the agent's are not looked at".into());
    lines.join("\n")
}

/// What is expected of the port, and whose it is.
fn expected(row: &PortRow) -> Option<String> {
    let state = row.expected.as_deref()?;
    let text = |label, text: &Option<String>| {
        let text = text.as_deref().map(escaped);
        text.map_or_else(String::new, |text| format!(", {label} {text}"))
    };
    let (owner, purpose) = (text("owner", &row.owner), text("purpose", &row.purpose));
    Some(format!("expected to be {state}{owner}{purpose}"))
}

/// Whether the rules of the port are in audit; all its entries share them.
fn is_audited(row: &PortRow, port: u16) -> bool {
    let ports: Option<PortBits> = row.audited.as_ref().and_then(|ports| ports.parse().ok());
    match ports {
        Some(ports) => ports.first_in(port, port).is_some(),
        None => row.mode != "enforce",
    }
}

/// What the port is. Of a range the row says it for all ports, the holders for this one.
fn state(row: &PortRow, holders: &[&PortHolder]) -> String {
    if row.state.is_none() {
        return "may be open or not: the kernel doesn't list its sockets".into();
    }
    let wrong = holders.iter().any(|holder| holder.rightful == Some(false));
    let open = holders.iter().any(|holder| holder.listens);
    match (holders.is_empty(), row.jobname.as_str()) {
        (true, "RESERVED") => "is blocked: nobody may have it, and nobody has",
        (true, _) => "is closed: nobody has it",
        _ if wrong => "is contradicted: somebody has it whom the policy would refuse now",
        _ if open => "is open",
        _ => "is bound, but nobody listens there",
    }
    .into()
}

fn entry(row: &PortRow) -> String {
    let range = match row.flags.contains('R') {
        true => format!(" {}-{}", row.first, row.last),
        false => String::new(),
    };
    let description = row
        .description
        .as_deref()
        .map_or_else(String::new, |text| format!("; {}", escaped(text)));
    format!(
        "entry {}: {}{range} ({}), {}:{}{description}",
        row.order,
        row.jobname,
        row.closeness,
        escaped(&row.file),
        row.line
    )
}

fn holder(holder: &PortHolder) -> String {
    let mut facts = vec![match holder.listens {
        true => format!("listens on {}", holder.address),
        false => format!("bound to {}, listens not", holder.address),
    }];
    if holder.pid.is_none() {
        facts.push(format!("its socket is user {}'s", holder.uid));
        facts.push("no process is to be seen that has it".into());
        return format!("holder: {}", facts.join(", "));
    }
    facts.push(match &holder.job {
        Some(job) => format!("job {}", escaped(job)),
        None => "no job".into(),
    });
    facts.push(format!("uid {}", holder.uid));
    if let Some(unit) = &holder.unit {
        facts.push(format!("unit {}", escaped(unit)));
    }
    if let Some(container) = &holder.container {
        facts.push(format!("container {container}"));
    }
    if let Some(since) = &holder.since {
        facts.push(format!("started {since}"));
    }
    if let Some(bound) = &holder.bound {
        facts.push(format!("bound {bound}"));
    }
    if !holder.shared_with.is_empty() {
        let pids: Vec<String> = holder.shared_with.iter().map(u32::to_string).collect();
        facts.push(format!("shared with pid {}", pids.join(" ")));
    }
    if let Some(why) = &holder.orphan {
        facts.push(format!("ORPHANED: {}", escaped(why)));
    }
    match (holder.rightful, holder.line) {
        (Some(false), Some(line)) => facts.push(format!("line {line} would REFUSE it now")),
        (Some(false), None) => facts.push("the policy would REFUSE it now".into()),
        (_, Some(line)) => facts.push(format!("line {line} lets it")),
        _ => {}
    }
    format!("holder: {}: {}", process(holder), facts.join(", "))
}

/// What the port became.
fn change(change: &PortChange) -> String {
    let why = port_news::why(&change.cause, change.comm.as_deref(), change.pid);
    format!(
        "changed at {}: {}, was {}: {why}",
        change.time, change.to, change.from
    )
}

fn refusal(refused: &PortRefusal) -> String {
    let reason = Reason::ALL
        .iter()
        .find(|reason| reason.id() == refused.reason)
        .map_or(refused.reason.as_str(), |reason| reason.text());
    let verdict = match refused.verdict.as_str() {
        "deny" => "refused",
        _ => "would be refused",
    };
    let job = refused
        .job
        .as_deref()
        .map_or("no job".into(), |job| format!("job {}", escaped(job)));
    format!(
        "{verdict}: {} ({job}, uid {}, cgroup {}) {}, the last time at {}: {reason}",
        refused.comm.as_deref().map_or("somebody".into(), escaped),
        refused.uid,
        escaped(&refused.cgroup),
        times(refused.count),
        refused.time,
    )
}

fn times(count: u64) -> String {
    match count {
        1 => "once".into(),
        count => format!("{count} times"),
    }
}
