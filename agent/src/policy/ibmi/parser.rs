//! CL commands: text to ports, protocol and user.

use portreeve_common::abi::Protocol;

use super::lexer::{Lexer, Token, TokenKind};
use crate::{
    diagnostics::{Code, Diagnostic, Diagnostics, Severity, SourceId, Span, quoted},
    profile::{ast::Spanned, suggest::closest},
};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// ADDTCPPORT.
    Add,
    /// RMVTCPPORT.
    Remove,
}

/// To which ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ports {
    /// From the first to the last (`IBI-04`).
    Stretch(u16, u16),
    /// `*ALL`: to those of every entry (`IBI-10`).
    All,
}

/// A command that is well formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub verb: Verb,
    pub ports: Ports,
    pub protocol: Protocol,
    pub user: Spanned<String>,
    /// The whole command.
    pub span: Span,
}

/// The parameters, in the order that they have without keywords.
const KEYWORDS: [&str; 3] = ["PORT", "PROTOCOL", "USRPRF"];
/// The commands, and two that frame a CL program and do nothing here.
const VERBS: [&str; 4] = ["ADDTCPPORT", "RMVTCPPORT", "PGM", "ENDPGM"];
/// The library that the commands are in.
const LIBRARY: &str = "QSYS/";

/// A parameter's values, and all of it.
struct Given {
    values: Vec<Spanned<String>>,
    span: Span,
}

/// The commands in `text`; those that are wrong are reported and left out.
pub(super) fn parse(text: &str, source: SourceId, diagnostics: &mut Diagnostics) -> Vec<Command> {
    let mut lexer = Lexer::new(text, source);
    let mut parser = Parser { diagnostics };
    let mut commands = Vec::new();
    let mut tokens = Vec::new();
    loop {
        let token = lexer.next();
        match token.kind {
            TokenKind::Line | TokenKind::End => {
                commands.extend(parser.command(&tokens));
                tokens.clear();
                if token.kind == TokenKind::End {
                    return commands;
                }
            }
            TokenKind::Unclosed => {
                parser.report(
                    Code::CommandSyntax,
                    token.span,
                    "this is opened and not closed",
                    "a comment ends with */ and a quoted value with a quote on its line",
                );
                // What the command would have been isn't known.
                tokens.clear();
                lexer.skip_line();
            }
            _ => tokens.push(token),
        }
    }
}

struct Parser<'d> {
    diagnostics: &'d mut Diagnostics,
}

