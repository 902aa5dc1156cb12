//! News of ports, in a sentence each.

use super::paint;
use crate::{daemon::protocol::PortNews, diagnostics::escaped};

/// News for people, with the time and with colours.
pub fn line(news: &PortNews) -> String {
    let text = sentence(news);
    let painted = match news.level.as_str() {
        "warning" => paint::bad(&text),
        "notice" => paint::notice(&text),
        _ => text,
    };
    format!("{} {painted}", news.time)
}

/// What happened, in a sentence of harmless characters.
pub fn sentence(news: &PortNews) -> String {
    let port = format!("{}/{}", news.protocol, news.port);
    let expected = news.expected.as_deref().unwrap_or("something else");
    match (news.news.as_str(), news.alert.as_deref()) {
        ("cleared", _) if !is_as_expected(news) => format!(
            "{port} is {}, and is not expected to be {expected} any more, after {}",
            news.state,
            duration(news.lasted.unwrap_or(0))
        ),
        ("cleared", _) => format!(
            "{port} is {} again as expected, after {}",
            news.state,
            duration(news.lasted.unwrap_or(0))
        ),
        ("alert", Some("flapping")) => format!(
            "{port} changes all the time, and is {} now; it is expected to be {expected}: {}",
            news.state,
            why_of(news)
        ),
        ("alert", _) => format!(
            "{port} is {}, and is expected to be {expected}{}: {}; `portreeve ports {port}` says more",
            news.state,
            news.since
                .as_deref()
                .map_or_else(String::new, |since| format!(", since {since}")),
            why_of(news)
        ),
        _ => format!(
            "{port} is {}, was {}: {}",
            news.state,
            news.from.as_deref().unwrap_or("unknown"),
            why_of(news)
        ),
    }
}

/// Not so if nothing is expected any more.
fn is_as_expected(news: &PortNews) -> bool {
    let is_open = news.state == "open";
    match news.expected.as_deref() {
        Some("open") => is_open,
        _ => !is_open,
    }
}

fn why_of(news: &PortNews) -> String {
    why(&news.cause, news.comm.as_deref(), news.pid)
}

/// Why a port changed, in a few words.
pub fn why(cause: &str, comm: Option<&str>, pid: Option<u32>) -> String {
    let who = match (comm, pid) {
        (Some(comm), Some(pid)) => format!("{} (pid {pid})", escaped(comm)),
        (Some(comm), None) => escaped(comm),
        (None, Some(pid)) => format!("process {pid}"),
        (None, None) => "somebody".to_owned(),
    };
    match cause {
        "ended" => format!("{who} has ended"),
        "stopped" => "its unit was stopped".to_owned(),
        "policy" => "another policy is in force".to_owned(),
        "found" if pid.is_none() => "it was found so".to_owned(),
        "found" => format!("{who} was found to have it"),
        _ => format!("by {who}"),
    }
}

fn duration(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news() -> PortNews {
        PortNews {
            time: "T".into(),
            news: "change".into(),
            level: "info".into(),
            protocol: "tcp".into(),
            port: 21,
            from: Some("closed".into()),
            state: "open".into(),
            expected: None,
            cause: "owner".into(),
            pid: Some(7),
            comm: Some("ftpd".into()),
            alert: None,
            since: None,
            lasted: None,
        }
    }

    #[test]
    fn changes_alerts_and_their_end_are_sentences() {
        assert_eq!(
            sentence(&news()),
            "tcp/21 is open, was closed: by ftpd (pid 7)"
        );
        let alert = PortNews {
            news: "alert".into(),
            level: "warning".into(),
            from: None,
            state: "closed".into(),
            expected: Some("open".into()),
            cause: "ended".into(),
            comm: Some("a\nb".into()),
            alert: Some("broken".into()),
            since: Some("S".into()),
            ..news()
        };
        assert_eq!(
            sentence(&alert),
            "tcp/21 is closed, and is expected to be open, since S: a\\u{a}b (pid 7) has ended; \
             `portreeve ports tcp/21` says more"
        );
        let flapping = PortNews {
            alert: Some("flapping".into()),
            cause: "found".into(),
            comm: None,
            pid: None,
            ..alert.clone()
        };
        assert_eq!(
            sentence(&flapping),
            "tcp/21 changes all the time, and is closed now; it is expected to be open: it was found so"
        );
        for (lasted, words) in [(5, "5 s"), (65, "1 min 5 s"), (7260, "2 h 1 min")] {
            let cleared = PortNews {
                news: "cleared".into(),
                state: "open".into(),
                lasted: Some(lasted),
                ..alert.clone()
            };
            let text = format!("tcp/21 is open again as expected, after {words}");
            assert_eq!(sentence(&cleared), text);
        }
    }
}
