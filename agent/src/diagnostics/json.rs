//! Diagnostics for programs.

use serde::Serialize;

use super::{Diagnostic, Diagnostics, Severity, Sources};

/// One diagnostic as JSON shows it; the field names are a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JsonDiagnostic {
    /// The stable id, such as `PRV103`.
    pub code: &'static str,
    /// The message that z/OS gives for the same thing, such as `EZZ0146I`.
    pub ibm: Option<&'static str>,
    /// `"error"`, `"warning"` or `"info"`.
    pub severity: Severity,
    /// The file it is about.
    pub file: Option<String>,
    /// Line, from 1.
    pub line: Option<u32>,
    /// Column in characters, from 1.
    pub column: Option<u32>,
    /// The whole story in one sentence.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl JsonDiagnostic {
    /// `diagnostic`, with its place looked up in `sources`.
    pub fn new(diagnostic: &Diagnostic, sources: &Sources) -> Self {
        let place = diagnostic.span.map(|span| sources.line_col(span));
        let file = diagnostic.file(sources);
        Self {
            code: diagnostic.code.id(),
            ibm: diagnostic.code.ibm_message(),
            severity: diagnostic.severity,
            file: file.map(|path| path.to_string_lossy().into_owned()),
            line: place.map(|(line, _)| line),
            column: place.map(|(_, column)| column),
            message: message(diagnostic, sources),
            help: diagnostic.help.clone(),
        }
    }
}

/// The message, and the other place that people see as a second snippet.
fn message(diagnostic: &Diagnostic, sources: &Sources) -> String {
    let Some(related) = &diagnostic.related else {
        return diagnostic.message.clone();
    };
    let line = sources.line(related.span);
    let same_line = |span| sources.line(span) == line;
    let same_file = diagnostic
        .span
        .is_some_and(|span| span.source == related.span.source);
    if same_file && diagnostic.span.is_some_and(same_line) {
        diagnostic.message.clone()
    } else if same_file {
        format!("{} (see line {line})", diagnostic.message)
    } else {
        let path = sources.path(related.span.source).display();
        format!("{} (see {path}:{line})", diagnostic.message)
    }
}

/// The diagnostics that were kept, in source order.
pub fn all(diagnostics: &Diagnostics, sources: &Sources) -> Vec<JsonDiagnostic> {
    diagnostics
        .iter()
        .map(|diagnostic| JsonDiagnostic::new(diagnostic, sources))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Code, Span};
    use super::*;

    #[test]
    fn the_fields_are_the_contract() {
        let mut sources = Sources::new();
        let source = sources.add("p.tcpip".into(), "PORT\n 21 TCP A\n 21 TCP A");
        let (start, end) = (16, 24);
        let first = Span {
            source,
            start: 6,
            end: 14,
        };
        let mut diagnostics = Diagnostics::new();
        diagnostics.push(
            Diagnostic::error(Code::Duplicate, Span { source, start, end }, "again")
                .related(first, "here"),
        );
        diagnostics.push(Diagnostic::of_file(
            Code::NotUtf8,
            Severity::Warning,
            "other",
            "odd",
        ));
        diagnostics.push(Diagnostic::of_file(
            Code::MixedTiming,
            Severity::Error,
            "other",
            "mixed",
        ));
        let json = serde_json::to_value(all(&diagnostics, &sources)).unwrap();
        assert_eq!(
            json,
            serde_json::json!([
                {"code": "PRV202", "ibm": "EZZ0147I", "severity": "error", "file": "other",
                 "line": null, "column": null, "message": "mixed", "help": null},
                {"code": "PRV101", "ibm": null, "severity": "warning", "file": "other", "line": null,
                 "column": null, "message": "odd", "help": null},
                {"code": "PRV207", "ibm": null, "severity": "error", "file": "p.tcpip", "line": 3,
                 "column": 2, "message": "again (see line 2)", "help": null},
            ])
        );
    }
}
