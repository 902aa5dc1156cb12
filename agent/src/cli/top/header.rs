//! The first lines of the view: what is in force, whether it is proven, what is wrong.

use std::fmt::Write as _;

use jiff::{Timestamp, Zoned};
use portreeve_common::Reason;
use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    style::{Modifier, Style},
    text::{Line, Span},
    widgets::{Paragraph, Widget as _},
};

use super::{
    draw::{Theme, clock},
    state::Seen,
};
use crate::{
    daemon::protocol::Status,
    diagnostics::escaped,
    report::status::{entries, is_proven},
};

/// How many there are.
pub const LINES: u16 = 3;

/// Draws them.
pub fn header(seen: &Seen, now: &Zoned, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let title = Span::styled(
        " portreeve top ",
        Style::new().add_modifier(Modifier::REVERSED),
    );
    let mut first = vec![title];
    let mut second = vec![];
    let mut third = vec![];
    if let Some(status) = &seen.status {
        first.extend(in_force(status, now, theme));
        second.push(Span::raw(format!(
            "{}, {}, ",
            escaped(&status.profile.path),
            entries(&status.profile)
        )));
        let total = |refuses: bool| -> f64 {
            let is_asked = |reason: &str| {
                let reasons = Reason::ALL.iter();
                let mut reasons = reasons.filter(|known| known.id() == reason);
                reasons.any(|reason| reason.refuses() == refuses)
            };
            let counted = seen.verdicts.iter();
            let counted = counted.filter(|((audited, reason), _)| !audited && is_asked(reason));
            counted.map(|(_, counted)| counted.rate()).sum()
        };
        third.push(Span::styled(
            format!("refused {:.1}/s", total(true)),
            Style::new().add_modifier(Modifier::BOLD),
        ));
        third.push(Span::raw(format!(", allowed {:.1}/s", total(false))));
        let mut states = String::new();
        for (state, count) in seen.states() {
            let _ = write!(states, ", {count} {state}");
        }
        third.push(Span::raw(match (&seen.taken, states.is_empty()) {
            (None, _) => String::new(),
            (_, true) => "; no reserved port is open".to_owned(),
            (_, false) => format!("; reserved ports: {}", &states[2..]),
        }));
    }
    match &seen.gone {
        Some((since, why)) => {
            let since = clock(since, now);
            let said = format!("NO AGENT since {since}: {why}; trying again");
            second = vec![Span::styled(said, theme.bad())];
            third = vec![Span::raw("The policy stays in force without it.")];
        }
        None => second.extend(alarms(seen, theme)),
    }
    let lines = [first, second, third].map(Line::from);
    Paragraph::new(lines.to_vec()).render(area, buffer);
    if area.width < 40 {
        return;
    }
    let time = now.strftime("%H:%M:%S").to_string();
    let [_, right] = Layout::horizontal([Constraint::Min(0), Constraint::Length(8)])
        .areas(Rect { height: 1, ..area });
    Line::raw(time).render(right, buffer);
}

/// Mode, number and proof.
fn in_force(status: &Status, now: &Zoned, theme: Theme) -> Vec<Span<'static>> {
    let mode = match status.mode.as_str() {
        "enforce" => theme.good(),
        "audit" => theme.notice(),
        _ => theme.bad(),
    };
    let proof = match &status.selftest {
        Some(test) if is_proven(status) => {
            Span::styled(format!("proven {}", ago(&test.at, now)), theme.good())
        }
        Some(test) => {
            let since = test.failing_since.as_deref().unwrap_or(&test.at);
            Span::styled(
                format!("NOT PROVEN since {}", clock(since, now)),
                theme.bad(),
            )
        }
        None => Span::styled("not proven yet", theme.notice()),
    };
    vec![
        Span::raw(" "),
        Span::styled(status.mode.clone(), mode),
        Span::raw(format!(", generation {}, ", status.generation)),
        proof,
    ]
}

/// What an operator should look at with `portreeve status`.
fn alarms(seen: &Seen, theme: Theme) -> Vec<Span<'static>> {
    let Some(status) = &seen.status else {
        return Vec::new();
    };
    let mut alarms = Vec::new();
    if let Some(pending) = &status.pending_confirm {
        alarms.push(format!("UNCONFIRMED, {} s left", pending.seconds_left));
    }
    if status.profile.differs_from_file == Some(true) {
        alarms.push("DIFFERS from its files".to_owned());
    }
    let lasting = status.drift.iter().filter(|drift| drift.until.is_none());
    match lasting.count() {
        0 => {}
        count => alarms.push(format!("{count} DRIFTED")),
    }
    for (count, what) in [
        (status.events.lost, "events LOST"),
        (seen.missed, "events MISSED here"),
    ] {
        if count > 0 {
            alarms.push(format!("{count} {what}"));
        }
    }
    match alarms.is_empty() {
        true => {
            let agent = status
                .agent
                .map_or_else(String::new, |pid| format!("agent pid {pid}"));
            vec![Span::raw(agent)]
        }
        false => vec![Span::styled(alarms.join(", "), theme.notice())],
    }
}

/// How long ago an RFC 3339 time is.
fn ago(time: &str, now: &Zoned) -> String {
    let Ok(time) = time.parse::<Timestamp>() else {
        return String::new();
    };
    let seconds = (now.timestamp().as_second() - time.as_second()).max(0);
    match seconds {
        ..120 => format!("{seconds} s ago"),
        120..7200 => format!("{} min ago", seconds / 60),
        _ => format!("{} h ago", seconds / 3600),
    }
}
