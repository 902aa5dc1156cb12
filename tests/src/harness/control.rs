//! The control socket without the command line: what thousands of requests need.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::pace::patience;

/// Sends one line and returns the answer's line.
pub fn raw(socket: &Path, request: &[u8]) -> Result<String> {
    let mut stream = UnixStream::connect(socket).context("no agent answers")?;
    stream.set_read_timeout(Some(patience()))?;
    stream.write_all(request)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}

/// Asks for a change, such as a reload: the whole reply.
pub fn change(socket: &Path, request: &Value) -> Result<Value> {
    let line = raw(socket, &line(request))?;
    serde_json::from_str(&line).with_context(|| format!("no answer: {line:?}"))
}

/// The line that asks `request`.
pub fn line(request: &Value) -> Vec<u8> {
    let line = json!({"protocol": 1, "version": "test", "request": request});
    format!("{line}\n").into_bytes()
}

/// Asks for a reload; fails unless it was applied. Returns the generation.
pub fn reload(socket: &Path) -> Result<u64> {
    let reply = change(
        socket,
        &json!({"verb": "reload", "dry_run": false, "color": false}),
    )?;
    let done = &reply["done"];
    if done["applied"] != true {
        bail!("not reloaded: {reply}");
    }
    done["generation"].as_u64().context("no generation")
}
