//! The options behind the job name of an entry.

use std::net::IpAddr;

use portreeve_common::abi::Protocol;

use super::ast::{Given, Options, Share, Spanned, Target, User, When};
use super::entries::Dropped;
use super::lexer::Word;
use super::parser::Parser;
use crate::diagnostics::{Code, quoted};

/// An option keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    NoAutolog,
    DelayAcks,
    NoDelayAcks,
    SharePort,
    SharePortWlm,
    Bind,
    Saf,
    NoSmc,
    Smc,
    Deny,
    WhenListen,
    WhenBind,
}

/// The keywords with their shortest abbreviations. SHAREPORTWLM has none, so
/// that each shorter spelling is SHAREPORT or nothing (`SYN-08`).
const KEYWORDS: &[(&str, usize, Keyword)] = &[
    ("NOAUTOLOG", 7, Keyword::NoAutolog),
    ("DELAYACKS", 6, Keyword::DelayAcks),
    ("NODELAYACKS", 8, Keyword::NoDelayAcks),
    ("SHAREPORT", 6, Keyword::SharePort),
    ("SHAREPORTWLM", 12, Keyword::SharePortWlm),
    ("BIND", 4, Keyword::Bind),
    ("SAF", 3, Keyword::Saf),
    ("NOSMC", 5, Keyword::NoSmc),
    ("NOSMCR", 6, Keyword::NoSmc),
    ("SMC", 3, Keyword::Smc),
    ("DENY", 4, Keyword::Deny),
    ("WHENLISTEN", 10, Keyword::WhenListen),
    ("WHENBIND", 8, Keyword::WhenBind),
];

/// The orders that entries want their options in, for people.
const PORT_ORDER: &str = "NOAUTOLOG, then DELAYACKS or NODELAYACKS, then SHAREPORT or \
    SHAREPORTWLM, then BIND, then SAF, then SMC or NOSMC";
const RANGE_ORDER: &str = "NOAUTOLOG, then DELAYACKS or NODELAYACKS, then SAF, then SMC or NOSMC";
const UNRSV_ORDER: &str = "DENY or SAF, then WHENLISTEN or WHENBIND";

/// The option that `word` names.
pub(super) fn lookup(word: &Word) -> Option<Keyword> {
    // As nearly every word does that is asked for: the next entry's.
    if word.starts_with_digit() {
        return None;
    }
    let found = KEYWORDS
        .iter()
        .find(|(name, shortest, _)| word.abbreviates(name, *shortest));
    found.map(|(_, _, keyword)| *keyword)
}

/// The full names of all options.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    KEYWORDS.iter().map(|(name, _, _)| *name)
}

impl Keyword {
    /// Its place in the order of options; those of one group exclude each other.
    fn rank(self) -> u8 {
        match self {
            Self::NoAutolog => 1,
            Self::DelayAcks | Self::NoDelayAcks => 2,
            Self::SharePort | Self::SharePortWlm => 3,
            Self::Bind => 4,
            Self::Saf | Self::Deny => 5,
            Self::NoSmc | Self::Smc => 6,
            Self::WhenListen | Self::WhenBind => 7,
        }
    }

    /// Why the option can't be given for such an entry, if so.
    fn refused(self, target: Target, user: &User) -> Option<&'static str> {
        let for_unrsv = matches!(self, Self::Deny | Self::WhenListen | Self::WhenBind);
        match (user, target) {
            (User::Reserved, _) => Some("RESERVED takes no options"),
            (User::Authport, _) => Some("AUTHPORT takes no options"),
            (_, Target::Unrsv) if !for_unrsv && self != Self::Saf => {
                Some("an UNRSV entry takes only DENY, SAF, WHENLISTEN and WHENBIND")
            }
            (_, Target::Port(_) | Target::Range { .. }) if for_unrsv => {
                Some("DENY, WHENLISTEN and WHENBIND are for UNRSV entries")
            }
            (_, Target::Range { .. })
                if matches!(self, Self::SharePort | Self::SharePortWlm | Self::Bind) =>
            {
                Some("SHAREPORT and BIND are for single ports, not for PORTRANGE")
            }
            _ => None,
        }
    }
}

/// The entry that options belong to, and how far they have come.
pub(super) struct Context<'a> {
    pub(super) target: Target,
    pub(super) protocol: Protocol,
    pub(super) user: &'a User,
    /// In a DELETE statement options are checked but don't matter (`DEL-02`).
    pub(super) deleting: bool,
}

