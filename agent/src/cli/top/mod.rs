//! `portreeve top`: a live view in the terminal.
//!
//! [`feed`] asks the agent, [`state`] remembers what it said and what keys were pressed,
//! [`draw`] shows that; the last two are functions of what they are given.

mod draw;
mod feed;
mod header;
mod keys;
mod rates;
mod state;
#[cfg(test)]
mod tests;

use std::{
    io::{self, IsTerminal as _},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, TryRecvError},
    },
    thread,
    time::{Duration, Instant},
};

use anstream::{AutoStream, ColorChoice};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use jiff::Zoned;
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyEventKind},
};
use signal_hook::consts::TERM_SIGNALS;

use self::{
    draw::Theme,
    feed::News,
    keys::Wish,
    state::{Seen, State},
};
use super::{Paths, YES};
use crate::{
    daemon::{
        client::{self, ClientError},
        protocol::Request,
    },
    report::{self, Format},
};

/// How long a key may wait to be looked at.
const ATTENTION: Duration = Duration::from_millis(50);
/// How wide a frame is that no terminal limits, in columns.
const WIDE: u16 = 120;

#[derive(Debug, Args)]
#[command(
    after_help = "Refusals are those of the events that the agent keeps, and of new ones. Rates are of the \
last 10 seconds. Ports are looked at as often as everything else, but not more often than \
every two seconds, so that one which was open for a moment may be missed.

Keys:
  q       quit              s   sort by the next column
  p       pause             /   show only what has this in it
  arrows  choose a caller   ?   what the columns mean

Exit status 2: no agent answers. One that goes away meanwhile is waited for.

Examples:
  portreeve top                               watch
  portreeve top --once                        one frame, as text
  portreeve top --format json --interval 10   a JSON object every ten seconds"
)]
pub struct Top {
    /// How often to look, in seconds
    #[arg(long, short, value_name = "SECS", default_value = "1", value_parser = seconds)]
    interval: Duration,
    /// Look for the time of one interval, print what there is, and end
    #[arg(long)]
    once: bool,
}

impl Top {
    pub fn run(self, paths: &Paths) -> Result<u8> {
        let socket = &paths.socket;
        match (self.once, paths.format) {
            (true, Format::Text) => {
                let seen = look(socket, self.interval)?;
                let width = report::terminal_width().unwrap_or(WIDE);
                report::line(&draw::text(&seen, width));
            }
            (true, Format::Json) => {
                report::json(&look(socket, self.interval)?.report())?;
            }
            (false, Format::Json) => tell(socket, self.interval)?,
            (false, Format::Text) if io::stdout().is_terminal() => watch(socket, self.interval)?,
            (false, Format::Text) => {
                bail!("top draws on a terminal, and this is none; say --once or --format json")
            }
        }
        Ok(YES)
    }
}

/// An interval.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|s| (0.1..=3600.0).contains(s));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("{text:?} is not a number of seconds between 0.1 and 3600"))
}

/// What is to be seen within one interval.
fn look(socket: &Path, interval: Duration) -> Result<Seen, ClientError> {
    let mut seen = Seen::default();
    let figures = client::ask(socket, &Request::Figures {})?;
    seen.take_in(News::Figures(figures), &Zoned::now());
    thread::sleep(interval);
    let now = Zoned::now();
    client::events(socket, false, false, |_, line| {
        seen.take_in(News::Event(line), &now);
        Ok(())
    })?;
    let taken = client::ask(socket, &Request::Taken {})?;
    seen.take_in(News::Taken(taken), &now);
    let figures = client::ask(socket, &Request::Figures {})?;
    seen.take_in(News::Figures(figures), &Zoned::now());
    Ok(seen)
}

/// Prints an object every `interval`, until nobody reads any more.
fn tell(socket: &Path, interval: Duration) -> Result<()> {
    let mut seen = Seen::default();
    let feed = feed::start(socket, interval)?;
    loop {
        let next = Instant::now() + interval;
        loop {
            let left = next.saturating_duration_since(Instant::now());
            match feed.recv_timeout(left) {
                Ok(news) => seen.take_in(news, &Zoned::now()),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => bail!("nothing is heard any more"),
            }
        }
        match report::try_line(&serde_json::to_string(&seen.report())?) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            printed => printed?,
        }
    }
}

/// The terminal while the view has it. It is given back as it was, whatever ends the
/// view; of a panic [`ratatui::try_init`] takes care.
struct Screen(DefaultTerminal);

impl Screen {
    fn open() -> Result<Self> {
        let terminal = ratatui::try_init().context("the terminal can't be drawn on")?;
        Ok(Self(terminal))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Shows the view until it is quit, or a signal comes.
fn watch(socket: &Path, interval: Duration) -> Result<()> {
    let feed = feed::start(socket, interval)?;
    let ended = Arc::new(AtomicBool::new(false));
    for signal in TERM_SIGNALS.iter().chain(&[signal_hook::consts::SIGHUP]) {
        signal_hook::flag::register(*signal, Arc::clone(&ended))
            .context("signals can't be waited for")?;
    }
    let theme = Theme {
        color: AutoStream::choice(&io::stdout()) != ColorChoice::Never,
    };
    let mut state = State::default();
    let mut screen = Screen::open()?;
    while !ended.load(Relaxed) {
        let now = Zoned::now();
        take_in(&mut state, &feed, &now)?;
        screen.0.draw(|frame| {
            let area = frame.area();
            draw::screen(&state, &now, theme, area, frame.buffer_mut());
        })?;
        let next = Instant::now() + interval.min(Duration::from_secs(1));
        if wait(&mut state, &feed, next, &ended)? == Wish::Quit {
            break;
        }
    }
    Ok(())
}

/// Takes in all that has come.
fn take_in(state: &mut State, feed: &Receiver<News>, now: &Zoned) -> Result<()> {
    // Events may come faster than they are taken in.
    let end = Instant::now() + ATTENTION;
    while Instant::now() < end {
        match feed.try_recv() {
            Ok(news) => state.live.take_in(news, now),
            Err(TryRecvError::Empty) => break,
            Err(TryRecvError::Disconnected) => bail!("nothing is heard any more"),
        }
    }
    Ok(())
}

/// Waits until there is something new to show: a key was pressed, the terminal has
/// another size, or it is time.
fn wait(
    state: &mut State,
    feed: &Receiver<News>,
    next: Instant,
    ended: &AtomicBool,
) -> Result<Wish> {
    while Instant::now() < next && !ended.load(Relaxed) {
        // A signal interrupts it.
        let polled = match event::poll(ATTENTION) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => false,
            polled => polled?,
        };
        if polled {
            return Ok(match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => {
                    state.press(key, &Zoned::now())
                }
                _ => Wish::Show,
            });
        }
        take_in(state, feed, &Zoned::now())?;
    }
    Ok(Wish::Show)
}
