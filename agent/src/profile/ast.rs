//! What a profile says, statement by statement.

use std::{net::IpAddr, ops::Deref};

use compact_str::CompactString;
use portreeve_common::abi::Protocol;

use crate::diagnostics::Span;

/// A value and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

/// A profile: its statements in order, those of included files in their place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// The statements, those of change files behind all others.
    pub statements: Vec<Statement>,
    /// Which statement is the first of a change file; `None` without one.
    pub changed_from: Option<usize>,
    /// How many entries PORT and PORTRANGE statements were meant to add, those
    /// that had to be dropped included.
    pub written: usize,
}

impl Profile {
    /// The statements of the profile itself, without those of change files.
    pub fn at_start(&self) -> &[Statement] {
        let end = self.changed_from.unwrap_or(self.statements.len());
        self.statements.get(..end).unwrap_or(&self.statements)
    }

    /// How many entries PORT and PORTRANGE statements have.
    pub fn listed(&self) -> usize {
        let listed = self.statements.iter().map(|statement| match statement {
            Statement::Port(list) | Statement::PortRange(list) => list.entries.len(),
            _ => 0,
        });
        listed.sum()
    }

    /// How many entries and procedures are kept.
    pub(super) fn kept(&self) -> usize {
        let kept = self.statements.iter().map(|statement| match statement {
            Statement::Port(list)
            | Statement::PortRange(list)
            | Statement::DeletePort(list)
            | Statement::DeletePortRange(list) => list.entries.len(),
            Statement::Autolog(autolog) => autolog.procedures.len(),
            _ => 0,
        });
        kept.sum()
    }
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// PORT.
    Port(PortList),
    /// PORTRANGE.
    PortRange(PortList),
    /// DELETE PORT.
    DeletePort(PortList),
    /// DELETE PORTRANGE.
    DeletePortRange(PortList),
    /// TCPCONFIG or UDPCONFIG.
    ProtocolConfig(ProtocolConfig),
    /// IPCONFIG.
    IpConfig(IpConfig),
    /// GLOBALCONFIG.
    GlobalConfig(GlobalConfig),
    /// SACONFIG.
    SaConfig(SaConfig),
    /// AUTOLOG to ENDAUTOLOG.
    Autolog(Autolog),
    /// A statement that is stepped over.
    Skipped(Skipped),
}

/// The entries of a PORT, PORTRANGE or DELETE statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortList {
    /// The statement's name.
    pub span: Span,
    /// Its entries in order.
    pub entries: Vec<PortEntry>,
}

/// One entry: a port, a range or all unreserved ports, and who may have them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortEntry {
    /// Which ports.
    pub target: Target,
    /// Of which protocol.
    pub protocol: Protocol,
    /// Who.
    pub user: User,
    /// How.
    pub options: Options,
    /// The whole entry.
    pub span: Span,
    /// The comment behind the entry, on the line where it ends.
    pub description: Option<Box<str>>,
}

/// The ports of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// One port.
    Port(u16),
    /// `count` ports from `first`, as written: it may run past 65535.
    Range {
        /// First port.
        first: u16,
        /// Number of ports.
        count: u32,
    },
    /// Every port that the protocol has not reserved.
    Unrsv,
}

/// Who may have the ports of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum User {
    /// The job of this name, or all that match this pattern; folded to upper case. A
    /// policy has one for each entry, and none is longer than what fits in here.
    Job(CompactString),
    /// `*`: anyone.
    Anyone,
    /// `OMVS`: anyone but users of the Pascal API, which Linux doesn't have.
    Omvs,
    /// `RESERVED`: nobody.
    Reserved,
    /// `AUTHPORT`: the FTP server.
    Authport,
}

/// What follows the job name of an entry. Nearly always that is nothing, and takes no
/// more room than a pointer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(Option<Box<Given>>);

static NOTHING: Given = Given::NOTHING;

impl Options {
    /// Whether there is any.
    pub const fn is_given(&self) -> bool {
        self.0.is_some()
    }
}

impl Deref for Options {
    type Target = Given;

