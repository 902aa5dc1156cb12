//! The register of ports for documents and spreadsheets: Markdown and CSV.

use crate::daemon::protocol::PortRow;

/// The columns; those of CSV are the names of the fields of JSON.
const COLUMNS: [&str; 12] = [
    "protocol", "first", "last", "jobname", "flags", "address", "saf", "owner", "purpose",
    "expected", "state", "holder",
];

/// `rows` as a table of Markdown.
pub fn markdown(rows: &[PortRow]) -> String {
    let line = |cells: Vec<String>| {
        let cells: Vec<String> = cells.iter().map(|cell| in_markdown(cell)).collect();
        format!("| {} |", cells.join(" | "))
    };
    let header = COLUMNS.map(str::to_owned).to_vec();
    let mut lines = vec![line(header), format!("|{}", " --- |".repeat(COLUMNS.len()))];
    lines.extend(rows.iter().map(|row| line(cells(row))));
    lines.join("\n")
}

/// `rows` as RFC 4180 has CSV, but for the ends of lines, which are the host's.
pub fn csv(rows: &[PortRow]) -> String {
    let line = |cells: Vec<String>| {
        let cells: Vec<String> = cells.iter().map(|cell| in_csv(cell)).collect();
        cells.join(",")
    };
    let header = COLUMNS.map(str::to_owned).to_vec();
    let mut lines = vec![line(header)];
    lines.extend(rows.iter().map(|row| line(cells(row))));
    lines.join("\n")
}

/// One cell for each column.
fn cells(row: &PortRow) -> Vec<String> {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let holder = row.holder.as_ref();
    vec![
        row.protocol.clone(),
        row.first.to_string(),
        row.last.to_string(),
        row.jobname.clone(),
        row.flags.clone(),
        text(&row.address),
        text(&row.saf),
        text(&row.owner),
        text(&row.purpose),
        text(&row.expected),
        text(&row.state),
        holder.map(|holder| text(&holder.comm)).unwrap_or_default(),
    ]
}

/// Without what would end a cell or begin something else.
fn in_markdown(cell: &str) -> String {
    let mut text = String::with_capacity(cell.len());
    for letter in cell.chars() {
        match letter {
            '|' | '\\' | '`' | '*' | '_' | '<' | '>' | '[' | ']' => {
                text.push('\\');
                text.push(letter);
            }
            letter if letter.is_control() => text.push(' '),
            letter => text.push(letter),
        }
    }
    text
}

/// In quotes where it must be. What a spreadsheet would take for a formula is told to be
/// text: names are chosen by processes.
fn in_csv(cell: &str) -> String {
    let is_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let cell = match is_formula {
        true => format!("'{cell}"),
        false => cell.to_owned(),
    };
    match cell.contains([',', '"', '\n', '\r']) || is_formula {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::listeners::tests::policy,
        report::ports::{Observed, rows},
    };

    /// `CLS-07`: owner, purpose and expected state per port.
    #[test]
    fn the_register_can_be_taken_along() {
        let policy = policy(
            "PORT 21 TCP FTPD1 ; files, old\n 80 TCP WEB*\n",
            "[[expect]]\nports = 'tcp/80'\nstate = 'open'\nowner = '=ops|x'\npurpose = 'a \"b\"'\n",
        );
        let rows = rows(&policy, |_| 0, &Observed::default());
        let table = csv(&rows);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(
            lines,
            [
                "protocol,first,last,jobname,flags,address,saf,owner,purpose,expected,state,holder",
                "tcp,21,21,FTPD1,AD,,,,\"files, old\",,,",
                "tcp,80,80,WEB*,AD,,,\"'=ops|x\",\"a \"\"b\"\"\",open,,",
            ]
        );
        let table = markdown(&rows);
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(
            lines[3],
            "| tcp | 80 | 80 | WEB\\* | AD |  |  | =ops\\|x | a \"b\" | open |  |  |"
        );
    }
}
