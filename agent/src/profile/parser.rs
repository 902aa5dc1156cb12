//! Words to statements: the frame that every statement's parser works in.
//!
//! Recursive descent with a look-ahead of three words. The only recursion is
//! INCLUDE, whose depth is bounded.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use portreeve_common::abi::MAX_ENTRIES;

use super::Parsed;
use super::ast::{Profile, Statement};
use super::lexer::{Lexer, Word};
use super::read::{Contents, MAX_BYTES, OpenedFile, ReadOptions};
use super::statements::{self, Kind, STATEMENTS};
use super::suggest::{closest, did_you_mean};
use crate::diagnostics::{
    Code, Diagnostic, Diagnostics, Severity, SourceId, Sources, Span, quoted,
};

/// Entries kept of one profile: twice what a policy can hold, so that entries
/// lost to collisions don't cost others their place. Statements likewise, since
/// each may have one entry.
pub(super) const KEPT_ENTRIES: usize = 2 * MAX_ENTRIES as usize;
/// Deepest chain of INCLUDEs.
const MAX_DEPTH: usize = 32;
/// Most files that one profile may include, each time counted.
const MAX_INCLUDES: usize = 1000;

/// Parses `file`, which was found at `path`, behind what `before` holds.
pub(super) fn run(before: Parsed, path: &Path, file: OpenedFile, options: &ReadOptions) -> Parsed {
    let entries = before.profile.kept();
    let mut parser = Parser {
        options,
        sources: before.sources,
        diagnostics: before.diagnostics,
        profile: before.profile,
        frame: Frame::none(),
        chain: Vec::new(),
        includes: 0,
        bytes: 0,
        entries,
    };
    parser.file(path, file);
    Parsed {
        profile: parser.profile,
        sources: parser.sources,
        diagnostics: parser.diagnostics,
    }
}

/// The parser's state.
pub(super) struct Parser<'a> {
    pub(super) options: &'a ReadOptions<'a>,
    pub(super) sources: Sources,
    pub(super) diagnostics: Diagnostics,
    pub(super) profile: Profile,
    frame: Frame<'a>,
    /// The identities of the files that include one another just now.
    chain: Vec<PathBuf>,
    includes: usize,
    bytes: usize,
    /// Entries kept so far.
    pub(super) entries: usize,
}

/// The file that is being read.
struct Frame<'a> {
    lexer: Option<Lexer<'a>>,
    ahead: VecDeque<Word>,
    path: PathBuf,
}

impl Frame<'_> {
    fn none() -> Self {
        Self {
            lexer: None,
            ahead: VecDeque::new(),
            path: PathBuf::new(),
        }
    }
}

impl<'a> Parser<'a> {
    /// Parses one file. A statement never goes on behind the end of its file.
    fn file(&mut self, path: &Path, file: OpenedFile) {
        self.bytes += file.bytes.len();
        let source = self.add_source(path, file.bytes);
        let text = self.sources.shared_text(source);
        let frame = Frame {
            lexer: Some(Lexer::new(text, source, self.options.symbols)),
            ahead: VecDeque::new(),
            path: path.to_owned(),
        };
        let outer = std::mem::replace(&mut self.frame, frame);
        self.chain.push(file.identity);
        while let Some(word) = self.next() {
            self.statement(&word);
        }
        self.chain.pop();
        self.frame = outer;
    }

    /// Takes `bytes` for text, whatever they are.
    fn add_source(&mut self, path: &Path, bytes: Contents) -> SourceId {
        let (text, bad) = match bytes {
            Contents::Text(text) => (text, None),
            Contents::Other(bytes) => {
                let bytes = &*bytes;
                let at = bytes
                    .utf8_chunks()
                    .next()
                    .map_or(0, |chunk| chunk.valid().len());
                let found = bytes.get(at).copied().unwrap_or_default();
                let hint = encoding_hint(bytes);
                let text = String::from_utf8_lossy(bytes).into();
                (text, Some((at, found, hint)))
            }
        };
        let nul = text.find('\0');
        let source = self.sources.add(path.to_owned(), text);
        let span = |at: usize, length: usize| Span {
            source,
            start: at as u32,
            end: (at + length) as u32,
        };
        if let Some((at, found, hint)) = bad {
            // The replacement character takes three bytes.
            let message = format!("byte 0x{found:02x} is not UTF-8 text");
            self.diagnostics
                .push(Diagnostic::error(Code::NotUtf8, span(at, 3), message).help(hint));
        }
        if let Some(at) = nul {
            let message = "a NUL byte (0x00) stands in the file";
            self.diagnostics.push(
                Diagnostic::error(Code::NulByte, span(at, 1), message)
                    .help("save the profile as plain UTF-8 text"),
            );
        }
        source
    }

