//! How a run differs from an earlier one.

use comfy_table::{Cell, CellAlignment, Color, Table, presets};
use serde::Serialize;

use crate::results::{Case, Results, Row};

/// What became of something that both measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It takes less, and the quartiles don't overlap.
    Better,
    /// It takes more, and the quartiles don't overlap.
    Worse,
    /// The noise is as large as the difference.
    Same,
}

/// Something that both measured.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// With what.
    pub case: Case,
    /// What.
    pub name: String,
    /// The figure before: the ratio, or without one the value.
    pub before: f64,
    /// The figure now.
    pub now: f64,
    /// In parts of a hundred of the figure before.
    pub percent: f64,
    /// What became of it.
    pub change: Change,
}

/// What differs between two runs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Comparison {
    /// What both measured, in the order of the later one.
    pub differences: Vec<Difference>,
    /// What only the later one measured.
    pub added: Vec<String>,
    /// What only the earlier one measured, of the cases that the later one has.
    pub missing: Vec<String>,
    /// What makes them hard to compare.
    pub warnings: Vec<String>,
}

/// Compares `now` with the run `before`.
pub fn compare(before: &Results, now: &Results) -> Comparison {
    let mut comparison = Comparison::default();
    let name = |row: &Row| format!("{}: {}", row.case.name(), row.name);
    for row in &now.rows {
        match before.row(row.case, &row.name) {
            Some(old) if old.ratio.is_some() == row.ratio.is_some() => {
                comparison.differences.push(difference(old, row));
            }
            _ => comparison.added.push(name(row)),
        }
    }
    let is_measured = |case: Case| now.rows.iter().any(|row| row.case == case);
    let missing = before.rows.iter();
    let missing =
        missing.filter(|row| is_measured(row.case) && now.row(row.case, &row.name).is_none());
    comparison.missing = missing.map(name).collect();
    if before.machine != now.machine {
        comparison.warnings.push(
            "the earlier run was on another machine or kernel: ratios can be compared with care, times can't"
                .to_owned(),
        );
    }
    comparison
}

fn difference(old: &Row, new: &Row) -> Difference {
    let (before, now) = (old.figure(), new.figure());
    let change = if before.overlaps(now) {
        Change::Same
    } else if now.median < before.median {
        Change::Better
    } else {
        Change::Worse
    };
    Difference {
        case: new.case,
        name: new.name.clone(),
        before: before.median,
        now: now.median,
        percent: match before.median {
            0.0 => 0.0,
            median => (now.median / median - 1.0) * 100.0,
        },
        change,
    }
}

impl Comparison {
    /// For a terminal.
    pub fn text(&self) -> String {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_header(["", "before", "now", "difference", ""]);
        for difference in &self.differences {
            let verdict = match difference.change {
                Change::Better => Cell::new("better").fg(Color::Green),
                Change::Worse => Cell::new("WORSE").fg(Color::Red),
                Change::Same => Cell::new("within the noise"),
            };
            let number = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
            table.add_row([
                Cell::new(format!("{}: {}", difference.case.name(), difference.name)),
                number(format!("{:.2}", difference.before)),
                number(format!("{:.2}", difference.now)),
                number(format!("{:+.1} %", difference.percent)),
                verdict,
            ]);
        }
        let mut text = format!(
            "Compared with the saved run (ratios; values where there is none)\n\n{}\n",
            table.trim_fmt()
        );
        for (what, names) in [
            ("only measured now", &self.added),
            ("not measured any more", &self.missing),
        ] {
            if !names.is_empty() {
                text.push_str(&format!("\n{what}: {}\n", names.join("; ")));
            }
        }
        for warning in &self.warnings {
            text.push_str(&format!("\nwarning: {warning}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::{results, row};

    #[test]
    fn only_what_lies_apart_is_better_or_worse() {
        let before = results(vec![
            row("a", [1.0, 1.1, 1.2], None),
            row("b", [1.0, 1.1, 1.2], None),
            row("c", [1.0, 1.1, 1.2], None),
            row("gone", [1.0; 3], None),
        ]);
        let now = results(vec![
            row("a", [1.1, 1.2, 1.3], None),
            row("b", [1.3, 1.4, 1.5], None),
            row("c", [0.7, 0.8, 0.9], None),
            row("new", [1.0; 3], None),
        ]);
        let comparison = compare(&before, &now);
        let changes: Vec<Change> = comparison.differences.iter().map(|d| d.change).collect();
        assert_eq!(changes, [Change::Same, Change::Worse, Change::Better]);
        assert_eq!(comparison.added, ["verdict: new"]);
        assert_eq!(comparison.missing, ["verdict: gone"]);
        assert!(comparison.warnings.is_empty());
        let text = comparison.text();
        assert!(text.contains("+27.3 %") && text.contains("WORSE"), "{text}");
    }

    #[test]
    fn another_kernel_is_said() {
        let before = results(Vec::new());
        let mut now = before.clone();
        now.machine.kernel = "6.2.0".into();
        assert_eq!(compare(&before, &now).warnings.len(), 1);
    }
}
