//! A process that times its binds, as the benchmark sees it.

use std::{net::IpAddr, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{Caller, binder::Actor, request::Kind};
use crate::actors::TIME;

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Span {
    /// bind(2) alone.
    Bind,
    /// The socket's life: socket, bind, close.
    Life,
    /// close(2) of a socket that is bound.
    Close,
    /// close(2) of a connection that a listener has accepted.
    CloseAccepted,
    /// connect(2) to a listener, and accept(2).
    Connection,
}

/// What a timer does over and over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Drill {
    /// Who does it.
    pub caller: Caller,
    /// The sockets.
    pub kind: Kind,
    /// The address of each.
    pub address: IpAddr,
    /// Their ports, in turn.
    pub ports: Vec<u16>,
    /// Which part of it is timed.
    pub span: Span,
    /// Whether each bind is to be refused; else each is to succeed.
    pub refused: bool,
    /// What is removed from a pinned hash map before each bind: the pin, and the key.
    pub forgets: Option<(PathBuf, Vec<u8>)>,
}

/// What came of a batch.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Batch {
    /// The median of what one took, in nanoseconds.
    pub median: f64,
    /// How many ended otherwise than expected.
    pub wrong: u32,
}

/// A process that does its drill when asked to.
pub struct Timer {
    actor: Actor,
}

impl Timer {
    /// Starts it; it has done its drill a few times when this returns.
    pub fn start(drill: &Drill) -> Result<Self> {
        let actor = Actor::start(TIME, &drill.caller, drill)?;
        let mut timer = Self { actor };
        timer.time(100)?;
        Ok(timer)
    }

    /// Does it `count` times: what one takes, in nanoseconds.
    ///
    /// # Errors
    ///
    /// If a single one ended otherwise than it must: then something else was measured.
    pub fn time(&mut self, count: u32) -> Result<f64> {
        self.begin(count)?;
        self.end(count)
    }

    /// Lets it begin, and doesn't wait.
    pub fn begin(&mut self, count: u32) -> Result<()> {
        self.actor.say(&count.to_string())
    }

    /// What one of the `count` took that it was told to do.
    ///
    /// # Errors
    ///
    /// As [`Self::time`].
    pub fn end(&mut self, count: u32) -> Result<f64> {
        let batch: Batch = serde_json::from_str(&self.actor.line()?).context("a timer's answer")?;
        ensure!(
            batch.wrong == 0,
            "{} of {count} binds ended otherwise than they must",
            batch.wrong
        );
        Ok(batch.median)
    }
}
