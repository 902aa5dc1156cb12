//! The view, drawn into a buffer.

use std::fmt::Write as _;

use jiff::{Timestamp, Zoned};
use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Layout, Margin, Rect},
    style::{Color, Modifier, Style},
    text::Line,
    widgets::{Block, Borders, Clear, List, ListState, Paragraph, StatefulWidget, Widget as _},
};
use unicode_width::UnicodeWidthStr as _;

use super::{
    header::{self, header},
    rates::WINDOW,
    state::{Caller, Refused, Seen, State, rows},
};
use crate::{diagnostics::escaped, report::cut};

/// Columns of the verdicts beside the ports.
const VERDICTS: u16 = 38;

/// How it is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Theme {
    /// Whether with colours.
    pub color: bool,
}

impl Theme {
    fn of(self, color: Color) -> Style {
        match self.color {
            true => Style::new().fg(color),
            false => Style::new(),
        }
    }

    /// As it should be.
    pub(super) fn good(self) -> Style {
        self.of(Color::Green)
    }

    /// Worth a look.
    pub(super) fn notice(self) -> Style {
        self.of(Color::Yellow)
    }

    /// Wrong: to be seen without colours, too.
    pub(super) fn bad(self) -> Style {
        self.of(Color::Red).add_modifier(Modifier::BOLD)
    }
}

/// The whole screen.
pub fn screen(state: &State, now: &Zoned, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let (seen, time) = state.shown(now);
    // Where there is no room for all, the beginning is more important than the end.
    let head = header::LINES.min(area.height);
    let below = area.height - head;
    let foot = u16::from(below > 4);
    let lower = match below {
        ..10 => 0,
        _ => (area.height / 3).clamp(4, 12),
    };
    let [head, upper, lower, foot] = Layout::vertical([
        Constraint::Length(head),
        Constraint::Length(below - foot - lower),
        Constraint::Length(lower),
        Constraint::Length(foot),
    ])
    .areas(area);
    header(seen, time, theme, head, buffer);
    if state.paused.is_some() {
        let paused = Line::styled(" PAUSED ", theme.notice().add_modifier(Modifier::REVERSED));
        let [_, right] = Layout::horizontal([Constraint::Min(0), Constraint::Length(18)])
            .areas(Rect { height: 1, ..head });
        paused.render(right, buffer);
    }
    callers(state, now, theme, upper, buffer);
    let [left, right] =
        Layout::horizontal([Constraint::Length(VERDICTS + 1), Constraint::Min(0)]).areas(lower);
    verdicts(seen, theme, left, buffer);
    ports(seen, time, theme, right, buffer);
    footer(state, theme, foot, buffer);
    if state.help {
        help(area, buffer);
    }
}

/// All there is to see, as text of `width` columns at most.
pub fn text(seen: &Seen, width: u16) -> String {
    let now = Zoned::now();
    let theme = Theme { color: false };
    let length = |rows: usize| u16::try_from(rows.max(1)).unwrap_or(u16::MAX).min(1000) + 2;
    let state = State {
        live: seen.clone(),
        ..State::default()
    };
    let counted = seen.verdicts.values().filter(|counted| counted.total() > 0);
    let (upper, lower) = (
        length(seen.callers.len()),
        length(counted.count().max(seen.changes.len())),
    );
    let area = Rect::new(0, 0, width.max(40), header::LINES + upper + lower);
    let mut buffer = Buffer::empty(area);
    let [head, upper, lower] = Layout::vertical([
        Constraint::Length(header::LINES),
        Constraint::Length(upper),
        Constraint::Length(lower),
    ])
    .areas(area);
    header(seen, &now, theme, head, &mut buffer);
    callers(&state, &now, theme, upper, &mut buffer);
    let [left, right] =
        Layout::horizontal([Constraint::Length(VERDICTS + 1), Constraint::Min(0)]).areas(lower);
    verdicts(seen, theme, left, &mut buffer);
    ports(seen, &now, theme, right, &mut buffer);
    lines(&buffer).join("\n")
}

/// The lines of `buffer`, without the blanks at their ends, and without empty ones at the
/// end.
pub fn lines(buffer: &Buffer) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for y in buffer.area.rows() {
        let mut line = String::new();
        let mut hidden = 0;
        for cell in y
            .columns()
            .filter_map(|cell| buffer.cell(cell.as_position()))
        {
            // What is wide hides the cell behind it.
            match hidden {
                0 => line.push_str(cell.symbol()),
                _ => hidden -= 1,
            }
            hidden = hidden.max(cell.symbol().width().saturating_sub(1));
        }
        lines.push(line.trim_end().to_owned());
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

/// A panel with a line above it.
fn panel(title: String) -> Block<'static> {
    Block::new()
        .borders(Borders::TOP)
        .title(format!(" {title} "))
}

