//! The procedures that AUTOLOG lists.

use super::table;
use crate::{
    daemon::protocol::{ProcedureNow, ProcedureRow},
    policy::{
        autolog::{Procedure, Runs, ports, watched},
        build::Policy,
    },
};

/// What there is to say of `procedure` under `policy` (`RPT-15`), and where it is `now`.
pub fn row(policy: &Policy, procedure: &Procedure, now: Option<ProcedureNow>) -> ProcedureRow {
    let span = procedure.span;
    ProcedureRow {
        proc: procedure.name.clone(),
        job: procedure.job.clone(),
        kind: procedure.runs.as_ref().map(|runs| match runs {
            Runs::Unit { .. } => "unit".to_owned(),
            Runs::Command { .. } => "exec".to_owned(),
        }),
        // An instance has the text of PARMSTRING in its name.
        unit: shown_unit(procedure),
        delay: procedure.delays().into_iter().map(str::to_owned).collect(),
        parm: procedure.parm.is_some(),
        wait: procedure.wait,
        watched: watched(&policy.reservations, &procedure.job)
            .map(ports)
            .collect(),
        file: policy.sources.path(span.source).display().to_string(),
        line: policy.sources.line(span),
        now,
    }
}

/// The unit; of an instance that is named by PARMSTRING only the template.
fn shown_unit(procedure: &Procedure) -> Option<String> {
    let unit = procedure.runs.as_ref()?.unit();
    Some(match (unit.split_once('@'), &procedure.parm) {
        (Some((template, _)), Some(_)) => format!("{template}@.service"),
        _ => unit.to_owned(),
    })
}

/// One row per procedure under `policy`, without an agent.
pub fn rows(policy: &Policy) -> Vec<ProcedureRow> {
    let listed = policy.autolog.procedures.iter();
    listed.map(|one| row(policy, one, None)).collect()
}

/// All of them as a table.
pub fn text(rows: &[ProcedureRow]) -> String {
    if rows.is_empty() {
        return "AUTOLOG lists no procedure".to_owned();
    }
    let lines = rows.iter().map(|row| {
        let now = row.now.as_ref();
        vec![
            row.proc.clone(),
            row.job.clone(),
            now.map_or_else(String::new, state),
            row.unit.clone().unwrap_or_else(|| "-".to_owned()),
            row.watched.join(" "),
            row.wait.to_string(),
            options(row),
        ]
    });
    table(
        &["PROC", "JOB", "STATE", "UNIT", "WATCHED", "WAIT", "OPTIONS"],
        lines.collect(),
        &["OPTIONS", "WATCHED", "UNIT"],
    )
}

fn options(row: &ProcedureRow) -> String {
    let mut options = row.delay.clone();
    options.extend(row.parm.then(|| "parm".to_owned()));
    options.join(" ")
}

/// Its phase, and what is wrong with it.
fn state(now: &ProcedureNow) -> String {
    let mut state = now.phase.clone();
    let is_up = matches!(now.phase.as_str(), "running" | "watched");
    match (&now.missing, now.active) {
        _ if !now.lacking.is_empty() => {
            state.push_str(&format!(", waits for {}", now.lacking.join(", ")));
        }
        (Some(missing), _) if is_up && !missing.is_empty() => {
            state.push_str(&format!(", nothing at {}", missing.join(", ")));
        }
        (_, Some(false)) if now.phase == "running" => state.push_str(", ended"),
        _ => {}
    }
    state
}

/// All about one, with what happened to it.
pub fn story(row: &ProcedureRow) -> String {
    let mut lines = vec![match row.proc == row.job {
        true => row.proc.clone(),
        false => format!("{}, job {}", row.proc, row.job),
    }];
    let unit = row.unit.as_deref().unwrap_or("nothing that is known");
    lines.push(format!("  is {unit}, listed in {}:{}", row.file, row.line));
    lines.push(match row.watched.is_empty() {
        true => "  is not watched: no port is reserved for it".to_owned(),
        false => format!("  is watched at {}", row.watched.join(", ")),
    });
    if let Some(now) = &row.now {
        lines.push(format!(
            "  {}; looked at again in {} s",
            state(now),
            now.due
        ));
        let history = now.history.iter();
        lines.extend(history.map(|event| format!("  {}  {}", event.time, event.text)));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::protocol::ProcedureEvent;

    fn one(now: ProcedureNow) -> ProcedureRow {
        ProcedureRow {
            proc: "FTPD".into(),
            job: "FTPD1".into(),
            kind: Some("unit".into()),
            unit: Some("vsftpd.service".into()),
            delay: vec!["dvipa".into()],
            parm: true,
            wait: 5,
            watched: vec!["tcp/21".into()],
            file: "p".into(),
            line: 2,
            now: Some(now),
        }
    }

    fn now(phase: &str) -> ProcedureNow {
        ProcedureNow {
            phase: phase.into(),
            active: Some(true),
            lacking: vec![],
            missing: Some(vec![]),
            fruitless: 0,
            due: 7,
            history: vec![],
        }
    }

    #[test]
    fn a_state_says_what_is_wrong() {
        assert_eq!(state(&now("running")), "running");
        let missing = ProcedureNow {
            missing: Some(vec!["tcp/21".into()]),
            ..now("running")
        };
        assert_eq!(state(&missing), "running, nothing at tcp/21");
        let delayed = ProcedureNow {
            lacking: vec!["unit x.service".into()],
            ..now("delayed")
        };
        assert_eq!(state(&delayed), "delayed, waits for unit x.service");
        let ended = ProcedureNow {
            active: Some(false),
            ..now("running")
        };
        assert_eq!(state(&ended), "running, ended");
    }

    #[test]
    fn a_table_and_a_story() {
        let event = ProcedureEvent {
            time: "T".into(),
            what: "start".into(),
            text: "started".into(),
        };
        let row = one(ProcedureNow {
            history: vec![event],
            ..now("running")
        });
        let table = text(std::slice::from_ref(&row));
        for word in ["FTPD1", "running", "vsftpd.service", "tcp/21", "dvipa parm"] {
            assert!(table.contains(word), "{table}");
        }
        assert_eq!(
            story(&row),
            "FTPD, job FTPD1\n  is vsftpd.service, listed in p:2\n  is watched at tcp/21\n  \
             running; looked at again in 7 s\n  T  started"
        );
        assert_eq!(text(&[]), "AUTOLOG lists no procedure");
    }
}
