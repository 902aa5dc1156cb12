//! Results as tables, for a terminal and for a document.

use comfy_table::{Attribute, Cell, CellAlignment, Color, Table, presets};

use crate::{
    results::{Case, Results, Row},
    spread::Spread,
};

/// The columns of every table.
const HEADER: [&str; 5] = ["", "takes", "ratio", "quartiles", "target"];

/// What a row shows under [`HEADER`].
fn cells(row: &Row) -> [String; 5] {
    let digits = row.unit.digits();
    let value = format!("{:.digits$} {}", row.value.median, row.unit.sign());
    let quartiles = |spread: &Spread, digits: usize| {
        format!("{:.digits$} to {:.digits$}", spread.low, spread.high)
    };
    let (ratio, spread) = match &row.ratio {
        Some(ratio) => (format!("{:.2}", ratio.median), quartiles(ratio, 2)),
        None => (String::new(), quartiles(&row.value, digits)),
    };
    let target = row.target.map_or_else(String::new, |target| {
        let target = match row.ratio {
            Some(_) => format!("{target:.2}"),
            None => format!("{target} {}", row.unit.sign()),
        };
        match row.is_met() {
            Some(false) => format!("{target}, missed"),
            _ => format!("{target}, met"),
        }
    });
    [row.name.clone(), value, ratio, spread, target]
}

fn rows_of(results: &Results, case: Case) -> Vec<&Row> {
    let rows = results.rows.iter();
    rows.filter(|row| row.case == case).collect()
}

/// What the ratios of these rows are to, in words.
fn baselines(rows: &[&Row]) -> Option<String> {
    let mut names: Vec<&str> = rows
        .iter()
        .filter_map(|row| row.baseline.as_deref())
        .collect();
    names.dedup();
    names.sort_unstable();
    names.dedup();
    (!names.is_empty()).then(|| format!("Ratios are to: {}.", names.join("; ")))
}

/// Where and how it was measured, in a sentence.
fn machine(results: &Results) -> String {
    let machine = &results.machine;
    format!(
        "{} processors ({}), Linux {}, {} rounds.",
        machine.processors, machine.processor, machine.kernel, results.rounds
    )
}

/// For a terminal.
pub fn text(results: &Results) -> String {
    let mut text = machine(results);
    text.push('\n');
    for case in Case::ALL {
        let rows = rows_of(results, case);
        if rows.is_empty() {
            continue;
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_header(HEADER);
        for row in &rows {
            let is_missed = row.is_met() == Some(false);
            let shown = cells(row).into_iter().enumerate();
            table.add_row(shown.map(|(column, text)| {
                match column {
                    0 => Cell::new(text),
                    4 if is_missed => Cell::new(text)
                        .fg(Color::Red)
                        .add_attribute(Attribute::Bold),
                    _ => Cell::new(text).set_alignment(CellAlignment::Right),
                }
            }));
        }
        text.push_str(&format!("\n{}\n\n{}\n", case.title(), table.trim_fmt()));
        if let Some(baselines) = baselines(&rows) {
            text.push_str(&format!("\n{baselines}\n"));
        }
    }
    for warning in results.warnings() {
        text.push_str(&format!("\nwarning: {warning}\n"));
    }
    text
}

/// For a document: Markdown.
pub fn markdown(results: &Results) -> String {
    let mut text = machine(results);
    text.push('\n');
    for case in Case::ALL {
        let rows = rows_of(results, case);
        if rows.is_empty() {
            continue;
        }
        text.push_str(&format!("\n### {}\n\n", case.title()));
        text.push_str(&format!("| {} |\n", HEADER.join(" | ")));
        text.push_str("| --- | ---: | ---: | ---: | --- |\n");
        for row in &rows {
            text.push_str(&format!("| {} |\n", cells(row).join(" | ")));
        }
        if let Some(baselines) = baselines(&rows) {
            text.push_str(&format!("\n{baselines}\n"));
        }
    }
    for warning in results.warnings() {
        text.push_str(&format!("\nWarning: {warning}.\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{
        Unit,
        tests::{results, row},
    };

    #[test]
    fn a_row_shows_what_it_takes_its_ratio_and_its_target() {
        let mut plain = row("memory", [1.0; 3], Some(12.0));
        (plain.ratio, plain.baseline) = (None, None);
        (plain.case, plain.unit) = (Case::Agent, Unit::Mebibytes);
        plain.value = Spread {
            median: 9.04,
            low: 9.0,
            high: 9.1,
        };
        let results = results(vec![
            row("right job", [1.01, 1.062, 1.1], Some(1.08)),
            row("wrong job", [1.5, 1.61, 1.7], Some(1.3)),
            plain,
        ]);
        let text = markdown(&results);
        for line in [
            "| right job | 531 ns | 1.06 | 1.01 to 1.10 | 1.08, met |",
            "| wrong job | 805 ns | 1.61 | 1.50 to 1.70 | 1.30, missed |",
            "| memory | 9.0 MiB |  | 9.0 to 9.1 | 12 MiB, met |",
            "Ratios are to: empty program.",
            "### Agent: what it takes itself",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let text = super::text(&results);
        assert!(text.contains("1.30, missed"), "{text}");
    }
}
