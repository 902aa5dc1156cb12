//! A client of HTTP that can misbehave.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::Path,
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::pace::patience;

/// What a server said.
#[derive(Debug)]
pub struct Response {
    /// The number of its first line.
    pub status: u16,
    /// Its headers, in small letters, one a line.
    pub headers: String,
    /// What follows.
    pub body: String,
}

impl Response {
    fn read(text: &str) -> Result<Self> {
        let (head, body) = text.split_once("\r\n\r\n").context("no end of the head")?;
        let (first, headers) = head.split_once("\r\n").unwrap_or((head, ""));
        let status = first.split(' ').nth(1).context("no status")?;
        Ok(Self {
            status: status.parse()?,
            headers: headers.to_lowercase(),
            body: body.to_owned(),
        })
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("no JSON in {self:?}"))
    }

    /// The value of a series of metrics, as it is written.
    pub fn value(&self, series: &str) -> Option<f64> {
        let mut lines = self.body.lines();
        let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value?.parse().ok()
    }
}

/// A connection to loopback.
///
/// # Errors
///
/// If nobody listens.
pub fn connect(port: u16) -> Result<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port))
        .with_context(|| format!("nobody listens at port {port}"))?;
    stream.set_read_timeout(Some(patience()))?;
    stream.set_write_timeout(Some(patience()))?;
    Ok(stream)
}

/// Sends `request` as it is and reads until the server hangs up.
///
/// # Errors
///
/// If it says nothing that is a response.
pub fn send(port: u16, request: &str) -> Result<Response> {
    let mut stream = connect(port)?;
    stream.write_all(request.as_bytes())?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    Response::read(&String::from_utf8_lossy(&text))
}

/// By the version of HTTP whose answers end with the connection, in one piece.
fn get_request(path: &str) -> String {
    format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")
}

/// Asks for `path` on loopback.
///
/// # Errors
///
/// See [`send`].
pub fn get(port: u16, path: &str) -> Result<Response> {
    let response = send(port, &get_request(path));
    response.with_context(|| format!("GET {path}"))
}

/// Asks for `path` at a Unix socket.
///
/// # Errors
///
/// See [`send`].
pub fn get_at(socket: &Path, path: &str) -> Result<Response> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(patience()))?;
    stream.write_all(get_request(path).as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Response::read(&text)
}
