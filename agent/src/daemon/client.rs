//! Asking a running agent.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde::de::DeserializeOwned;
use thiserror::Error;

use super::protocol::{EventLine, Reply, Request};

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
    /// The agent said why not.
    #[error("{0}")]
    Failed(String),
    /// The agent is of another version, most likely.
    #[error("the agent's answer is not understood; is it of the same version?")]
    Unclear(#[from] serde_json::Error),
}

impl ClientError {
    /// Whether there is no agent at all.
    pub const fn is_no_agent(&self) -> bool {
        matches!(self, Self::NoAgent { .. })
    }
}

fn connect(socket: &Path, request: &Request) -> Result<BufReader<UnixStream>, ClientError> {
    let mut stream = UnixStream::connect(socket).map_err(|cause| ClientError::NoAgent {
        path: socket.display().to_string(),
        cause,
    })?;
    stream.write_all(format!("{}\n", serde_json::to_string(request)?).as_bytes())?;
    Ok(BufReader::new(stream))
}

/// Asks `request` and waits for the answer.
///
/// # Errors
///
/// See [`ClientError`].
pub fn ask<T: DeserializeOwned>(socket: &Path, request: &Request) -> Result<T, ClientError> {
    let mut stream = connect(socket, request)?;
    stream.get_ref().set_read_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    match serde_json::from_str(&line)? {
        Reply::Done(value) => Ok(serde_json::from_value(value)?),
        Reply::Failed(why) => Err(ClientError::Failed(why)),
    }
}

/// Hands each line to `each`, as the JSON it came in and as what it says, until
/// there are no more or `each` says stop.
///
/// # Errors
///
/// See [`ClientError`].
pub fn events(
    socket: &Path,
    follow: bool,
    mut each: impl FnMut(&str, EventLine) -> io::Result<()>,
) -> Result<(), ClientError> {
    let stream = connect(socket, &Request::Events { follow })?;
    for line in stream.lines() {
        let line = line?;
        match serde_json::from_str(&line) {
            Ok(read) => each(&line, read)?,
            Err(error) => match serde_json::from_str(&line) {
                Ok(Reply::Failed(why)) => return Err(ClientError::Failed(why)),
                _ => return Err(error.into()),
            },
        }
    }
    Ok(())
}