impl Parser<'_> {
    /// The options that follow, up to a word that is none.
    pub(super) fn options(&mut self, context: &Context) -> Result<Options, Dropped> {
        let mut given = Given::NOTHING;
        let mut last = 0;
        while let Some(keyword) = self.peek(0).and_then(lookup) {
            let Some(word) = self.next() else { break };
            if let Some(reason) = keyword.refused(context.target, context.user) {
                let message = format!("{} is not allowed here: {reason}", quoted(&word.text));
                self.refuse(&word, Code::OptionNotAllowed, message, None);
                return Err(Dropped::Entry);
            }
            let rank = keyword.rank();
            if rank <= last {
                self.out_of_order(&word, rank == last, context.target);
                return Err(Dropped::Entry);
            }
            last = rank;
            self.option(keyword, &word, context, &mut given)?;
        }
        Ok(given.into())
    }

    fn out_of_order(&mut self, word: &Word, again: bool, target: Target) {
        let order = match target {
            Target::Port(_) => PORT_ORDER,
            Target::Range { .. } => RANGE_ORDER,
            Target::Unrsv => UNRSV_ORDER,
        };
        let word_text = quoted(&word.text);
        let message = if again {
            format!("{word_text} repeats or contradicts the option before it")
        } else {
            format!("{word_text} is out of order")
        };
        let help = format!("the order is: {order}");
        self.refuse(word, Code::OptionOrder, message, Some(help));
    }

    fn option(
        &mut self,
        keyword: Keyword,
        word: &Word,
        context: &Context,
        given: &mut Given,
    ) -> Result<(), Dropped> {
        let span = word.span;
        match keyword {
            Keyword::NoAutolog => given.no_autolog = Some(Spanned { value: (), span }),
            Keyword::DelayAcks => given.delay_acks = Some(Spanned { value: true, span }),
            Keyword::NoDelayAcks => given.delay_acks = Some(Spanned { value: false, span }),
            Keyword::SharePort | Keyword::SharePortWlm => {
                if context.protocol == Protocol::Udp {
                    // Said, and not applied (PRT-16); the reservation stands.
                    let message = format!("{} is for TCP only", quoted(&word.text));
                    self.refuse(word, Code::OptionNotAllowed, message, None);
                } else {
                    let value = match keyword {
                        Keyword::SharePort => Share::Even,
                        _ => Share::Weighted,
                    };
                    given.share = Some(Spanned { value, span });
                }
            }
            Keyword::Bind => given.bind = self.bind_address(word, context)?,
            Keyword::Saf => given.saf = self.saf_name(word, context)?,
            Keyword::NoSmc => given.smc = Some(Spanned { value: false, span }),
            Keyword::Smc => given.smc = Some(Spanned { value: true, span }),
            Keyword::Deny => given.deny = Some(Spanned { value: (), span }),
            Keyword::WhenListen if context.protocol == Protocol::Udp => {
                let message = "UDP has no listen, so WHENLISTEN is for TCP only".to_owned();
                self.refuse(word, Code::OptionNotAllowed, message, None);
                return Err(Dropped::Entry);
            }
            Keyword::WhenListen | Keyword::WhenBind => {
                let value = match keyword {
                    Keyword::WhenListen => When::Listen,
                    _ => When::Bind,
                };
                given.when = Some(Spanned { value, span });
            }
        }
        Ok(())
    }

    fn bind_address(
        &mut self,
        keyword: &Word,
        context: &Context,
    ) -> Result<Option<Spanned<IpAddr>>, Dropped> {
        let operand = self.operand("the address for BIND", keyword.span);
        let word = operand.ok_or(Dropped::Entry)?;
        let help = match word.text.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => {
                "write an IPv4 address in dotted decimal, not as an IPv4-mapped one"
            }
            Ok(value) => {
                let span = word.span;
                return Ok(Some(Spanned { value, span }));
            }
            Err(_) => "write it like 192.0.2.1 or 2001:db8::1",
        };
        if context.deleting {
            return Ok(None);
        }
        let message = format!("{} is not an address for BIND", quoted(&word.text));
        self.refuse(&word, Code::BadAddress, message, Some(help.to_owned()));
        Err(Dropped::Entry)
    }

    fn saf_name(
        &mut self,
        keyword: &Word,
        context: &Context,
    ) -> Result<Option<Spanned<String>>, Dropped> {
        let operand = self.operand("the resource name for SAF", keyword.span);
        let word = operand.ok_or(Dropped::Entry)?;
        if is_saf_name(&word.text) {
            let (value, span) = (word.folded(), word.span);
            return Ok(Some(Spanned { value, span }));
        }
        if context.deleting {
            return Ok(None);
        }
        let message = format!("{} is not a SAF resource name", quoted(&word.text));
        let help = "1 to 8 characters: a letter or $ @ #, then also digits and hyphens".to_owned();
        self.refuse(&word, Code::BadSafName, message, Some(help));
        Err(Dropped::Entry)
    }
}

/// `SYN-24`.
fn is_saf_name(word: &str) -> bool {
    let national = |c: char| matches!(c, '$' | '@' | '#');
    let first = word.starts_with(|c: char| c.is_ascii_alphabetic() || national(c));
    let rest = |c: char| c.is_ascii_alphanumeric() || national(c) || c == '-';
    first && word.len() <= 8 && word.chars().all(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `SYN-24`.
    #[test]
    fn saf_names() {
        for name in ["FTPDATA", "a", "$A-1", "#23-5678"] {
            assert!(is_saf_name(name), "{name}");
        }
        for name in ["", "1A", "-A", "ABCDEFGHI", "A_B", "Ä", "A*"] {
            assert!(!is_saf_name(name), "{name}");
        }
    }
}
