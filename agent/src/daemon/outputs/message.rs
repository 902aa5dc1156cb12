//! What there is to tell, and how each kind of output words it.

use log::Level;
use serde::Serialize;

use crate::{
    daemon::{
        agent::now,
        protocol::{EventRecord, PortNews},
    },
    diagnostics::escaped,
    report::{port_news, sentence::sentence},
};

/// Something to be told.
#[derive(Debug)]
pub enum Message {
    /// What the agent has to say itself.
    Log {
        /// When, as RFC 3339.
        time: String,
        /// How grave it is.
        level: Level,
        /// The words; lines of diagnostics may follow.
        text: String,
    },
    /// A bind that was judged.
    Event(Box<EventRecord>),
    /// A port that is not as expected for too long, or is again.
    Port(Box<PortNews>),
}

/// Kinds of messages, each with the number by which it is found in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What the agent has to say itself.
    Log,
    /// A bind was refused.
    Refusal,
    /// A bind would have been refused, but for audit.
    Audit,
    /// A bind went on.
    Bind,
    /// A port is not as expected for too long, or changes all the time.
    Alert,
    /// It is as expected again.
    Cleared,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Log,
        Self::Refusal,
        Self::Audit,
        Self::Bind,
        Self::Alert,
        Self::Cleared,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Refusal => "refusal",
            Self::Audit => "audit",
            Self::Bind => "bind",
            Self::Alert => "alert",
            Self::Cleared => "cleared",
        }
    }

    /// `MESSAGE_ID` in the journal; never used for anything else.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Log => "c1eb0e064ef440ca92f7eed21f4ac7d0",
            Self::Refusal => "a7d17e1e932c4e33b636199fe73f3780",
            Self::Audit => "e40f23e8553c4bb0a49f4a7290408eab",
            Self::Bind => "71d912f2f5c84439899459d54e51cf97",
            Self::Alert => "0f3c5a6e27b84d0d9c41be72a5d86f13",
            Self::Cleared => "b85f17d4c9e24b6a8f03d2617ae94c50",
        }
    }
}

impl Message {
    /// `text` of the agent, now.
    pub fn log(level: Level, text: String) -> Self {
        Self::Log {
            time: now(),
            level,
            text,
        }
    }

    /// What kind it is of.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Log { .. } => Kind::Log,
            Self::Event(event) => match event.verdict.as_str() {
                "deny" => Kind::Refusal,
                "would-deny" => Kind::Audit,
                _ => Kind::Bind,
            },
            Self::Port(news) => match news.news.as_str() {
                "cleared" => Kind::Cleared,
                _ => Kind::Alert,
            },
        }
    }

    /// How grave it is, as syslog numbers it (RFC 5424, table 2).
    pub fn priority(&self) -> u8 {
        match self {
            Self::Log { level, .. } => match level {
                Level::Error => 3,
                Level::Warn => 4,
                Level::Info => 6,
                Level::Debug | Level::Trace => 7,
            },
            Self::Event(_) => match self.kind() {
                Kind::Refusal => 5,
                _ => 6,
            },
            Self::Port(news) => match news.level.as_str() {
                "warning" => 4,
                "notice" => 5,
                _ => 6,
            },
        }
    }

    /// The word for how grave it is.
    pub fn level(&self) -> &'static str {
        match self {
            Self::Log { level, .. } => match level {
                Level::Error => "error",
                Level::Warn => "warn",
                Level::Info => "info",
                Level::Debug => "debug",
                Level::Trace => "trace",
            },
            Self::Event(_) => match self.kind() {
                Kind::Refusal => "notice",
                _ => "info",
            },
            Self::Port(news) => match news.level.as_str() {
                "warning" => "warn",
                "notice" => "notice",
                _ => "info",
            },
        }
    }

    /// It in words; `user` is what the event's user is called. Of the agent's own messages,
    /// lines stay lines.
    pub fn text(&self, user: Option<&str>) -> String {
        match self {
            Self::Log { text, .. } => text.clone(),
            Self::Event(event) => sentence(event, user),
            Self::Port(news) => port_news::sentence(news),
        }
    }

    /// The same in one line, whatever it has to say.
    pub fn line(&self, user: Option<&str>) -> String {
        match self {
            Self::Log { text, .. } => escaped(text.trim_end()),
            Self::Event(_) | Self::Port(_) => self.text(user),
        }
    }

    /// As one line of JSON.
    pub fn json(&self, user: Option<&str>) -> String {
        #[derive(Serialize)]
        struct Line<'m> {
            kind: &'m str,
            level: &'m str,
            message: &'m str,
            #[serde(skip_serializing_if = "Option::is_none")]
            time: Option<&'m str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            user: Option<&'m str>,
            #[serde(flatten)]
            event: Option<&'m EventRecord>,
            #[serde(flatten)]
            port: Option<&'m PortNews>,
        }
        let text = self.text(user);
        let time = match self {
            Self::Log { time, .. } => Some(time.as_str()),
            // Theirs have one.
            Self::Event(_) | Self::Port(_) => None,
        };
        let line = Line {
            kind: self.kind().name(),
            level: self.level(),
            message: &text,
            time,
            user,
            event: self.event(),
            port: self.port_news(),
        };
        serde_json::to_string(&line).unwrap_or_default()
    }

    /// The event, if it is one.
    pub fn event(&self) -> Option<&EventRecord> {
        match self {
            Self::Log { .. } | Self::Port(_) => None,
            Self::Event(event) => Some(event),
        }
    }

    /// The news of a port, if it is some.
    pub fn port_news(&self) -> Option<&PortNews> {
        match self {
            Self::Log { .. } | Self::Event(_) => None,
            Self::Port(news) => Some(news),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::events::tests::event;

    #[test]
    fn json_is_one_line_with_the_fields_of_the_event() {
        let told = EventRecord {
            comm: Some("a\nb".into()),
            ..event()
        };
        let line = Message::Event(Box::new(told)).json(Some("www"));
        assert!(!line.contains('\n'), "{line}");
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["kind"], "refusal");
        assert_eq!(value["level"], "notice");
        assert_eq!(value["port"], 21);
        assert_eq!(value["user"], "www");
        assert_eq!(value["comm"], "a\nb");
        assert_eq!(value["time"], "T");
        let text = value["message"].as_str().unwrap();
        assert!(text.starts_with("refused tcp/21"), "{text}");

        let line = Message::log(Level::Warn, "one\ntwo".into()).json(None);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["message"], "one\ntwo");
        assert_eq!(value["level"], "warn");
        assert!(value["time"].is_string() && value.get("port").is_none());
    }

    #[test]
    fn kinds_are_told_apart() {
        let mut ids: Vec<&str> = Kind::ALL.iter().map(|kind| kind.id()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), Kind::ALL.len());
        assert!(ids.iter().all(|id| id.len() == 32));
    }
}
