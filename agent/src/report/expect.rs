//! What is expected of ports, with what is found.

use super::{
    ports::{holder, process},
    table,
};
use crate::{
    daemon::protocol::{ExpectRow, PortHolder},
    diagnostics::escaped,
    policy::{
        build::Policy,
        expect::{Expectation, Origin, States, judge},
        holdings::Holding,
    },
};

/// A row for each expectation of `policy`, where `holdings` are all that have its ports.
pub fn rows(policy: &Policy, holdings: &[Holding]) -> Vec<ExpectRow> {
    let states = States::of(holdings);
    let row = |one: &Expectation| row(policy, one, &states, holdings);
    policy.expected.iter().map(row).collect()
}

fn row(policy: &Policy, one: &Expectation, states: &States, holdings: &[Holding]) -> ExpectRow {
    let found = judge(one, states);
    let holders = holdings
        .iter()
        .filter(|holding| one.covers(holding.socket.protocol, holding.socket.port))
        .map(|holding| holder(policy, holding));
    ExpectRow {
        protocol: one.protocol.name().to_owned(),
        first: one.first,
        last: one.last,
        expected: one.state.name().to_owned(),
        procedure: match &one.origin {
            Origin::Autolog(procedure) => Some(procedure.clone()),
            Origin::Config => None,
        },
        owner: one.owner.clone(),
        purpose: one.purpose.clone(),
        file: policy
            .sources
            .path(one.span.source)
            .to_string_lossy()
            .into_owned(),
        line: policy.sources.line(one.span),
        met: found.is_met(),
        state: found.state.name().to_owned(),
        broken: (!found.is_met()).then(|| found.broken.to_string()),
        holders: holders.collect(),
    }
}

/// Columns that may be narrower than what is in them, the first one first.
const LEAST_IMPORTANT: [&str; 4] = ["WRITTEN IN", "PURPOSE", "HOLDER", "OWNER"];

/// The expectations for people. The first line says whether all are met, for programs that
/// show no more of a check.
pub fn text(rows: &[ExpectRow]) -> String {
    if rows.is_empty() {
        return "OK: nothing is expected of any port".to_owned();
    }
    let header = [
        "PORT",
        "PROT",
        "EXPECTED",
        "STATE",
        "BROKEN",
        "HOLDER",
        "OWNER",
        "PURPOSE",
        "WRITTEN IN",
    ];
    let lines = rows.iter().map(|row| {
        let text = |text: &Option<String>| text.as_deref().map(escaped).unwrap_or_default();
        let first = row.holders.first();
        vec![
            ports(row),
            row.protocol.to_ascii_uppercase(),
            row.expected.clone(),
            row.state.clone(),
            row.broken.clone().unwrap_or_default(),
            first
                .map(|holder: &PortHolder| process(holder))
                .unwrap_or_default(),
            text(&row.owner),
            text(&row.purpose),
            place(row),
        ]
    });
    let table = table(&header, lines.collect(), &LEAST_IMPORTANT);
    format!("{}\n{table}", summary(rows))
}

/// Whether all are met, in one line.
fn summary(rows: &[ExpectRow]) -> String {
    let broken: Vec<String> = rows.iter().filter(|row| !row.met).map(sentence).collect();
    match broken.is_empty() {
        true => format!("OK: all of {} expectations are met", rows.len()),
        false => format!("BROKEN: {}", broken.join("; ")),
    }
}

/// What isn't as expected, in a few words.
pub fn sentence(row: &ExpectRow) -> String {
    let ports = row.broken.clone().unwrap_or_default();
    let whose = match (&row.owner, &row.procedure) {
        (Some(owner), _) => format!(", owner {}", escaped(owner)),
        (None, Some(procedure)) => format!(", procedure {procedure}"),
        (None, None) => String::new(),
    };
    let by = match row.holders.first() {
        Some(first) if row.state != "closed" => format!(" by {}", process(first)),
        _ => String::new(),
    };
    format!(
        "{}/{ports} is {}{by}, expected {}{whose}",
        row.protocol, row.state, row.expected
    )
}

fn ports(row: &ExpectRow) -> String {
    match row.first == row.last {
        true => format!("{:05}", row.first),
        false => format!("{:05}-{:05}", row.first, row.last),
    }
}

fn place(row: &ExpectRow) -> String {
    let place = escaped(&format!("{}:{}", row.file, row.line));
    match &row.procedure {
        Some(procedure) => format!("{place} (AUTOLOG {procedure})"),
        None => place,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::{
            holdings,
            listeners::tests::{held, policy},
        },
        ports::FixedListeners,
    };

    const CONFIG: &str = "[[expect]]\nports = 'tcp/21'\nstate = 'open'\nowner = 'ops'\n\
                          [[expect]]\nports = 'tcp/23'\nstate = 'closed'\n";

    fn found(names: &[(&str, &str)]) -> Vec<ExpectRow> {
        let policy = policy("PORT 21 TCP FTPD ; files\n", CONFIG);
        let listeners = names.iter().map(|(port, name)| held(port, &[name]));
        let listeners = FixedListeners(listeners.collect());
        let holdings = holdings::of_ports(&policy, &listeners, &|_, _| true, |_| None);
        rows(&policy, &holdings.unwrap())
    }

    #[test]
    fn a_check_reads_the_first_line() {
        let first = |names: &[(&str, &str)]| text(&found(names)).lines().next().unwrap().to_owned();
        assert_eq!(
            first(&[("tcp/21", "ftpd")]),
            "OK: all of 2 expectations are met"
        );
        assert_eq!(
            first(&[("tcp/23", "telnetd")]),
            "BROKEN: tcp/21 is closed, expected open, owner ops; \
             tcp/23 is open by telnetd (pid 107), expected closed"
        );
        assert_eq!(text(&[]), "OK: nothing is expected of any port");
    }

    #[test]
    fn a_row_says_where_it_is_written_and_what_is_found() {
        let rows = found(&[("tcp/21", "other")]);
        let [ftp, telnet] = &rows[..] else {
            panic!("{rows:?}");
        };
        assert_eq!((ftp.file.as_str(), ftp.line, ftp.met), ("c", 2, false));
        assert_eq!(ftp.state, "contradicted");
        assert_eq!(ftp.broken.as_deref(), Some("21"));
        assert_eq!(ftp.holders.len(), 1);
        assert_eq!((telnet.met, telnet.state.as_str()), (true, "closed"));
        assert_eq!(telnet.broken, None);
    }
}
