//! The status for people.

use std::collections::BTreeMap;

use super::{hanging, paint, port_news};
use crate::{
    daemon::{
        pool::short,
        protocol::{
            DriftStatus, ListenerStatus, MetricsStatus, OutputStatus, PoolStatus, ProfileStatus,
            ReloadStatus, SnmpStatus, Status, WatchStatus,
        },
    },
    diagnostics::escaped,
    kernel::{hooks::HOOKS, privileges::Kept},
    policy::bits::PortBits,
};

/// Whether an agent answered and proved its mode: `status` exits with 0 only then.
pub fn is_proven(status: &Status) -> bool {
    status.agent.is_some()
        && HOOKS
            .iter()
            .all(|hook| status.hooks.iter().any(|attached| attached == hook))
        && status.selftest.as_ref().is_some_and(|test| test.ok)
}

/// The status, one fact per line.
pub fn text(status: &Status) -> String {
    let mut lines = vec![match status.agent {
        Some(pid) => format!("agent       running, pid {pid}, version {}", status.version),
        None => format!(
            "agent       none answers; the kernel holds what version {} loaded",
            status.version
        ),
    }];
    lines.push(format!("mode        {}{}", mode(status), but_for(status)));
    lines.push(match &status.selftest {
        Some(test) if test.ok => format!("proven      at {} by a bind on every hook", test.at),
        Some(test) => format!(
            "NOT PROVEN  since {}, last tried at {}: {}",
            test.failing_since.as_deref().unwrap_or(&test.at),
            test.at,
            test.problem.as_deref().unwrap_or("no reason known")
        ),
        None => "not proven  only an agent can make the self-test".into(),
    });
    let profile = &status.profile;
    lines.push(format!(
        "profile     {}, {}, generation {}, published {}",
        profile.path,
        entries(profile),
        status.generation,
        profile.published
    ));
    if let Some(pending) = &status.pending_confirm {
        lines.push(format!(
            "UNCONFIRMED generation {} is taken back in {} s, unless you say `portreeve confirm`",
            pending.generation, pending.seconds_left
        ));
    }
    for change in profile.changes.iter().flatten() {
        lines.push(format!(
            "changed     by {}, until the next reload or agent",
            escaped(change)
        ));
    }
    lines.push(format!("hash        {}", profile.hash));
    match profile.differs_from_file {
        Some(true) => lines.push(
            "DIFFERS     profile, an included file or the config changed since; see `portreeve reload --dry-run`".into(),
        ),
        Some(false) => lines.push("files       are what is in force".into()),
        None => {}
    }
    lines.extend(status.reload.iter().flat_map(reload));
    lines.push(format!(
        "hooks       {} on {} (id {})",
        if status.hooks.is_empty() {
            "none".into()
        } else {
            status.hooks.join(" ")
        },
        status.attach.path.as_deref().unwrap_or("a cgroup"),
        status.attach.id
    ));
    for neighbour in &status.neighbours {
        lines.push(format!(
            "neighbour   program {} ({}) is on {} too{}",
            neighbour.id,
            called(&neighbour.program),
            neighbour.hook,
            if neighbour.after_ours {
                ", and runs after ours: it can allow what is refused"
            } else {
                ""
            }
        ));
    }
    lines.extend(status.metrics.iter().map(metrics));
    lines.extend(status.snmp.iter().map(snmp));
    lines.extend(status.watch.iter().map(watch));
    let alerts = status.watch.iter().flat_map(|watch| &watch.alerts);
    lines.extend(alerts.map(|alert| format!("ALERT       {}", port_news::sentence(alert))));
    lines.extend(status.drift.iter().map(drift));
    lines.extend(pool(&status.pool));
    for missing in &status.missing {
        lines.push(format!("missing     {missing}"));
    }
    lines.push(format!("judged      {}", counts(&status.counters)));
    if status.audited.values().any(|count| *count > 0) {
        lines.push(format!("in audit    {}", counts(&status.audited)));
    }
    let events = &status.events;
    let untold = [
        (events.suppressed, "refusals only counted, as repetitions"),
        (events.lost, "refusals LOST for want of room"),
        (events.reports_lost, "other binds lost"),
    ];
    let untold: Vec<String> = untold
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if !untold.is_empty() {
        lines.push(format!("no event    {}", untold.join(", ")));
    }
    lines.extend(listeners(&status.listeners));
    lines.extend(status.outputs.iter().map(output));
    lines.extend(status.privileges.iter().map(privileges));
    lines.join("\n")
}

