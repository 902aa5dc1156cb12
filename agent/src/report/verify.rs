//! Whether all ports are as they should be (`CLS-08`).

use std::collections::BTreeSet;

use serde::Serialize;

use super::{expect, ports::process, status::is_proven};
use crate::{
    daemon::protocol::{ExpectRow, PortRow, Status},
    diagnostics::escaped,
};

/// What was looked at, and what isn't as it should be; the field names are a contract.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// Whether all is as it should be.
    pub ok: bool,
    /// The mode in force.
    pub mode: String,
    /// How many entries were looked at.
    pub entries: usize,
    /// How many expectations were looked at.
    pub expectations: usize,
    /// What isn't as it should be: first the policy, then the ports.
    pub problems: Vec<Problem>,
}

/// Something that isn't as it should be.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// `not-proven`, `differs`, `expectation`, `contradicted` or `orphan`.
    pub kind: &'static str,
    /// `tcp` or `udp`, if it is about ports.
    pub protocol: Option<String>,
    /// Which, in the kernel's notation.
    pub ports: Option<String>,
    /// What it is.
    pub text: String,
}

impl Problem {
    const fn of_policy(kind: &'static str, text: String) -> Self {
        Self {
            kind,
            protocol: None,
            ports: None,
            text,
        }
    }
}

/// What is to be said of a host where things are so.
pub fn verify(status: &Status, rows: &[PortRow], expected: &[ExpectRow]) -> Verification {
    let mut problems = of_policy(status);
    problems.extend(expected.iter().filter(|row| !row.met).map(|row| Problem {
        kind: "expectation",
        protocol: Some(row.protocol.clone()),
        ports: row.broken.clone(),
        text: expect::sentence(row),
    }));
    problems.extend(of_holders(rows));
    Verification {
        ok: problems.is_empty(),
        mode: status.mode.clone(),
        entries: rows.len(),
        expectations: expected.len(),
        problems,
    }
}

fn of_policy(status: &Status) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !is_proven(status) {
        let test = status.selftest.as_ref();
        let why = test.and_then(|test| test.problem.clone());
        let why = why.unwrap_or_else(|| "a hook is not attached".to_owned());
        let text = format!("mode {} is not proven: {why}", status.mode);
        problems.push(Problem::of_policy("not-proven", text));
    }
    if status.profile.differs_from_file == Some(true) {
        let text = "profile, an included file or the config has changed since it was read; `portreeve reload` puts it in force".to_owned();
        problems.push(Problem::of_policy("differs", text));
    }
    let refused = status.reload.as_ref();
    if let Some(refused) = refused.and_then(|reload| reload.refused.as_ref()) {
        let text = format!(
            "the files are refused since {}, so an older policy is in force: {}",
            refused.since, refused.reason
        );
        problems.push(Problem::of_policy("differs", text));
    }
    problems
}

/// Who has ports that he may not have, or that nobody answers for any more. Several entries
/// of a port have the same holders.
fn of_holders(rows: &[PortRow]) -> Vec<Problem> {
    let mut seen = BTreeSet::new();
    let mut problems = Vec::new();
    for row in rows {
        for holder in &row.holders {
            let key = (&row.protocol, holder.port, &holder.address, holder.pid);
            if !seen.insert(key) {
                continue;
            }
            let port = format!("{}/{}", row.protocol, holder.port);
            let mut push = |kind, text| {
                problems.push(Problem {
                    kind,
                    protocol: Some(row.protocol.clone()),
                    ports: Some(holder.port.to_string()),
                    text,
                });
            };
            if holder.rightful == Some(false) {
                let line = holder
                    .line
                    .map_or("the policy".to_owned(), |line| format!("line {line}"));
                let text = format!(
                    "{port} on {} is held by {}, and {line} would refuse it now",
                    holder.address,
                    process(holder)
                );
                push("contradicted", text);
            }
            if let Some(why) = &holder.orphan {
                let text = format!(
                    "{port} on {} is left behind, held by {}: {}",
                    holder.address,
                    process(holder),
                    escaped(why)
                );
                push("orphan", text);
            }
        }
    }
    problems
}

