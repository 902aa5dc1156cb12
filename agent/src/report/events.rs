//! Events in one line each: who, what, which rule.

use super::{paint, port_news};
use crate::{
    daemon::protocol::{EventLine, EventRecord},
    diagnostics::escaped,
};
use portreeve_common::Reason;

/// One line of the stream for people, with colours.
pub fn line(line: &EventLine) -> String {
    match line {
        EventLine::Event(event) => {
            let verdict = verdict(event);
            let painted = match event.verdict.as_str() {
                "deny" => paint::bad(verdict),
                "would-deny" => paint::notice(verdict),
                _ => paint::good(verdict),
            };
            sentence(event, &painted)
        }
        EventLine::Port(news) => port_news::line(news),
        EventLine::Missed { missed } => paint::bad(&format!(
            "{missed} events were MISSED: they came faster than they were read"
        )),
    }
}

/// One event for people.
pub fn text(event: &EventRecord) -> String {
    sentence(event, verdict(event))
}

fn verdict(event: &EventRecord) -> &'static str {
    match event.verdict.as_str() {
        "deny" => "refused",
        "would-deny" => "would refuse",
        _ if event.granted => "granted",
        _ => "allowed",
    }
}

fn sentence(event: &EventRecord, verdict: &str) -> String {
    let repeated = match event.repeated {
        0 => String::new(),
        count => format!("... and {count} more like it within a second: "),
    };
    let mut text = format!(
        "{} {repeated}{verdict} {} to {} ({}): {}",
        event.time,
        asked(event),
        event.comm.as_deref().map_or("somebody".into(), escaped),
        details(event).join(", "),
        why(event),
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

/// The reason, in words.
pub(super) fn why(event: &EventRecord) -> &str {
    let mut known = Reason::ALL.iter();
    let reason = known.find(|reason| reason.id() == event.reason);
    reason.map_or(event.reason.as_str(), |reason| reason.text())
}

/// What was asked for, as far as it is known.
pub(super) fn asked(event: &EventRecord) -> String {
    match (&event.protocol, event.port) {
        (Some(protocol), Some(port)) => format!("{protocol}/{port}"),
        (Some(protocol), None) => format!("a {protocol} port"),
        _ => "a port".into(),
    }
}

/// Who asked, and what went with it.
fn details(event: &EventRecord) -> Vec<String> {
    let mut details = Vec::new();
    if event.kernel {
        details.push("a thread of the kernel".into());
    }
    if let Some(pid) = event.pid {
        details.push(format!("pid {pid}"));
    }
    let folded = event.comm.as_deref().map(str::to_ascii_uppercase);
    if let Some(job) = &event.job
        && event.job != folded
        && !event.kernel
    {
        details.push(format!("job {}", escaped(job)));
    }
    details.push(format!("uid {}", event.uid));
    match (&event.rewritten, &event.address) {
        (Some(change), _) => {
            let (from, to) = (&change.from, &change.to);
            details.push(format!("address {to} in the place of {from}"));
        }
        (None, Some(address)) => details.push(format!("address {address}")),
        (None, None) => {}
    }
    details.push(format!("cgroup {}", escaped(&event.cgroup)));
    details.extend(fate(event));
    details
}

/// What became of the socket.
pub(super) fn fate(event: &EventRecord) -> Vec<String> {
    let mut details = Vec::new();
    match event.listener.as_deref() {
        Some("stays") => details.push("the listener STAYS".into()),
        Some("late") => details.push("the listener is destroyed if it is found".into()),
        Some("closed") => details.push("the listener was closed first".into()),
        Some(fate) => details.push(format!("the listener was {}", escaped(fate))),
        None => {}
    }
    match event.sharing.as_deref() {
        Some("failed") => details.push("SO_REUSEPORT could NOT be switched".into()),
        Some(switched) => details.push(format!("SO_REUSEPORT {}", switched.replace('-', " "))),
        None => {}
    }
    details
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        daemon::protocol::{EventEntry, Rewritten},
        report::sentence,
    };

    /// A refusal.
    pub(crate) fn event() -> EventRecord {
        EventRecord {
            time: "T".into(),
            hook: Some("bind4".into()),
            verdict: "deny".into(),
            reason: "other-job".into(),
            errno: Some("EACCES".into()),
            protocol: Some("tcp".into()),
            address: Some("0.0.0.0".into()),
            port: Some(21),
            pid: Some(7),
            comm: Some("wrong".into()),
            job: Some("WRONG".into()),
            kernel: false,
            uid: 5,
            cgroup: "/a".into(),
            granted: false,
            rewritten: None,
            sharing: None,
            listener: None,
            generation: 1,
            entry: Some(EventEntry {
                file: Some("p".into()),
                line: 2,
                text: Some("21 TCP FTPD1".into()),
            }),
            repeated: 0,
        }
    }

    #[test]
    fn one_event_is_one_sentence() {
        let why = "the port is reserved for another job [p:2: 21 TCP FTPD1]";
        assert_eq!(
            text(&event()),
            format!("T refused tcp/21 to wrong (pid 7, uid 5, address 0.0.0.0, cgroup /a): {why}")
        );
        for (listener, words) in [
            ("destroyed", "cgroup /a, the listener was destroyed)"),
            ("closed", "the listener was closed first)"),
            ("stays", "the listener STAYS)"),
            ("late", "the listener is destroyed if it is found)"),
        ] {
            let listened = EventRecord {
                hook: Some("listen".into()),
                listener: Some(listener.into()),
                errno: None,
                ..event()
            };
            assert!(text(&listened).contains(words), "{}", text(&listened));
        }
        let changed = EventRecord {
            verdict: "allow".into(),
            reason: "permitted".into(),
            job: Some("FTPD1".into()),
            granted: true,
            rewritten: Some(Rewritten {
                from: "0.0.0.0".into(),
                to: "10.0.0.1".into(),
            }),
            sharing: Some("switched-off".into()),
            entry: None,
            ..event()
        };
        assert_eq!(
            text(&changed),
            "T granted tcp/21 to wrong (pid 7, job FTPD1, uid 5, address 10.0.0.1 in the place of \
             0.0.0.0, cgroup /a, SO_REUSEPORT switched off): the port is reserved for this job"
        );
    }

    /// As a line of the stream and as a sentence of the log.
    #[test]
    fn what_is_not_known_is_left_out() {
        let unknown = EventRecord {
            hook: None,
            protocol: None,
            address: None,
            port: None,
            pid: None,
            comm: None,
            job: None,
            entry: None,
            reason: "blocked".into(),
            repeated: 9,
            ..event()
        };
        assert_eq!(
            text(&unknown),
            "T ... and 9 more like it within a second: refused a port to somebody \
             (uid 5, cgroup /a): the port is RESERVED; nobody may bind it"
        );
        assert_eq!(
            sentence::sentence(&unknown, None),
            "9 more within a second: refused a port to somebody (uid 5, cgroup /a): the port is \
             RESERVED; nobody may bind it; if somebody is to have it, put a jobname in the place \
             of RESERVED"
        );
    }

    #[test]
    fn what_was_missed_is_told() {
        let missed = line(&EventLine::Missed { missed: 3 });
        assert!(missed.contains("3 events were MISSED"), "{missed}");
    }

    #[test]
    fn colours_change_no_word() {
        let colored = line(&EventLine::Event(Box::new(event())));
        assert!(colored.contains("\u{1b}["), "{colored}");
        let plain = anstream::adapter::strip_str(&colored).to_string();
        assert_eq!(plain, text(&event()));
    }
}