/// How watching who has which port goes.
fn watch(watch: &WatchStatus) -> String {
    let mut line = format!("watched     {} sockets that have a port", watch.sockets);
    if watch.lost > 0 {
        line.push_str(&format!(
            ", {} untold for want of room and looked for",
            watch.lost
        ));
    }
    if watch.mistakes > 0 {
        line.push_str(&format!(
            ", {} MISSED by a mistake of portreeve's and found by its looks",
            watch.mistakes
        ));
    }
    line
}

/// The status as it is seen on a terminal: what is wrong is to be seen at once, and lines
/// that are longer than `width` go on below their beginning.
pub fn on_terminal(text: &str, width: Option<u16>) -> String {
    let lines = text.lines().map(|line| {
        let line = hanging(line, width, LABEL);
        let (label, said) = line.split_at_checked(LABEL).unwrap_or((&line, ""));
        let is_loud = |word: &str| word.len() >= 3 && word.chars().all(|c| c.is_ascii_uppercase());
        let painted = match label.trim_end() {
            "proven" => paint::good(label),
            "not proven" | "missing" | "neighbour" => paint::notice(label),
            _ if label.split(' ').any(is_loud) => paint::bad(label),
            _ => label.to_owned(),
        };
        painted + said
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Columns of the words in front of a fact.
const LABEL: usize = 12;

/// What a program is called; it needn't have a name.
fn called(program: &str) -> String {
    match program {
        "" => "without a name".to_owned(),
        name => escaped(name),
    }
}

/// Somewhere messages and events go.
fn output(output: &OutputStatus) -> String {
    let what = match (output.log, output.events) {
        (true, false) => "messages",
        (false, true) => "events",
        _ => "messages and events",
    };
    let mut line = format!("log         {what} to {}", escaped(&output.to));
    if let Some(problem) = &output.problem {
        let problem = escaped(problem);
        line.push_str(&format!(", which CAN'T BE WRITTEN: {problem}"));
    }
    if output.waiting > 0 {
        line.push_str(&format!("; {} wait", output.waiting));
    }
    if output.dropped > 0 {
        line.push_str(&format!("; {} were LOST", output.dropped));
    }
    line
}

/// What the agent may do.
fn privileges(kept: &Kept) -> String {
    let calls = match (kept.no_new_privileges, kept.syscalls_filtered) {
        (true, true) => "system calls filtered, for what it starts too",
        (false, true) => "system calls filtered",
        (_, false) => "system calls not filtered",
    };
    // All that there are say nothing.
    let capabilities = match kept.capabilities.len() {
        0 => "no capability".to_owned(),
        1..=10 => kept.capabilities.join(" "),
        many => format!("{many} capabilities"),
    };
    format!("privileges  {capabilities}; {calls}")
}

/// Where metrics are served.
fn metrics(metrics: &MetricsStatus) -> String {
    match &metrics.serving {
        Some(place) => format!("metrics     {}", escaped(place)),
        None => format!("metrics     NOT SERVED at {}", escaped(&metrics.listen)),
    }
}

/// How managers are told by SNMP.
fn snmp(snmp: &SnmpStatus) -> String {
    let master = escaped(&snmp.master);
    let mut line = match snmp.registered {
        true => format!(
            "SNMP        managers can ask, by the agent at {master}; {} notifications",
            snmp.notifications
        ),
        false => match &snmp.problem {
            Some(problem) => format!("SNMP        managers can't ask: {}", escaped(problem)),
            None => format!("SNMP        the agent at {master} is being asked"),
        },
    };
    if snmp.dropped > 0 {
        line.push_str(&format!("; {} events were LOST", snmp.dropped));
    }
    line
}

/// What becomes of files that change.
fn reload(reload: &ReloadStatus) -> Vec<String> {
    let mut lines = Vec::new();
    match (reload.watch, reload.waits_for_confirm) {
        (true, true) => lines.push(
            "watched     the files have changed; they are reloaded when it is decided whether what is in force is confirmed".into(),
        ),
        (true, false) => lines.push("watched     files that change are reloaded by themselves".into()),
        (false, _) => {}
    }
    if let Some(refused) = &reload.refused {
        lines.push(format!(
            "REFUSED     every reload since {}: {}",
            refused.since,
            escaped(&refused.reason)
        ));
    }
    lines
}

/// Something that others changed.
fn drift(drift: &DriftStatus) -> String {
    let times = match drift.times {
        1 => String::new(),
        times => format!(" ({times} times since the agent runs)"),
    };
    let what = format!("{}: {}{times}", drift.of, drift.problem);
    match (&drift.until, &drift.mended) {
        (None, _) => format!("DRIFT       since {}: {what}", drift.since),
        (Some(until), Some(mended)) => format!("mended      at {until}: {what}; {mended}"),
        (Some(until), None) => format!("was         until {until}: {what}"),
    }
}

/// What became of listeners that could not be refused.
fn listeners(listeners: &ListenerStatus) -> Option<String> {
    let fates = [
        (listeners.destroyed, "destroyed"),
        (listeners.closed, "closed by their owners"),
        (listeners.stay, "STAY, because they can't be destroyed"),
        (Some(listeners.late), "too fast to be named, and looked for"),
        (
            Some(listeners.lost),
            "STAY, because they can't be looked for",
        ),
    ];
    let fates = fates
        .iter()
        .filter_map(|(count, what)| Some(((*count)?, what)));
    let fates: Vec<String> = fates
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    (!fates.is_empty()).then(|| format!("listeners   {}", fates.join(", ")))
}

fn pool(pool: &PoolStatus) -> Vec<String> {
    let mut lines = Vec::new();
    let left = match (pool.range, pool.free) {
        (Some((first, last)), Some(free)) => {
            format!("{free} of the ports {first}-{last} are free to hand out")
        }
        _ => "in another network namespace".into(),
    };
    let ours: PortBits = pool.added.parse().unwrap_or_default();
    let managed = match (pool.managed, ours.is_empty()) {
        (false, _) => "not managed".into(),
        (true, true) => "managed; others keep out what is reserved".into(),
        (true, false) => format!("managed; {} kept out by us: {}", ours.len(), short(&ours)),
    };
    lines.push(format!("pool        {left}; {managed}"));
    if let Some((first, last)) = pool.range_before {
        lines.push(format!(
            "            EPHEMERALPORTS set the range; before it was {first}-{last}"
        ));
    }
    if let Some(dropped) = &pool.dropped {
        let what = match (dropped.ports.as_str(), dropped.range) {
            ("", None) => "could not be looked at".into(),
            ("", Some((first, last))) => format!("somebody set the range {first}-{last}"),
            (ports, _) => {
                let ports: PortBits = ports.parse().unwrap_or_default();
                format!("somebody took out {}", short(&ports))
            }
        };
        let state = if dropped.problem.is_none() {
            "mended"
        } else {
            "NOT MENDED"
        };
        lines.push(format!(
            "pool {state} at {}: {what}; {} since the agent runs",
            dropped.at,
            match dropped.times {
                1 => "once".into(),
                times => format!("{times} times"),
            }
        ));
    }
    lines
}

/// How many entries are in force, how many of them are in audit, and how many were
/// dropped (`LNT-06`).
pub fn entries(profile: &ProfileStatus) -> String {
    let dropped = match profile.dropped {
        Some(dropped) if dropped > 0 => format!(" ({dropped} DROPPED for errors)"),
        _ => String::new(),
    };
    let audited = match profile.audited {
        0 => String::new(),
        audited => format!(" ({audited} in audit)"),
    };
    format!("{} entries{audited}{dropped}", profile.entries)
}

fn mode(status: &Status) -> &'static str {
    match status.mode.as_str() {
        "enforce" => "enforce: binds that the policy refuses fail",
        "audit" => "audit: binds that the policy refuses are reported and go on",
        _ => "none: nothing is judged",
    }
}

/// What the mode doesn't hold for.
fn but_for(status: &Status) -> String {
    match status.profile.audited {
        _ if status.mode != "enforce" => String::new(),
        0 => String::new(),
        1 => ", but for 1 entry that is in audit".into(),
        audited => format!(", but for {audited} entries that are in audit"),
    }
}

fn counts(counters: &BTreeMap<String, u64>) -> String {
    let parts: Vec<String> = counters
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    if parts.is_empty() {
        "no bind of a reserved port yet".into()
    } else {
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_shows_what_is_wrong_and_breaks_lines_below_their_beginning() {
        let text = "agent       none\nNOT PROVEN  since noon, last tried at one: because of something\nproven      yes";
        let shown = on_terminal(text, Some(54));
        let plain = anstream::adapter::strip_str(&shown).to_string();
        assert_eq!(
            plain,
            "agent       none\n\
             NOT PROVEN  since noon, last tried at one: because of\n            something\n\
             proven      yes"
        );
        assert_eq!(shown.matches("\u{1b}[").count(), 5, "{shown:?}");
        let whole = on_terminal(text, None);
        assert_eq!(anstream::adapter::strip_str(&whole).to_string(), text);
    }
}
