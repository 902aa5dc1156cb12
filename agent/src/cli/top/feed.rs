//! What the agent says, as it comes.

use std::{
    path::Path,
    sync::mpsc::{self, Receiver, SyncSender},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::daemon::{
    client::{self, ClientError},
    protocol::{EventLine, Request, Status, TakenPort},
};

/// Something that was not known before.
pub enum News {
    /// How things are; whoever says it answers again, too.
    Figures(Box<Status>),
    /// Reserved ports that somebody has.
    Taken(Vec<TakenPort>),
    /// The stream of events begins, with those that are kept.
    Begins,
    /// A line of the stream of events.
    Event(EventLine),
    /// The agent does not answer, and why.
    Gone(String),
}

/// News that may wait. What comes faster waits in the agent, which has bounds for it.
const ROOM: usize = 1024;
/// Time between looks at the ports: the agent looks through every process for them.
const PORTS_EVERY: Duration = Duration::from_secs(2);

/// Begins to ask, if an agent answers now. One that goes away is asked again until it
/// answers.
///
/// # Errors
///
/// [`ClientError`] if none answers.
pub fn start(socket: &Path, interval: Duration) -> Result<Receiver<News>> {
    let first = client::ask(socket, &Request::Figures {})?;
    let (sender, receiver) = mpsc::sync_channel(ROOM);
    sender.send(News::Figures(first))?;
    let (of_events, socket) = (sender.clone(), socket.to_owned());
    let of_figures = (sender, socket.clone());
    let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
        let thread = thread::Builder::new().name(name.into());
        thread
            .spawn(run)
            .context("there is no thread to ask the agent")
    };
    spawn(
        "figures",
        Box::new(move || figures(&of_figures.1, interval, &of_figures.0)),
    )?;
    spawn(
        "events",
        Box::new(move || events(&socket, interval, &of_events)),
    )?;
    Ok(receiver)
}

/// Tells figures until nobody hears them.
fn figures(socket: &Path, interval: Duration, sender: &SyncSender<News>) {
    let mut looked: Option<Instant> = None;
    loop {
        let mut news = Vec::new();
        if looked.is_none_or(|looked| looked.elapsed() >= PORTS_EVERY) {
            looked = Some(Instant::now());
            // If it fails, so does what is asked next.
            let taken = client::ask(socket, &Request::Taken {});
            news.extend(taken.ok().map(News::Taken));
        }
        news.push(match client::ask(socket, &Request::Figures {}) {
            Ok(status) => News::Figures(status),
            Err(error) => gone(&error),
        });
        if news.into_iter().any(|news| sender.send(news).is_err()) {
            return;
        }
        thread::sleep(interval);
    }
}

fn gone(error: &ClientError) -> News {
    News::Gone(match error {
        ClientError::NoAgent { cause, .. } => format!("no agent answers: {cause}"),
        error => error.to_string(),
    })
}

/// Tells events until nobody hears them. That the agent went away is for the figures to
/// say.
fn events(socket: &Path, interval: Duration, sender: &SyncSender<News>) {
    loop {
        let mut is_heard = sender.send(News::Begins).is_ok();
        let _ = client::events(socket, true, false, |_, line| {
            is_heard = sender.send(News::Event(line)).is_ok();
            match is_heard {
                true => Ok(()),
                false => Err(std::io::ErrorKind::BrokenPipe.into()),
            }
        });
        if !is_heard {
            return;
        }
        thread::sleep(interval);
    }
}