    /// The next word.
    pub(super) fn next(&mut self) -> Option<Word> {
        match self.frame.ahead.pop_front() {
            Some(word) => Some(word),
            None => self.scan(),
        }
    }

    /// The word `index` words ahead, without taking it.
    pub(super) fn peek(&mut self, index: usize) -> Option<&Word> {
        while self.frame.ahead.len() <= index {
            let word = self.scan()?;
            self.frame.ahead.push_back(word);
        }
        self.frame.ahead.get(index)
    }

    fn scan(&mut self) -> Option<Word> {
        let word = self.frame.lexer.as_mut()?.next_word()?;
        if let Some(name) = &word.undefined {
            self.diagnostics.push_with(Severity::Error, || {
                let message = format!("system symbol {} is not defined", quoted(name));
                Diagnostic::error(Code::UnknownSymbol, word.span, message)
                    .help("define it, or write its value")
            });
        }
        Some(word)
    }

    /// The comment behind `span`, on the same line.
    pub(super) fn comment_behind(&self, span: Span) -> Option<Box<str>> {
        self.frame.lexer.as_ref()?.comment_behind(span)
    }

    /// The string that `word`, taken last, begins; `None` if it is not closed.
    pub(super) fn quoted_string(&mut self, word: &Word) -> Option<(String, Span)> {
        self.frame.ahead.clear();
        self.frame.lexer.as_mut()?.quoted(word.span)
    }

    /// Whether the next word certainly begins something else: the end of the
    /// file, or a statement at the start of a line.
    pub(super) fn at_statement(&mut self) -> bool {
        self.peek(0)
            .is_none_or(|word| word.starts_line && statements::is_known(word))
    }

    /// Whether the next words, at the start of a line, are an entry of PORT.
    fn at_port(&mut self) -> bool {
        self.peek(0)
            .is_some_and(|word| word.starts_line && word.is_number())
            && self.peek(1).is_some_and(Word::is_protocol)
    }

    /// Whether the next words, at the start of a line, are an entry of PORTRANGE.
    pub(super) fn at_range(&mut self) -> bool {
        self.peek(0)
            .is_some_and(|word| word.starts_line && word.is_number())
            && self.peek(1).is_some_and(Word::is_number)
            && self.peek(2).is_some_and(Word::is_protocol)
    }

    /// The next word if it is on the line of the one before.
    pub(super) fn next_on_line(&mut self) -> Option<Word> {
        if self.peek(0)?.starts_line {
            return None;
        }
        self.next()
    }

    /// Drops the rest of the line.
    pub(super) fn skip_line(&mut self) {
        while self.next_on_line().is_some() {}
    }

    /// The next word as operand `what` of the thing that began at `from`.
    /// Reports it if there is none.
    pub(super) fn operand(&mut self, what: &str, from: Span) -> Option<Word> {
        if self.at_statement() || self.at_port() || self.at_range() {
            self.missing(what, from);
            return None;
        }
        self.next()
    }

    /// Reports that operand `what` is missing.
    pub(super) fn missing(&mut self, what: &str, from: Span) {
        self.diagnostics.push_with(Severity::Error, || {
            let message = format!("{what} is missing");
            Diagnostic::error(Code::MissingOperand, from, message)
                .label(format!("{what} must follow"))
        });
    }

    /// Reports what is wrong with `word`, which was taken last. A comment glued
    /// to the word explains it better, and is then dropped with its line.
    pub(super) fn refuse(
        &mut self,
        word: &Word,
        code: Code,
        message: String,
        help: Option<String>,
    ) {
        if word.undefined.is_some() {
            return;
        }
        if let Some((before, _)) = word.text.split_once(';') {
            let message = format!(
                "{} is one word: a comment needs a blank before its semicolon",
                quoted(&word.text)
            );
            let help = format!("put a blank behind {}", quoted(before));
            self.diagnostics
                .push(Diagnostic::error(Code::GluedComment, word.span, message).help(help));
            self.skip_line();
            return;
        }
        self.diagnostics.push_with(Severity::Error, || {
            let diagnostic = Diagnostic::error(code, word.span, message);
            Diagnostic { help, ..diagnostic }
        });
    }

    /// Appends a statement to the profile, which began at `span`.
    pub(super) fn push(&mut self, span: Span, statement: Statement) {
        match self.profile.statements.len().cmp(&KEPT_ENTRIES) {
            Ordering::Less => self.profile.statements.push(statement),
            _ => self.too_many("statements", span),
        }
    }

