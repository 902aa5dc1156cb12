//! Text to words.
//!
//! Blanks and line ends only separate words; `;` starts a comment at the start
//! of a line or behind a blank, and is an ordinary character elsewhere, so that
//! `NAME;text` is one word that nothing accepts (`SYN-01` to `SYN-03`). Words
//! are made one at a time: a large file is never held as a list of them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use compact_str::CompactString;

use crate::diagnostics::{SourceId, Span, visible};

/// The values of system symbols, by name in upper case without `&` and `.`.
pub type Symbols = BTreeMap<String, String>;

/// Longest description kept, in characters.
const DESCRIPTION_CHARS: usize = 100;

/// Longest quoted string, in bytes; what is used of it is limited further.
const QUOTED_BYTES: usize = 512;

/// One word of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// The word in its own case, symbols replaced; what is short, as nearly all are, is
    /// kept in here.
    pub text: CompactString,
    /// Where it stands; the symbol's place if it came from one.
    pub span: Span,
    /// No other word stands before it on its line.
    pub starts_line: bool,
    /// The name of an undefined symbol in it.
    pub undefined: Option<Box<str>>,
}

impl Word {
    /// Whether the word is `keyword`, in any case.
    pub fn is(&self, keyword: &str) -> bool {
        self.text.eq_ignore_ascii_case(keyword)
    }

    /// Whether the word is `keyword` or its first characters, at least `shortest`
    /// of them (`SYN-07`).
    pub fn abbreviates(&self, keyword: &str, shortest: usize) -> bool {
        abbreviates(&self.text, keyword, shortest)
    }

    /// The word in upper case (`SYN-05`).
    pub fn folded(&self) -> String {
        self.text.as_str().to_ascii_uppercase()
    }

    /// Whether the word begins like a number.
    pub fn starts_with_digit(&self) -> bool {
        self.text.starts_with(|c: char| c.is_ascii_digit())
    }

    /// Whether the word is a number.
    pub fn is_number(&self) -> bool {
        !self.text.is_empty() && self.text.bytes().all(|byte| byte.is_ascii_digit())
    }

    /// Whether the word names a protocol.
    pub fn is_protocol(&self) -> bool {
        self.is("TCP") || self.is("UDP")
    }
}

/// Whether `word` is `keyword` or an abbreviation of at least `shortest` characters.
pub fn abbreviates(word: &str, keyword: &str, shortest: usize) -> bool {
    word.len() >= shortest
        && keyword
            .get(..word.len())
            .is_some_and(|prefix| prefix.eq_ignore_ascii_case(word))
}

/// Makes the words of one text.
pub struct Lexer<'a> {
    text: Arc<str>,
    source: SourceId,
    position: usize,
    starts_line: bool,
    symbols: Option<&'a Symbols>,
    /// What is left of a word whose symbol held several.
    pending: VecDeque<Word>,
}

impl<'a> Lexer<'a> {
    /// The words of `text`, which is `source`.
    pub fn new(text: Arc<str>, source: SourceId, symbols: Option<&'a Symbols>) -> Self {
        // A byte order mark is no part of the first word.
        let position = if text.starts_with('\u{feff}') { 3 } else { 0 };
        Self {
            text,
            source,
            position,
            starts_line: true,
            symbols,
            pending: VecDeque::new(),
        }
    }

    /// The next word, or `None` at the end.
    pub fn next_word(&mut self) -> Option<Word> {
        loop {
            if let Some(word) = self.pending.pop_front() {
                return Some(word);
            }
            let word = self.scan()?;
            match self.symbols {
                Some(symbols) if word.text.contains('&') => {
                    self.pending = substituted(&word, symbols);
                }
                _ => return Some(word),
            }
        }
    }

    fn scan(&mut self) -> Option<Word> {
        let bytes = self.text.as_bytes();
        let mut position = self.position;
        loop {
            match bytes.get(position)? {
                b'\n' => {
                    self.starts_line = true;
                    position += 1;
                }
                byte if is_blank(*byte) => position += 1,
                b';' => position = end_of_line(bytes, position),
                _ => break,
            }
        }
        let length = bytes[position..].iter().position(|byte| is_blank(*byte));
        let end = length.map_or(bytes.len(), |length| position + length);
        self.position = end;
        Some(Word {
            // A blank is ASCII, so a word starts and ends between characters.
            text: self.text.get(position..end).unwrap_or("").into(),
            span: self.span(position, end),
            starts_line: std::mem::take(&mut self.starts_line),
            undefined: None,
        })
    }

    fn span(&self, start: usize, end: usize) -> Span {
        Span {
            source: self.source,
            start: start as u32,
            end: end as u32,
        }
    }

    /// The rest of a string that begins with the quote at `span.start`: its text
    /// and where it stands. `None` if the quote isn't closed on its line. The
    /// next word is the one behind it.
    pub fn quoted(&mut self, span: Span) -> Option<(String, Span)> {
        let bytes = self.text.as_bytes();
        let start = span.start as usize;
        let quote = *bytes.get(start)?;
        // Only so far: a line may be long and hold many quotes that aren't closed.
        let near = bytes.get(start + 1..)?.iter().take(QUOTED_BYTES);
        let mut near = near.take_while(|byte| **byte != b'\n');
        let length = near.position(|byte| *byte == quote)?;
        let end = start + length + 2;
        let text = self.text.get(start + 1..end - 1)?.to_owned();
        self.position = end;
        self.starts_line = false;
        self.pending.clear();
        Some((text, self.span(start, end)))
    }

