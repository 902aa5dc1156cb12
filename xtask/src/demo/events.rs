//! What the agent says of a bind.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use portreeve_common::Reason;
use portreeve_toolchain::command::output;
use serde_json::Value;

use crate::instance::Instance;

/// An event, as far as the table tells it.
pub struct Event {
    /// Whether the agent refused.
    pub refused: bool,
    /// Why, in a sentence.
    pub why: String,
    /// The entry that decided: file, line and text.
    pub rule: Option<String>,
}

/// The event of a process that made one bind; `None` if none comes.
pub fn of(instance: &Instance, process: u32) -> Result<Option<Event>> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let start = Instant::now();
    loop {
        let mut events = instance.command("events");
        let lines = output(events.args(["--format", "json"]))?;
        for line in lines.lines() {
            let event: Value = serde_json::from_str(line)
                .with_context(|| format!("the agent's event is no JSON: {line}"))?;
            if event["pid"].as_u64() == Some(process.into()) {
                return Ok(Some(read(&event)));
            }
        }
        if start.elapsed() > PATIENCE {
            return Ok(None);
        }
        sleep(Duration::from_millis(20));
    }
}

fn read(event: &Value) -> Event {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let id = text(&event["reason"]);
    let reason = Reason::ALL.iter().find(|reason| reason.id() == id);
    let entry = &event["entry"];
    Event {
        refused: event["verdict"] == "deny",
        why: reason.map_or(id, |reason| reason.text().to_owned()),
        rule: entry.is_object().then(|| {
            let file = text(&entry["file"]);
            let name = file.rsplit('/').next().unwrap_or_default();
            format!(
                "{name}:{} {}",
                entry["line"],
                squeeze(&text(&entry["text"]))
            )
        }),
    }
}

/// Without the blanks that align a profile's columns.
fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_is_told_by_line_and_text() {
        let event = serde_json::json!({
            "verdict": "deny", "reason": "other-job",
            "entry": {"file": "/x/a.tcpip", "line": 3, "text": "21  TCP  FTPD1"},
        });
        let event = read(&event);
        assert!(event.refused);
        assert_eq!(event.why, Reason::OtherJob.text());
        assert_eq!(event.rule.as_deref(), Some("a.tcpip:3 21 TCP FTPD1"));
    }

    #[test]
    fn an_unreserved_port_has_no_entry() {
        let event = read(&serde_json::json!({
            "verdict": "allow", "reason": "of-tomorrow", "entry": null,
        }));
        assert!(!event.refused && event.rule.is_none());
        assert_eq!(event.why, "of-tomorrow");
    }
}