impl Parser<'_> {
    fn report(&mut self, code: Code, span: Span, message: impl Into<String>, help: &str) {
        let diagnostic = Diagnostic::error(code, span, message).help(help);
        self.diagnostics.push(diagnostic);
    }

    /// The command that `tokens` make. Everything that is wrong is reported.
    fn command(&mut self, tokens: &[Token]) -> Option<Command> {
        let (first, rest) = tokens.split_first()?;
        let verb = self.verb(first)?;
        let span = tokens
            .iter()
            .fold(first.span, |span, token| span.to(token.span));
        let given = self.parameters(rest)?;
        let missing: Vec<&str> = KEYWORDS
            .into_iter()
            .zip(&given)
            .filter_map(|(keyword, given)| given.is_none().then_some(keyword))
            .collect();
        if !missing.is_empty() {
            let message = format!("{} is missing", missing.join(" and "));
            let help = "all three are needed: PORT(8400 8410) PROTOCOL(*TCP) USRPRF(APPADM)";
            self.report(Code::CommandSyntax, span, message, help);
        }
        let [ports, protocol, user] = given;
        let ports = ports.and_then(|given| self.ports(verb, &given));
        let protocol = protocol.and_then(|given| self.protocol(&given));
        let user = user.and_then(|given| self.user(given));
        Some(Command {
            verb,
            ports: ports?,
            protocol: protocol?,
            user: user?,
            span,
        })
    }

    /// What is to be done; `None` if it is nothing or not known.
    fn verb(&mut self, token: &Token) -> Option<Verb> {
        let name = token.text.to_ascii_uppercase();
        let name = name.strip_prefix(LIBRARY).unwrap_or(&name);
        match name {
            "ADDTCPPORT" => return Some(Verb::Add),
            "RMVTCPPORT" => return Some(Verb::Remove),
            "PGM" | "ENDPGM" => return None,
            _ => {}
        }
        let help = match closest(name, VERBS) {
            Some((close, _)) => format!("did you mean {close}?"),
            None => "the commands are ADDTCPPORT and RMVTCPPORT".to_owned(),
        };
        let span = token.span;
        let word = quoted(&token.text);
        self.diagnostics.push_with(Severity::Error, || {
            let message = format!("{word} is no command that is known here");
            Diagnostic::error(Code::UnknownCommand, span, message).help(help)
        });
        None
    }

    /// The parameters by their place in [`KEYWORDS`].
    fn parameters(&mut self, mut tokens: &[Token]) -> Option<[Option<Given>; 3]> {
        let mut given = [None, None, None];
        let mut next_place = Some(0);
        while let Some((token, rest)) = tokens.split_first() {
            let opens = rest
                .first()
                .is_some_and(|next| next.kind == TokenKind::Open);
            let (place, values, behind) = match token.kind {
                TokenKind::Word if opens && self.is_keyword(token, &rest[0]) => {
                    let place = self.keyword(token)?;
                    next_place = None;
                    let (values, behind) = self.list(&rest[0], &rest[1..])?;
                    (place, values, behind)
                }
                TokenKind::Word | TokenKind::Quoted => {
                    let place = self.place(token, &mut next_place)?;
                    let value = Spanned {
                        value: token.text.clone(),
                        span: token.span,
                    };
                    let given = Given {
                        values: vec![value],
                        span: token.span,
                    };
                    (place, given, rest)
                }
                TokenKind::Open => {
                    let place = self.place(token, &mut next_place)?;
                    let (values, behind) = self.list(token, rest)?;
                    (place, values, behind)
                }
                _ => {
                    let help = "parentheses come in pairs: PORT(8400 8410)";
                    self.report(Code::CommandSyntax, token.span, "this closes nothing", help);
                    return None;
                }
            };
            if given[place].is_some() {
                let message = format!("{} is given twice", KEYWORDS[place]);
                let help = "each parameter is given once";
                self.report(Code::CommandSyntax, values.span, message, help);
                return None;
            }
            given[place] = Some(values);
            tokens = behind;
        }
        Some(given)
    }

    /// Whether a word before a parenthesis is, or is meant to be, a keyword.
    fn is_keyword(&self, word: &Token, open: &Token) -> bool {
        let touches = word.span.end == open.span.start;
        touches
            || KEYWORDS
                .iter()
                .any(|keyword| word.text.eq_ignore_ascii_case(keyword))
    }

    fn keyword(&mut self, token: &Token) -> Option<usize> {
        let name = &token.text;
        let place = KEYWORDS
            .iter()
            .position(|keyword| keyword.eq_ignore_ascii_case(name));
        if place.is_none() {
            let message = format!("{} is no parameter of this command", quoted(name));
            let help = "the parameters are PORT, PROTOCOL and USRPRF";
            self.report(Code::CommandSyntax, token.span, message, help);
        }
        place
    }

    /// The place of a value without a keyword.
    fn place(&mut self, token: &Token, next: &mut Option<usize>) -> Option<usize> {
        let place = next.filter(|place| *place < KEYWORDS.len());
        match place {
            Some(place) => *next = Some(place + 1),
            None => {
                let message = format!("{} belongs to no parameter", quoted(&token.text));
                let help = "values without a keyword come first, in the order PORT PROTOCOL USRPRF";
                self.report(Code::CommandSyntax, token.span, message, help);
            }
        }
        place
    }

    /// The values up to the closing parenthesis, and what is behind it.
    fn list<'t>(&mut self, open: &Token, tokens: &'t [Token]) -> Option<(Given, &'t [Token])> {
        let mut values = Vec::new();
        for (index, token) in tokens.iter().enumerate() {
            match token.kind {
                TokenKind::Word | TokenKind::Quoted => values.push(Spanned {
                    value: token.text.clone(),
                    span: token.span,
                }),
                TokenKind::Close => {
                    let span = open.span.to(token.span);
                    return Some((Given { values, span }, &tokens[index + 1..]));
                }
                _ => break,
            }
        }
        let help = "a command that goes on in the next line has + at the end of this one";
        self.report(Code::CommandSyntax, open.span, "this is not closed", help);
        None
    }

    fn ports(&mut self, verb: Verb, given: &Given) -> Option<Ports> {
        let (lower, upper) = match given.values.as_slice() {
            [lower] => (lower, None),
            [lower, upper] => (lower, Some(upper)),
            _ => {
                self.bad_value(given.span, "PORT has one or two values");
                return None;
            }
        };
        let upper = upper.filter(|upper| !upper.value.eq_ignore_ascii_case("*ONLY"));
        if lower.value.eq_ignore_ascii_case("*ALL") {
            if verb == Verb::Remove && upper.is_none() {
                return Some(Ports::All);
            }
            self.bad_value(given.span, "*ALL stands alone, and in RMVTCPPORT only");
            return None;
        }
        let first = self.port(lower);
        let last = match upper {
            Some(upper) => self.port(upper),
            None => first,
        };
        let (first, last) = (first?, last?);
        if first > last {
            self.bad_value(given.span, "the upper port is below the lower one");
            return None;
        }
        Some(Ports::Stretch(first, last))
    }

    fn port(&mut self, word: &Spanned<String>) -> Option<u16> {
        let digits = word.value.bytes().all(|byte| byte.is_ascii_digit());
        let port = word.value.parse().ok().filter(|port| digits && *port != 0);
        if port.is_none() {
            let message = format!("{} is no port", quoted(&word.value));
            self.bad_value(word.span, message);
        }
        port
    }

    fn protocol(&mut self, given: &Given) -> Option<Protocol> {
        let name = match given.values.as_slice() {
            [name] => name.value.to_ascii_uppercase(),
            _ => String::new(),
        };
        match name.as_str() {
            "*TCP" => Some(Protocol::Tcp),
            "*UDP" => Some(Protocol::Udp),
            _ => {
                self.bad_value(given.span, "the protocol is neither *TCP nor *UDP");
                None
            }
        }
    }

    fn user(&mut self, given: Given) -> Option<Spanned<String>> {
        let span = given.span;
        let mut values = given.values.into_iter();
        match (values.next(), values.next()) {
            (Some(name), None) if !name.value.is_empty() && !name.value.contains(['*', '\0']) => {
                Some(name)
            }
            _ => {
                self.bad_value(span, "USRPRF is the name of one user");
                None
            }
        }
    }

    fn bad_value(&mut self, span: Span, message: impl Into<String>) {
        let help = "for example PORT(8400 8410) PROTOCOL(*TCP) USRPRF(APPADM); the second port may be *ONLY";
        self.report(Code::BadCommandValue, span, message, help);
    }
}
