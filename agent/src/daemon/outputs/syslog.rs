//! The syslog daemon: a datagram each, in the format that it takes from local programs
//! (RFC 3164, section 4.1, without a host name).

use std::{io, path::Path, process};

use super::{
    datagrams::Datagrams,
    journal::cut,
    message::Message,
    sink::{Names, Sink},
};

/// Where the daemon listens.
pub const SOCKET: &str = "/dev/log";
/// Longest message, in bytes: what common daemons take by default.
const LONGEST: usize = 8000;
/// `daemon`
const FACILITY: u8 = 3;

/// Writes to the syslog daemon.
pub struct Syslog(Datagrams);

impl Syslog {
    /// By the socket at `path`.
    ///
    /// # Errors
    ///
    /// If nobody listens there for datagrams.
    pub fn open(path: &Path) -> io::Result<Self> {
        Datagrams::open(path.to_owned()).map(Self)
    }
}

impl Sink for Syslog {
    fn put(&mut self, message: &Message, names: &mut Names) {
        let user = message.event().and_then(|event| names.user(event.uid));
        let now = jiff::Zoned::now().strftime("%b %e %H:%M:%S").to_string();
        let line = line(message, user.as_deref(), &now, process::id());
        self.0.put(line.into_bytes());
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn line(message: &Message, user: Option<&str>, now: &str, pid: u32) -> String {
    let priority = FACILITY * 8 + message.priority();
    let text = cut(&message.line(user), LONGEST);
    format!("<{priority}>{now} portreeve[{pid}]: {text}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{daemon::protocol::EventRecord, report::events::tests::event};

    #[test]
    fn a_message_is_one_line_with_its_priority() {
        let told = EventRecord {
            comm: Some("a\n<0>b".into()),
            ..event()
        };
        let event = Message::Event(Box::new(told));
        let text = line(&event, None, "Jan  2 03:04:05", 7);
        let begin = "<29>Jan  2 03:04:05 portreeve[7]: refused tcp/21 ";
        assert!(text.starts_with(begin), "{text}");
        assert!(!text.contains('\n'), "{text}");
        let log = Message::log(log::Level::Error, "one\ntwo\n".into());
        assert_eq!(line(&log, None, "T", 7), "<27>T portreeve[7]: one\\u{a}two");
    }
}