/// The verification for people. The first line says all in few words.
pub fn text(found: &Verification) -> String {
    let looked = format!(
        "{} entries and {} expectations",
        found.entries, found.expectations
    );
    if found.ok {
        return format!(
            "OK: mode {} is proven, {looked} are as they should be",
            found.mode
        );
    }
    let count = match found.problems.len() {
        1 => "1 problem".to_owned(),
        count => format!("{count} problems"),
    };
    let mut lines = vec![format!("NOT AS IT SHOULD BE: {count} with {looked}")];
    let problems = found.problems.iter();
    lines.extend(problems.map(|problem| format!("{:<13} {}", problem.kind, problem.text)));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::kernel::hooks::HOOKS;

    fn status(change: impl FnOnce(&mut Value)) -> Status {
        let mut status = json!({
            "mode": "enforce", "generation": 1, "hooks": HOOKS, "missing": [],
            "profile": {
                "path": "p", "hash": "", "differs_from_file": false, "changes": [],
                "entries": 2, "dropped": 0, "published": "",
            },
            "pool": {
                "managed": true, "range": null, "range_before": null, "added": "",
                "free": null, "dropped": null,
            },
            "neighbours": [], "attach": {"path": null, "id": 1},
            "counters": {}, "audited": {},
            "events": {"lost": 0, "suppressed": 0, "reports_lost": 0},
            "listeners": {"destroyed": 0, "closed": 0, "stay": 0, "late": 0, "lost": 0},
            "drift": [], "pending_confirm": null, "agent": 7, "version": "",
            "selftest": {"at": "", "ok": true, "problem": null, "failing_since": null},
        });
        change(&mut status);
        serde_json::from_value(status).unwrap()
    }

    fn row(line: u32, holder: Value) -> PortRow {
        let mut whole = json!({
            "port": 21, "address": "0.0.0.0", "listens": true, "rightful": true,
            "line": 2, "pid": 9, "comm": "ftpd", "job": "FTPD", "unit": null,
            "container": null, "uid": 0, "since": null, "shared_with": [],
        });
        if let (Some(whole), Value::Object(holder)) = (whole.as_object_mut(), holder) {
            whole.extend(holder);
        }
        let row = json!({
            "port": 21, "protocol": "tcp", "jobname": "FTPD", "flags": "AD",
            "mode": "enforce", "audited": null, "first": 21, "last": 21,
            "address": null, "saf": null, "description": null, "line": line,
            "file": "p", "order": 1, "closeness": "", "state": "open",
            "holder": null, "holders": [whole], "refusals": 0, "refused": [],
        });
        serde_json::from_value(row).unwrap()
    }

    fn expected(met: bool) -> ExpectRow {
        let row = json!({
            "protocol": "tcp", "first": 80, "last": 80, "expected": "open",
            "procedure": null, "owner": "ops", "purpose": null, "file": "c", "line": 1,
            "met": met, "state": "closed", "broken": (!met).then_some("80"), "holders": [],
        });
        serde_json::from_value(row).unwrap()
    }

    fn kinds(found: &Verification) -> Vec<&'static str> {
        found.problems.iter().map(|problem| problem.kind).collect()
    }

    /// `CLS-08`: all is looked at, and what is right is no problem.
    #[test]
    fn all_can_be_as_it_should_be() {
        let found = verify(&status(|_| ()), &[row(2, json!({}))], &[expected(true)]);
        assert!(found.ok && found.problems.is_empty());
        assert_eq!(
            text(&found),
            "OK: mode enforce is proven, 1 entries and 1 expectations are as they should be"
        );
    }

    #[test]
    fn each_problem_is_told_once() {
        let status = status(|status| {
            status["selftest"]["ok"] = json!(false);
            status["selftest"]["problem"] = json!("hook bind4 is dead");
            status["profile"]["differs_from_file"] = json!(true);
        });
        // Two entries of one port have the same holder.
        let wrong = json!({"rightful": false, "orphan": "web.service made it"});
        let rows = [row(2, wrong.clone()), row(3, wrong)];
        let found = verify(&status, &rows, &[expected(false)]);
        assert!(!found.ok);
        assert_eq!(
            kinds(&found),
            [
                "not-proven",
                "differs",
                "expectation",
                "contradicted",
                "orphan"
            ]
        );
        let text = text(&found);
        assert!(
            text.starts_with("NOT AS IT SHOULD BE: 5 problems"),
            "{text}"
        );
        for words in [
            "hook bind4 is dead",
            "tcp/80 is closed, expected open, owner ops",
            "tcp/21 on 0.0.0.0 is held by ftpd (pid 9, orphaned), and line 2 would refuse it now",
            "web.service made it",
        ] {
            assert!(text.contains(words), "no {words} in\n{text}");
        }
    }

    /// A hook that is gone is not proven, whatever the last self-test said.
    #[test]
    fn a_missing_hook_is_a_problem() {
        let status = status(|status| status["hooks"] = json!([]));
        assert_eq!(kinds(&verify(&status, &[], &[])), ["not-proven"]);
        let refused = self::status(|status| {
            let refused = json!({"since": "then", "reason": "PRV103"});
            status["reload"] =
                json!({"watch": true, "waits_for_confirm": false, "refused": refused});
        });
        assert_eq!(kinds(&verify(&refused, &[], &[])), ["differs"]);
    }
}
