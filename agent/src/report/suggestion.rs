//! Suggested entries as a change file: what is said beside them stands in comments.

use std::{collections::BTreeSet, fmt::Display};

use crate::{
    diagnostics::escaped,
    policy::suggestions::{Seen, SuggestedEntry, Suggestion},
};

/// Names of one kind that a comment lists.
const LISTED: usize = 3;

/// Where the suggestion comes from, for its first lines.
pub struct Basis<'a> {
    /// When it was made, as RFC 3339.
    pub time: &'a str,
    /// What was looked at.
    pub looked_at: &'a str,
}

/// The change file.
pub fn text(suggestion: &Suggestion, basis: &Basis<'_>) -> String {
    let mut lines = vec![
        format!("; Suggested by portreeve, {}.", escaped(basis.time)),
        format!("; From {}.", escaped(basis.looked_at)),
        "; REVIEW IT, line by line: each lets a job have a port, and keeps all others out of it."
            .into(),
        "; What was refused may have been refused rightly. A job that the config doesn't define is"
            .into(),
        "; a process name, which a process can choose: define jobs by cgroup or user.".into(),
    ];
    if suggestion.settled > 0 {
        lines.push(format!(
            "; Refusals that the policy in force wouldn't make any more: {}.",
            suggestion.settled
        ));
    }
    if suggestion.entries.is_empty() {
        lines.push("; There is nothing to suggest.".into());
    }
    for entry in &suggestion.entries {
        lines.push(String::new());
        lines.push(format!("; {}", seen(&entry.seen)));
        lines.push(statement(entry));
    }
    if !suggestion.left_out.is_empty() {
        lines.push(String::new());
        lines.push("; No entry for these:".into());
    }
    for left_out in &suggestion.left_out {
        let place = match (&left_out.protocol, left_out.port) {
            (Some(protocol), Some(port)) => format!("{protocol}/{port}"),
            (Some(protocol), None) => format!("a {protocol} port"),
            _ => "a port".into(),
        };
        lines.push(format!("; {place}: {}", escaped(&left_out.why)));
        lines.push(format!(";   {}", seen(&left_out.seen)));
    }
    lines.join("\n")
}

fn statement(entry: &SuggestedEntry) -> String {
    let (first, last) = (entry.first, entry.last);
    let protocol = entry.protocol.to_ascii_uppercase();
    let job = &entry.jobname;
    match last - first {
        0 => format!("PORT {first} {protocol} {job}"),
        more => format!("PORTRANGE {first} {} {protocol} {job}", more + 1),
    }
}

/// Who was seen, in one line that can't end the comment.
fn seen(seen: &Seen) -> String {
    let mut facts = Vec::new();
    match (seen.refusals, &seen.last) {
        (0, _) | (_, None) => {}
        (1, Some(last)) => facts.push(format!("1 refusal at {}", escaped(last))),
        (count, Some(last)) => {
            facts.push(format!("{count} refusals, the last at {}", escaped(last)));
        }
    }
    let text = |texts: &BTreeSet<String>| -> BTreeSet<String> {
        texts.iter().map(|text| escaped(text)).collect()
    };
    let mut list = |what: &str, listed: String| {
        if !listed.is_empty() {
            facts.push(format!("{what} {listed}"));
        }
    };
    list("open on", some(&text(&seen.open_on)));
    list("by", some(&text(&seen.comms)));
    list("uid", some(&seen.uids));
    list("cgroup", some(&text(&seen.cgroups)));
    if facts.is_empty() {
        facts.push("nothing more is known".into());
    }
    facts.join(", ")
}

/// The first of `names`, and how many more there are.
fn some<T: Display>(names: &BTreeSet<T>) -> String {
    let mut listed: Vec<String> = names.iter().take(LISTED).map(T::to_string).collect();
    if names.len() > LISTED {
        listed.push(format!("and {} more", names.len() - LISTED));
    }
    listed.join(" ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        policy::suggestions::LeftOut,
        profile::{ReadOptions, parse},
    };

    const BASIS: Basis<'_> = Basis {
        time: "T",
        looked_at: "the refusals",
    };

    fn entry(protocol: &str, first: u16, last: u16, seen: Seen) -> SuggestedEntry {
        SuggestedEntry {
            protocol: protocol.into(),
            first,
            last,
            jobname: "WEB".into(),
            seen,
        }
    }

    fn texts(texts: &[&str]) -> BTreeSet<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn an_entry_is_a_line_below_who_was_seen() {
        let refused = Seen {
            refusals: 2,
            last: Some("T2".into()),
            comms: texts(&["a", "b", "c", "d", "e"]),
            uids: [7].into(),
            cgroups: texts(&["/x"]),
            open_on: BTreeSet::new(),
        };
        let open = Seen {
            open_on: texts(&["::1"]),
            uids: [0].into(),
            ..Seen::default()
        };
        let suggestion = Suggestion {
            entries: vec![entry("tcp", 80, 80, refused), entry("udp", 100, 109, open)],
            left_out: vec![LeftOut {
                protocol: Some("tcp".into()),
                port: None,
                why: "because".into(),
                seen: Seen::default(),
            }],
            settled: 3,
        };
        let text = text(&suggestion, &BASIS);
        let lines: Vec<&str> = text.lines().skip(5).collect();
        let expected = [
            "; Refusals that the policy in force wouldn't make any more: 3.",
            "",
            "; 2 refusals, the last at T2, by a b c and 2 more, uid 7, cgroup /x",
            "PORT 80 TCP WEB",
            "",
            "; open on ::1, uid 0",
            "PORTRANGE 100 10 UDP WEB",
            "",
            "; No entry for these:",
            "; a tcp port: because",
            ";   nothing more is known",
        ];
        assert_eq!(lines, expected);
        assert!(text.contains("REVIEW"));
    }

    /// Names are a process's own: none of them ends the comment or begins another line.
    #[test]
    fn hostile_names_stay_comments() {
        let every: String = (1..256).filter_map(char::from_u32).collect();
        let hostile = [
            "x\nPORT 1 TCP *",
            "\r",
            "\u{85}",
            "\u{2028}PORT 2 TCP *",
            "&SYSNAME.",
            "/* ; */",
            &every,
        ];
        for name in hostile {
            let seen = Seen {
                comms: texts(&[name]),
                cgroups: texts(&[name]),
                last: Some(name.into()),
                refusals: 1,
                ..Seen::default()
            };
            let suggestion = Suggestion {
                entries: vec![entry("tcp", 80, 80, seen.clone())],
                left_out: vec![LeftOut {
                    protocol: None,
                    port: None,
                    why: name.into(),
                    seen,
                }],
                settled: 0,
            };
            let text = text(&suggestion, &BASIS);
            let parsed = parse(Path::new("p"), text.as_bytes(), &ReadOptions::default());
            assert_eq!(parsed.diagnostics.iter().count(), 0, "{text}");
            assert_eq!(parsed.profile.to_string(), "PORT\n  80 TCP WEB\n");
        }
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        let text = text(&Suggestion::default(), &BASIS);
        assert!(text.ends_with("; There is nothing to suggest."), "{text}");
        let parsed = parse(Path::new("p"), text.as_bytes(), &ReadOptions::default());
        assert!(!parsed.diagnostics.has_errors());
    }
}
