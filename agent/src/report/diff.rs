//! The difference between two policies for people.

use crate::{diagnostics::escaped, policy::diff::Diff};

/// One line per entry that differs, and a summary.
pub fn text(diff: &Diff) -> String {
    let lists = [
        ('+', &diff.added),
        ('-', &diff.removed),
        ('~', &diff.changed),
    ];
    let entries = lists.into_iter().flat_map(|(sign, entries)| {
        entries.iter().map(move |entry| {
            let place = format!("{}:{}", entry.file, entry.line);
            format!("{sign} {}  ({})\n", escaped(&entry.text), escaped(&place))
        })
    });
    let low_ports = diff.low_ports.iter().map(|low| {
        let (sign, now) = match low.restricted {
            true => ('+', "from now on"),
            false => ('-', "no more"),
        };
        format!("{sign} {} RESTRICTLOWPORTS, {now}\n", low.protocol)
    });
    entries.chain(low_ports).collect::<String>() + &summary(diff)
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
