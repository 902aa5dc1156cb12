//! The texts that were read, and places in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Which of the texts in a [`Sources`]; ordered as they were added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(u32);

/// A stretch of one text, in bytes. Ordered by text, then by position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The text.
    pub source: SourceId,
    /// Offset of its first byte.
    pub start: u32,
    /// Offset behind its last byte.
    pub end: u32,
}

impl Span {
    /// From the start of `self` to the end of `last`, which stands in the same text.
    pub fn to(self, last: Self) -> Self {
        Self {
            end: last.end.max(self.end),
            ..self
        }
    }
}

struct Source {
    path: PathBuf,
    text: Arc<str>,
    /// Offset of each line's first byte.
    lines: Vec<u32>,
}

/// Every text that was read: the profile, what it includes, the config.
#[derive(Default)]
pub struct Sources {
    sources: Vec<Source>,
    /// What must not be shown, such as a password; in no particular order.
    redacted: Vec<Span>,
    /// What must not be kept either.
    secret: Vec<Span>,
}

/// A text that has lost its secrets, with which it was as long.
pub struct Forgotten {
    /// Where it came from.
    pub path: PathBuf,
    /// As it was read.
    pub before: Arc<str>,
    /// As it may be kept.
    pub after: Arc<str>,
}

impl Sources {
    /// No text yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a text, named `path` in reports.
    ///
    /// Positions are 32 bits wide; whoever reads files refuses larger ones
    /// ([`crate::profile::MAX_BYTES`]).
    pub fn add(&mut self, path: PathBuf, text: impl Into<Arc<str>>) -> SourceId {
        let text = text.into();
        let newlines = text.bytes().filter(|byte| *byte == b'\n').count();
        let mut lines = Vec::with_capacity(newlines + 1);
        lines.push(0);
        lines.extend(text.match_indices('\n').map(|(at, _)| at as u32 + 1));
        self.sources.push(Source { path, text, lines });
        SourceId(self.sources.len() as u32 - 1)
    }

    /// Never shows the text of `span`.
    pub fn redact(&mut self, span: Span) {
        self.redacted.push(span);
    }

    /// Never shows the text of `span`, and keeps it until [`Self::forget`] only.
    pub fn keep_secret(&mut self, span: Span) {
        self.redact(span);
        self.secret.push(span);
    }

    /// Writes stars in the place of secrets: a word of as many characters, so that what is
    /// read again is understood as before. Nothing else moves.
    pub fn forget(&mut self) -> Vec<Forgotten> {
        let mut forgotten = Vec::new();
        for (number, source) in self.sources.iter_mut().enumerate() {
            let own = |span: &&Span| span.source.0 as usize == number;
            if !self.secret.iter().any(|span| own(&span)) {
                continue;
            }
            let mut after = String::from(&*source.text);
            for span in self.secret.iter().filter(own) {
                let range = span.start as usize..span.end as usize;
                let Some(word) = after.get(range.clone()) else {
                    continue;
                };
                let stars = "*".repeat(word.chars().count());
                let blanks = " ".repeat(word.len() - stars.len());
                after.replace_range(range, &(stars + &blanks));
            }
            if *after == *source.text {
                continue;
            }
            let after: Arc<str> = after.into();
            forgotten.push(Forgotten {
                path: source.path.clone(),
                before: std::mem::replace(&mut source.text, Arc::clone(&after)),
                after,
            });
        }
        self.secret.clear();
        forgotten
    }

    /// The stretches of `id` that touch `start..end` and must not be shown.
    pub(crate) fn redacted(&self, id: SourceId, start: u32, end: u32) -> Vec<Span> {
        let touches = |span: &&Span| span.source == id && span.start < end && span.end > start;
        self.redacted.iter().filter(touches).copied().collect()
    }

    fn source(&self, id: SourceId) -> Option<&Source> {
        self.sources.get(id.0 as usize)
    }

    /// Where the text came from.
    pub fn path(&self, id: SourceId) -> &Path {
        self.source(id)
            .map_or(Path::new(""), |source| source.path.as_path())
    }

    /// The whole text.
    pub fn text(&self, id: SourceId) -> &str {
        self.source(id).map_or("", |source| &source.text)
    }

