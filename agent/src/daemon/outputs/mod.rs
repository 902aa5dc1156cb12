//! Where the agent's own messages and the events go.
//!
//! Every output has a thread and a bounded queue of its own: one that is stuck, or whose disk
//! is full, delays neither the others nor the agent. What finds no room is counted.

mod datagrams;
mod journal;
pub mod message;
mod queue;
mod sink;
mod streams;
mod syslog;

use std::{
    env, fs, io,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::Path,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use thiserror::Error;

pub use self::streams::Wording;
use self::{
    journal::Journal,
    message::Message,
    queue::Queue,
    sink::Sink,
    streams::{Console, LogFile},
    syslog::Syslog,
};
use super::protocol::{EventRecord, OutputStatus, PortNews};
use crate::config::{Log, Place};

/// How long an agent that ends waits for what is to be written still.
const FAREWELL: Duration = Duration::from_secs(2);

/// An output that was asked for can't be had.
#[derive(Debug, Error)]
#[error("{name}, which [log] in the config names, can't be written: {error}{help}")]
pub struct Unwritable {
    name: String,
    error: io::Error,
    help: &'static str,
}

/// What standard output is called where it has lines of JSON.
const JSON: &str = "standard output (JSON)";

/// All outputs of this agent.
static OUTPUTS: OnceLock<Vec<Output>> = OnceLock::new();

/// One of them.
struct Output {
    name: String,
    takes: Takes,
    queue: Arc<Queue>,
}

/// Of what an output is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    All,
    Log,
    Events,
}

impl Output {
    fn takes(&self, message: &Message) -> bool {
        match (self.takes, message) {
            (Takes::All, _) => true,
            (Takes::Log, Message::Log { .. } | Message::Port(_)) => true,
            (Takes::Events, Message::Event(_)) => true,
            (Takes::Log | Takes::Events, _) => false,
        }
    }
}

/// Opens all that `log` asks for, and standard output if events are to be `printed` there.
/// From now on messages go there, and nowhere else.
///
/// # Errors
///
/// [`Unwritable`] for the first that can't be had.
pub fn open(log: &Log, printed: Option<fn(&EventRecord) -> String>) -> Result<(), Unwritable> {
    let mut outputs = Vec::new();
    for place in &log.to {
        let (name, takes, sink) = of_place(*place)?;
        outputs.push(start(name, takes, sink)?);
    }
    if let Some(path) = &log.file {
        let name = path.display().to_string();
        let file = LogFile::open(path).map_err(|error| Unwritable {
            name: name.clone(),
            error,
            help: "",
        })?;
        outputs.push(start(name, Takes::All, Box::new(file))?);
    }
    if let Some(word) = printed {
        let console = Console::new(anstream::stdout(), Wording::Events(word));
        outputs.push(start(
            "standard output".into(),
            Takes::Events,
            Box::new(console),
        )?);
    }
    // There is one agent in a process.
    let _ = OUTPUTS.set(outputs);
    Ok(())
}

fn start(name: String, takes: Takes, sink: Box<dyn Sink>) -> Result<Output, Unwritable> {
    let queue = Arc::<Queue>::default();
    let started = sink::start(name.clone(), sink, Arc::clone(&queue));
    started.map_err(|error| Unwritable {
        name: name.clone(),
        error,
        help: "",
    })?;
    Ok(Output { name, takes, queue })
}

type Opened = (String, Takes, Box<dyn Sink>);

