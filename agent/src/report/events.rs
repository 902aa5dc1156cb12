//! Events in one line each: who, what, which rule.

use crate::{daemon::protocol::EventRecord, diagnostics::escaped};
use portreeve_common::Reason;

/// One event for people.
pub fn text(event: &EventRecord) -> String {
    let verdict = match event.verdict.as_str() {
        "deny" => "refused",
        "would-deny" => "would refuse",
        _ if event.granted => "granted",
        _ => "allowed",
    };
    let why = Reason::ALL
        .iter()
        .find(|reason| reason.id() == event.reason)
        .map_or(event.reason.as_str(), |reason| reason.text());
    let mut text = format!(
        "{} {verdict} {}/{} to {} (pid {}, uid {}, address {}, cgroup {}): {why}",
        event.time,
        event.protocol,
        event.port,
        escaped(&event.comm),
        event.pid,
        event.uid,
        event.address,
        escaped(&event.cgroup),
    );
    if let Some(entry) = &event.entry {
        let file = entry.file.as_deref().unwrap_or("line ");
        let separator = if entry.file.is_some() { ":" } else { "" };
        text.push_str(&format!(" [{}{separator}{}", escaped(file), entry.line));
        if let Some(entry) = &entry.text {
            text.push_str(&format!(": {}", escaped(entry)));
        }
        text.push(']');
    }
    text
}