    /// The whole text, shared.
    pub(crate) fn shared_text(&self, id: SourceId) -> Arc<str> {
        self.source(id)
            .map_or_else(|| Arc::from(""), |source| Arc::clone(&source.text))
    }

    /// The paths of all texts, in the order in which they were added.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.sources.iter().map(|source| source.path.as_path())
    }

    /// The text between the ends of `span`.
    pub fn slice(&self, span: Span) -> &str {
        self.text(span.source)
            .get(span.start as usize..span.end as usize)
            .unwrap_or("")
    }

    /// The line, from 1, where `span` begins. Fast, whatever the line's length.
    pub fn line(&self, span: Span) -> u32 {
        self.source(span.source).map_or(0, |source| {
            source.lines.partition_point(|start| *start <= span.start) as u32
        })
    }

    /// The same as [`Self::line`], faster if it is line `near` or the next one.
    pub fn line_near(&self, span: Span, near: u32) -> u32 {
        let lines = self
            .source(span.source)
            .map(|source| source.lines.as_slice());
        // Line `n` begins where `lines[n - 1]` says.
        let begins_by = |line: u32| {
            let start = lines.and_then(|lines| lines.get(line as usize - 1));
            start.is_some_and(|start| *start <= span.start)
        };
        let is_in = |line: &u32| *line > 0 && begins_by(*line) && !begins_by(*line + 1);
        let guesses = [near, near.saturating_add(1)];
        let found = guesses.into_iter().find(is_in);
        found.unwrap_or_else(|| self.line(span))
    }

    /// Line and column, both from 1, where `span` begins; columns are characters.
    pub fn line_col(&self, span: Span) -> (u32, u32) {
        let line = self.line(span);
        let start = self.line_start(span);
        let before = self.text(span.source).get(start..span.start as usize);
        let column = before.map_or(0, |text| text.chars().count()) as u32 + 1;
        (line, column)
    }

    /// Offset of the first byte of the line where `span` begins.
    pub(crate) fn line_start(&self, span: Span) -> usize {
        let index = self.line(span).saturating_sub(1) as usize;
        self.source(span.source)
            .and_then(|source| source.lines.get(index))
            .map_or(0, |start| *start as usize)
    }

    /// The line where `span` begins, without its end of line.
    pub fn line_text(&self, span: Span) -> &str {
        let rest = self
            .text(span.source)
            .get(self.line_start(span)..)
            .unwrap_or("");
        let line = rest.split('\n').next().unwrap_or("");
        line.strip_suffix('\r').unwrap_or(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(source: SourceId, start: u32, end: u32) -> Span {
        Span { source, start, end }
    }

    #[test]
    fn lines_and_columns_count_from_one_and_in_characters() {
        let mut sources = Sources::new();
        let id = sources.add("p".into(), "PORT\r\n ü x\n\nz".to_owned());
        assert_eq!(sources.line_col(span(id, 0, 4)), (1, 1));
        assert_eq!(sources.line_text(span(id, 0, 4)), "PORT");
        // `x` is byte 4 but character 4 of its line: one blank, one letter of two bytes.
        assert_eq!(sources.line_col(span(id, 10, 11)), (2, 4));
        assert_eq!(sources.slice(span(id, 10, 11)), "x");
        assert_eq!(sources.line_text(span(id, 10, 11)), " ü x");
        assert_eq!(sources.line_col(span(id, 13, 14)), (4, 1));
        assert_eq!(sources.line_col(span(id, 14, 14)), (4, 2));
        for (at, near) in (0..16).flat_map(|at| (0..7).map(move |near| (at, near))) {
            let span = span(id, at, at);
            assert_eq!(sources.line_near(span, near), sources.line(span), "{at}");
        }
    }

    #[test]
    fn places_that_do_not_exist_are_harmless() {
        let sources = Sources::new();
        let nowhere = span(SourceId(7), 5, 9);
        assert_eq!(sources.line_col(nowhere), (0, 1));
        assert_eq!(sources.line_text(nowhere), "");
        assert_eq!(sources.path(SourceId(7)), Path::new(""));
    }
}