fn callers(state: &State, now: &Zoned, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let (seen, time) = state.shown(now);
    let rows = rows(seen, time, state.sort, &state.filter);
    let shown = match state.filter.as_str() {
        "" => format!("{}", rows.len()),
        filter => format!("{} of {} with {filter:?}", rows.len(), seen.callers.len()),
    };
    let block = panel(format!("Refused, {}: {shown}", state.sort.words()));
    let inner = block.inner(area);
    block.render(area, buffer);
    let [head, list, detail] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(u16::from(state.chosen.is_some())),
    ])
    .areas(inner);
    let columns = Columns::of(inner.width);
    let heading = columns.line([
        "PORT", "WHO", "UID", "JOB", "/S", "COUNT", "LAST", "WHY", "CGROUP",
    ]);
    Line::styled(heading, Style::new().add_modifier(Modifier::BOLD)).render(head, buffer);
    if rows.is_empty() {
        let nothing = match state.filter.is_empty() {
            true => "nobody was refused anything that is remembered",
            false => "nothing has that in it; Escape shows all",
        };
        Line::raw(nothing).render(list, buffer);
    }
    let is_chosen = |(caller, _): &(&Caller, &Refused)| Some(*caller) == state.chosen.as_ref();
    let chosen = rows.iter().position(is_chosen);
    let lines = rows.iter().map(|(caller, refused)| {
        let style = match caller.verdict.as_str() {
            "deny" => Style::new(),
            _ => theme.notice(),
        };
        let text = columns.line([
            &caller.target(),
            &caller.name(),
            &caller.uid.to_string(),
            &escaped(caller.job.as_deref().unwrap_or_default()),
            &rate(refused.happened.rate(time.timestamp().as_second())),
            &refused.count.to_string(),
            &clock(&refused.last, time),
            &caller.why(),
            &escaped(&caller.cgroup),
        ]);
        Line::styled(text, style)
    });
    let highlight = Style::new().add_modifier(Modifier::REVERSED);
    let mut place = ListState::default().with_selected(chosen);
    let callers = List::new(lines).highlight_style(highlight);
    StatefulWidget::render(callers, list, buffer, &mut place);
    if let Some((caller, refused)) = chosen.and_then(|place| rows.get(place)) {
        let entry = refused.entry.as_deref().unwrap_or("no entry");
        let said = format!("{entry}  (cgroup {})", escaped(&caller.cgroup));
        Line::styled(cut(&said, inner.width.into()), theme.notice()).render(detail, buffer);
    }
}

/// How wide the columns of the callers are; those with a width of 0 are left out.
struct Columns([usize; 9]);

impl Columns {
    /// Those that find room in `width`.
    fn of(width: u16) -> Self {
        let job = if width >= 100 { 12 } else { 0 };
        let cgroup = if width >= 130 { 24 } else { 0 };
        let mut columns = [9, 0, 6, job, 7, 9, 8, 0, cgroup];
        let gaps = columns.iter().filter(|width| **width > 0).count() + 1;
        let rest = usize::from(width).saturating_sub(columns.iter().sum::<usize>() + gaps);
        columns[1] = (rest * 2 / 5).clamp(6, 24);
        columns[7] = rest.saturating_sub(columns[1]).max(6);
        Self(columns)
    }

    fn line<T: AsRef<str>>(&self, cells: [T; 9]) -> String {
        let mut line = String::new();
        for (index, (cell, width)) in cells.iter().zip(self.0).enumerate() {
            if width == 0 {
                continue;
            }
            let cell = cut(cell.as_ref(), width);
            let blanks = " ".repeat(width.saturating_sub(cell.width()));
            // Numbers stand to the right.
            let (before, behind) = match index {
                2 | 4 | 5 => (blanks.as_str(), ""),
                _ => ("", blanks.as_str()),
            };
            let _ = write!(line, "{before}{cell}{behind} ");
        }
        line
    }
}

