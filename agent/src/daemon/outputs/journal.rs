//! The journal, by its native protocol: a datagram of fields, so that nothing has to be
//! read out of sentences again.

use std::{
    io,
    path::{Path, PathBuf},
};

use nix::errno::Errno;

use super::{
    datagrams::Datagrams,
    message::Message,
    sink::{Names, Sink},
};
use crate::{
    daemon::protocol::{EventRecord, PortNews},
    diagnostics::escaped,
    report::sentence::unit,
};

/// Where journald listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";
/// Longest value of a field, in bytes. A datagram has room for many times as much.
const LONGEST: usize = 8192;

/// Writes to the journal.
pub struct Journal {
    datagrams: Datagrams,
}

impl Journal {
    /// By the socket at `path`.
    ///
    /// # Errors
    ///
    /// If nobody listens there.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            datagrams: Datagrams::open(PathBuf::from(path))?,
        })
    }
}

impl Sink for Journal {
    fn put(&mut self, message: &Message, names: &mut Names) {
        let user = message.event().and_then(|event| names.user(event.uid));
        self.datagrams.put(fields(message, user.as_deref()));
    }

    fn flush(&mut self) -> io::Result<()> {
        self.datagrams.flush()
    }
}

/// The datagram for `message`.
fn fields(message: &Message, user: Option<&str>) -> Vec<u8> {
    let mut datagram = Vec::new();
    let mut add = |name: &str, value: &str| field(&mut datagram, name, value);
    add("MESSAGE", &message.text(user));
    add("MESSAGE_ID", message.kind().id());
    add("PRIORITY", &message.priority().to_string());
    add("SYSLOG_IDENTIFIER", "portreeve");
    add("SYSLOG_FACILITY", "3");
    if let Some(event) = message.event() {
        of_event(event, user, &mut add);
    }
    if let Some(news) = message.port_news() {
        of_port(news, &mut add);
    }
    datagram
}

/// What processes call themselves is a value, escaped, and never a field's name.
fn of_event(event: &EventRecord, user: Option<&str>, add: &mut impl FnMut(&str, &str)) {
    let mut some = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            add(name, &escaped(&value));
        }
    };
    // The journal adds what it knows of that process, and shows the message among those
    // of its unit.
    some("OBJECT_PID", event.pid.map(|pid| pid.to_string()));
    some("ERRNO", event.errno.as_deref().and_then(number));
    some("PORTREEVE_VERDICT", Some(event.verdict.clone()));
    some("PORTREEVE_REASON", Some(event.reason.clone()));
    some("PORTREEVE_HOOK", event.hook.clone());
    some("PORTREEVE_PROTOCOL", event.protocol.clone());
    some("PORTREEVE_ADDRESS", event.address.clone());
    some("PORTREEVE_PORT", event.port.map(|port| port.to_string()));
    some("PORTREEVE_PID", event.pid.map(|pid| pid.to_string()));
    some("PORTREEVE_COMM", event.comm.clone());
    some("PORTREEVE_JOB", event.job.clone());
    some("PORTREEVE_UID", Some(event.uid.to_string()));
    some("PORTREEVE_USER", user.map(str::to_owned));
    some("PORTREEVE_CGROUP", Some(event.cgroup.clone()));
    some("PORTREEVE_UNIT", unit(&event.cgroup).map(str::to_owned));
    some("PORTREEVE_GENERATION", Some(event.generation.to_string()));
    some("PORTREEVE_REPEATED", Some(event.repeated.to_string()));
    if let Some(entry) = &event.entry {
        some("PORTREEVE_ENTRY", entry.text.clone());
        some("PORTREEVE_ENTRY_FILE", entry.file.clone());
        some("PORTREEVE_ENTRY_LINE", Some(entry.line.to_string()));
    }
}

