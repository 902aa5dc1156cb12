//! The difference between two policies for people.

use std::collections::HashMap;

use crate::{
    diagnostics::escaped,
    policy::{
        diff::{Diff, LowPorts},
        place::EntryPlace,
    },
};

/// One line per entry that differs, and a summary.
pub fn text(diff: &Diff) -> String {
    let lists = [
        ('+', &diff.added),
        ('-', &diff.removed),
        ('~', &diff.changed),
    ];
    let place = |entry: &EntryPlace| format!("{}:{}", entry.file, entry.line);
    let audit: HashMap<String, &str> = diff
        .audit
        .iter()
        .map(|one| (place(&one.entry), one.change.to.as_str()))
        .collect();
    let entries = lists.into_iter().flat_map(|(sign, entries)| {
        let audit = &audit;
        entries.iter().map(move |entry| {
            let place = place(entry);
            let now = match audit.get(&place).filter(|_| sign == '~') {
                Some(&"enforce") => ", enforced from now on".to_owned(),
                Some(mode) => format!(", in {mode} from now on"),
                None => String::new(),
            };
            format!(
                "{sign} {}{now}  ({})\n",
                escaped(&entry.text),
                escaped(&place)
            )
        })
    });
    let mode = diff
        .mode
        .iter()
        .map(|mode| format!("~ mode {}, no more {}\n", mode.to, mode.from));
    let low_ports = diff.low_ports.iter().map(low_ports);
    mode.chain(entries).chain(low_ports).collect::<String>() + &summary(diff)
}

fn low_ports(low: &LowPorts) -> String {
    let (sign, now) = match (low.restricted, low.audit) {
        (true, false) => ('+', "from now on"),
        (true, true) => ('~', "in audit from now on"),
        (false, _) => ('-', "no more"),
    };
    format!("{sign} {} RESTRICTLOWPORTS, {now}\n", low.protocol)
}

/// The numbers in one line.
pub fn summary(diff: &Diff) -> String {
    format!(
        "{} added, {} removed, {} changed, {} the same",
        diff.added.len(),
        diff.removed.len(),
        diff.changed.len(),
        diff.unchanged
    )
}
