//! `portreeve suggest`

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::json;

use super::{NO_ANSWER, Paths, YES, show};
use crate::{
    config::Config,
    daemon::{
        client::{self, ClientError},
        protocol::Request,
    },
    diagnostics::{Diagnostics, Sources},
    files::Trust,
    kernel::sysctl::PortSettings,
    policy::{
        build::{Ingredients, Policy, Purpose, build},
        identity::exes::Presence,
        source::Source,
        suggestions::{self, Suggestion, open_ports},
    },
    ports::HostListeners,
    profile::{Profile, ReadError},
    report::{self, Format, suggestion::Basis},
};

#[derive(Debug, Args)]
#[command(
    after_help = "The answer is a change file, or the beginning of a profile; review it before it is used. \
The agent keeps the last 1000 events, so older refusals may be missing.

With --listeners it works without an agent too, or with files that are named, in force \
or not. Root sees who has which port, others only their own processes.

Examples:
  portreeve suggest --listeners > first.tcpip   what is open now
  portreeve suggest --since 2h > night.tcpip    what was refused in two hours
  portreeve obey night.tcpip --dry-run          what would that change?"
)]
pub struct Suggest {
    /// Only refusals since then: 2026-01-31T08:00:00Z, 2026-01-31T08:00 local time, or how
    /// long ago, such as 90m, 2h or 1d
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<jiff::Timestamp>,
    /// Also every port that is open now in this network namespace, and reserved by nobody
    #[arg(long)]
    listeners: bool,
}

impl Suggest {
    pub fn run(self, paths: &Paths) -> Result<u8> {
        let named = paths.profile.is_some() || paths.config.is_some();
        if named && !self.listeners {
            bail!("--profile and --config are for --listeners; refusals are the running agent's");
        }
        let request = Request::Suggest {
            since: self.since.map(|since| since.to_string()),
            listeners: self.listeners,
        };
        let answer = match named {
            true => None,
            false => match client::ask::<Suggestion>(&paths.socket, &request) {
                Err(ClientError::NoAgent { .. }) if self.listeners => None,
                answer => Some(answer?),
            },
        };
        let (suggestion, looked_at) = match answer {
            Some(suggestion) => (suggestion, self.looked_at()),
            None => match offline(paths)? {
                Some(suggestion) => (
                    suggestion,
                    "the ports that are open now; no agent was asked about refusals".to_owned(),
                ),
                None => return Ok(NO_ANSWER),
            },
        };
        let time = format!("{:.0}", jiff::Timestamp::now());
        let basis = Basis {
            time: &time,
            looked_at: &looked_at,
        };
        let text = report::suggestion::text(&suggestion, &basis);
        match paths.format {
            Format::Text => report::line(&text),
            Format::Json => report::json(&json!({
                "entries": suggestion.entries,
                "left_out": suggestion.left_out,
                "settled": suggestion.settled,
                "text": text,
            }))?,
        }
        Ok(YES)
    }

    fn looked_at(&self) -> String {
        let since = self
            .since
            .map_or_else(String::new, |since| format!(" since {since:.0}"));
        let open = match self.listeners {
            true => ", and the ports that are open now",
            false => "",
        };
        format!("the refusals that the agent keeps{since}{open}")
    }
}

/// What is open on this host, and not named by the files that there are; `None` if
/// those have errors.
fn offline(paths: &Paths) -> Result<Option<Suggestion>> {
    let source = Source {
        purpose: Purpose::Explain,
        ..paths.source(Trust::Inspection, None)
    };
    let policy = match source.read(&Presence) {
        Ok(outcome) => {
            let sources = outcome.policy.as_ref().err();
            if let Some(sources) = sources {
                show(&outcome.diagnostics, sources);
            }
            match outcome.policy {
                Ok(policy) => policy,
                Err(_) => return Ok(None),
            }
        }
        // There is no profile yet, so it is the first that is asked for.
        Err(ReadError::Missing { .. }) if paths.profile.is_none() && paths.config.is_none() => {
            empty()
        }
        Err(error) => return Err(error.into()),
    };
    let open = open_ports(&policy, &HostListeners, |_| None)
        .context("the kernel doesn't list its sockets")?;
    let settings = PortSettings::of_host();
    Ok(Some(suggestions::suggest(&policy, &settings, &open)))
}

/// A policy that says nothing.
fn empty() -> Policy {
    let ingredients =
        Ingredients::of_no_host(Config::default(), Profile::default(), Sources::new());
    build(ingredients, &mut Diagnostics::new())
}

/// A point in time, or how long ago it is.
fn since(text: &str) -> Result<jiff::Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let now = jiff::Zoned::now();
    if let Ok(span) = text.parse::<jiff::Span>()
        && let Ok(then) = now.checked_sub(span.abs())
    {
        return Ok(then.timestamp());
    }
    let local: Result<jiff::civil::DateTime, _> = text.parse();
    let local = local
        .ok()
        .and_then(|time| time.to_zoned(now.time_zone().clone()).ok());
    local.map(|time| time.timestamp()).ok_or_else(|| {
        format!(
            "{text:?} is no time; write 2026-01-31T08:00:00Z, or how long ago it is, such as 2h"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_points_or_how_long_ago() {
        let at = |text: &str| since(text).unwrap();
        assert_eq!(at("2026-01-31T08:00:00Z").as_second(), 1_769_846_400);
        assert_eq!(at("2026-01-31T09:00:00+01:00"), at("2026-01-31T08:00:00Z"));
        let ago = |text: &str| jiff::Timestamp::now().as_second() - at(text).as_second();
        for (text, seconds) in [
            ("90m", 5400),
            ("2h", 7200),
            ("2 hours", 7200),
            ("PT2H", 7200),
        ] {
            assert!((ago(text) - seconds).abs() < 5, "{text}");
        }
        // Where clocks are set, a day may have another length.
        assert!((ago("1d") - 86_400).abs() <= 3_605);
        assert!(ago("2026-01-31T08:00") != 0);
        for text in ["", "yesterday", "21", "2h30"] {
            assert!(since(text).is_err(), "{text}");
        }
    }
}