    /// Reports that something beyond the limits was dropped.
    pub(super) fn too_many(&mut self, what: &str, span: Span) {
        self.diagnostics.push_with(Severity::Error, || {
            let message = format!("the profile has more than {KEPT_ENTRIES} {what}");
            Diagnostic::error(Code::TooManyEntries, span, message)
        });
    }

    /// Parses the statement that `word` begins.
    fn statement(&mut self, word: &Word) {
        let Some(statement) = statements::lookup(word) else {
            return self.no_statement(word);
        };
        match statement.kind {
            Kind::Port => self.port(word),
            Kind::PortRange => self.port_range(word),
            Kind::Delete => self.delete(word),
            Kind::TcpConfig | Kind::UdpConfig => self.protocol_config(word, statement.kind),
            Kind::IpConfig => self.ip_config(word),
            Kind::GlobalConfig => self.global_config(word),
            Kind::SaConfig => self.sa_config(word),
            Kind::Autolog => self.autolog(word),
            Kind::Include => self.include(word),
            Kind::Block(end) => self.skip_block(word, statement.name, end),
            Kind::Words(count) => self.skip_words(word, statement.name, count),
            Kind::Open => self.skip_open(word, statement.name),
        }
    }

    /// Reports a word that is no statement where one must stand, and drops what
    /// seems to belong to it. What looks like the entries of a misspelt PORT is
    /// parsed for the sake of the other errors in it.
    fn no_statement(&mut self, word: &Word) {
        if let Some(end) = statements::lookup_end(word) {
            let message = format!("{} ends nothing: no such block is open", end.name);
            return self.refuse(word, Code::StrayEnd, message, None);
        }
        let meant = closest(&word.text, STATEMENTS.iter().map(|known| known.name));
        let message = format!("{} is not a statement", quoted(&word.text));
        let help = match meant {
            Some((name, _)) => Some(did_you_mean(name)),
            None if word.starts_with_digit() => {
                Some("an entry stands in a PORT or PORTRANGE statement".to_owned())
            }
            None => None,
        };
        self.refuse(word, Code::UnknownStatement, message, help);
        match meant {
            Some(("PORT", _)) => self.drop_entries(word, false),
            Some(("PORTRANGE", _)) => self.drop_entries(word, true),
            _ => self.skip_unknown(),
        }
    }

    /// INCLUDE: another file in this place (`SYN-18`).
    fn include(&mut self, statement: &Word) {
        let Some(word) = self.operand("the file to include", statement.span) else {
            return;
        };
        let name = word.text.trim_matches(['\'', '"']);
        if word.undefined.is_some() || word.text.contains(';') || name.is_empty() {
            let message = format!("{} is not a file name", quoted(&word.text));
            return self.refuse(&word, Code::BadOperand, message, None);
        }
        let folder = self.frame.path.parent().unwrap_or(Path::new(""));
        let path = folder.join(name);
        if self.chain.len() > MAX_DEPTH || self.includes >= MAX_INCLUDES {
            let message = format!(
                "{} is not included: at most {MAX_INCLUDES} files, {MAX_DEPTH} deep, may be",
                quoted(name)
            );
            return self.refuse(&word, Code::IncludeRefused, message, None);
        }
        self.includes += 1;
        let file = match self.options.opener.open(&path) {
            Ok(file) => file,
            Err(error) => {
                let message = format!("the file to include can't be read: {error}");
                return self.refuse(&word, Code::IncludeUnreadable, message, None);
            }
        };
        if self.chain.contains(&file.identity) {
            let message = format!("{} includes itself", quoted(name));
            let help = "remove one of the INCLUDE statements that form the circle".to_owned();
            return self.refuse(&word, Code::IncludeRefused, message, Some(help));
        }
        if self.bytes + file.bytes.len() > MAX_BYTES {
            let limit = MAX_BYTES >> 20;
            let message = format!("{} makes the profile larger than {limit} MiB", quoted(name));
            return self.refuse(&word, Code::IncludeRefused, message, None);
        }
        self.file(&path, file);
    }
}

/// What a file that isn't UTF-8 probably is.
fn encoding_hint(bytes: &[u8]) -> &'static str {
    let count = |wanted: u8| bytes.iter().filter(|byte| **byte == wanted).count();
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        "the file looks like UTF-16; convert it with `iconv -f UTF-16 -t UTF-8`"
    } else if count(0x40) > count(b' ') {
        "the file looks like EBCDIC; convert it with `iconv -f IBM-1047 -t UTF-8`"
    } else {
        "save the profile as UTF-8 text"
    }
}