    fn deref(&self) -> &Given {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl From<Given> for Options {
    fn from(given: Given) -> Self {
        Self((given != Given::NOTHING).then(|| Box::new(given)))
    }
}

/// What may follow the job name of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// NOAUTOLOG.
    pub no_autolog: Option<Spanned<()>>,
    /// DELAYACKS (true) or NODELAYACKS.
    pub delay_acks: Option<Spanned<bool>>,
    /// SHAREPORT or SHAREPORTWLM.
    pub share: Option<Spanned<Share>>,
    /// BIND.
    pub bind: Option<Spanned<IpAddr>>,
    /// SAF, folded to upper case.
    pub saf: Option<Spanned<String>>,
    /// SMC (true) or NOSMC.
    pub smc: Option<Spanned<bool>>,
    /// DENY, for UNRSV.
    pub deny: Option<Spanned<()>>,
    /// WHENLISTEN or WHENBIND, for UNRSV.
    pub when: Option<Spanned<When>>,
}

impl Given {
    /// No option at all.
    pub const NOTHING: Self = Self {
        no_autolog: None,
        delay_acks: None,
        share: None,
        bind: None,
        saf: None,
        smc: None,
        deny: None,
        when: None,
    };

    /// Where the options stand that are given.
    pub fn spans(&self) -> impl Iterator<Item = Span> {
        let span = |given: &Option<Spanned<()>>| given.as_ref().map(|option| option.span);
        [
            span(&self.no_autolog),
            self.delay_acks.as_ref().map(|option| option.span),
            self.share.as_ref().map(|option| option.span),
            self.bind.as_ref().map(|option| option.span),
            self.saf.as_ref().map(|option| option.span),
            self.smc.as_ref().map(|option| option.span),
            span(&self.deny),
            self.when.as_ref().map(|option| option.span),
        ]
        .into_iter()
        .flatten()
    }
}

/// How connections to a shared port are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// SHAREPORT.
    Even,
    /// SHAREPORTWLM.
    Weighted,
}

/// When an UNRSV entry is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At listen.
    Listen,
    /// At bind.
    Bind,
}

/// TCPCONFIG or UDPCONFIG. What isn't given stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolConfig {
    /// The statement's name.
    pub span: Span,
    /// Which of the two.
    pub protocol: Protocol,
    /// RESTRICTLOWPORTS (true) or UNRESTRICTLOWPORTS.
    pub restrict_low_ports: Option<Spanned<bool>>,
    /// EPHEMERALPORTS, first and last.
    pub ephemeral: Option<Spanned<(u16, u16)>>,
}

/// IPCONFIG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpConfig {
    /// The statement's name.
    pub span: Span,
    /// IPSECURITY.
    pub ip_security: Option<Spanned<()>>,
}

/// GLOBALCONFIG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalConfig {
    /// The statement's name.
    pub span: Span,
    /// EXPLICITBINDPORTRANGE, first port and count.
    pub bind_range: Option<Spanned<(u16, u16)>>,
}

/// SACONFIG. What isn't given stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaConfig {
    /// The statement's name.
    pub span: Span,
    /// ENABLED (true) or DISABLED.
    pub enabled: Option<Spanned<bool>>,
    /// AGENT.
    pub agent: Option<Spanned<u16>>,
    /// COMMUNITY was given. It is a password, so it is not kept (`SAC-06`).
    pub community_given: bool,
    /// OSAENABLED (true) or OSADISABLED.
    pub osa_enabled: Option<bool>,
    /// OSASF.
    pub osa_port: Option<u16>,
    /// SACACHETIME.
    pub cache_time: Option<u32>,
    /// SETSENABLED (true) or SETSDISABLED.
    pub sets_enabled: Option<bool>,
}

/// AUTOLOG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Autolog {
    /// The statement's name.
    pub span: Span,
    /// Minutes to wait for an active procedure to end.
    pub wait: Option<u8>,
    /// The procedures in order.
    pub procedures: Vec<Procedure>,
    /// It is the first of a change file, and what was listed before is not any more.
    pub replaces: bool,
}

/// A procedure that AUTOLOG starts and watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Procedure {
    /// The whole entry.
    pub span: Span,
    /// Its name, folded to upper case.
    pub name: String,
    /// JOBNAME: who will own the listeners, if not `name`.
    pub jobname: Option<String>,
    /// PARMSTRING, in its own case.
    pub parameters: Option<String>,
    /// DELAYSTART DVIPA, or DELAYSTART alone.
    pub after_dvipa: bool,
    /// DELAYSTART TTLS.
    pub after_ttls: bool,
}

/// A statement that is stepped over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The statement's name as the table has it.
    pub name: &'static str,
    /// The statement's name as written.
    pub span: Span,
}
