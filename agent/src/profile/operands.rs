//! TCPCONFIG, UDPCONFIG, IPCONFIG and GLOBALCONFIG, whose operands stand in any
//! order (`SYN-14`). Those that are not about ports are stepped over.

use portreeve_common::abi::Protocol;

use super::ast::{GlobalConfig, IpConfig, ProtocolConfig, Spanned, Statement};
use super::lexer::Word;
use super::parser::Parser;
use super::statements::{self, Kind, STATEMENTS, Statement as StatementName};
use super::suggest::closest;
use crate::diagnostics::{Code, Diagnostic, Severity, quoted};

/// Shortest name of a statement whose misspelling is no operand.
const LONG_NAME: usize = 7;

impl Parser<'_> {
    /// The next operand of a statement that ends at the next one that is known,
    /// or is misspelt: one with a meaning here anywhere in a line, others at its
    /// start. No operand of z/OS is that close to a statement's name.
    pub(super) fn any_operand(&mut self) -> Option<Word> {
        let word = self.peek(0)?;
        let ours = statements::lookup(word).is_some_and(|found| found.is_ours());
        if ours || (word.starts_line && statements::is_known(word)) {
            return None;
        }
        let misspelt = |known: &StatementName| known.is_ours() && known.name.len() >= LONG_NAME;
        let names = STATEMENTS.iter().filter(|known| misspelt(known));
        if closest(&word.text, names.map(|known| known.name)).is_some() {
            return None;
        }
        let word = word.clone();
        if self.is_misspelt_statement(&word) {
            return None;
        }
        self.next()
    }

    /// TCPCONFIG and UDPCONFIG (`LOW-01` to `LOW-03`).
    pub(super) fn protocol_config(&mut self, statement: &Word, kind: Kind) {
        let (protocol, name) = match kind {
            Kind::TcpConfig => (Protocol::Tcp, "TCPCONFIG"),
            _ => (Protocol::Udp, "UDPCONFIG"),
        };
        let mut config = ProtocolConfig {
            span: statement.span,
            protocol,
            restrict_low_ports: None,
            ephemeral: None,
        };
        while let Some(word) = self.any_operand() {
            let span = word.span;
            if word.abbreviates("RESTRICTLOWPORTS", 9) {
                config.restrict_low_ports = Some(Spanned { value: true, span });
            } else if word.abbreviates("UNRESTRICTLOWPORTS", 11) {
                config.restrict_low_ports = Some(Spanned { value: false, span });
            } else if word.is("EPHEMERALPORTS") {
                config.ephemeral = self.ephemeral_ports(&word).or(config.ephemeral);
            } else {
                self.guard(&word, Some(&word), name);
            }
        }
        self.push(statement.span, Statement::ProtocolConfig(config));
    }

    fn ephemeral_ports(&mut self, keyword: &Word) -> Option<Spanned<(u16, u16)>> {
        let low = self.operand("the first port", keyword.span)?;
        let first = self.number(&low, "an ephemeral port", 1024..=65535).ok()?;
        let high = self.operand("the last port", keyword.span)?;
        let last = self.number(&high, "an ephemeral port", 1024..=65535).ok()?;
        if last < first {
            let message = format!("the last port, {last}, is below the first, {first}");
            self.refuse(&high, Code::BadNumber, message, None);
            return None;
        }
        let span = keyword.span.to(high.span);
        let value = (first as u16, last as u16);
        Some(Spanned { value, span })
    }

    /// IPCONFIG: RESTRICTLOWPORTS is diagnosed here and does nothing (`LOW-10`).
    pub(super) fn ip_config(&mut self, statement: &Word) {
        let mut config = IpConfig {
            span: statement.span,
            ip_security: None,
        };
        while let Some(word) = self.any_operand() {
            let span = word.span;
            if word.is("IPSECURITY") {
                config.ip_security = Some(Spanned { value: (), span });
            } else if word.abbreviates("RESTRICTLOWPORTS", 9)
                || word.abbreviates("UNRESTRICTLOWPORTS", 11)
            {
                let message = format!("{} has no effect on IPCONFIG", quoted(&word.text));
                self.diagnostics.push_with(Severity::Warning, || {
                    Diagnostic::warning(Code::NoEffectHere, span, message)
                        .help("put it behind TCPCONFIG or UDPCONFIG, or both")
                });
            } else {
                self.guard(&word, Some(&word), "IPCONFIG");
            }
        }
        self.push(statement.span, Statement::IpConfig(config));
    }

    /// GLOBALCONFIG.
    pub(super) fn global_config(&mut self, statement: &Word) {
        let mut config = GlobalConfig {
            span: statement.span,
            bind_range: None,
        };
        while let Some(word) = self.any_operand() {
            if word.is("EXPLICITBINDPORTRANGE") {
                config.bind_range = self.bind_range(&word).or(config.bind_range);
            } else {
                self.guard(&word, Some(&word), "GLOBALCONFIG");
            }
        }
        self.push(statement.span, Statement::GlobalConfig(config));
    }

    fn bind_range(&mut self, keyword: &Word) -> Option<Spanned<(u16, u16)>> {
        let first = self.operand("the first port", keyword.span)?;
        let port = self.number(&first, "a port", 1024..=65535).ok()?;
        let second = self.operand("the number of ports", keyword.span)?;
        let most = 65535 - port + 1;
        let count = self.number(&second, "a number of ports", 1..=most).ok()?;
        let span = keyword.span.to(second.span);
        let value = (port as u16, count as u16);
        Some(Spanned { value, span })
    }
}
