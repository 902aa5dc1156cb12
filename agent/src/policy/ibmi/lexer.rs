//! CL text to tokens: comments and continued lines are gone.

use crate::diagnostics::{SourceId, Span};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    Word,
    /// A value in quotes, which are not part of its text.
    Quoted,
    Open,
    Close,
    /// The end of a line that is not continued: the end of a command.
    Line,
    /// A comment or a quote that is not closed.
    Unclosed,
    /// The end of the text.
    End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub kind: TokenKind,
    /// As written, without what continues a line.
    pub text: String,
    pub span: Span,
}

pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
    source: SourceId,
}

impl<'t> Lexer<'t> {
    pub fn new(text: &'t str, source: SourceId) -> Self {
        // Some editors begin a file with a byte order mark.
        let at = if text.starts_with('\u{feff}') { 3 } else { 0 };
        Self { text, at, source }
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn token(&self, kind: TokenKind, start: usize, text: String) -> Token {
        let span = Span {
            source: self.source,
            start: start as u32,
            end: self.at as u32,
        };
        Token { kind, text, span }
    }

    /// Goes to the end of the line.
    pub fn skip_line(&mut self) {
        self.at += self.rest().find('\n').unwrap_or(self.rest().len());
    }

    /// The next token. Behind the end it is [`TokenKind::End`] for ever.
    pub fn next(&mut self) -> Token {
        let comment = self.skip_blanks();
        let start = self.at;
        if let Err(start) = comment {
            return self.token(TokenKind::Unclosed, start, String::new());
        }
        let Some(c) = self.rest().chars().next() else {
            return self.token(TokenKind::End, start, String::new());
        };
        let kind = match c {
            '\n' => TokenKind::Line,
            '(' => TokenKind::Open,
            ')' => TokenKind::Close,
            '\'' => return self.quoted(start),
            _ => return self.word(start),
        };
        self.at += 1;
        self.token(kind, start, c.to_string())
    }

    /// Passes blanks, comments and continued ends of lines. `Err` is where a
    /// comment begins that has no end.
    fn skip_blanks(&mut self) -> Result<(), usize> {
        loop {
            let rest = self.rest();
            let blanks = rest.len() - rest.trim_start_matches(is_blank).len();
            self.at += blanks;
            if let Some(comment) = self.rest().strip_prefix("/*") {
                let start = self.at;
                let Some(length) = comment.find("*/") else {
                    self.at = self.text.len();
                    return Err(start);
                };
                self.at += length + 4;
            } else if !self.skip_continuation() && blanks == 0 {
                return Ok(());
            }
        }
    }

    /// Passes `+` or `-` at the end of a line; behind `+` also the blanks that
    /// the next line begins with.
    fn skip_continuation(&mut self) -> bool {
        let rest = self.rest();
        let Some(behind) = rest.strip_prefix(['+', '-']) else {
            return false;
        };
        let Some(next_line) = behind.trim_start_matches(is_blank).strip_prefix('\n') else {
            return false;
        };
        let next = match rest.starts_with('+') {
            true => next_line.trim_start_matches(is_blank),
            false => next_line,
        };
        self.at += rest.len() - next.len();
        true
    }

    fn quoted(&mut self, start: usize) -> Token {
        let inner = &self.rest()[1..];
        let length = inner.find(['\'', '\n']).unwrap_or(inner.len());
        let (text, behind) = inner.split_at(length);
        if behind.starts_with('\'') {
            self.at += length + 2;
            return self.token(TokenKind::Quoted, start, text.to_owned());
        }
        self.at += length + 1;
        self.token(TokenKind::Unclosed, start, String::new())
    }

    fn word(&mut self, start: usize) -> Token {
        let mut text = String::new();
        loop {
            let rest = self.rest();
            let ends = |c: char| is_blank(c) || matches!(c, '\n' | '(' | ')' | '\'');
            let Some(c) = rest.chars().next() else { break };
            // A word may go on in the next line.
            if self.skip_continuation() {
                continue;
            }
            if ends(c) || rest.starts_with("/*") {
                break;
            }
            text.push(c);
            self.at += c.len_utf8();
        }
        self.token(TokenKind::Word, start, text)
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\u{c}' | '\u{1a}')
}
