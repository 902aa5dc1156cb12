//! Asking a running agent.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde::de::DeserializeOwned;
use thiserror::Error;

use super::protocol::{
    EventLine, Reply, Request,
    handshake::{self, Greeting, PROTOCOL, VERSION, named},
};

/// Longest wait for an answer; a reload of the largest policy takes a fraction.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "no agent answers on {path}: {cause}; start one with `portreeve run`, or name its socket with --socket"
    )]
    NoAgent {
        /// The socket.
        path: String,
        /// What the kernel said.
        cause: io::Error,
    },
    /// The connection broke.
    #[error("the agent hung up")]
    Broken(#[from] io::Error),
    /// It takes too long.
    #[error("the agent did not answer within {} s", PATIENCE.as_secs())]
    Late,
    /// The agent said why not.
    #[error("{0}")]
    Failed(String),
    /// The agent is of another version, and says so.
    #[error(
        "the agent on {path} is {}, and this is {}: {}",
        named(&.agent.version, .agent.protocol),
        named(VERSION, PROTOCOL),
        match .agent.protocol > PROTOCOL {
            true => "use the portreeve that the agent was started from",
            false => "restart the agent, or use the portreeve that it was started from",
        }
    )]
    OtherProtocol {
        /// The socket.
        path: String,
        /// What it says of itself.
        agent: Greeting,
    },
    /// The agent's answer is none.
    #[error("the agent's answer is not understood; is it of the same version?")]
    Unclear(#[from] serde_json::Error),
}

impl ClientError {
    /// Whether there is no agent at all.
    pub const fn is_no_agent(&self) -> bool {
        matches!(self, Self::NoAgent { .. })
    }

    /// Whether there is one with which no word can be exchanged.
    pub const fn is_other_protocol(&self) -> bool {
        matches!(self, Self::OtherProtocol { .. })
    }
}

/// Asks `request`: the answer's first line, and what comes behind it.
fn begin(
    socket: &Path,
    request: &Request,
) -> Result<(serde_json::Value, BufReader<UnixStream>), ClientError> {
    let mut stream = UnixStream::connect(socket).map_err(|cause| ClientError::NoAgent {
        path: socket.display().to_string(),
        cause,
    })?;
    // If it is hung up on, what the agent said before that says why.
    let asked = stream.write_all(handshake::ask(request)?.as_bytes());
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    match stream.read_line(&mut line) {
        Ok(0) => {
            asked?;
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(ClientError::Late),
        Err(error) => return Err(error.into()),
    }
    match handshake::hear(&line)? {
        Ok(Reply::Done(value)) => Ok((value, stream)),
        Ok(Reply::Failed(why)) => Err(ClientError::Failed(why)),
        Err(agent) => Err(ClientError::OtherProtocol {
            path: socket.display().to_string(),
            agent,
        }),
    }
}

/// Asks `request` and waits for the answer.
///
/// # Errors
///
/// See [`ClientError`].
pub fn ask<T: DeserializeOwned>(socket: &Path, request: &Request) -> Result<T, ClientError> {
    let (value, _) = begin(socket, request)?;
    Ok(serde_json::from_value(value)?)
}

/// Hands each line of the events, or of the news of `ports`, to `each`, as the JSON it came in and as what it says, until
/// there are no more or `each` says stop.
///
/// # Errors
///
/// See [`ClientError`].
pub fn events(
    socket: &Path,
    follow: bool,
    ports: bool,
    mut each: impl FnMut(&str, EventLine) -> io::Result<()>,
) -> Result<(), ClientError> {
    let (_, stream) = begin(socket, &Request::Events { follow, ports })?;
    // The next one may be long in coming.
    stream.get_ref().set_read_timeout(None)?;
    for line in stream.lines() {
        let line = line?;
        let read = serde_json::from_str(&line)?;
        each(&line, read)?;
    }
    Ok(())
}
