//! `[[expect]]`: which ports are to be open and which closed, whose they are, and what for.

use std::fmt;

use portreeve_common::abi::Protocol;
use serde::{Deserialize, Serialize};

use super::{
    audit,
    table::{Reader, Section},
};
use crate::{
    diagnostics::{Code, Diagnostic, Span, quoted},
    profile::ast::Spanned,
};

/// Longest owner or purpose, in characters.
const MAX_TEXT: usize = 256;

/// What a port is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExpectedState {
    /// Somebody listens there who may.
    Open,
    /// Nobody is answered there.
    Closed,
}

impl ExpectedState {
    /// Its name in config and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}

impl fmt::Display for ExpectedState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What is expected of neighbouring ports (`CLS-07`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedPorts {
    /// Of which protocol.
    pub protocol: Protocol,
    /// First port.
    pub first: u16,
    /// Last port, inclusive.
    pub last: u16,
    /// What each of them is to be.
    pub state: ExpectedState,
    /// Who answers for them.
    pub owner: Option<String>,
    /// What they are for.
    pub purpose: Option<String>,
    /// Where the ports are written.
    pub span: Span,
}

pub(super) fn expected(top: &mut Section<'_>, reader: &mut Reader<'_>) -> Vec<ExpectedPorts> {
    let mut expected: Vec<ExpectedPorts> = Vec::new();
    for (section, span) in reader.tables(top, "expect") {
        for ports in one(section, span, reader) {
            let is_there = |other: &&ExpectedPorts| {
                other.protocol == ports.protocol
                    && other.first <= ports.last
                    && ports.first <= other.last
            };
            match expected.iter().find(is_there) {
                Some(other) => {
                    let port = other.first.max(ports.first);
                    let message = format!(
                        "{}/{port} is named a second time, so what is expected of it isn't clear",
                        ports.protocol.name()
                    );
                    reader.push(
                        Diagnostic::error(Code::BadExpect, ports.span, message)
                            .help("name each port in one [[expect]]"),
                    );
                }
                None => expected.push(ports),
            }
        }
    }
    expected
}

fn one(mut section: Section<'_>, span: Span, reader: &mut Reader<'_>) -> Vec<ExpectedPorts> {
    let mut missing = vec!["ports", "state"];
    missing.retain(|key| !section.has(key));
    let ports = reader.words(&mut section, "ports");
    let state: Option<ExpectedState> = reader.value(&mut section, "state");
    let owner = text(&mut section, "owner", reader);
    let purpose = text(&mut section, "purpose", reader);
    reader.finish(section);
    if ports.as_ref().is_some_and(Vec::is_empty) {
        missing.push("ports");
    }
    for key in missing {
        let message = format!("the expectation has no `{key}`");
        reader.push(
            Diagnostic::error(Code::BadExpect, span, message)
                .help("for example: ports = \"tcp/21\", state = \"open\""),
        );
    }
    let mut expected = Vec::new();
    for Spanned { value, span } in ports.unwrap_or_default() {
        let Some((&[protocol], Some((first, last)))) = audit::read(&value) else {
            let message = format!("{} names no ports", quoted(&value));
            reader.push(
                Diagnostic::error(Code::BadExpect, span, message)
                    .help("write tcp/8080, or udp/5000-5010 with first and last port"),
            );
            continue;
        };
        expected.extend(state.map(|state| ExpectedPorts {
            protocol,
            first,
            last,
            state,
            owner: owner.clone(),
            purpose: purpose.clone(),
            span,
        }));
    }
    expected
}

/// A line of text for people.
fn text(section: &mut Section<'_>, key: &'static str, reader: &mut Reader<'_>) -> Option<String> {
    let Spanned { value, span } = reader.word(section, key)?;
    let is_long = value.chars().count() > MAX_TEXT;
    if value.trim().is_empty() || is_long || value.contains(char::is_control) {
        let message = format!("{} is no `{key}`", quoted(&value));
        reader.push(
            Diagnostic::error(Code::BadExpect, span, message)
                .help(format!("it is one line of 1 to {MAX_TEXT} characters")),
        );
        return None;
    }
    Some(value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        config::parse,
        diagnostics::{Diagnostics, Sources},
    };

    fn read(text: &str) -> Result<Vec<ExpectedPorts>, Vec<(Code, u32)>> {
        let (mut sources, mut diagnostics) = (Sources::new(), Diagnostics::new());
        match parse(Path::new("c"), text, &mut sources, &mut diagnostics) {
            Some(config) => Ok(config.expect),
            None => {
                let place = |d: &Diagnostic| (d.code, d.span.map_or(0, |at| sources.line(at)));
                Err(diagnostics.iter().map(place).collect())
            }
        }
    }

    /// `CLS-07`: owner, purpose and expected state.
    #[test]
    fn every_key_is_read() {
        let text = "[[expect]]\nports = 'tcp/21'\nstate = 'open'\nowner = ' ops '\npurpose = 'FTP'\n\
                    [[expect]]\nports = ['udp/5000-5010', 'TCP/23']\nstate = 'closed'\n";
        let found = read(text).unwrap();
        let facts: Vec<_> = found
            .iter()
            .map(|one| (one.protocol, one.first, one.last, one.state))
            .collect();
        let (open, closed) = (ExpectedState::Open, ExpectedState::Closed);
        assert_eq!(
            facts,
            [
                (Protocol::Tcp, 21, 21, open),
                (Protocol::Udp, 5000, 5010, closed),
                (Protocol::Tcp, 23, 23, closed),
            ]
        );
        assert_eq!(found[0].owner.as_deref(), Some("ops"));
        assert_eq!(found[0].purpose.as_deref(), Some("FTP"));
        assert_eq!((&found[1].owner, &found[2].purpose), (&None, &None));
    }

    #[test]
    fn what_is_not_right_is_refused() {
        let bad = |text: &str, expected: &[(Code, u32)]| {
            assert_eq!(read(text).unwrap_err(), expected, "{text}");
        };
        let code = Code::BadExpect;
        bad("[[expect]]\n", &[(code, 1), (code, 1)]);
        for ports in ["21", "tcp/0", "unreserved", "tcp/unreserved", "tcp/9-8", ""] {
            let text = format!("[[expect]]\nports = '{ports}'\nstate = 'open'\n");
            bad(&text, &[(code, 2)]);
        }
        let one = "[[expect]]\nports = 'tcp/21'\n";
        bad(&format!("{one}state = 'up'\n"), &[(Code::ConfigInvalid, 3)]);
        for text in ["''", "'  '", "\"a\\nb\"", &format!("'{}'", "x".repeat(257))] {
            bad(
                &format!("{one}state = 'open'\nowner = {text}\n"),
                &[(code, 4)],
            );
        }
        bad(
            &format!("{one}state = 'open'\nwho = 1\n"),
            &[(Code::ConfigInvalid, 4)],
        );
        bad("[[expect]]\nports = []\nstate = 'open'\n", &[(code, 1)]);
        bad("expect = 1\n", &[(Code::ConfigInvalid, 1)]);
    }

    /// What is expected of a port is said once.
    #[test]
    fn a_port_is_named_once() {
        let text = "[[expect]]\nports = 'tcp/5000-5010'\nstate = 'open'\n\
                    [[expect]]\nports = ['udp/5005', 'tcp/5010-5020']\nstate = 'open'\n";
        assert_eq!(read(text).unwrap_err(), [(Code::BadExpect, 5)]);
    }
}
