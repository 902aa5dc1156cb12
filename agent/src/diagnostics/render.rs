//! Diagnostics for people: the source line, an underline, and what to do.

use std::ops::Range;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::text::{escaped, visible};
use super::{Diagnostic, Diagnostics, Severity, Sources, Span};

/// Most columns of a source line that are shown.
const WINDOW: usize = 160;
/// Columns that are shown in front of the underlined text, if the line is cut.
const BEFORE: usize = 60;
/// Stands for what was cut from a line.
const CUT: &str = "...";

/// All that were kept, one after the other, and how many weren't.
pub fn all(diagnostics: &Diagnostics, sources: &Sources, color: bool) -> String {
    let mut text = String::new();
    for diagnostic in diagnostics.iter() {
        text.push_str(&one(diagnostic, sources, color));
        text.push_str("\n\n");
    }
    if diagnostics.omitted() > 0 {
        text.push_str(&format!("... and {} more\n", diagnostics.omitted()));
    }
    text
}

/// One diagnostic, without a line end behind it.
pub fn one(diagnostic: &Diagnostic, sources: &Sources, color: bool) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Info => Level::INFO,
    };
    let title = level
        .primary_title(escaped(&diagnostic.message))
        .id(diagnostic.code.id());
    let primary = diagnostic.span.map(|span| Place::new(sources, span));
    let related = diagnostic.related.as_ref();
    let other = related.map(|related| Place::new(sources, related.span));

    let mut group = Group::with_title(title);
    if let Some(place) = &primary {
        let label = diagnostic.label.as_deref();
        group = group.element(place.snippet(AnnotationKind::Primary, label));
    } else if let Some(path) = &diagnostic.path {
        group = group.element(Origin::path(escaped(&path.to_string_lossy())));
    }
    if let Some(place) = &other {
        let label = related.map(|related| related.label.as_str());
        group = group.element(place.snippet(AnnotationKind::Context, label));
    }
    if let Some(message) = diagnostic.code.ibm_message() {
        group = group.element(Level::NOTE.message(format!("z/OS says {message}")));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(escaped(help)));
    }
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    // A long line has been cut where its marked part is known.
    let text = renderer.term_width(4 * WINDOW).render(&[group]);
    let places = primary.iter().chain(&other);
    places.fold(text, |text, place| place.correct(text))
}

/// A place in a text, and the part of its line that is shown.
struct Place {
    path: String,
    line: u32,
    column: u32,
    shown: String,
    marked: Range<usize>,
}

impl Place {
    fn new(sources: &Sources, span: Span) -> Self {
        let (line, column) = sources.line_col(span);
        let text = sources.line_text(span);
        let line_start = sources.line_start(span);
        let in_line = |span: Span| {
            let offset = |position: u32| (position as usize).saturating_sub(line_start);
            offset(span.start)..offset(span.end)
        };
        let line_end = line_start + text.len();
        let hidden: Vec<Range<usize>> = sources
            .redacted(span.source, line_start as u32, line_end as u32)
            .into_iter()
            .map(in_line)
            .collect();
        let (shown, marked) = window(text, in_line(span), &hidden);
        Self {
            path: escaped(&sources.path(span.source).to_string_lossy()),
            line,
            column,
            shown,
            marked,
        }
    }

    fn snippet(&self, kind: AnnotationKind, label: Option<&str>) -> Snippet<'_, Annotation<'_>> {
        let annotation = kind.span(self.marked.clone());
        Snippet::source(&self.shown)
            .path(&self.path)
            .line_start(self.line as usize)
            .annotation(annotation.label(label.map(escaped)))
    }

    /// Puts the column right in `text`: the renderer counts it in what is shown,
    /// which may not be the whole line.
    fn correct(&self, text: String) -> String {
        let before = self.shown.get(..self.marked.start).unwrap_or("");
        let column = before.chars().count() + 1;
        if column == self.column as usize {
            return text;
        }
        let place = format!("{}:{}:", self.path, self.line);
        text.replacen(
            &format!("{place}{column}"),
            &format!("{place}{}", self.column),
            1,
        )
    }
}

/// The part of `line` around `marked` that is shown, made harmless and without
/// what is `hidden`, and where the marked text is in it.
fn window(line: &str, marked: Range<usize>, hidden: &[Range<usize>]) -> (String, Range<usize>) {
    let long = line.chars().nth(WINDOW).is_some();
    let head = line.get(..marked.start).unwrap_or(line);
    let first = if long {
        let skipped = head.chars().rev().take(BEFORE).map(char::len_utf8).sum();
        head.len().saturating_sub(skipped)
    } else {
        0
    };
    let mut shown = String::new();
    if first > 0 {
        shown.push_str(CUT);
    }
    let mut start = None;
    let mut end = None;
    for (columns, (offset, c)) in line[first..].char_indices().enumerate() {
        let offset = first + offset;
        if offset >= marked.start {
            start.get_or_insert(shown.len());
        }
        if offset >= marked.end {
            end.get_or_insert(shown.len());
        }
        if columns == WINDOW {
            shown.push_str(CUT);
            break;
        }
        match c {
            _ if hidden.iter().any(|range| range.contains(&offset)) => shown.push('*'),
            _ => shown.push(visible(c)),
        }
    }
    let start = start.unwrap_or(shown.len());
    let end = end.unwrap_or(shown.len()).max(start);
    (shown, start..end)
}