fn verdicts(seen: &Seen, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let mut rows: Vec<_> = seen
        .verdicts
        .iter()
        .filter(|(_, c)| c.total() > 0)
        .collect();
    rows.sort_by(|(_, a), (_, b)| b.rate().total_cmp(&a.rate()));
    let block = panel("Verdicts by reason".into());
    let inner = block.inner(area);
    block.render(area, buffer);
    if rows.is_empty() {
        return Line::raw("no bind of a reserved port yet").render(inner, buffer);
    }
    let heading = format!("{:<21}{:>7} {:>8}", "REASON", "/S", "COUNT");
    let heading = Line::styled(heading, Style::new().add_modifier(Modifier::BOLD));
    let lines = rows.iter().map(|((audited, reason), counted)| {
        let (name, style) = match audited {
            true => (format!("{reason} (audit)"), theme.notice()),
            false => (reason.clone(), Style::new()),
        };
        let (name, rate, total) = (cut(&name, 21), rate(counted.rate()), counted.total());
        Line::styled(format!("{name:<21}{rate:>7} {total:>8}"), style)
    });
    let lines: Vec<Line<'_>> = [heading].into_iter().chain(lines).collect();
    Paragraph::new(lines).render(inner, buffer);
}

fn ports(seen: &Seen, now: &Zoned, theme: Theme, area: Rect, buffer: &mut Buffer) {
    let block = panel("Ports changing state".into());
    let inner = block.inner(area);
    block.render(area, buffer);
    if seen.changes.is_empty() {
        let said = match &seen.taken {
            None => "they were not looked at yet",
            Some(_) => "none since the view began",
        };
        return Line::raw(said).render(inner, buffer);
    }
    let width = usize::from(inner.width);
    let shows_before = width >= 55;
    let line = |cells: [&str; 5]| {
        let [time, port, is, was, who] = cells;
        let was = match shows_before {
            true => format!("{was:<13}"),
            false => String::new(),
        };
        cut(&format!("{time:<8} {port:<9} {is:<13}{was}{who}"), width)
    };
    let heading = line(["TIME", "PORT", "NOW", "BEFORE", "WHO"]);
    let heading = Line::styled(heading, Style::new().add_modifier(Modifier::BOLD));
    let lines = seen.changes.iter().map(|change| {
        let style = match change.is.as_str() {
            "contradicted" => theme.bad(),
            "open" => theme.good(),
            _ => Style::new(),
        };
        let who = change.holder.as_deref().unwrap_or_default();
        let time = clock(&change.time, now);
        Line::styled(
            line([&time, &change.port, &change.is, &change.was, who]),
            style,
        )
    });
    let lines: Vec<Line<'_>> = [heading].into_iter().chain(lines).collect();
    Paragraph::new(lines).render(inner, buffer);
}

fn footer(state: &State, theme: Theme, area: Rect, buffer: &mut Buffer) {
    if state.is_typing {
        let said = format!("show only what has this in it: {}_", state.filter);
        return Line::styled(said, theme.notice()).render(area, buffer);
    }
    let keys = "q quit  p pause  s sort  / filter  arrows choose  ? help";
    Line::styled(keys, Style::new().add_modifier(Modifier::DIM)).render(area, buffer);
}

fn help(area: Rect, buffer: &mut Buffer) {
    let rates = format!("  /S       a second, over the last {WINDOW} seconds");
    let text = [
        "q, Ctrl-C  quit",
        "p, blank   pause, go on",
        "s          sort by the next column",
        "/          show only what has this in it; Escape shows all",
        "arrows     choose a caller; below is the entry that refuses it",
        "",
        "Refused: one line for each caller, port and reason.",
        &rates,
        "  COUNT    of the events that the agent keeps, and since then",
        "Verdicts: all binds of reserved ports, since the hooks were attached.",
        "Ports: reserved ones that are opened, closed or contradicted:",
        "  had by somebody whom the policy would refuse now.",
        "",
        "Any key goes back.",
    ];
    let (width, height) = (74.min(area.width), (text.len() as u16 + 4).min(area.height));
    let place = Rect::new(
        area.x + (area.width - width) / 2,
        area.y + (area.height - height) / 2,
        width,
        height,
    );
    Clear.render(place, buffer);
    let block = Block::bordered().title(" Keys and columns ");
    let inner = block.inner(place).inner(Margin::new(1, 1));
    block.render(place, buffer);
    Paragraph::new(text.map(Line::raw).to_vec()).render(inner, buffer);
}

/// A rate in a few digits.
fn rate(rate: f64) -> String {
    match rate {
        0.0 => "-".into(),
        ..10.0 => format!("{rate:.1}"),
        _ => format!("{rate:.0}"),
    }
}

/// The time of day of an RFC 3339 time, where `now` is.
pub(super) fn clock(time: &str, now: &Zoned) -> String {
    let time = time.parse::<Timestamp>().ok();
    let time = time.map(|time| time.to_zoned(now.time_zone().clone()));
    time.map_or_else(String::new, |time| match time.date() == now.date() {
        true => time.strftime("%H:%M:%S").to_string(),
        false => time.strftime("%b %d").to_string(),
    })
}