fn of_place(place: Place) -> Result<Opened, Unwritable> {
    let failed = |name: &str, help| {
        let name = name.to_owned();
        move |error| Unwritable { name, error, help }
    };
    let stderr = |takes| -> Opened {
        let console = Console::new(anstream::stderr(), Wording::Log);
        ("standard error".into(), takes, Box::new(console))
    };
    Ok(match place {
        Place::Auto if is_in_journal() => match Journal::open(Path::new(journal::SOCKET)) {
            Ok(journal) => ("the journal".into(), Takes::All, Box::new(journal)),
            // What goes there gets to the journal as well.
            Err(_) => stderr(Takes::All),
        },
        Place::Auto => stderr(Takes::Log),
        Place::Stderr => stderr(Takes::All),
        Place::Json => {
            let console = Console::new(io::stdout(), Wording::Json);
            (JSON.into(), Takes::All, Box::new(console))
        }
        Place::Journald => {
            let help = "; is systemd-journald running? `auto` does without it";
            let journal = Journal::open(Path::new(journal::SOCKET));
            let journal = journal.map_err(failed(journal::SOCKET, help))?;
            ("the journal".into(), Takes::All, Box::new(journal))
        }
        Place::Syslog => {
            let help = "; is a syslog daemon running?";
            let syslog = Syslog::open(Path::new(syslog::SOCKET));
            let syslog = syslog.map_err(failed(syslog::SOCKET, help))?;
            ("the syslog daemon".into(), Takes::All, Box::new(syslog))
        }
    })
}

/// Whether systemd connected standard error with the journal (`systemd.exec(5)`,
/// JOURNAL_STREAM).
fn is_in_journal() -> bool {
    let Ok(stream) = env::var("JOURNAL_STREAM") else {
        return false;
    };
    let stderr = io::stderr().as_fd().try_clone_to_owned();
    let metadata = stderr.and_then(|stderr| fs::File::from(stderr).metadata());
    metadata.is_ok_and(|metadata| stream == format!("{}:{}", metadata.dev(), metadata.ino()))
}

/// Tells `text` of the agent. `false` if no outputs are open yet.
pub fn say(level: log::Level, text: String) -> bool {
    let Some(outputs) = OUTPUTS.get() else {
        return false;
    };
    tell(outputs, Message::log(level, text));
    true
}

/// Tells of a bind that was judged.
pub fn event(record: &EventRecord) {
    if let Some(outputs) = OUTPUTS.get()
        && outputs.iter().any(|output| output.takes != Takes::Log)
    {
        tell(outputs, Message::Event(Box::new(record.clone())));
    }
}

/// Tells of a port that is not as expected, or is again.
pub fn port(news: &PortNews) {
    if let Some(outputs) = OUTPUTS.get() {
        tell(outputs, Message::Port(Box::new(news.clone())));
    }
}

fn tell(outputs: &[Output], message: Message) {
    let message = Arc::new(message);
    for output in outputs.iter().filter(|output| output.takes(&message)) {
        output.queue.push(&message);
    }
}

/// Says something to whoever has started the agent: a line on standard output, unless that
/// is for lines of another kind.
pub fn announce(text: &str) {
    match OUTPUTS.get() {
        Some(outputs) if outputs.iter().any(|output| output.name == JSON) => {
            say(log::Level::Info, text.to_owned());
        }
        _ => crate::report::line(text),
    }
}

/// Has files opened again, after they were moved away.
pub fn reopen() {
    for output in OUTPUTS.get().into_iter().flatten() {
        output.queue.reopen();
    }
}

/// How each output does.
pub fn status() -> Vec<OutputStatus> {
    let outputs = OUTPUTS.get().into_iter().flatten();
    let status = |output: &Output| {
        let (waiting, dropped, problem) = output.queue.status();
        OutputStatus {
            to: output.name.clone(),
            events: output.takes != Takes::Log,
            log: output.takes != Takes::Events,
            waiting,
            dropped,
            problem,
        }
    };
    outputs.map(status).collect()
}

/// No more is told; returns when all is written, or some time later.
pub fn close() {
    let deadline = Instant::now() + FAREWELL;
    for output in OUTPUTS.get().into_iter().flatten() {
        output.queue.close();
    }
    for output in OUTPUTS.get().into_iter().flatten() {
        output.queue.wait_until_done(deadline);
    }
}
