//! SACONFIG, whose community is a password.

use super::ast::{SaConfig, Spanned, Statement};
use super::lexer::Word;
use super::parser::Parser;
use super::suggest::{closest, did_you_mean};
use crate::diagnostics::{Code, Diagnostic, Severity, quoted};

/// Longest COMMUNITY.
const COMMUNITY_CHARS: usize = 32;
/// The operands of SACONFIG and their shortest abbreviations.
const SACONFIG: [(&str, usize); 10] = [
    ("AGENT", 5),
    ("COMMUNITY", 6),
    ("ENABLED", 5),
    ("DISABLED", 6),
    ("OSAENABLED", 5),
    ("OSADISABLED", 6),
    ("OSASF", 5),
    ("SACACHETIME", 8),
    ("SETSENABLED", 7),
    ("SETSDISABLED", 7),
];

impl Parser<'_> {
    /// SACONFIG (`SAC-02` to `SAC-08`).
    pub(super) fn sa_config(&mut self, statement: &Word) {
        let mut config = SaConfig {
            span: statement.span,
            enabled: None,
            agent: None,
            community_given: false,
            osa_enabled: None,
            osa_port: None,
            cache_time: None,
            sets_enabled: None,
        };
        while let Some(word) = self.any_operand() {
            let keyword = SACONFIG
                .iter()
                .find(|(name, shortest)| word.abbreviates(name, *shortest));
            let span = word.span;
            match keyword.map(|(name, _)| *name) {
                Some("AGENT") => {
                    let port = self.sa_number(&word, "a port", 65535);
                    let port = port.map(|value| Spanned {
                        value: value as u16,
                        span,
                    });
                    config.agent = port.or(config.agent);
                }
                Some("OSASF") => {
                    let port = self.sa_number(&word, "a port", 65535);
                    config.osa_port = port.map(|port| port as u16).or(config.osa_port);
                }
                Some("SACACHETIME") => {
                    let time = self.sa_number(&word, "a number of seconds", u32::MAX);
                    config.cache_time = time.or(config.cache_time);
                }
                Some("COMMUNITY") => config.community_given |= self.community(&word),
                Some("ENABLED") => config.enabled = Some(Spanned { value: true, span }),
                Some("DISABLED") => config.enabled = Some(Spanned { value: false, span }),
                Some("OSAENABLED") => config.osa_enabled = Some(true),
                Some("OSADISABLED") => config.osa_enabled = Some(false),
                Some("SETSENABLED") => config.sets_enabled = Some(true),
                Some("SETSDISABLED") => config.sets_enabled = Some(false),
                _ => self.no_sa_operand(&word),
            }
        }
        self.push(statement.span, Statement::SaConfig(config));
    }

    fn sa_number(&mut self, keyword: &Word, what: &str, most: u32) -> Option<u32> {
        let word = self.operand(what, keyword.span)?;
        self.number(&word, what, 1..=most).ok()
    }

    /// COMMUNITY. The word is a password: no message, no snippet shows it, and nothing keeps
    /// it (`SAC-06`).
    fn community(&mut self, keyword: &Word) -> bool {
        let Some(word) = self.operand("the community", keyword.span) else {
            return false;
        };
        self.sources.keep_secret(word.span);
        let length = word.text.chars().count();
        let bad = |c: char| c.is_control() || c == ';';
        if length > COMMUNITY_CHARS || word.text.chars().any(bad) {
            let message = "the COMMUNITY is not well formed";
            self.diagnostics.push(
                Diagnostic::error(Code::BadOperand, keyword.span, message)
                    .help("1 to 32 characters without blanks, control characters and semicolons"),
            );
            self.skip_redacted();
            return false;
        }
        true
    }

    /// Steps over the rest of the line, which no snippet shows.
    pub(super) fn skip_redacted(&mut self) {
        while let Some(word) = self.next_on_line() {
            self.sources.keep_secret(word.span);
        }
    }

    /// An unknown operand: perhaps a misspelt COMMUNITY, so the rest of the line
    /// is hidden.
    fn no_sa_operand(&mut self, word: &Word) {
        let meant = closest(&word.text, SACONFIG.map(|(name, _)| name));
        let message = match meant {
            Some(_) => format!("{} is not an operand of SACONFIG", quoted(&word.text)),
            None => {
                self.sources.keep_secret(word.span);
                "SACONFIG does not have this operand".to_owned()
            }
        };
        let help = meant.map(|(name, _)| did_you_mean(name));
        self.skip_redacted();
        self.diagnostics.push_with(Severity::Error, || {
            let diagnostic = Diagnostic::error(Code::BadOperand, word.span, message);
            Diagnostic { help, ..diagnostic }
        });
    }
}