#[cfg(test)]
mod tests {
    use super::super::{Code, SourceId};
    use super::*;

    fn diagnostic(source: SourceId, start: usize, end: usize) -> Diagnostic {
        let (start, end) = (start as u32, end as u32);
        Diagnostic::error(
            Code::Duplicate,
            Span { source, start, end },
            "it is twice here",
        )
    }

    #[test]
    fn line_underline_label_help_and_the_other_place() {
        let mut sources = Sources::new();
        let text = "PORT\n  21 TCP A\n\t21 TCP A ; again\n";
        let source = sources.add("my.tcpip".into(), text);
        let (start, end) = (7, 15);
        let diagnostic = diagnostic(source, 17, 25)
            .label("dropped")
            .help("remove it")
            .related(Span { source, start, end }, "the first");
        let expected = "\
error[PRV207]: it is twice here
 --> my.tcpip:3:2
  |
3 |  21 TCP A ; again
  |  ^^^^^^^^ dropped
  |
 ::: my.tcpip:2:3
  |
2 |   21 TCP A
  |   -------- the first
  |
  = help: remove it";
        assert_eq!(one(&diagnostic, &sources, false), expected);
        assert!(one(&diagnostic, &sources, true).contains('\x1b'));
    }

    /// What operators know from z/OS is found by the message they know.
    #[test]
    fn the_message_of_zos_is_named() {
        let mut sources = Sources::new();
        let source = sources.add("p".into(), "PORT UNRSV TCP BAD* DENY");
        let diagnostic = Diagnostic {
            code: Code::DenyNotStar,
            ..diagnostic(source, 20, 24)
        };
        let text = one(&diagnostic.help("write *"), &sources, false);
        assert!(text.starts_with("error[PRV201]: "), "{text}");
        assert!(
            text.ends_with("= note: z/OS says EZZ0146I\n  = help: write *"),
            "{text}"
        );
    }

    #[test]
    fn files_without_a_place() {
        let diagnostic =
            Diagnostic::of_file(Code::NotUtf8, Severity::Warning, "a\x1bb", "it is odd");
        let text = one(&diagnostic, &Sources::new(), false);
        assert_eq!(text, "warning[PRV101]: it is odd\n--> a\\u{1b}b");
    }

    /// A place at either end of a huge line, in characters of several bytes.
    #[test]
    fn long_lines_are_cut_around_the_place() {
        for unit in ["x", "ü", "\t", "\x1b", "\u{1f600}"] {
            let count = 200_000 / unit.len();
            let mut sources = Sources::new();
            let line = format!("{}FTPD1{}", unit.repeat(count), unit.repeat(count));
            let start = unit.len() * count;
            let source = sources.add("p".into(), format!("one\n{line}\nthree"));
            let text = one(&diagnostic(source, start + 4, start + 9), &sources, false);
            assert!(text.contains(&format!("p:2:{}", count + 1)), "{text}");
            assert!(text.contains("...") && text.contains("FTPD1"), "{text}");
            let longest = text.lines().map(|line| line.chars().count()).max();
            assert!(longest.unwrap() < WINDOW + 20, "{text}");
            assert!(text.contains("^^^^^") && !text.contains("^^^^^^"), "{text}");
        }
    }

    #[test]
    fn nothing_hostile_reaches_the_terminal() {
        let all: String = (0..=0xffff).filter_map(char::from_u32).collect();
        let mut sources = Sources::new();
        let source = sources.add("p\x1b]0;x\x07".into(), all.clone());
        for (start, _) in all.char_indices().step_by(97) {
            let diagnostic = Diagnostic {
                message: "m\x1b[2J\u{9b}".to_owned(),
                ..diagnostic(source, start, start + 1)
            };
            let diagnostic = diagnostic.label("l\x1b").help("h\u{202e}");
            let text = one(&diagnostic, &sources, false);
            let hostile = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!text.contains(hostile), "{text:?}");
        }
    }

    #[test]
    fn what_is_redacted_is_not_shown() {
        let mut sources = Sources::new();
        let source = sources.add("p".into(), "SACONFIG COMMUNITY s3cret AGENT x");
        let (start, end) = (19, 25);
        sources.redact(Span { source, start, end });
        let text = one(&diagnostic(source, 32, 33), &sources, false);
        assert!(text.contains("COMMUNITY ****** AGENT x"), "{text}");
    }

    #[test]
    fn places_that_do_not_exist_are_harmless() {
        let mut sources = Sources::new();
        let source = sources.add("p".into(), "ü\n");
        for (start, end) in [(0, 0), (1, 1), (1, 2), (3, 3), (9, 20), (2, 1)] {
            assert!(one(&diagnostic(source, start, end), &sources, false).contains("PRV207"));
        }
        let mut diagnostics = Diagnostics::new();
        for _ in 0..200 {
            diagnostics.push(diagnostic(source, 0, 1));
        }
        assert!(all(&diagnostics, &sources, false).ends_with("... and 100 more\n"));
    }
}