    /// The comment that follows `span` on its line, if nothing else does.
    pub fn comment_behind(&self, span: Span) -> Option<Box<str>> {
        let bytes = self.text.as_bytes();
        let mut start = span.end as usize;
        while bytes
            .get(start)
            .is_some_and(|byte| *byte != b'\n' && is_blank(*byte))
        {
            start += 1;
        }
        if bytes.get(start) != Some(&b';') || start == span.end as usize {
            return None;
        }
        let comment = self.text.get(start + 1..end_of_line(bytes, start))?;
        let description: String = comment
            .trim_matches(|c: char| c.is_whitespace() || c == ';')
            .chars()
            .take(DESCRIPTION_CHARS)
            .map(visible)
            .collect();
        let description = Some(description.trim_end()).filter(|text| !text.is_empty());
        description.map(Box::from)
    }
}

/// Tabs, form feeds and carriage returns are blanks too.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

fn end_of_line(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    rest.iter()
        .position(|byte| *byte == b'\n')
        .map_or(bytes.len(), |length| from + length)
}

fn is_symbol_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '@' | '#' | '$' | '_')
}

/// The words that `word` is when its symbols are replaced (`SYN-06`).
fn substituted(word: &Word, symbols: &Symbols) -> VecDeque<Word> {
    let mut text = String::new();
    let mut undefined = None;
    let mut rest = word.text.as_str();
    while let Some((before, behind)) = rest.split_once('&') {
        text.push_str(before);
        let length = behind.find(|c| !is_symbol_char(c)).unwrap_or(behind.len());
        let (name, behind) = behind.split_at(length);
        rest = behind;
        if name.is_empty() {
            text.push('&');
            continue;
        }
        match symbols.get(&name.to_ascii_uppercase()) {
            Some(value) => {
                text.push_str(value);
                rest = rest.strip_prefix('.').unwrap_or(rest);
            }
            None => {
                undefined.get_or_insert_with(|| name.into());
                text.push('&');
                text.push_str(name);
            }
        }
    }
    text.push_str(rest);
    let mut words: VecDeque<Word> = text
        .split_ascii_whitespace()
        .enumerate()
        .map(|(index, text)| Word {
            text: text.into(),
            span: word.span,
            starts_line: word.starts_line && index == 0,
            undefined: None,
        })
        .collect();
    if let Some(first) = words.front_mut() {
        first.undefined = undefined;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::Sources;

    fn words_with(text: &str, symbols: Option<&Symbols>) -> Vec<Word> {
        let mut sources = Sources::new();
        let id = sources.add("p".into(), text.to_owned());
        let mut lexer = Lexer::new(sources.shared_text(id), id, symbols);
        std::iter::from_fn(move || lexer.next_word()).collect()
    }

    fn words(text: &str) -> Vec<String> {
        let words = words_with(text, None).into_iter();
        words.map(|word| word.text.into()).collect()
    }

    /// `SYN-01`, `SYN-02`, `SYN-03`, `SYN-04`.
    #[test]
    fn blanks_separate_and_comments_need_one() {
        assert_eq!(
            words("PORT\r\n\t21  TCP\x0cA ; x\n; y\n;z\nB"),
            ["PORT", "21", "TCP", "A", "B"]
        );
        assert_eq!(words("FTPD1;x y"), ["FTPD1;x", "y"]);
        assert_eq!(words("; only"), Vec::<String>::new());
        assert_eq!(words("A 00010000"), ["A", "00010000"]);
        assert_eq!(words("\u{feff}PORT"), ["PORT"]);
    }

    #[test]
    fn the_first_word_of_a_line_is_known() {
        let starts: Vec<bool> = words_with("A B ; c\n;\n C D", None)
            .iter()
            .map(|word| word.starts_line)
            .collect();
        assert_eq!(starts, [true, false, true, false]);
    }

    /// `SYN-06`.
    #[test]
    fn symbols_are_replaced() {
        let symbols: Symbols = [("SYSNAME", "H1"), ("TWO", "A B"), ("NONE", "")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let texts = |text: &str| -> Vec<String> {
            let words = words_with(text, Some(&symbols)).into_iter();
            words.map(|word| word.text.into()).collect()
        };
        assert_eq!(texts("F&SYSNAME..X&sysname"), ["FH1.XH1"]);
        assert_eq!(texts("&TWO. &NONE. C"), ["A", "B", "C"]);
        let unknown = &words_with("X&WHAT.Y", Some(&symbols))[0];
        assert_eq!(unknown.undefined.as_deref(), Some("WHAT"));
        assert_eq!(unknown.text, "X&WHAT.Y");
        assert_eq!(words("&SYSNAME."), ["&SYSNAME."]);
    }

    /// `SYN-07`, `SYN-08`.
    #[test]
    fn abbreviations() {
        assert!(abbreviates("SHAREP", "SHAREPORT", 6));
        assert!(abbreviates("sharePort", "SHAREPORT", 6));
        assert!(!abbreviates("SHARE", "SHAREPORT", 6));
        assert!(!abbreviates("SHAREPORTW", "SHAREPORT", 6));
        assert!(!abbreviates("SHÄREP", "SHAREPORT", 6));
    }
}
