//! The procedures of AUTOLOG, as a running agent shows them.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::{Sandbox, command::Finished, pace::patience};

/// What the verb answers to these arguments, as JSON.
pub fn autolog(s: &Sandbox, arguments: &[&str]) -> Result<Finished> {
    s.portreeve(&[&["autolog"], arguments, &["--format", "json"]].concat())
}

/// What was done to a procedure and said of it, the first first.
pub fn history(row: &Value) -> Vec<(String, String)> {
    let events = row["now"]["history"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut events: Vec<_> = events
        .map(|event| (text(&event["what"]), text(&event["text"])))
        .collect();
    events.reverse();
    events
}

/// The same without words.
pub fn done(row: &Value) -> Vec<String> {
    history(row).into_iter().map(|(what, _)| what).collect()
}

/// Looks until what is shown `is_so`.
pub fn wait_for(
    shown: impl Fn() -> Result<Value>,
    is_so: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let deadline = Instant::now() + patience();
    loop {
        let row = shown()?;
        if is_so(&row) {
            return Ok(row);
        }
        ensure!(Instant::now() < deadline, "it never came: {row}");
        thread::sleep(Duration::from_millis(20));
    }
}