fn of_port(news: &PortNews, add: &mut impl FnMut(&str, &str)) {
    let pid = news.pid.map(|pid| pid.to_string());
    for (name, value) in [
        ("OBJECT_PID", pid.as_ref()),
        ("PORTREEVE_PROTOCOL", Some(&news.protocol)),
        ("PORTREEVE_PORT", Some(&news.port.to_string())),
        ("PORTREEVE_STATE", Some(&news.state)),
        ("PORTREEVE_EXPECTED", news.expected.as_ref()),
        ("PORTREEVE_CAUSE", Some(&news.cause)),
        ("PORTREEVE_ALERT", news.alert.as_ref()),
        ("PORTREEVE_SINCE", news.since.as_ref()),
        ("PORTREEVE_PID", pid.as_ref()),
        ("PORTREEVE_COMM", news.comm.as_ref()),
    ] {
        if let Some(value) = value {
            add(name, &escaped(value));
        }
    }
}

/// Adds a field. A value with line breaks comes with its length, one that is too long is
/// cut.
fn field(datagram: &mut Vec<u8>, name: &str, value: &str) {
    let value = cut(value, LONGEST);
    datagram.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        datagram.push(b'\n');
        datagram.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        datagram.push(b'=');
    }
    datagram.extend_from_slice(value.as_bytes());
    datagram.push(b'\n');
}

/// As much of `text` as `most` bytes have room for.
pub(super) fn cut(text: &str, most: usize) -> String {
    const MARK: &str = "...";
    if text.len() <= most {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(most - MARK.len());
    format!("{}{MARK}", &text[..end])
}

/// The number of an errno that events name.
fn number(name: &str) -> Option<String> {
    let known = [
        Errno::EACCES,
        Errno::EPERM,
        Errno::EADDRINUSE,
        Errno::EAFNOSUPPORT,
    ];
    let errno = known.into_iter().find(|errno| format!("{errno:?}") == name);
    errno.map(|errno| (errno as i32).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::events::tests::event;

    fn text_of(datagram: &[u8]) -> String {
        String::from_utf8_lossy(datagram).into_owned()
    }

    #[test]
    fn an_event_is_fields() {
        let text = text_of(&fields(&Message::Event(Box::new(event())), Some("www")));
        for line in [
            "PRIORITY=5",
            "SYSLOG_IDENTIFIER=portreeve",
            "MESSAGE_ID=a7d17e1e932c4e33b636199fe73f3780",
            "OBJECT_PID=7",
            "ERRNO=13",
            "PORTREEVE_PORT=21",
            "PORTREEVE_COMM=wrong",
            "PORTREEVE_USER=www",
            "PORTREEVE_ENTRY=21 TCP FTPD1",
            "PORTREEVE_ENTRY_FILE=p",
            "PORTREEVE_ENTRY_LINE=2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        assert!(text.starts_with("MESSAGE=refused tcp/21 "), "{text}");
    }

    #[test]
    fn a_name_never_becomes_a_field() {
        let hostile = EventRecord {
            comm: Some("x\nMESSAGE=y".into()),
            cgroup: "/a\n_PID=1".into(),
            ..event()
        };
        let datagram = fields(&Message::Event(Box::new(hostile)), Some("u\nPRIORITY=0"));
        for line in text_of(&datagram).lines().skip(1) {
            assert!(!line.starts_with("MESSAGE="), "{line}");
            assert!(!line.starts_with("_PID="), "{line}");
            assert_ne!(line, "PRIORITY=0");
        }
    }

    #[test]
    fn lines_have_their_length_in_front() {
        let datagram = fields(&Message::log(log::Level::Error, "a\nb".into()), None);
        let begin = [&b"MESSAGE\n"[..], &3u64.to_le_bytes(), b"a\nb\n"].concat();
        assert!(datagram.starts_with(&begin), "{datagram:?}");
    }

    #[test]
    fn long_values_are_cut_between_characters() {
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("aäbcd", 5), "a...");
        let text = cut(&"ä".repeat(LONGEST), LONGEST);
        assert!(text.len() <= LONGEST && text.ends_with("ä..."));
        let long = Message::log(log::Level::Error, "x".repeat(1 << 20));
        assert!(fields(&long, None).len() < 2 * LONGEST);
    }
}
