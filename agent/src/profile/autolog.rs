//! AUTOLOG: the procedures to start and watch.

use super::ast::{Autolog, Procedure, Statement, User};
use super::entries::Dropped;
use super::jobname::jobname;
use super::lexer::Word;
use super::parser::{KEPT_ENTRIES, Parser};
use super::statements::{self, END_AUTOLOG};
use crate::diagnostics::{Code, Diagnostics, Span, quoted};

/// Longest PARMSTRING.
const PARMSTRING_CHARS: usize = 115;
/// Longest wait time of AUTOLOG, in minutes.
const MAX_WAIT: u32 = 30;

impl Parser<'_> {
    /// AUTOLOG, to ENDAUTOLOG. Without one, all that follows is lost (`SYN-11`),
    /// and what it would say about single words is noise.
    pub(super) fn autolog(&mut self, statement: &Word) {
        let outside = std::mem::replace(&mut self.diagnostics, Diagnostics::new());
        let mut autolog = Autolog {
            span: statement.span,
            wait: None,
            procedures: Vec::new(),
            replaces: false,
        };
        let mut swallowed = None;
        let mut ended = false;
        if let Some(word) = self
            .peek(0)
            .filter(|word| word.starts_with_digit())
            .cloned()
        {
            self.next();
            let wait = self.number(&word, "a number of minutes", 0..=MAX_WAIT);
            autolog.wait = wait.ok().map(|minutes| minutes as u8);
        }
        while let Some(word) = self.next() {
            if END_AUTOLOG.is(&word) {
                ended = true;
                break;
            }
            let ours = || statements::lookup(&word).is_some_and(|found| found.is_ours());
            if swallowed.is_none() && word.starts_line && ours() {
                swallowed = Some(word.clone());
            }
            match self.procedure(&word) {
                Ok(procedure) if self.entries < KEPT_ENTRIES => {
                    self.entries += 1;
                    autolog.procedures.push(procedure);
                }
                Ok(procedure) => self.too_many("entries", procedure.span),
                Err(_) => self.skip_line(),
            }
        }
        let inside = std::mem::replace(&mut self.diagnostics, outside);
        if ended {
            self.diagnostics.append(inside);
            self.push(statement.span, Statement::Autolog(autolog));
        } else {
            self.unterminated(statement, "AUTOLOG", END_AUTOLOG, swallowed);
        }
    }

    fn procedure(&mut self, first: &Word) -> Result<Procedure, Dropped> {
        let mut procedure = Procedure {
            span: first.span,
            name: self.plain_name(first, "a procedure")?,
            jobname: None,
            parameters: None,
            after_dvipa: false,
            after_ttls: false,
        };
        while let Some(word) = self.peek(0).cloned() {
            if word.is("JOBNAME") {
                self.next();
                let operand = self.operand("the job name", word.span);
                let operand = operand.ok_or(Dropped::Entry)?;
                procedure.jobname = Some(self.plain_name(&operand, "a job")?);
                procedure.span = procedure.span.to(operand.span);
            } else if word.is("PARMSTRING") {
                self.next();
                let (text, span) = self.parameters(&word)?;
                procedure.parameters = Some(text);
                procedure.span = procedure.span.to(span);
            } else if word.is("DELAYSTART") {
                self.next();
                procedure.span = procedure.span.to(word.span);
                self.delays(&mut procedure);
            } else {
                break;
            }
        }
        Ok(procedure)
    }

    /// What DELAYSTART waits for; alone it means DVIPA.
    fn delays(&mut self, procedure: &mut Procedure) {
        let mut named = false;
        loop {
            match self.peek(0) {
                Some(word) if word.is("DVIPA") => procedure.after_dvipa = true,
                Some(word) if word.is("TTLS") => procedure.after_ttls = true,
                _ => break,
            }
            named = true;
            if let Some(word) = self.next() {
                procedure.span = procedure.span.to(word.span);
            }
        }
        procedure.after_dvipa |= !named;
    }

    /// The text of PARMSTRING. It may be a secret, so it is shown nowhere.
    fn parameters(&mut self, keyword: &Word) -> Result<(String, Span), Dropped> {
        let operand = self.operand("the parameter string", keyword.span);
        let word = operand.ok_or(Dropped::Entry)?;
        self.sources.redact(word.span);
        let (text, span) = if word.text.starts_with(['"', '\'']) {
            let Some(string) = self.quoted_string(&word) else {
                self.skip_redacted();
                let message = "the parameter string is not closed".to_owned();
                self.refuse(&word, Code::BadOperand, message, None);
                return Err(Dropped::Entry);
            };
            string
        } else {
            (word.text.to_string(), word.span)
        };
        self.sources.redact(span);
        if text.chars().count() > PARMSTRING_CHARS || text.chars().any(char::is_control) {
            let message = format!(
                "the parameter string is longer than {PARMSTRING_CHARS} characters or holds control characters"
            );
            self.refuse(&word, Code::BadOperand, message, None);
            return Err(Dropped::Entry);
        }
        Ok((text, span))
    }

    /// A name without patterns.
    fn plain_name(&mut self, word: &Word, what: &str) -> Result<String, Dropped> {
        match jobname(&word.text).map(|found| found.user) {
            Ok(User::Job(name)) if !name.contains(['*', '?']) => Ok(name.into()),
            _ => {
                let message = format!("{} is not the name of {what}", quoted(&word.text));
                self.refuse(word, Code::BadJobname, message, None);
                Err(Dropped::Entry)
            }
        }
    }
}
