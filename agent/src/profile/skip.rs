//! Stepping over statements that mean nothing here, without losing a rule.

use super::ast::{Skipped, Statement};
use super::lexer::Word;
use super::parser::Parser;
use super::statements::{self, End, STATEMENTS};
use super::suggest::{closest, did_you_mean};
use crate::diagnostics::{Code, Diagnostic, Severity, quoted};

/// Keywords that only access rules have, and how short they may be cut.
const RULE_WORDS: [(&str, usize); 5] = [
    ("UNRSV", 5),
    ("RESTRICTLOWPORTS", 9),
    ("UNRESTRICTLOWPORTS", 11),
    ("EPHEMERALPORTS", 14),
    ("EXPLICITBINDPORTRANGE", 21),
];

/// The one of [`RULE_WORDS`] that `word` is or seems to be.
fn rule_word(word: &Word) -> Option<&'static str> {
    let exact = RULE_WORDS
        .iter()
        .find(|(keyword, shortest)| word.abbreviates(keyword, *shortest));
    let near = || closest(&word.text, RULE_WORDS.map(|(keyword, _)| keyword));
    exact
        .map(|(keyword, _)| *keyword)
        .or_else(|| near().map(|(keyword, _)| keyword))
}

impl Parser<'_> {
    fn stepped_over(&mut self, word: &Word, name: &'static str) {
        self.diagnostics.push_with(Severity::Info, || {
            let message = format!("{name} is stepped over: nothing here depends on it");
            Diagnostic::info(Code::SteppedOver, word.span, message)
        });
        let span = word.span;
        self.push(span, Statement::Skipped(Skipped { name, span }));
    }

    /// A block, to its END statement. What is inside is never looked at:
    /// TELNETPARMS and VIPADYNAMIC have a PORT of their own.
    pub(super) fn skip_block(&mut self, statement: &Word, name: &'static str, end: End) {
        self.stepped_over(statement, name);
        let mut swallowed = None;
        while let Some(word) = self.next() {
            if end.is(&word) {
                return;
            }
            let ours = || statements::lookup(&word).is_some_and(|found| found.is_ours());
            if swallowed.is_none() && word.starts_line && ours() {
                swallowed = Some(word);
            }
        }
        self.unterminated(statement, name, end, swallowed);
    }

    /// Reports that the rest of the file has vanished in a block (`SYN-11`).
    pub(super) fn unterminated(
        &mut self,
        statement: &Word,
        name: &str,
        end: End,
        swallowed: Option<Word>,
    ) {
        let message = format!(
            "{name} has no {}, so the rest of the file is taken as its operands",
            end.name
        );
        let mut diagnostic = Diagnostic::error(Code::UnterminatedBlock, statement.span, message)
            .label("the block begins here")
            .help(format!("put {} behind its last operand", end.name));
        if let Some(word) = swallowed {
            let label = format!("{} is not processed", quoted(&word.text));
            diagnostic = diagnostic.related(word.span, label);
        }
        self.diagnostics.push(diagnostic);
    }

    /// A statement with `count` operands.
    pub(super) fn skip_words(&mut self, statement: &Word, name: &'static str, count: u8) {
        self.stepped_over(statement, name);
        for _ in 0..count {
            if self.at_statement() {
                return;
            }
            self.next();
        }
    }

    /// A statement without an end of its own, up to the next known statement
    /// that starts a line. A misspelt one would be lost in it, so anything that
    /// looks like an access rule is an error.
    pub(super) fn skip_open(&mut self, statement: &Word, name: &'static str) {
        self.stepped_over(statement, name);
        let mut line_start: Option<Word> = None;
        while !self.at_statement() {
            let Some(word) = self.next() else { return };
            if word.starts_line {
                line_start = Some(word.clone());
            }
            self.guard(&word, line_start.as_ref(), name);
        }
    }

    /// Reports `word`, just taken from the body of `name`, if an access rule
    /// seems to be lost there.
    pub(super) fn guard(&mut self, word: &Word, line_start: Option<&Word>, name: &str) {
        let entry = word.is_number()
            && self
                .peek(0)
                .is_some_and(|next| !next.starts_line && next.is_protocol());
        let include = word.starts_line
            && closest(&word.text, ["INCLUDE"]).is_some_and(|(_, edits)| edits <= 2);
        let rule = rule_word(word);
        if !entry && !include && rule.is_none() {
            return;
        }
        let text = match self.peek(0) {
            Some(next) if entry => quoted(&format!("{} {}", word.text, next.text)),
            _ => quoted(&word.text),
        };
        let message = format!("{text} looks like an access rule, but stands inside {name}");
        let statement = line_start
            .filter(|first| !first.starts_with_digit())
            .and_then(|first| closest(&first.text, STATEMENTS.iter().map(|s| s.name)));
        let misspelt = rule.filter(|rule| !rule.starts_with(&word.folded()));
        let help = match (statement.map(|(meant, _)| meant), misspelt) {
            (Some(meant), _) | (None, Some(meant)) => did_you_mean(meant),
            (None, None) => "begin a line with the statement that it belongs to".to_owned(),
        };
        self.refuse(word, Code::LooksLikeEntry, message, Some(help));
        self.skip_line();
    }

    /// Operands of a word that is no statement, up to the next that is one or
    /// nearly one.
    pub(super) fn skip_unknown(&mut self) {
        while !self.at_statement() {
            let Some(word) = self.peek(0).cloned() else {
                return;
            };
            if self.is_misspelt_statement(&word) {
                return;
            }
            self.next();
        }
    }
}
