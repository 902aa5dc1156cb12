//! The numbers by which client and agent know whether they understand each other.
//!
//! A request is one line, `{"protocol":N,"version":"V","request":{...}}`, and the first
//! line of every answer, `{"done":...,"protocol":N,"version":"V"}` or with `failed` in the
//! place of `done`. So one round trip tells each side the other's number. `protocol`,
//! `version`, `done` and `failed` keep their meaning for ever; all else may be of another
//! shape where the numbers differ, and isn't looked at then.
//!
//! Within one number:
//! - A field of a request that the agent doesn't know is an error: what was asked for and
//!   isn't done must not look as if it were.
//! - A field of an answer that the client doesn't know is ignored, so that an answer can
//!   get new ones. The client must be able to do without those (`#[serde(default)]`).
//!
//! Anything else, such as a field of a request or one that an answer must have, takes
//! another number.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Reply, Request};
use crate::diagnostics::escaped;

/// The number of what is said here.
pub const PROTOCOL: u32 = 1;
/// This program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A request as it is sent.
#[derive(Serialize)]
struct Asked<'a> {
    protocol: u32,
    version: &'static str,
    request: &'a Request,
}

/// A request as it is read, whatever it is of.
#[derive(Deserialize)]
struct Heard {
    protocol: Option<u32>,
    version: Option<String>,
    #[serde(default)]
    request: Value,
}

/// The first line of an answer as it is sent.
#[derive(Serialize)]
struct Said<'a> {
    #[serde(flatten)]
    reply: &'a Reply,
    protocol: u32,
    version: &'static str,
}

/// Who answers; of an agent from before these numbers, 0 and nothing.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Greeting {
    /// Its number.
    #[serde(default)]
    pub protocol: u32,
    /// Its version.
    #[serde(default)]
    pub version: String,
}

/// The same with the answer, which is read only if the numbers are the same.
#[derive(Deserialize)]
struct Answered {
    #[serde(default)]
    done: Value,
    failed: Option<String>,
}

/// The line that asks `request`.
///
/// # Errors
///
/// [`serde_json::Error`] if a path in it is not UTF-8.
pub fn ask(request: &Request) -> serde_json::Result<String> {
    let asked = Asked {
        protocol: PROTOCOL,
        version: VERSION,
        request,
    };
    Ok(serde_json::to_string(&asked)? + "\n")
}

/// What `line` asks.
///
/// # Errors
///
/// Says in a sentence why it is not understood.
pub fn read(line: &[u8]) -> Result<Request, String> {
    let unclear = |error| format!("this agent does not understand the request: {error}");
    let heard: Heard = serde_json::from_slice(line).map_err(unclear)?;
    let version = heard.version.unwrap_or_default();
    match heard.protocol {
        Some(PROTOCOL) => serde_json::from_value(heard.request).map_err(unclear),
        other => Err(format!(
            "who asks is {} and this agent {}; {}",
            named(&version, other.unwrap_or(0)),
            named(VERSION, PROTOCOL),
            match other > Some(PROTOCOL) {
                true => "restart the agent with that version",
                false => "ask with the agent's version",
            }
        )),
    }
}

/// The line that answers with `reply`.
///
/// # Errors
///
/// [`serde_json::Error`] if it can't be written as JSON.
pub fn answer(reply: &Reply) -> serde_json::Result<String> {
    let said = Said {
        reply,
        protocol: PROTOCOL,
        version: VERSION,
    };
    Ok(serde_json::to_string(&said)? + "\n")
}

/// What the first line of an answer says, or that it is of somebody with another number.
///
/// # Errors
///
/// [`serde_json::Error`] if it is no answer at all.
pub fn hear(line: &str) -> serde_json::Result<Result<Reply, Greeting>> {
    let greeting: Greeting = serde_json::from_str(line)?;
    if greeting.protocol != PROTOCOL {
        return Ok(Err(greeting));
    }
    let answered: Answered = serde_json::from_str(line)?;
    Ok(Ok(match answered.failed {
        Some(why) => Reply::Failed(why),
        None => Reply::Done(answered.done),
    }))
}

/// Program and number as a sentence has them.
pub fn named(version: &str, protocol: u32) -> String {
    let short: String = version.chars().take(40).collect();
    match protocol {
        0 => "a portreeve from before there were protocol numbers".to_owned(),
        _ => format!("portreeve {} (protocol {protocol})", escaped(&short)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_asked_is_read() {
        let requests = [
            Request::Status {},
            Request::Events {
                follow: true,
                ports: false,
            },
        ];
        for request in requests {
            let line = ask(&request).unwrap();
            assert_eq!(line.matches('\n').count(), 1);
            assert_eq!(read(line.as_bytes()), Ok(request));
        }
    }

    #[test]
    fn what_is_answered_is_heard() {
        for reply in [
            Reply::Done(Value::Null),
            Reply::Done(json!({"a": [1, 2.5, u64::MAX]})),
            Reply::Failed("no".into()),
        ] {
            let line = answer(&reply).unwrap();
            assert_eq!(line.matches('\n').count(), 1);
            assert_eq!(hear(&line).unwrap(), Ok(reply));
        }
    }

    #[test]
    fn other_numbers_are_told_whatever_comes_with_them() {
        let newer = br#"{"protocol":7,"version":"9.9.9","verbs":["x"],"request":3}"#;
        let told = read(newer).unwrap_err();
        for word in ["portreeve 9.9.9 (protocol 7)", VERSION, "restart the agent"] {
            assert!(told.contains(word), "{told}");
        }
        let older = read(br#"{"verb":"status"}"#).unwrap_err();
        assert!(
            older.contains("before there were protocol numbers"),
            "{older}"
        );
        assert!(older.contains("ask with the agent's version"), "{older}");
        let line = r#"{"protocol":7,"version":"9.9.9","ok":{}}"#;
        let expected = Greeting {
            protocol: 7,
            version: "9.9.9".into(),
        };
        assert_eq!(hear(line).unwrap(), Err(expected));
        let before = hear(r#"{"failed":"missing field"}"#).unwrap().unwrap_err();
        assert_eq!(before.protocol, 0);
    }

    #[test]
    fn of_a_request_every_field_counts_and_of_an_answer_those_that_are_known() {
        let more = br#"{"protocol":1,"request":{"verb":"status","more":1}}"#;
        assert!(read(more).unwrap_err().contains("more"));
        let more = r#"{"done":1,"protocol":1,"version":"1.2","more":1}"#;
        assert_eq!(hear(more).unwrap(), Ok(Reply::Done(json!(1))));
    }
}
