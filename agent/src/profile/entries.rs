//! The entries of PORT, PORTRANGE and DELETE.
//!
//! A bad entry is dropped and reading goes on where the next one begins; the
//! one error that takes its whole statement with it is DENY for a named job.

use portreeve_common::abi::Protocol;

use super::ast::{PortEntry, PortList, Statement, Target, User};
use super::jobname::jobname;
use super::lexer::Word;
use super::options::{self, Context};
use super::parser::{KEPT_ENTRIES, Parser};
use super::statements::{self, STATEMENTS};
use super::suggest::{closest, did_you_mean};
use crate::diagnostics::{Code, Diagnostic, Severity, Span, quoted};

/// What an error takes with it; it has been reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    Entry,
    Statement,
}

/// Which list the entries stand in.
#[derive(Clone, Copy, Debug)]
struct List {
    /// PORTRANGE, so that every entry has a count.
    ranges: bool,
    deleting: bool,
    /// The statement's name.
    span: Span,
}

impl Parser<'_> {
    /// PORT.
    pub(super) fn port(&mut self, statement: &Word) {
        let (ranges, deleting, span) = (false, false, statement.span);
        if let Some(list) = self.list(List {
            ranges,
            deleting,
            span,
        }) {
            self.push(span, Statement::Port(list));
        }
    }

    /// PORTRANGE.
    pub(super) fn port_range(&mut self, statement: &Word) {
        let (ranges, deleting, span) = (true, false, statement.span);
        if let Some(list) = self.list(List {
            ranges,
            deleting,
            span,
        }) {
            self.push(span, Statement::PortRange(list));
        }
    }

    /// DELETE, of ports or of something else.
    pub(super) fn delete(&mut self, statement: &Word) {
        let Some(word) = self.operand("what to delete (PORT or PORTRANGE)", statement.span) else {
            return;
        };
        let list = |ranges| List {
            ranges,
            deleting: true,
            span: statement.span.to(word.span),
        };
        match statements::lookup(&word).map(|found| found.name) {
            Some("PORT") => {
                if let Some(list) = self.list(list(false)) {
                    self.push(list.span, Statement::DeletePort(list));
                }
            }
            Some("PORTRANGE") => {
                if let Some(list) = self.list(list(true)) {
                    self.push(list.span, Statement::DeletePortRange(list));
                }
            }
            Some("ATMARPSV" | "ATMLIS" | "ATMPVC" | "DEVICE" | "LINK") => {
                self.skip_open(statement, "DELETE");
            }
            _ => {
                let message = format!("DELETE does not know {}", quoted(&word.text));
                let help = closest(&word.text, ["PORT", "PORTRANGE"]);
                let help = help.map_or_else(
                    || "DELETE takes PORT or PORTRANGE".to_owned(),
                    |(name, _)| did_you_mean(name),
                );
                self.refuse(&word, Code::UnknownStatement, message, Some(help));
                self.skip_unknown();
            }
        }
    }

    /// The entries of a misspelt statement: read for the errors in them, and dropped.
    pub(super) fn drop_entries(&mut self, statement: &Word, ranges: bool) {
        let (deleting, span) = (false, statement.span);
        let kept = self.entries;
        self.entry_list(List {
            ranges,
            deleting,
            span,
        });
        self.entries = kept;
    }

    /// A whole list; `None` if the statement is dropped.
    fn list(&mut self, list: List) -> Option<PortList> {
        let span = list.span;
        let errors = self.diagnostics.count(Severity::Error);
        let entries = self.entry_list(list)?;
        if entries.is_empty() && self.diagnostics.count(Severity::Error) == errors {
            let message = "the statement has no entries and does nothing";
            self.diagnostics
                .push(Diagnostic::warning(Code::EmptyStatement, span, message));
        }
        Some(PortList { span, entries })
    }

    fn entry_list(&mut self, list: List) -> Option<Vec<PortEntry>> {
        let mut entries = Vec::new();
        let mut doomed = false;
        while let Some(word) = self.next_entry(list) {
            if !list.deleting {
                self.profile.written += 1;
            }
            match self.entry(&word, list) {
                Ok(entry) => self.keep(entry, &mut entries),
                Err(dropped) => {
                    doomed |= dropped == Dropped::Statement;
                    self.resynchronise(list);
                }
            }
        }
        if doomed {
            self.entries -= entries.len();
            return None;
        }
        Some(entries)
    }

    fn keep(&mut self, entry: PortEntry, entries: &mut Vec<PortEntry>) {
        if self.entries < KEPT_ENTRIES {
            self.entries += 1;
            entries.push(entry);
            return;
        }
        self.too_many("entries", entry.span);
    }

    /// The word that begins the next entry, if one does.
    fn next_entry(&mut self, list: List) -> Option<Word> {
        let word = self.peek(0)?;
        // As nearly all do.
        if !word.starts_with_digit() {
            let word = word.clone();
            if !self.begins_entry(&word, list) {
                return None;
            }
        }
        self.next()
    }

    /// Whether `word`, which is next, is meant to begin an entry. A word that
    /// can't, but stands where only an entry can be meant, is taken for one and
    /// refused there; what is left to the caller is a statement's name, perhaps
    /// a misspelt one.
    fn begins_entry(&mut self, word: &Word, list: List) -> bool {
        if word.starts_with_digit() || word.is("UNRSV") {
            return true;
        }
        if statements::is_known(word) {
            return false;
        }
        let behind = self.peek(1).is_some_and(|next| {
            !next.starts_line && (next.is_protocol() || (list.ranges && next.is_number()))
        });
        // `PROT 22 TCP` is a misspelt statement, `2l TCP` and `x 22 TCP` in
        // a PORTRANGE are misspelt numbers.
        let misspelt = closest(&word.text, STATEMENTS.iter().map(|known| known.name)).is_some();
        !word.starts_line || (behind && !misspelt)
    }

    /// Drops words up to where the next entry or statement certainly begins.
    fn resynchronise(&mut self, list: List) {
        while let Some(word) = self.peek(0).cloned() {
            let sure = if word.starts_line {
                word.starts_with_digit() || statements::is_known(&word)
            } else if list.ranges {
                word.is_number()
                    && self.peek(1).is_some_and(Word::is_number)
                    && self.peek(2).is_some_and(Word::is_protocol)
            } else {
                word.is_number() && self.peek(1).is_some_and(Word::is_protocol)
            };
            if sure || word.is("UNRSV") || self.is_misspelt_statement(&word) {
                break;
            }
            self.next();
        }
    }

    /// Whether `word`, which is next, starts a line like `PROT 22 TCP SSHD`.
    pub(super) fn is_misspelt_statement(&mut self, word: &Word) -> bool {
        word.starts_line && closest(&word.text, STATEMENTS.iter().map(|s| s.name)).is_some()
    }

    /// The entry that `first` begins.
    fn entry(&mut self, first: &Word, list: List) -> Result<PortEntry, Dropped> {
        let target = self.target(first, list)?;
        let protocol = self.protocol(first)?;
        let (user, mut span) = self.user(first, target)?;
        let context = Context {
            target,
            protocol,
            user: &user,
            deleting: list.deleting,
        };
        let options = self.options(&context)?;
        self.nothing_behind()?;
        for end in options.spans() {
            span = span.to(end);
        }
        if let Some(deny) = &options.deny
            && user != User::Anyone
            && !list.deleting
        {
            let message = "DENY is only for the job name *, so the whole PORT statement is dropped";
            let diagnostic = Diagnostic::error(Code::DenyNotStar, deny.span, message)
                .help("write `UNRSV ... * DENY`, or leave out DENY")
                .related(list.span, "this statement is dropped");
            self.diagnostics.push_with(Severity::Error, || diagnostic);
            return Err(Dropped::Statement);
        }
        Ok(PortEntry {
            target,
            protocol,
            user,
            options,
            span,
            description: self.comment_behind(span),
        })
    }

    fn target(&mut self, first: &Word, list: List) -> Result<Target, Dropped> {
        if !list.ranges && first.is("UNRSV") {
            return Ok(Target::Unrsv);
        }
        let port = self.number(first, "a port", 1..=65535)? as u16;
        if !list.ranges {
            return Ok(Target::Port(port));
        }
        if self.at_statement() || self.at_range() {
            self.missing("the number of ports in the range", first.span);
            return Err(Dropped::Entry);
        }
        let word = self.next().ok_or(Dropped::Entry)?;
        let count = self.number(&word, "a number of ports", 1..=65535)?;
        Ok(Target::Range { first: port, count })
    }

    /// The number that `word` is, if it is one within `range`.
    pub(super) fn number(
        &mut self,
        word: &Word,
        what: &str,
        range: std::ops::RangeInclusive<u32>,
    ) -> Result<u32, Dropped> {
        let number = word.text.parse::<u32>().ok();
        if let Some(number) = number.filter(|number| word.is_number() && range.contains(number)) {
            return Ok(number);
        }
        let message = format!(
            "{} is not {what} from {} to {}",
            quoted(&word.text),
            range.start(),
            range.end()
        );
        self.refuse(word, Code::BadNumber, message, None);
        Err(Dropped::Entry)
    }

    /// The next word as a required part of the entry that `first` begins. A
    /// number is the next entry instead.
    fn part(&mut self, what: &str, first: &Word) -> Result<Word, Dropped> {
        if self.at_statement() || self.peek(0).is_some_and(Word::is_number) {
            self.missing(what, first.span);
            return Err(Dropped::Entry);
        }
        self.next().ok_or(Dropped::Entry)
    }

    fn protocol(&mut self, first: &Word) -> Result<Protocol, Dropped> {
        let word = self.part("the protocol, TCP or UDP,", first)?;
        if word.is("TCP") {
            return Ok(Protocol::Tcp);
        }
        if word.is("UDP") {
            return Ok(Protocol::Udp);
        }
        let message = format!("{} is not a protocol: TCP or UDP", quoted(&word.text));
        let help = closest(&word.text, ["TCP", "UDP"]).map(|(name, _)| did_you_mean(name));
        self.refuse(&word, Code::BadProtocol, message, help);
        Err(Dropped::Entry)
    }

    /// Who may have the ports, and the span of the entry so far.
    fn user(&mut self, first: &Word, target: Target) -> Result<(User, Span), Dropped> {
        let what = match target {
            Target::Unrsv => "the job name or *",
            _ => "the job name or RESERVED",
        };
        if self.peek(0).and_then(options::lookup).is_some() {
            // An option's name is no job name: the job name was forgotten.
            self.missing(what, first.span);
            return Err(Dropped::Entry);
        }
        let word = self.part(what, first)?;
        let span = first.span.to(word.span);
        let found = match jobname(&word.text) {
            Ok(found) if !word.is_protocol() => found,
            Ok(_) => {
                let message = format!("{} is not a job name", quoted(&word.text));
                self.refuse(&word, Code::BadJobname, message, None);
                return Err(Dropped::Entry);
            }
            Err(reason) => {
                let message = format!("{} is not a job name: {reason}", quoted(&word.text));
                self.refuse(&word, Code::BadJobname, message, None);
                return Err(Dropped::Entry);
            }
        };
        let refused = match (&found.user, target) {
            (User::Reserved, Target::Unrsv) => Some("RESERVED needs a port; use `* DENY` instead"),
            (User::Authport, Target::Port(_) | Target::Unrsv) => {
                Some("AUTHPORT is for PORTRANGE only")
            }
            _ => None,
        };
        if let Some(reason) = refused {
            let message = format!("{} is not allowed here: {reason}", quoted(&word.text));
            self.refuse(&word, Code::OptionNotAllowed, message, None);
            return Err(Dropped::Entry);
        }
        if found.extended && self.options.strict {
            let message = format!("{} is not a job name on z/OS", quoted(&word.text));
            self.diagnostics.push_with(Severity::Warning, || {
                Diagnostic::warning(Code::ExtendedJobname, word.span, message)
                    .help("z/OS allows 1 to 8 letters, digits and @ # $")
            });
        }
        Ok((found.user, span))
    }

    /// Makes sure that the entry is over: that what follows is an entry or a
    /// statement, perhaps a misspelt one, and not a misspelt option.
    fn nothing_behind(&mut self) -> Result<(), Dropped> {
        let begins_another = |word: &Word| {
            word.starts_with_digit() || word.is("UNRSV") || statements::is_known(word)
        };
        let Some(word) = self.peek(0).filter(|word| !begins_another(word)).cloned() else {
            return Ok(());
        };
        let option = closest(&word.text, options::names());
        if word.starts_line {
            let statement = closest(&word.text, STATEMENTS.iter().map(|known| known.name));
            let nearer = match (option, statement) {
                (Some((_, option)), Some((_, statement))) => option < statement,
                (option, _) => option.is_some(),
            };
            if !nearer {
                return Ok(());
            }
        }
        self.next();
        let message = format!(
            "{} is neither an option nor the next entry",
            quoted(&word.text)
        );
        let help = option.map(|(name, _)| did_you_mean(name));
        self.refuse(&word, Code::UnknownOption, message, help);
        Err(Dropped::Entry)
    }
}
