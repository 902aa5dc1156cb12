//! `portreeve check`

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use portreeve_common::abi::Protocol;
use serde_json::{Value, json};

use super::{Changes, NO, Paths, YES, show};
use crate::{
    autolog::advice,
    config::OnError,
    diagnostics::{Severity, json},
    files::Trust,
    kernel::features::Features,
    policy::{
        audit::Extent,
        build::Policy,
        identity::exes::Presence,
        reservations::{Kind, Reservation},
        source::{Outcome, Source},
    },
    report::{self, Format},
};

#[derive(Debug, Args)]
#[command(after_help = "Needs no root.

Exit status 0: the profile can be put in force; 1: it has errors.

Examples:
  portreeve check p.tcpip                         is it right, on this host?
  portreeve check p.tcpip --config new.toml       ... with another config
  portreeve check p.tcpip --other-host --strict   ... for another one, and z/OS
  portreeve check --obey night.tcpip              would that be obeyed?")]
pub struct Check {
    /// The profile to check [default: as for `run`]
    #[arg(value_name = "PROFILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    changes: Changes,
    /// Warn of what z/OS would not accept, such as job names of more than 8 characters
    #[arg(long)]
    strict: bool,
    /// The profile is for another host: don't compare it with what runs and listens
    /// on this one
    #[arg(long)]
    other_host: bool,
    /// What a profile with errors does [default: the config's, else refuse]
    #[arg(long, value_enum, value_name = "HOW")]
    on_error: Option<OnError>,
}

impl Check {
    pub fn run(self, paths: &Paths) -> Result<u8> {
        let source = paths.source(Trust::Inspection, self.on_error);
        let features = if self.other_host {
            None
        } else {
            Features::of_host()
        };
        let source = Source {
            features,
            profile: self.file.or(source.profile),
            changes: self.changes.files,
            strict: self.strict,
            lint: true,
            of_this_host: !self.other_host,
            ..source
        };
        let mut outcome = source.read(&Presence)?;
        if let Ok(policy) = &outcome.policy
            && !self.other_host
        {
            advice::advise(policy, &mut outcome.diagnostics);
        }
        let errors = outcome.diagnostics.has_errors();
        match paths.format {
            Format::Json => report::json(&as_json(&outcome))?,
            Format::Text => {
                show(&outcome.diagnostics, outcome.sources());
                report::line(&summary(&outcome));
                if let Ok(policy) = &outcome.policy
                    && !policy.autolog.procedures.is_empty()
                {
                    let rows = report::procedures::rows(policy);
                    report::line(&report::procedures::text(&rows));
                }
            }
        }
        Ok(if errors { NO } else { YES })
    }
}

fn summary(outcome: &Outcome) -> String {
    let count = |severity| outcome.diagnostics.count(severity);
    let said = [
        (count(Severity::Error), "error"),
        (count(Severity::Warning), "warning"),
        (count(Severity::Info), "note"),
    ];
    let said: Vec<String> = said
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}{}", if *count == 1 { "" } else { "s" }))
        .collect();
    let said = if said.is_empty() {
        "nothing to report".into()
    } else {
        said.join(", ")
    };
    let (effective, configured) = (outcome.effective, outcome.configured);
    let audited = outcome.policy.as_ref().map_or(0, Policy::audited_entries);
    let audited = match audited {
        0 => String::new(),
        audited => format!(" ({audited} in audit)"),
    };
    let pool = outcome
        .policy
        .as_ref()
        .ok()
        .and_then(|policy| policy.pool.left);
    let pool = pool.map_or_else(String::new, |left| {
        let (first, last) = left.range;
        format!(
            "; {} of the ports {first}-{last} are left to hand out",
            left.free
        )
    });
    let refused = outcome.policy.is_err();
    match (refused, effective == configured) {
        (true, true) => format!("refused: {said}"),
        (true, false) => format!(
            "refused: {said}; without that, {effective} of {configured} reservations would take effect"
        ),
        (false, true) if effective == 1 => format!("1 reservation{audited}, {said}{pool}"),
        (false, true) => format!("{effective} reservations{audited}, {said}{pool}"),
        (false, false) => {
            format!("{effective} of {configured} reservations take effect{audited}, {said}{pool}")
        }
    }
}

fn as_json(outcome: &Outcome) -> Value {
    let entries = outcome.policy.as_ref().map_or_else(|_| Vec::new(), entries);
    let pool = outcome.policy.as_ref().ok().and_then(|policy| {
        let left = policy.pool.left?;
        Some(json!({
            "managed": policy.pool.kept.is_some(),
            "range": left.range,
            "free": left.free,
            "tcp": left.of_protocol[Protocol::Tcp as usize],
            "udp": left.of_protocol[Protocol::Udp as usize],
        }))
    });
    let procedures = outcome.policy.as_ref();
    let procedures = procedures.map_or_else(|_| Vec::new(), report::procedures::rows);
    json!({
        "procedures": procedures,
        "pool": pool,
        "diagnostics": json::all(&outcome.diagnostics, outcome.sources()),
        "omitted": outcome.diagnostics.omitted(),
        "configured": outcome.configured,
        "reservations": entries.len(),
        "entries": entries,
    })
}

/// The effective entries, in the order of the profile.
fn entries(policy: &Policy) -> Vec<Value> {
    let one = |reservation: &Reservation| {
        let place = policy.place_of(reservation);
        let extent = policy.extent_in_audit(reservation);
        let audited = match &extent {
            Extent::Some(ports) => Some(ports.to_string()),
            Extent::None | Extent::All => None,
        };
        json!({
            "kind": match reservation.kind {
                Kind::Port => "port",
                Kind::Range => "range",
                Kind::Unreserved => "unrsv",
            },
            "protocol": reservation.protocol.name(),
            "first": reservation.first,
            "last": reservation.last,
            "jobname": reservation.user.to_string(),
            "mode": extent.name(),
            "audited": audited,
            "file": place.file,
            "line": place.line,
            "description": reservation.description,
        })
    };
    policy.reservations.iter().map(one).collect()
}
