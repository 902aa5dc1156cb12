//! What is wrong with a text, where, and what to do about it.
//!
//! Whoever reads a file adds its text to [`Sources`] and reports
//! [`Diagnostic`]s to a [`Diagnostics`] collector. [`render`] shows them to
//! people, [`json`] to programs; the stable codes are in [`catalogue`].

pub mod catalogue;
pub mod json;
pub mod render;
mod sources;
mod text;

use std::path::{Path, PathBuf};

pub use catalogue::Code;
pub use sources::{Forgotten, SourceId, Sources, Span};
pub use text::{escaped, quoted, visible};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// An entry or a statement was dropped; by default the profile is refused.
    Error,
    /// Everything applies, but not as it might be meant.
    Warning,
    /// Good to know.
    Info,
}

impl Severity {
    /// All of them, worst first.
    pub const ALL: [Self; 3] = [Self::Error, Self::Warning, Self::Info];

    /// `"error"`, `"warning"` or `"info"`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

/// A second place that explains a diagnostic, such as the earlier of two entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    /// Where it is.
    pub span: Span,
    /// What is there.
    pub label: String,
}

/// One thing to report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// What kind of thing it is.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// Where, if it has a place in a text.
    pub span: Option<Span>,
    /// The file, where there is no place in a text.
    pub path: Option<PathBuf>,
    /// The whole story in one sentence; stands alone.
    pub message: String,
    /// A few words beside the underlined text.
    pub label: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
    /// Another place that matters.
    pub related: Option<Related>,
}

impl Diagnostic {
    fn new(code: Code, severity: Severity, message: impl Into<String>) -> Self {
        Self {
            code,
            severity,
            span: None,
            path: None,
            message: message.into(),
            label: None,
            help: None,
            related: None,
        }
    }

    /// Something was dropped.
    pub fn error(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Error, message).at(span)
    }

    /// Something may not be meant so.
    pub fn warning(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Warning, message).at(span)
    }

    /// Something good to know.
    pub fn info(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self::new(code, Severity::Info, message).at(span)
    }

    /// Something that concerns a whole file.
    pub fn of_file(
        code: Code,
        severity: Severity,
        path: impl Into<PathBuf>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            path: Some(path.into()),
            ..Self::new(code, severity, message)
        }
    }

    fn at(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    /// Words beside the underlined text.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// What to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Another place that matters, and what is there.
    pub fn related(mut self, span: Span, label: impl Into<String>) -> Self {
        self.related = Some(Related {
            span,
            label: label.into(),
        });
        self
    }

    /// The file it is about, if any.
    pub fn file<'a>(&'a self, sources: &'a Sources) -> Option<&'a Path> {
        match self.span {
            Some(span) => Some(sources.path(span.source)),
            None => self.path.as_deref(),
        }
    }

    fn order(&self) -> (Option<Span>, Severity) {
        (self.span, self.severity)
    }
}

/// How many diagnostics of one severity are kept.
pub const KEPT_PER_SEVERITY: usize = 100;

/// Collects diagnostics in bounded memory: of each severity the first
/// [`KEPT_PER_SEVERITY`] are kept and all are counted, so that a flood of one
/// kind never hides another.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    kept: Vec<Diagnostic>,
    counts: [usize; 3],
}

impl Diagnostics {
    /// Nothing to report yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reports `diagnostic`.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        let severity = diagnostic.severity;
        self.push_with(severity, || diagnostic);
    }

    /// Reports what `make` says, without calling it when it would only be counted.
    pub fn push_with(&mut self, severity: Severity, make: impl FnOnce() -> Diagnostic) {
        let count = &mut self.counts[severity as usize];
        *count += 1;
        if *count <= KEPT_PER_SEVERITY {
            self.kept.push(make());
        }
    }

    /// Takes over what another collector holds.
    pub fn append(&mut self, other: Self) {
        let Self { kept, counts } = other;
        for diagnostic in kept {
            self.push(diagnostic);
        }
        for (severity, count) in Severity::ALL.into_iter().zip(counts) {
            self.counts[severity as usize] += count.saturating_sub(KEPT_PER_SEVERITY);
        }
    }

    /// Whether anything was dropped.
    pub fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many were reported of this severity, kept or not.
    pub fn count(&self, severity: Severity) -> usize {
        self.counts[severity as usize]
    }

    /// How many were reported, kept or not.
    pub fn total(&self) -> usize {
        self.counts.iter().sum()
    }

    /// Whether there is nothing to report.
    pub fn is_empty(&self) -> bool {
        self.total() == 0
    }

    /// How many were counted but not kept.
    pub fn omitted(&self) -> usize {
        self.total() - self.kept.len()
    }

    /// Those that were kept: by text, then by position in it. What concerns
    /// whole files comes first.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        let mut sorted: Vec<&Diagnostic> = self.kept.iter().collect();
        sorted.sort_by_key(|diagnostic| diagnostic.order());
        sorted.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(source: SourceId, start: u32) -> Span {
        Span {
            source,
            start,
            end: start + 1,
        }
    }

    #[test]
    fn a_flood_is_counted_and_hides_nothing_else() {
        let mut sources = Sources::new();
        let id = sources.add("p".into(), "x".repeat(10_000));
        let mut diagnostics = Diagnostics::new();
        for start in 0..5000 {
            diagnostics.push(Diagnostic::info(
                Code::SteppedOver,
                at(id, start),
                "stepped",
            ));
        }
        diagnostics.push(Diagnostic::error(
            Code::UnknownStatement,
            at(id, 6000),
            "bad",
        ));
        assert!(diagnostics.has_errors());
        assert_eq!(diagnostics.iter().count(), KEPT_PER_SEVERITY + 1);
        assert_eq!(diagnostics.omitted(), 5000 - KEPT_PER_SEVERITY);
        assert_eq!(diagnostics.total(), 5001);

        let mut all = Diagnostics::new();
        all.append(diagnostics.clone());
        all.append(diagnostics);
        assert_eq!(all.total(), 10_002);
        assert_eq!(all.count(Severity::Error), 2);
    }

    #[test]
    fn they_come_in_source_order() {
        let mut sources = Sources::new();
        let first = sources.add("a".into(), "0123456789");
        let second = sources.add("b".into(), "0123456789");
        let mut diagnostics = Diagnostics::new();
        diagnostics.push(Diagnostic::error(Code::BadNumber, at(second, 1), "3"));
        diagnostics.push(Diagnostic::warning(Code::RangeClipped, at(first, 5), "2"));
        diagnostics.push(Diagnostic::error(Code::BadNumber, at(first, 2), "1"));
        let order: Vec<&str> = diagnostics.iter().map(|d| d.message.as_str()).collect();
        assert_eq!(order, ["1", "2", "3"]);
    }
}
