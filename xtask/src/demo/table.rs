//! The outcomes, side by side.

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};

use super::Outcome;

/// The table, fitted to the terminal.
pub fn render(outcomes: &[Outcome]) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header([
            "The case",
            "Who asked",
            "For what",
            "Outcome",
            "Rule",
            "Why",
        ]);
    for outcome in outcomes {
        table.add_row([
            Cell::new(outcome.case.point),
            Cell::new(outcome.case.who()),
            Cell::new(outcome.case.what()),
            result(outcome),
            Cell::new(rule(outcome)),
            Cell::new(why(outcome)),
        ]);
    }
    table.trim_fmt()
}

fn result(outcome: &Outcome) -> Cell {
    if !outcome.is_expected() {
        let text = format!("{}, not {}", outcome.result, outcome.case.result());
        return Cell::new(text)
            .fg(Color::Red)
            .add_attribute(Attribute::Bold);
    }
    let color = if outcome.result == "bound" {
        Color::Green
    } else {
        Color::Yellow
    };
    Cell::new(&outcome.result).fg(color)
}

fn rule(outcome: &Outcome) -> &str {
    let event = outcome.event.as_ref();
    event
        .and_then(|event| event.rule.as_deref())
        .unwrap_or("none")
}

fn why(outcome: &Outcome) -> String {
    match &outcome.event {
        None => "the agent reports nothing".to_owned(),
        Some(event) if !event.refused && outcome.result == "EACCES" => {
            format!("{}; Linux itself keeps it from users", event.why)
        }
        Some(event) => event.why.clone(),
    }
}
